"""One /metrics page for several worker processes, through files in a shared directory."""

import logging
import os
import time
import uuid
from pathlib import Path
from typing import Final

import msgspec

from tocsin.meters.catalogue import CATALOGUE, Metric, MetricType
from tocsin.meters.registry import Distribution, Family, Labels

__all__ = ["SharedFamilies", "merge"]

logger = logging.getLogger(__name__)

PUBLISH_EVERY_S: Final = 1.0
ALIVE_FOR_S: Final = 10.0
"""A file not written for this long belongs to a process that is gone: its counters still count,
its gauges do not."""

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}


class SavedFamily(msgspec.Struct, array_like=True):
    """A family as it stands in a file."""

    name: str
    values: list[tuple[Labels, float]]
    distributions: list[tuple[Labels, Distribution]]


class SharedFamilies:
    """Publishes this process's families and merges them with everybody else's.

    The directory is emptied by whoever starts the program, as for prometheus_client's
    PROMETHEUS_MULTIPROC_DIR, which may be the same one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._published_s = 0.0
        self._token = ""
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Take a file of our own; a pid alone would overwrite that of a dead namesake."""
        self._token = f"tocsin-{os.getpid()}-{uuid.uuid4().hex[:8]}.mp"
        self._published_s = 0.0

    def publish(self, families: list[Family], *, now: bool = False) -> None:
        """Write this process's families, at most once a second unless `now`."""
        if not now and time.monotonic() - self._published_s < PUBLISH_EVERY_S:
            return
        self._published_s = time.monotonic()
        saved = [
            SavedFamily(f.metric.name, list(f.values.items()), list(f.distributions.items()))
            for f in families
        ]
        target = self._directory / self._token
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".part")
            partial.write_bytes(msgspec.msgpack.encode(saved))
            partial.replace(target)
        except OSError as error:
            logger.warning("metrics of this process are not shared: %s", error)

    def merged(self, own: list[Family]) -> list[Family]:
        """Families of all processes, this one's as they are now."""
        others = [path for path in self._directory.glob("tocsin-*.mp") if path.name != self._token]
        return merge([(own, True), *((self._read(path), _is_alive(path)) for path in others)])

    def _read(self, path: Path) -> list[Family]:
        try:
            saved = msgspec.msgpack.decode(path.read_bytes(), type=list[SavedFamily])
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("metrics file %s left out: %s", path.name, error)
            return []
        return [
            Family(BY_NAME[family.name], dict(family.values), dict(family.distributions))
            for family in saved
            if family.name in BY_NAME
        ]


def _is_alive(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < ALIVE_FOR_S
    except OSError:
        return False


def merge(groups: list[tuple[list[Family], bool]]) -> list[Family]:
    """Add up several processes' families; gauges only of those that are alive."""
    merged: dict[Metric, Family] = {}
    for families, is_alive in groups:
        for family in families:
            if family.metric.type is MetricType.GAUGE and not is_alive:
                continue
            total = merged.setdefault(family.metric, Family(family.metric, {}, {}))
            for labels, value in family.values.items():
                known = total.values.get(labels)
                total.values[labels] = (
                    value if known is None else _join(family.metric, known, value)
                )
            for labels, distribution in family.distributions.items():
                _add(total.distributions, labels, distribution)
    return sorted(merged.values(), key=lambda family: family.metric.name)


def _join(metric: Metric, left: float, right: float) -> float:
    match metric.merge:
        case "max":
            return max(left, right)
        case "oldest":
            return min(left or right, right or left)
        case _:
            return left + right


def _add(totals: dict[Labels, Distribution], labels: Labels, distribution: Distribution) -> None:
    known = totals.get(labels)
    if known is None:
        totals[labels] = Distribution(distribution.counts.copy(), distribution.sum)
    elif len(known.counts) == len(distribution.counts):
        known.counts = [a + b for a, b in zip(known.counts, distribution.counts, strict=True)]
        known.sum += distribution.sum
