"""Approvals in the OpenAI Agents SDK: a tool call stops the run until a human agreed to exactly its arguments.

    approvals = Approvals(client)


    @approvals.tool(reason="the invoice is due")
    def pay(to: str, amount: str) -> str: ...


    agent = Agent(name="clerk", tools=[pay])
    result = await approvals.run(agent, "pay the invoice of alice")

The tool has the SDK's `needs_approval`, so a run that meets it is interrupted, and its `RunState` can be kept and gone on with elsewhere:
`await approvals.resolve(state)` waits for the humans and tells the state what they said; a refusal reaches the model in the human's words.

What is in a `RunState` decides nothing: the tool itself asks the server before it runs, so a state that somebody changed, or approved by
other means, runs nothing. It runs with the arguments that were approved, once.

Needs `pip install creto[openai]`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from agents import Agent, FunctionTool, Runner, RunResult, RunState, function_tool
from agents.tool_context import ToolContext

from . import _flows
from ._arguments import decode, encode
from ._async_client import AsyncClient
from ._flows import Action, Flow, Invoke
from ._model import Granted
from .approval import ACTION, Reason, resource_of, seconds
from .errors import ApprovalDenied

_raised: ContextVar[list[Exception] | None] = ContextVar("creto_openai_raised", default=None)
"""What a tool's function raised, which the SDK turns into words for the model."""


class _Failed(Exception):
    """Internal: the function raised; carries what the SDK made of it."""

    def __init__(self, result: Any) -> None:
        self.result = result


@dataclasses.dataclass(frozen=True)
class _Guard:
    """How one tool is asked about."""

    resource: str
    reason: Reason
    timeout_secs: float | None

    def action(self, arguments: str) -> Action:
        """The action of a call with these arguments, as the model wrote them."""
        given = json.loads(arguments) if arguments.strip() else {}
        if type(given) is not dict:
            raise TypeError("a tool's arguments are an object")
        reason = self.reason(**given) if callable(self.reason) else self.reason
        return Action(ACTION, self.resource, {name: encode(value) for name, value in given.items()}, reason)


class Approvals:
    """What asks humans on behalf of an agent's tools."""

    def __init__(self, client: AsyncClient) -> None:
        """`client` is the agent's."""
        self._client = client
        self._guards: dict[str, _Guard] = {}
        self._granted: dict[tuple[str, str], tuple[Action, Granted]] = {}

    def tool(
        self,
        function: Callable[..., Any] | None = None,
        *,
        reason: Reason = None,
        timeout: float | timedelta | None = None,
        **options: Any,
    ) -> Any:
        """The SDK's `function_tool` (and its `options`) for a function that a human approves before each call.

        `reason` is what the approver reads about why, or a function of the call's arguments that says it.
        """
        if function is None:
            return functools.partial(self.tool, reason=reason, timeout=timeout, **options)
        return self.guard(function_tool(_noting(function), **options), reason=reason, timeout=timeout)

    def guard(self, tool: FunctionTool, *, reason: Reason = None, timeout: float | timedelta | None = None) -> FunctionTool:
        """A tool from elsewhere, guarded. It is on record as failed only where it raises."""
        guard = self._guards[tool.name] = _Guard(resource_of(tool.name), reason, seconds(timeout))

        async def invoke(context: ToolContext[Any], arguments: str) -> Any:
            action = guard.action(arguments)
            key = (tool.name, context.tool_call_id)
            granting = self._granting(key, action, guard.timeout_secs)
            approved = json.dumps(decode(dict(action.arguments)))
            try:
                return await self._client.drive(_flows.guarded(granting, Invoke(_watching(tool), (context, approved), {})))
            except _Failed as failed:
                return failed.result
            except ApprovalDenied as denied:
                return denied.detail

        return dataclasses.replace(tool, needs_approval=True, on_invoke_tool=invoke)

    def _granting(self, key: tuple[str, str], action: Action, timeout_secs: float | None) -> Flow[Granted]:
        """The grant that was waited for while the run was interrupted, if it is for this very action, else a new one."""
        asked, granted = self._granted.pop(key, (None, None))
        if asked == action and granted is not None:
            return granted
        return (yield from _flows.obtain(action, timeout_secs=timeout_secs))

    async def resolve(self, state: RunState[Any, Any]) -> None:
        """Waits for the humans whom the tool calls of an interrupted run are up to, all at once, and tells the state what they said.

        Interruptions of tools that are not guarded here are left to the application.
        """
        ours = [item for item in state.get_interruptions() if (item.name or "") in self._guards]
        await asyncio.gather(*(self._resolve(state, item) for item in ours))

    async def _resolve(self, state: RunState[Any, Any], item: Any) -> None:
        guard = self._guards[item.name]
        action = guard.action(item.arguments or "")
        try:
            granted = await self._client.drive(_flows.obtain(action, timeout_secs=guard.timeout_secs))
        except ApprovalDenied as denied:
            state.reject(item, rejection_message=denied.detail)
        else:
            self._granted[(item.name, item.call_id)] = (action, granted)
            state.approve(item)

    async def run(self, agent: Agent[Any], given: Any, **options: Any) -> RunResult:
        """`Runner.run`, gone on with until nothing waits for a human here. `given` may be the state of an interrupted run."""
        if isinstance(given, RunState):
            await self.resolve(given)
        result = await Runner.run(agent, given, **options)
        while any((item.name or "") in self._guards for item in result.interruptions):
            state = result.to_state()
            await self.resolve(state)
            result = await Runner.run(agent, state, **options)
        return result


def _noting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose exceptions are noted before the SDK turns them into words."""

    def note(error: Exception) -> None:
        if (raised := _raised.get()) is not None:
            raised.append(error)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def noted(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                note(error)
                raise

        return noted

    @functools.wraps(function)
    def noted_too(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            note(error)
            raise

    return noted_too


def _watching(tool: FunctionTool) -> Callable[..., Any]:
    """The tool as it was, raising where its function did."""

    async def invoke(context: ToolContext[Any], arguments: str) -> Any:
        raised: list[Exception] = []
        before = _raised.set(raised)
        try:
            result = await tool.on_invoke_tool(context, arguments)
        finally:
            _raised.reset(before)
        if raised:
            raise _Failed(result)
        return result

    return invoke
