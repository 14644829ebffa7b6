"""One /metrics page for several worker processes, through files in a shared directory."""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from tocsin.app.merge import Group, fold, merge
from tocsin.meters.catalogue import CATALOGUE, Metric
from tocsin.meters.registry import Distribution, Family, Labels

HAS_LOCKS: Final = find_spec("fcntl") is not None
"""Not on Windows, where the files of processes that are gone just stay."""
if HAS_LOCKS:
    import fcntl

__all__ = ["SharedFamilies", "merge"]

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S: Final = 1.0
ALIVE_FOR_S: Final = 10.0
"""A file not written for this long belongs to a process that is gone: its counters still count,
its gauges do not."""
FOLD_AT: Final = 32
"""Files of processes that are gone, from which on they become one."""
LOCK_PATIENCE_S: Final = 1.0
LOCK_FILE: Final = "tocsin.lock"
FOLDED_FILE: Final = "tocsin.folded"

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}

T = TypeVar("T")


class SavedFamily(msgspec.Struct, array_like=True):
    """A family as it stands in a file."""

    name: str
    values: list[tuple[Labels, float]]
    distributions: list[tuple[Labels, Distribution]]


class Folded(msgspec.Struct, array_like=True):
    """The counters of processes that are gone."""

    names: list[str] = []
    """Files that are in here; whoever still finds one leaves it out."""
    groups: list[list[SavedFamily]] = []
    """Families to be added up, several because one float may not hold a sum exactly."""


class SharedFamilies:
    """Publishes this process's families and merges them with everybody else's.

    The directory is emptied by whoever starts the program, as for prometheus_client's
    PROMETHEUS_MULTIPROC_DIR, which may be the same one.

    A process holds the lock of its `.alive` file for as long as it may write its `.mp` file. What
    processes left that are gone is folded into one file, under a lock that excludes readers. The
    folded file names its sources and replaces its predecessor in one step before they are removed,
    so whoever is killed in between, everything is counted exactly once.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._alive: int | None = None
        self._warned: set[str] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Take a file of our own; a pid alone would overwrite that of a dead namesake."""
        self._let_go()
        self._own = self._directory / f"tocsin-{os.getpid()}-{uuid.uuid4().hex[:8]}.mp"
        self._published_s = 0.0
        self._closed = False
        self._lock = threading.Lock()

    def publish(self, collect: Callable[[], Group], *, now: bool = False) -> None:
        """Write this process's families, at most once a second unless `now`."""
        if now or time.monotonic() - self._published_s >= PUBLISH_EVERY_S:
            self._publish(collect)

    def merged(self, collect: Callable[[], Group]) -> Group:
        """Families of all processes as they are now.

        This process's are published first: what a scraper has seen must be there for the next
        process that answers it, or counters would fall.
        """
        own = self._publish(collect)
        groups = [] if self._closed else [(own, True)]
        with _locked(self._directory / LOCK_FILE, shared=True):
            folded = self._read(self._directory / FOLDED_FILE, Folded) or Folded()
            paths = [path for path in self._others() if path.name not in folded.names]
            groups += [(self._families(path), _is_alive(path)) for path in paths]
        groups += [(_load(group), False) for group in folded.groups]
        if not self._closed and sum(not _is_alive(path) for path in paths) >= FOLD_AT:
            self._fold()
        return merge(groups)

    def close(self) -> None:
        """Write nothing any more, so that others may fold what there is."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _publish(self, collect: Callable[[], Group]) -> Group:
        with self._lock:
            families = collect()
            if not self._closed:
                self._published_s = time.monotonic()
                self._write(self._own, _save(families))
            return families

    def _write(self, target: Path, content: object) -> bool:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if self._alive is None:
                self._alive = open_locked(self._own.with_suffix(".alive"))
            partial = self._own.with_suffix(f"{target.suffix}.part")
            partial.write_bytes(msgspec.msgpack.encode(content))
            partial.replace(target)
        except OSError as error:
            self._warn(f"metrics of this process are not shared: {error}")
            return False
        return True

    def _others(self) -> list[Path]:
        own = None if self._closed else self._own.name
        return sorted(path for path in self._directory.glob("tocsin-*.mp") if path.name != own)

    def _families(self, path: Path) -> Group:
        return _load(self._read(path, list[SavedFamily]) or [])

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            self._warn(f"metrics file {path.name} left out: {error}")
            return None

    def _fold(self) -> None:
        """Fold what processes left that are gone, unless somebody reads or folds right now."""
        with _locked(self._directory / LOCK_FILE, shared=False) as is_ours:
            folded = self._read(self._directory / FOLDED_FILE, Folded)
            if folded is None and (self._directory / FOLDED_FILE).exists():
                return  # replacing it would lose what it holds
            folded = folded or Folded()
            there = {path.name: path for path in self._others()} if is_ours else {}
            before = [there[name] for name in folded.names if name in there]
            gone = {
                path: families
                for name, path in there.items()
                if name not in folded.names
                and _is_gone(path.with_suffix(".alive"))
                and (families := self._families(path))
            }
            groups = fold([*map(_load, folded.groups), *gone.values()])
            names = [path.name for path in (*before, *gone)]
            new = Folded(names, [_save(group) for group in groups])
            if gone and self._write(self._directory / FOLDED_FILE, new):
                for path in (*before, *gone):
                    for suffix in (".mp", ".alive", ".mp.part", ".folded.part"):
                        with contextlib.suppress(OSError):
                            path.with_suffix(suffix).unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _warn(self, message: str) -> None:
        """Say it once: this runs every second."""
        if message not in self._warned and len(self._warned) < FOLD_AT:
            self._warned.add(message)
            logger.warning(message)


def _save(group: Group) -> list[SavedFamily]:
    return [
        SavedFamily(f.metric.name, list(f.values.items()), list(f.distributions.items()))
        for f in group
    ]


def _load(saved: Iterable[SavedFamily]) -> Group:
    """Families as this version knows them: another one may have other labels and buckets."""
    return [_known(BY_NAME[family.name], family) for family in saved if family.name in BY_NAME]


def _known(metric: Metric, saved: SavedFamily) -> Family:
    labels, counts = len(metric.labels), len(metric.buckets) + 1
    return Family(
        metric,
        {found: value for found, value in saved.values if len(found) == labels},
        {
            found: distribution
            for found, distribution in saved.distributions
            if len(found) == labels and len(distribution.counts) == counts
        },
    )


def _is_alive(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < ALIVE_FOR_S
    except OSError:
        return False


def open_locked(path: Path) -> int:
    """Open a file and hold its lock until it is closed, at the latest by our end."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if HAS_LOCKS:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def _is_gone(path: Path) -> bool:
    """Whether nobody holds the lock of a file. False where that cannot be told."""
    if not HAS_LOCKS or not path.exists():
        return False
    try:
        os.close(open_locked(path))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path, *, shared: bool) -> Iterator[bool]:
    """Hold a lock, if need be after a while; yields False where that was not to be had."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield False
        return
    try:
        yield _lock(file, shared=shared)
    finally:
        os.close(file)


def _lock(file: int, *, shared: bool) -> bool:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while HAS_LOCKS:
        try:
            fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
        except OSError:
            if not shared or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
    return False
