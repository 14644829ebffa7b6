"""How a run ended, told from what its caller got and what its spans say."""

from tocsin.model.run import Outcome

__all__ = ["derive_outcome"]

SIGNALS = (Outcome.MAX_TURNS, Outcome.GUARDRAIL, Outcome.ERROR, Outcome.CANCELLED)
"""Strongest first: a tripped guardrail also cancels calls and fails its agent."""


def derive_outcome(
    reported: Outcome | None, signals: set[Outcome], *, work_left_open: bool
) -> Outcome:
    """Decide a run's outcome.

    reported: what the caller of the run got, where that was seen. It outranks the spans, with two
    exceptions: a run rescued from its turn limit still ran out of turns; and a stream whose
    guardrail tripped goes on in the background, where it may fail later for another reason.
    signals: what the top-level spans of the run say.
    work_left_open: calls were still open when the run ended, as when a task is cancelled.
    """
    if reported is Outcome.OK:
        return Outcome.MAX_TURNS if Outcome.MAX_TURNS in signals else Outcome.OK
    if reported is Outcome.ERROR and Outcome.GUARDRAIL in signals:
        return Outcome.GUARDRAIL
    if reported is not None:
        return reported
    for signal in SIGNALS:
        if signal in signals:
            return signal
    return Outcome.CANCELLED if work_left_open else Outcome.OK
