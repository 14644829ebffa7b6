"""What a server is told: its command line, then `tocsin.yaml`, then the defaults."""

import argparse
from pathlib import Path
from typing import Final

import msgspec

from tocsin.api.intake import BODY_LIMIT
from tocsin.config.load import load_settings
from tocsin.config.settings import Settings
from tocsin.model.address import Address
from tocsin.store.journal import MAX_BYTES
from tocsin.store.location import default_data

__all__ = ["ServerOptions", "make_options"]

DEFAULTS: Final = Settings()


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `tocsin serve` is told."""

    data: Path
    settings: Settings = DEFAULTS
    listen: Address = DEFAULTS.listen
    otlp_http: Address = DEFAULTS.otlp.http
    otlp_grpc: Address = DEFAULTS.otlp.grpc
    body_limit: int = BODY_LIMIT
    journal_bytes: int = MAX_BYTES
    drain_s: float = 10.0
    """How long a stop may take to process what is accepted."""

    @property
    def high_bytes(self) -> int:
        """Waiting bytes from which on senders are told to wait."""
        return self.journal_bytes // 2


def make_options(arguments: argparse.Namespace) -> ServerOptions:
    """Join what was said on the command line and in its `--config`. Raises ConfigError."""
    settings = DEFAULTS if arguments.config is None else load_settings(arguments.config)

    def address(given: str | None, otherwise: Address) -> Address:
        return otherwise if given is None else Address.parse(given)

    return ServerOptions(
        data=arguments.data or settings.store or default_data(),
        settings=settings,
        listen=address(arguments.listen, settings.listen),
        otlp_http=address(arguments.otlp_http, settings.otlp.http),
        otlp_grpc=address(arguments.otlp_grpc, settings.otlp.grpc),
    )
