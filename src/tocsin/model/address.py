"""Where a server listens."""

from typing import NamedTuple, Self

from tocsin.errors import ConfigError

__all__ = ["Address"]


class Address(NamedTuple):
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST:PORT or [IPV6]:PORT. Raises ConfigError."""
        host, colon, port = text.rpartition(":")
        is_port = port.isascii() and port.isdecimal() and int(port) < 65536
        if not colon or not host or not is_port or (":" in host) != host.startswith("["):
            raise ConfigError(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:4318")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
