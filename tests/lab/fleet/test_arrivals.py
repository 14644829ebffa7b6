from collections import Counter
from itertools import islice

import pytest

from tocsin.lab.fleet.arrivals import CANCELLED_SHARE, MIX, arrivals


def test_same_seed_gives_the_same_arrivals() -> None:
    assert list(islice(arrivals(7, 2.0), 50)) == list(islice(arrivals(7, 2.0), 50))


def test_another_seed_gives_others() -> None:
    assert list(islice(arrivals(7, 2.0), 50)) != list(islice(arrivals(8, 2.0), 50))


def test_every_run_has_its_own_chance() -> None:
    assert 500 == len({arrival.seed for arrival in islice(arrivals(7, 2.0), 500)})


def test_rate_is_kept_on_average() -> None:
    last = next(islice(arrivals(7, 4.0), 3999, None))

    assert 1000 == pytest.approx(last.at_s, rel=0.05)


def test_mix_is_kept_on_average() -> None:
    seen = Counter(arrival.workflow for arrival in islice(arrivals(7, 2.0), 4000))

    assert dict(MIX) == pytest.approx({name: n / 4000 for name, n in seen.items()}, abs=0.03)


def test_some_conversations_go_on() -> None:
    runs = [a for a in islice(arrivals(7, 2.0), 500) if a.workflow == "customer-support"]

    assert 0.4 * len(runs) < len({run.conversation for run in runs}) < 0.6 * len(runs)


def test_a_few_callers_give_up() -> None:
    given_up = [a for a in islice(arrivals(7, 2.0), 4000) if a.cancel_after_s is not None]

    assert pytest.approx(len(given_up) / 4000, abs=0.01) == CANCELLED_SHARE
