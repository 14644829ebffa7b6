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
from tocsin.sources.agents_sdk.models import CURRENT_SWITCH, ModelSwitch

__all__ = ["GuardHooks", "RunLimits"]


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
        self._guard = guard
        self._is_nested = is_nested
        self._forecast = Forecast(guard.room.habits)
        self._config = kwargs.get("run_config")
        self._switch = ModelSwitch()
        self._call: Call | None = None
        self._is_streamed = False
        self._tokens: tuple[Token[Scope], Token[ModelSwitch | None]] | None = None
        self.kwargs = kwargs | {"hooks": GuardHooks(self, kwargs.get("hooks") or RunHooks())}

    def __enter__(self) -> "RunLimits":
        """Make the limits those of everything that is started from here."""
        scope = Scope(self._guard.cover.allowances, self._guard, self._guard.purse)
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
        return not self._is_nested and self._guard.cover.left_s is not None

    async def wait(self, run: Awaitable[Any]) -> Any:
        """Wait for a run until its deadline; whatever it hangs in is cancelled then."""
        left_s = self._guard.cover.left_s if self.has_deadline else None
        if left_s is None or asyncio.current_task() is None:
            return await run
        timer = asyncio.timeout(max(0.0, left_s))
        try:
            async with timer:
                return await run
        except TimeoutError:
            if not timer.expired():
                raise
            raise self._guard.stop(self._guard.cover.time_is_up()) from None

    def watch(self, result: Any) -> None:
        """Hold a streamed run to its deadline; its consumer gets the exception."""
        task = getattr(result, "run_loop_task", None)
        if not isinstance(task, asyncio.Task):
            return
        self._is_streamed = True
        task.add_done_callback(lambda _: self._release())
        left_s = self._guard.cover.left_s if self.has_deadline else None
        if left_s is not None:
            timer = task.get_loop().call_later(max(0.0, left_s), self._interrupt, result, task)
            task.add_done_callback(lambda _: timer.cancel())

    async def before_llm(self, agent: Any, instructions: object, items: object) -> None:
        """Reserve what the agent's next call will probably use.

        Near a limit that others use up too, first wait for their calls, but not for ever.
        """
        tokens = self._guard.safely(lambda: self._forecast.input_tokens(instructions, items)) or 1
        for pause_s in WAITS_S:
            if not self._guard.safely(lambda: self._reserve(agent, tokens, alone=True)):
                return
            await asyncio.sleep(pause_s)
        self._guard.safely(lambda: self._reserve(agent, tokens, alone=False))

    def after_llm(self, agent: Any, response: Any) -> None:
        """Settle the call with what it used."""
        self._guard.safely(lambda: self._after_llm(agent, response))

    def before_tool(self, context: Any, tool: Any) -> None:
        """Count a tool call; those of hosted kinds carry no arguments that could be compared."""
        self._guard.safely(lambda: self._guard.before_tool(_fingerprint(context, tool)))

    def after_tool(self) -> None:
        """Raise again what an agent used as a tool was stopped by: the tool has caught it."""
        self._guard.safely(self._guard.check)

    def _reserve(self, agent: Any, input_tokens: int, *, alone: bool) -> bool:
        """Reserve; True where that has to wait."""
        self._release()
        asked = model_name(agent, self._config)
        call = self._guard.before_llm(
            self._forecast,
            asked,
            input_tokens=input_tokens,
            max_output_tokens=max_tokens(agent, self._config),
            agent=clean_name(agent.name),
            turns=0 if self._is_nested else 1,
            alone=alone,
        )
        if call is None:
            return True
        self._call = call
        is_other = asked is not None and call.model is not None and call.model != asked
        self._switch.names = {asked: call.model} if is_other else {}  # type: ignore[dict-item]
        return False

    def _after_llm(self, agent: Any, response: Any) -> None:
        call = self._call
        if call is not None:
            cost = self._guard.after_llm(call, self._forecast, fields.usage(response.usage))
            self._call = None  # until then: where that failed, the next call gives it back
            if not is_traced():
                self._guard.report(call.model, clean_name(agent.name), cost)

    def _release(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._guard.cover.failed(call)

    def _interrupt(self, result: Any, task: asyncio.Task[Any]) -> None:
        if not task.done():
            # The SDK raises what is stored here once the stream has ended, as it does its own.
            result._stored_exception = self._guard.stop(self._guard.cover.time_is_up())
            result.cancel()


class GuardHooks(RunHooks[Any]):
    """Run hooks that ask the limits first, then call the user's own hooks."""

    def __init__(self, limits: RunLimits, inner: Any) -> None:
        self._limits = limits
        self.inner = inner

    async def on_llm_start(self, context: Any, agent: Any, *args: Any) -> None:
        """Reserve; args are the system prompt and the input items."""
        await self._limits.before_llm(agent, *args[:2])
        await self.inner.on_llm_start(context, agent, *args)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        """Settle."""
        self._limits.after_llm(agent, response)
        await self.inner.on_llm_end(context, agent, response)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        """Count the tool call."""
        self._limits.before_tool(context, tool)
        await self.inner.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        """See whether the tool was an agent that was stopped."""
        await self.inner.on_tool_end(context, agent, tool, result)
        self._limits.after_tool()


def _forward(name: str) -> Any:
    async def forward(self: GuardHooks, *args: Any, **kwargs: Any) -> None:
        await getattr(self.inner, name)(*args, **kwargs)

    return forward


OURS: Final = frozenset(name for name in vars(GuardHooks) if name.startswith("on_"))
for _name in dir(RunHooksBase):
    if _name.startswith("on_") and _name not in OURS:  # whichever this version of the SDK has
        setattr(GuardHooks, _name, _forward(_name))


def model_name(agent: Any, config: Any) -> str | None:
    """Name of the model that an agent's call goes to; None where it has no name."""
    model = fields.field(config, "model") or agent.model
    if model is None:
        from agents.models.default_models import get_default_model

        model = get_default_model()
    name = model if isinstance(model, str) else getattr(model, "model", None)
    return name if isinstance(name, str) else None


def max_tokens(agent: Any, config: Any) -> int | None:
    """Setting of an agent's call that bounds its answer."""
    for settings in (fields.field(config, "model_settings"), agent.model_settings):
        found = fields.field(settings, "max_tokens")
        if isinstance(found, int) and found > 0:
            return found
    return None


def is_traced() -> bool:
    """Whether spans tell of what is done here."""
    trace = get_current_trace()
    return trace is not None and trace.trace_id != UNTRACED


def _fingerprint(context: Any, tool: Any) -> int | None:
    arguments = getattr(context, "tool_arguments", None)
    return hash((tool.name, arguments)) if isinstance(arguments, str) else None
