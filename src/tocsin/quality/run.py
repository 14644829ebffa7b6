"""What is watched in one run: its agents, its hand-offs, its guardrails."""

from collections import OrderedDict
from typing import Final

from tocsin.model.finding import Signal
from tocsin.model.span import Kind, Observation, Span, SpanStart
from tocsin.quality.answers import judge_answer
from tocsin.quality.loops import Loop
from tocsin.quality.ping_pong import PingPong
from tocsin.quality.settings import Quality
from tocsin.quality.stall import Stall
from tocsin.quality.storms import Storm

__all__ = ["RunWatch"]

MAX_AGENTS: Final = 256
"""Agents watched at once per run; those that began first are let go."""
MAX_INSIDE: Final = 4_096
"""Open spans per run of which it is known whose they are."""

Said = tuple[Signal, str]
NOTHING: Final[list[Said]] = []
"""What almost every span shows; never changed."""


def _only(*said: tuple[Signal, str | None]) -> list[Said]:
    return [(signal, detail) for signal, detail in said if detail is not None]


class AgentWatch:
    """One agent's own calls. What its neighbours do is no repetition of its own."""

    __slots__ = ("loop", "stall", "storm")

    def __init__(self, settings: Quality) -> None:
        self.loop = Loop(settings)
        self.stall = Stall(settings)
        self.storm = Storm(settings)


class RunWatch:
    """Follows one run, span by span."""

    __slots__ = ("_agents", "_ping_pong", "_settings", "_whose", "raised", "was_checked")

    def __init__(self, settings: Quality) -> None:
        self._settings = settings
        self._agents: OrderedDict[str, AgentWatch] = OrderedDict()
        self._whose: dict[str, str] = {}
        self._ping_pong = PingPong(settings)
        self.was_checked = False
        """A guardrail has checked it."""
        self.raised: set[Signal] = set()

    def start(self, start: SpanStart | Span) -> None:
        """Note which agent a span is inside of, unless nothing can be inside of it."""
        if start.kind is Kind.LLM or len(self._whose) >= MAX_INSIDE:
            return
        whose = start.span_id if start.kind is Kind.AGENT else self._owner(start)
        self._whose[start.span_id] = whose

    def end(self, observation: Observation) -> list[Said]:
        """Take a finished span; return the signals that it shows, each with what was seen."""
        span, said = observation.span, NOTHING
        match span.kind:
            case Kind.TOOL:
                said = self._tool(span, observation.stale)
            case Kind.LLM:
                said = self._call(span)
            case Kind.HANDOFF:
                said = _only((Signal.HANDOFF_PING_PONG, self._ping_pong.add_handoff(span)))
            case Kind.GUARDRAIL:
                self.was_checked = True
            case Kind.AGENT:
                self._agents.pop(span.span_id, None)
        self._whose.pop(span.span_id, None)
        return said

    def _tool(self, span: Span, stale: str | None) -> list[Said]:
        agent = self._agent(span)
        self._ping_pong.add_tool(span)
        agent.stall.add_tool(span)
        loop, storm = agent.loop.add(span), agent.storm.add(span)
        if stale is loop is storm is None:
            return NOTHING
        return _only(
            (Signal.STALE_TOOL_OUTPUT, stale),
            (Signal.TOOL_LOOP, loop),
            (Signal.RETRY_STORM, storm),
        )

    def _call(self, span: Span) -> list[Said]:
        agent = self._agent(span)
        stall, storm = agent.stall.add_call(span), agent.storm.add(span)
        problem = judge_answer(span) if self._settings.answers else None
        if stall is storm is None and problem is None:
            return NOTHING
        said = _only((Signal.NO_PROGRESS, stall), (Signal.RETRY_STORM, storm))
        return said if problem is None else [*said, problem]

    def _owner(self, span: SpanStart | Span) -> str:
        """Id of the agent a span is inside of, or "" where no agent is known."""
        return self._whose.get(span.parent_id or "", "")

    def _agent(self, span: Span) -> AgentWatch:
        owner = self._owner(span)
        agent = self._agents.get(owner)
        if agent is None:
            agent = self._agents[owner] = AgentWatch(self._settings)
            if len(self._agents) > MAX_AGENTS:
                self._agents.popitem(last=False)
        return agent
