from collections import Counter
from random import Random
from statistics import median

import pytest

from tocsin.lab.fake_llm import Failure, Hang, Reply, Text, answer
from tocsin.lab.fake_llm.conversation import Conversation, Intake
from tocsin.lab.fleet.arrivals import MIX
from tocsin.lab.fleet.driver import WORKFLOWS
from tocsin.lab.fleet.levels import SLAS
from tocsin.lab.fleet.models import PROFILES, Profile, fake_models, spending
from tocsin.lab.fleet.workflow import Errand, Workflow


def test_parts_of_the_fleet_fit_together() -> None:
    assert set(MIX) == {flow.name for flow in WORKFLOWS} == set(SLAS)


def test_spending_has_the_median_it_names() -> None:
    drawn = [spending(1000, 100)(Random(n)) for n in range(500)]

    assert pytest.approx(median(u.input for u in drawn), rel=0.1) == 1000
    assert pytest.approx(median(u.output for u in drawn), rel=0.1) == 100
    assert all(u.cached <= u.input and u.reasoning <= u.output for u in drawn)


def replies(profile: Profile, count: int) -> list[Reply]:
    async def start(*_: object) -> None: ...

    flow = Workflow(name="w", start=start, behaviours={"clerk": answer("Yes.")})
    behaviour = fake_models([flow], {"m": profile})["m"]
    intake, said = Intake(seed=1), Conversation(instructions="You are clerk.", items=(), tools=())
    return [behaviour(intake.request("chat", {"model": "m"}, said)) for _ in range(count)]


def test_agents_are_told_apart_by_their_instructions() -> None:
    (reply,) = replies(Profile(median_s=0.1, failures=0.0), 1)

    assert isinstance(reply, Text)
    assert "Yes." == reply.text


def test_calls_fail_as_often_as_the_profile_says() -> None:
    kinds = Counter(type(reply) for reply in replies(Profile(median_s=0.1, failures=0.2), 2000))

    assert pytest.approx((kinds[Failure] + kinds[Hang]) / 2000, abs=0.03) == 0.2
    assert kinds[Hang]


def test_every_model_has_a_behaviour() -> None:
    assert set(PROFILES) == set(fake_models(WORKFLOWS))


def test_chance_depends_on_the_call_and_not_on_the_order() -> None:
    first, second = Errand("7"), Errand("7")

    one = [first.chance("a").random(), first.chance("b").random(), first.chance("a").random()]
    other = [second.chance("b").random(), second.chance("a").random(), second.chance("a").random()]

    assert [other[1], other[0], other[2]] == one
    assert one[0] != one[2]
