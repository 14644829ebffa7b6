"""One call of the SDK's runner, held to its limits: hooks between its steps, and a deadline."""

import asyncio
from collections.abc import Awaitable
from contextvars import Token
from typing import Any, Final

from agents import RunHooks
from agents.lifecycle import RunHooksBase
from agents.tracing import get_current_trace

from tocsin.app.run_guard import SCOPE, RunGuard, Scope
from tocsin.guard.cover import Call
from tocsin.guard.estimate import Forecast
from tocsin.model.label import clean_name
from tocsin.sources.agents_sdk import fields
from tocsin.sources.agents_sdk.limiter import can_be_interrupted, run_task
from tocsin.sources.agents_sdk.models import CURRENT_SWITCH, ModelSwitch

__all__ = ["GuardHooks", "RunLimits", "model_name"]


UNTRACED: Final = "no-op"
"""Id of the SDK's trace where tracing is switched off."""
WAITS_S: Final = (0.01, 0.02, 0.05, *[0.1] * 1_200)
"""Pauses before a call is made although others, which it should wait for, have not ended: two
minutes, as long as hardly any answer takes."""


class RunLimits:
    """Enforces a guard's limits in one call of the runner, nested or not.

    A run has one LLM call at a time, so what is reserved for it is kept here; if the call fails,
    nobody says so, but the next call or the run's end gives it back.
    """

    def __init__(self, guard: RunGuard, kwargs: dict[str, Any], *, is_nested: bool) -> None:
        """is_nested: the run is that of an agent used as a tool, and the guard the outer run's."""
        self.guard = guard
        self._is_nested = is_nested
        self._forecast = Forecast(guard.room.habits)
        config = kwargs.get("run_config")
        self._model = fields.field(config, "model")
        self._max_tokens = bound(fields.field(fields.field(config, "model_settings"), "max_tokens"))
        self._switch = ModelSwitch()
        self._call: Call | None = None
        self._is_streamed = False
        self._tokens: tuple[Token[Scope], Token[ModelSwitch | None]] | None = None
        self.kwargs = kwargs | {"hooks": GuardHooks(self, kwargs.get("hooks"))}

    def __enter__(self) -> "RunLimits":
        """Make the limits those of everything that is started from here."""
        scope = Scope(self.guard.cover.allowances, self.guard, self.guard.purse)
        self._tokens = SCOPE.set(scope), CURRENT_SWITCH.set(self._switch)
        return self

    def __exit__(self, *_: object) -> None:
        """Go back to what was before; a streamed run goes on."""
        if self._tokens is not None:
            try:
                SCOPE.reset(self._tokens[0])
                CURRENT_SWITCH.reset(self._tokens[1])
            except ValueError:
                pass  # closed from another context, which is gone with all that was set in it
        if not self._is_streamed:
            self._release()

    @property
    def has_deadline(self) -> bool:
        """Whether the run ends at a certain time; that of an outer run ends this one too."""
        return not self._is_nested and self.guard.cover.left_s is not None

    async def wait(self, run: Awaitable[Any]) -> Any:
        """Wait for a run until its deadline; whatever it hangs in is cancelled then."""
        left_s = self.guard.cover.left_s if self.has_deadline else None
        if left_s is None or asyncio.current_task() is None:
            return await run
        timer = asyncio.timeout(max(0.0, left_s))
        try:
            async with timer:
                return await run
        except TimeoutError:
            if not timer.expired():
                raise
            raise self.guard.stop(self.guard.cover.time_is_up()) from None

    def watch(self, result: Any) -> None:
        """Hold a streamed run to its deadline; its consumer gets the exception."""
        task = run_task(result)
        if task is None:
            return
        self._is_streamed = True
        task.add_done_callback(lambda _: self._release())
        left_s = self.guard.cover.left_s if self.has_deadline else None
        if left_s is not None and can_be_interrupted(result):
            timer = task.get_loop().call_later(max(0.0, left_s), self._interrupt, result, task)
            task.add_done_callback(lambda _: timer.cancel())

    def before_llm(self, agent: Any, instructions: object, items: object) -> int | None:
        """Reserve what the agent's next call will probably use.

        Where that has to wait for the calls of others, near a limit that they use up too: the
        input tokens to go on with in `turn_comes`.
        """
        tokens = self._forecast.input_tokens(instructions, items)
        return tokens if self._must_wait(agent, tokens) else None

    async def turn_comes(self, agent: Any, input_tokens: int) -> None:
        """Wait for others, but not for ever, and reserve then."""
        for pause_s in WAITS_S:
            await asyncio.sleep(pause_s)
            if not self.guard.safely(self._must_wait, agent, input_tokens):
                return
        self.guard.safely(self._must_wait, agent, input_tokens, False)

    def after_llm(self, agent: Any, response: Any) -> None:
        """Settle the call with what it used."""
        call = self._call
        if call is None:
            return
        cost = self.guard.after_llm(call, self._forecast, fields.usage(response.usage))
        self._call = None  # until then: where that failed, the next call gives it back
        if not is_traced():
            self.guard.report(call.model, clean_name(agent.name), cost)

    def before_tool(self, context: Any, tool: Any) -> None:
        """Count a tool call; those of hosted kinds carry no arguments that could be compared."""
        arguments = getattr(context, "tool_arguments", None)
        self.guard.before_tool(None if arguments is None else hash((tool.name, arguments)))

    def _must_wait(self, agent: Any, input_tokens: int, alone: bool = True) -> bool:
        """Reserve; True where that has to wait."""
        if self._call is not None:
            self._release()
        asked = model_name(self._model or agent.model)
        answer = self.guard.cover.before_llm(
            self._forecast,
            asked,
            input_tokens=input_tokens,
            max_output_tokens=self._max_tokens
            or bound(getattr(agent.model_settings, "max_tokens", None)),
            agent=clean_name(agent.name),
            turns=0 if self._is_nested else 1,
            alone=alone and not self.guard.has_failed,
        )
        call = self.guard.grant(answer)
        if call is None:
            return True
        self._call = call
        if asked is not None and call.model is not None and call.model != asked:
            self._switch.names = {asked: call.model}
        elif self._switch.names:
            self._switch.names = {}
        return False

    def _release(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self.guard.cover.failed(call)

    def _interrupt(self, result: Any, task: asyncio.Task[Any]) -> None:
        if not task.done():
            # The SDK raises what is stored here once the stream has ended, as it does its own.
            result._stored_exception = self.guard.stop(self.guard.cover.time_is_up())
            result.cancel()


class GuardHooks(RunHooks[Any]):
    """Run hooks that ask the limits first, then call the user's own hooks."""

    def __init__(self, limits: RunLimits, inner: Any) -> None:
        self._limits = limits
        self._safely = limits.guard.safely
        self._inner = inner

    async def on_llm_start(self, context: Any, agent: Any, *args: Any) -> None:
        """Reserve; args are the system prompt and the input items."""
        if (waiting := self._safely(self._limits.before_llm, agent, *args[:2])) is not None:
            await self._limits.turn_comes(agent, waiting)
        if self._inner is not None:
            await self._inner.on_llm_start(context, agent, *args)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """Settle."""
        self._safely(self._limits.after_llm, agent, response)
        if self._inner is not None:
            await self._inner.on_llm_end(context, agent, response)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        """Count the tool call."""
        self._safely(self._limits.before_tool, context, tool)
        if self._inner is not None:
            await self._inner.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        """Raise again what an agent used as a tool was stopped by: the tool has caught it."""
        if self._inner is not None:
            await self._inner.on_tool_end(context, agent, tool, result)
        self._safely(self._limits.guard.check)


def _forward(name: str) -> Any:
    async def forward(self: GuardHooks, *args: Any, **kwargs: Any) -> None:
        if self._inner is not None:
            await getattr(self._inner, name)(*args, **kwargs)

    return forward


OURS: Final = frozenset(name for name in vars(GuardHooks) if name.startswith("on_"))
for _name in dir(RunHooksBase):
    if _name.startswith("on_") and _name not in OURS:  # whichever this version of the SDK has
        setattr(GuardHooks, _name, _forward(_name))


def model_name(model: Any) -> str | None:
    """Name of a model, or of the SDK's default one; None where it has no name."""
    if model is None:
        from agents.models.default_models import get_default_model

        model = get_default_model()
    name = model if isinstance(model, str) else getattr(model, "model", None)
    return name if isinstance(name, str) else None


def is_traced() -> bool:
    """Whether spans tell of what is done here."""
    trace = get_current_trace()
    return trace is not None and trace.trace_id != UNTRACED


def bound(max_tokens: Any) -> int | None:
    """Tokens that an answer has at most, if this setting says so."""
    return max_tokens if isinstance(max_tokens, int) and max_tokens > 0 else None
