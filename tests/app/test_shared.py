import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.app.shared import ALIVE_FOR_S, SharedFamilies
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Distribution, Family, Registry

W = ("w",)


def registry(runs: int = 1) -> Registry:
    found = Registry()
    for _ in range(runs):
        found.add(m.RUNS, ("w", "ok"))
        found.observe(m.RUN_DURATION, W, 1)
    found.set(m.ACTIVE_RUNS, W, runs)
    return found


def shown(families: list[Family]) -> tuple[float, float, int]:
    """Runs, active runs and observed durations."""
    by_metric = {family.metric: family for family in families}
    durations = by_metric[m.RUN_DURATION].distributions[W]
    return (
        by_metric[m.RUNS].values["w", "ok"],
        by_metric[m.ACTIVE_RUNS].values[W],
        sum(durations.counts),
    )


def test_processes_see_each_other(tmp_path: Path) -> None:
    first, second = SharedFamilies(tmp_path), SharedFamilies(tmp_path)
    first.publish(registry(1).collect)
    second.publish(registry(2).collect)

    assert (3, 3, 3) == shown(first.merged(registry(1).collect))
    assert (3, 3, 3) == shown(second.merged(registry(2).collect))


def test_own_families_are_those_of_now_and_count_once(tmp_path: Path) -> None:
    shared = SharedFamilies(tmp_path)
    shared.publish(registry(1).collect)

    assert (5, 5, 5) == shown(shared.merged(registry(5).collect))


def test_publishing_is_not_too_frequent_unless_it_must_be(tmp_path: Path) -> None:
    shared, reader = SharedFamilies(tmp_path), SharedFamilies(tmp_path)
    shared.publish(registry(1).collect)
    shared.publish(registry(2).collect)
    before = shown(reader.merged(list))
    shared.publish(registry(2).collect, now=True)

    assert ((1, 1, 1), (2, 2, 2)) == (before, shown(reader.merged(list)))


def test_file_that_is_not_written_any_more_keeps_its_counters(tmp_path: Path) -> None:
    gone = SharedFamilies(tmp_path)
    gone.publish(registry(4).collect)
    (path,) = tmp_path.glob("*.mp")
    long_ago_s = time.time() - 2 * ALIVE_FOR_S
    os.utime(path, (long_ago_s, long_ago_s))

    assert (5, 1, 5) == shown(SharedFamilies(tmp_path).merged(registry(1).collect))


def test_forked_child_has_a_file_of_its_own(tmp_path: Path) -> None:
    shared = SharedFamilies(tmp_path)
    shared.publish(registry(1).collect)
    shared.reset_after_fork()
    shared.publish(registry(1).collect)

    assert (2, (3, 3, 3)) == (
        len(list(tmp_path.glob("*.mp"))),
        shown(SharedFamilies(tmp_path).merged(registry(1).collect)),
    )


def test_missing_directory_is_made(tmp_path: Path) -> None:
    SharedFamilies(tmp_path / "a" / "b").publish(registry().collect)

    assert 1 == len(list((tmp_path / "a" / "b").glob("*.mp")))


def test_directory_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = tmp_path / "file"
    taken.write_text("not a directory")
    SharedFamilies(taken).publish(registry().collect)

    assert "metrics of this process are not shared" in caplog.text


def saved(name: str, values: Any = (), distributions: Any = ()) -> bytes:
    return msgspec.msgpack.encode([(name, values, distributions)])


BROKEN = [
    b"",
    b"garbage",
    msgspec.msgpack.encode({"a": 1}),
    saved("agent_workflow_runs_total", [(("w", "ok"), "many")]),
    saved("agent_workflow_runs_total", 7),
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_file_that_cannot_be_read_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "tocsin-1-x.mp").write_bytes(content)

    assert (1, 1, 1) == shown(SharedFamilies(tmp_path).merged(registry(1).collect))
    assert "tocsin-1-x.mp left out" in caplog.text


# What another version may have written: metrics, labels and buckets change.
OTHER_VERSIONS = [
    saved("agent_no_such_metric_total", [(("w",), 1.0)]),
    saved("agent_workflow_runs_total", [(("w",), 1.0), (("w", "ok", "x"), 1.0)]),
    saved("agent_workflow_duration_seconds", (), [(W, Distribution([1, 2, 3], 6.0))]),
    saved("agent_workflow_duration_seconds", (), [(("w", "x"), Distribution([1] * 12, 6.0))]),
]


@pytest.mark.parametrize("content", OTHER_VERSIONS, ids=range(len(OTHER_VERSIONS)))
def test_series_of_another_version_are_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tocsin-1-x.mp").write_bytes(content)
    shared = SharedFamilies(tmp_path)

    assert (1, 1, 1) == shown(shared.merged(registry(1).collect))
    for family in shared.merged(list):
        assert all(len(labels) == len(family.metric.labels) for labels in family.values)
        assert {} == family.distributions


def test_half_written_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tocsin-1-x.part").write_bytes(b"half")

    assert (1, 1, 1) == shown(SharedFamilies(tmp_path).merged(registry(1).collect))
