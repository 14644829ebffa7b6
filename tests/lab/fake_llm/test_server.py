import asyncio
import logging
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI

from tocsin.lab.fake_llm import Failure, FakeLLM, Hang, Request, answer, choose, flaky, script

MIXED = flaky(choose([(1, answer("a")), (1, answer("b"))]), Failure(500), 0.3)


def ask(base_url: str, *, text: str = "hi", model: str = "m") -> str:
    with OpenAI(base_url=base_url, api_key="x", max_retries=0, timeout=5) as client:
        return client.responses.create(model=model, input=text).output_text


def test_models_have_their_own_behaviour() -> None:
    with FakeLLM(answer("default"), models={"own": answer("own")}) as llm:
        assert ["own", "default"] == [ask(llm.base_url, model=m) for m in ("own", "other")]


def test_behaviour_changes_at_run_time(llm: FakeLLM) -> None:
    llm.set("m", answer("before"))
    before = ask(llm.base_url)
    llm.set("m", answer("after"))

    assert ("before", "after") == (before, ask(llm.base_url))


def test_default_changes_at_run_time(llm: FakeLLM) -> None:
    llm.set(None, answer("new"))

    assert "new" == ask(llm.base_url)


def test_requests_are_recorded(llm: FakeLLM) -> None:
    ask(llm.base_url, text="What time is it?")

    [request] = llm.requests
    assert ("responses", "m", "What time is it?") == (request.api, request.model, request.user)


def test_record_is_bounded() -> None:
    with FakeLLM(recorded=2) as llm:
        for text in "abc":
            ask(llm.base_url, text=text)

        assert ["b", "c"] == [request.user for request in llm.requests]


def test_replies_are_counted(llm: FakeLLM) -> None:
    ask(llm.base_url)
    ask(llm.base_url)
    llm.set("m", script([Failure(429)]))
    with pytest.raises(APIStatusError, match="429"):
        ask(llm.base_url)

    assert {("m", 200): 2, ("m", 429): 1} == llm.counts


def test_models_are_listed() -> None:
    models = {"b": answer("b"), "a": answer("a")}
    with FakeLLM(models=models) as llm, OpenAI(base_url=llm.base_url, api_key="x") as client:
        assert ["a", "b"] == [model.id for model in client.models.list()]


def test_same_seed_gives_same_replies_under_concurrency() -> None:
    async def outcomes(seed: int) -> dict[str, str]:
        async def one(client: AsyncOpenAI, text: str) -> tuple[str, str]:
            try:
                return text, (await client.responses.create(model="m", input=text)).output_text
            except APIStatusError as error:
                return text, type(error).__name__

        with FakeLLM(MIXED, seed=seed) as llm:
            async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
                return dict(await asyncio.gather(*(one(client, str(n)) for n in range(100))))

    first, second, other = (asyncio.run(outcomes(seed)) for seed in (1, 1, 2))

    assert {"a", "b", "InternalServerError"} == set(first.values())
    assert first == second != other


def test_ids_differ_between_identical_calls(llm: FakeLLM) -> None:
    ask(llm.base_url)
    ask(llm.base_url)

    assert 2 == len({request.key for request in llm.requests})


def test_behaviour_that_raises_is_a_500(llm: FakeLLM, caplog: Any) -> None:
    def broken(request: Request) -> Any:
        raise KeyError(request.user)

    llm.set("m", broken)

    with pytest.raises(APIStatusError, match="KeyError: 'hi'"):
        ask(llm.base_url)

    assert "behaviour for model 'm' failed" in caplog.text


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"input": "hi"}'])
def test_bad_body_is_a_400(llm: FakeLLM, body: bytes) -> None:
    call = urllib.request.Request(f"{llm.base_url}/responses", data=body, method="POST")

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(call)

    assert 400 == caught.value.code
    caught.value.close()


def test_starts_and_stops_fast() -> None:
    started = time.monotonic()
    llm = FakeLLM().start()
    ready = time.monotonic()
    llm.stop()

    assert ready - started < 5
    assert time.monotonic() - ready < 10


def test_stops_fast_while_requests_hang(llm: FakeLLM) -> None:
    llm.set("m", script([Hang()]))

    async def stop_while_hanging() -> tuple[float, list[Any]]:
        async with AsyncOpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
            calls = [
                asyncio.create_task(client.responses.create(model="m", input=str(n)))
                for n in range(5)
            ]
            while len(llm.requests) < len(calls):
                await asyncio.sleep(0.005)
            started = time.monotonic()
            await asyncio.to_thread(llm.stop)
            took_s = time.monotonic() - started
            return took_s, await asyncio.gather(*calls, return_exceptions=True)

    took_s, results = asyncio.run(stop_while_hanging())

    assert took_s < 10
    assert {APIConnectionError} == {type(result) for result in results}


def test_stop_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with FakeLLM() as llm:
        ask(llm.base_url)

    assert before == set(threading.enumerate())


def test_stop_refuses_connections(llm: FakeLLM) -> None:
    llm.stop()

    with pytest.raises(APIConnectionError):
        ask(llm.base_url)


def test_stop_twice_does_nothing(llm: FakeLLM) -> None:
    llm.stop()
    llm.stop()


def test_restart_keeps_the_address() -> None:
    llm = FakeLLM().start()
    base_url = llm.base_url
    llm.stop()
    with llm:
        assert base_url == llm.base_url
        assert "ok" == ask(base_url)


def test_start_twice_is_an_error(llm: FakeLLM) -> None:
    with pytest.raises(RuntimeError, match="already running"):
        llm.start()


def test_taken_port_is_an_error(llm: FakeLLM) -> None:
    port = int(llm.base_url.rsplit(":", 1)[1].removesuffix("/v1"))

    with pytest.raises(OSError, match="in use"):
        FakeLLM(port=port).start()


def test_keeps_no_access_log(llm: FakeLLM, caplog: Any) -> None:
    with caplog.at_level(logging.INFO):
        ask(llm.base_url)

    assert [] == [record for record in caplog.records if record.name == "uvicorn.access"]


def test_answers_without_waiting_for_delayed_acks(llm: FakeLLM) -> None:
    with OpenAI(base_url=llm.base_url, api_key="x", max_retries=0) as client:
        client.responses.create(model="m", input="warm up")
        took_s = []
        for _ in range(20):
            started = time.monotonic()
            client.responses.create(model="m", input="hi")
            took_s.append(time.monotonic() - started)

    assert min(took_s) < 0.03
