"""A whole server in this process, its event loop on a thread."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.span_store import SpanStore, wire
from tocsin.errors import TocsinError
from tocsin.model.address import Address
from tocsin.serve.options import ServerOptions
from tocsin.serve.server import Server
from tocsin.serve.wiring import Wire

FREE = Address("127.0.0.1", 0)


class RunningServer:
    """Serves on free ports until the block ends."""

    def __init__(self, data: Path, wire: Wire = wire, **options: Any) -> None:
        self.data = data
        free = {"listen": FREE, "otlp_http": FREE, "otlp_grpc": FREE}
        self._options = ServerOptions(data=data, **free | options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.server = Server(self._options, wire)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self.server.start())
        except TocsinError:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> bool:
        """Stop gracefully; False if something is left in the journal."""
        if not self._thread.is_alive():
            return True
        done = self._run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        return bool(done)

    def url(self, path: str, purpose: str = "OTLP/HTTP") -> str:
        return f"http://{self.server.addresses[purpose]}{path}"

    @property
    def grpc_target(self) -> str:
        return str(self.server.addresses["OTLP/gRPC"])

    def stored(self) -> list[str]:
        """Ids in the store, after a stop."""
        self.stop()
        store = SpanStore(self.data / "spans.db")
        try:
            return store.ids()
        finally:
            store.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
