import asyncio
import signal

import pytest

from tocsin.lab.demo.stop import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_waiting(number: signal.Signals) -> None:
    async def main(stop: StopSignal) -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, number)
        await asyncio.wait_for(stop.wait(), 5.0)

    with StopSignal() as stop:
        asyncio.run(main(stop))
        assert stop.is_set


def test_signal_before_the_loop_is_not_lost() -> None:
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        asyncio.run(asyncio.wait_for(stop.wait(), 5.0))


def test_second_signal_interrupts() -> None:
    with StopSignal():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignal():
        pass

    assert before is signal.getsignal(signal.SIGINT)
