"""Where the terminal gets runs from: a running server, or a data directory that none uses."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from tocsin.api.documents import RunsDocument, RunViewDocument
from tocsin.api.parameters import MAX_SPANS, Parameters, run_query
from tocsin.api.run_ids import find_run
from tocsin.cli_runs.terminal import DEFAULT_URL
from tocsin.clock import SYSTEM_CLOCK
from tocsin.errors import ConfigError, QueryError, StoreError, TocsinError
from tocsin.store.location import STORE, default_data

__all__ = ["Directory", "Parts", "Server", "Source", "open_source"]

TIMEOUT_S: Final = 20.0
"""Longer than the server lets a question take."""

Parts = list[tuple[str, str]]
"""Names and values of the API's parameters."""
Document = TypeVar("Document")


class Source(Protocol):
    """Answers as the API does; raises TocsinError."""

    def runs(self, parts: Parts) -> RunsDocument:
        """Read a page of runs."""
        ...

    def run(self, run_id: str) -> RunViewDocument:
        """Read a run and its spans."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class AbsentError(StoreError):
    """No Tocsin server answers at an address."""


class Server:
    """A server's API. Proxies are left alone: the server is this machine, or near it."""

    def __init__(self, url: str) -> None:
        place = urllib.parse.urlsplit(url)
        if place.scheme not in ("http", "https") or not place.netloc:
            raise ConfigError(f"--url {url!r} is no address; write {DEFAULT_URL}")
        self._url = url.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def check(self) -> None:
        """Raise AbsentError unless a Tocsin server answers."""
        self.runs([("limit", "1")])

    def runs(self, parts: Parts) -> RunsDocument:
        """Read a page of runs."""
        return self.ask(f"/api/v1/runs?{urllib.parse.urlencode(parts)}", RunsDocument)

    def run(self, run_id: str) -> RunViewDocument:
        """Read a run and its spans."""
        return self.ask(f"/api/v1/runs/{urllib.parse.quote(run_id, safe='')}", RunViewDocument)

    def close(self) -> None:
        """Nothing is kept open."""

    def ask(self, path: str, kind: type[Document]) -> Document:
        """Ask by any path of the API. Raises AbsentError, StoreError, QueryError, TocsinError."""
        absent = f"no Tocsin server answers at {self._url}"
        try:
            with self._open(self._url + path, timeout=TIMEOUT_S) as response:
                return msgspec.json.decode(response.read(), type=kind)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) or AbsentError(f"{absent}: HTTP {error.code}") from error
        except TimeoutError as error:
            raise StoreError(f"{self._url} gave no answer within {TIMEOUT_S:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            text = getattr(reason, "strerror", None) or str(reason)
            raise AbsentError(f"{absent}: {text}") from error
        except msgspec.DecodeError as error:
            raise AbsentError(f"{absent}: its answer is of another kind ({error})") from error


class Directory:
    """A data directory, read in place. Raises StoreError where there is none, or it is in use."""

    def __init__(self, data: Path) -> None:
        if find_spec("duckdb") is None:
            raise StoreError('reading --data needs more packages: pip install "tocsin[server]"')
        if not (data / STORE).is_dir():
            raise StoreError(f"{data} holds no Tocsin data")
        from tocsin.store.embedded.store import EmbeddedStore

        self._store = EmbeddedStore(data / STORE, read_only=True)

    def runs(self, parts: Parts) -> RunsDocument:
        """Read a page of runs."""
        query = run_query(Parameters(parts), SYSTEM_CLOCK.wall_ns())
        return RunsDocument.of(self._store.runs(query))

    def run(self, run_id: str) -> RunViewDocument:
        """Read a run and its spans."""
        view = find_run(self._store, run_id)
        if view is None:
            raise TocsinError(f"there is no run {run_id[:100]!r}")
        return RunViewDocument.of(view, MAX_SPANS)

    def close(self) -> None:
        """Unlock it."""
        self._store.close()


def open_source(url: str | None, data: Path | None) -> Source:
    """Open what is named; else the usual server, or the usual directory where none answers.

    Raises TocsinError with one message that says what to do.
    """
    if url is not None:
        return Server(url)
    if data is not None:
        return _open(data)
    server = Server(DEFAULT_URL)
    try:
        server.check()
    except AbsentError as absent:
        try:
            return _open(default_data())
        except StoreError as error:
            raise StoreError(
                f"{absent}, and {error}; start `tocsin serve`, or name a --url or --data"
            ) from error
    return server


def _open(data: Path) -> Directory:
    try:
        return Directory(data)
    except StoreError as error:
        if " is in use by " not in str(error):
            raise
        use = str(error).partition(";")[0]
        raise StoreError(
            f"{use}; ask that server: --url http://HOST:PORT of its --listen"
        ) from error


def _refusal(error: urllib.error.HTTPError) -> TocsinError | None:
    """Return what the API says is wrong; None where it is not the API that answers."""
    try:
        message = json.loads(error.read())["error"]
    except (ValueError, TypeError, KeyError, OSError):
        return None
    return QueryError(message) if error.code == 400 else TocsinError(message)
