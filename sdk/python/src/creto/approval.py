"""`@require_approval`: a function that runs only with arguments a human has approved.

What it promises:

- The human sees *all* arguments: positional ones, and defaults too. The approval is bound to them by the action's digest.
- The function runs with what was approved, whatever the caller does to its objects meanwhile.
- One approval, one call. A process that dies while waiting and asks again finds its request; one that dies while the function runs leaves
  an action in doubt, which a human resolves and nobody repeats.
- The function's exceptions are its own: the action is recorded as failed and the exception goes on unchanged. Everything else that is
  raised is a `CretoError`, and except for `InDoubt` the function has not run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast

from . import _flows
from ._arguments import Arguments
from ._async_client import AsyncClient
from ._client import Client
from ._flows import Action, Flow, Invoke
from ._model import Granted
from .workflow import current

ACTION = "tool.call_with_approval"
"""What is asked; the default policy sends it to a human. The resource is `tool:<name>`."""

P = ParamSpec("P")
T = TypeVar("T")
Reason = str | Callable[..., str] | None
Granting = Callable[[Action, float | None], Flow[Granted]]
"""How an action is obtained: what waits, and how, until it is granted."""


def require_approval(
    client: Client | AsyncClient,
    *,
    tool: str | None = None,
    reason: Reason = None,
    timeout: float | timedelta | None = None,
    accepts_edits: bool = False,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function wait for a human before each call.

    `tool` names it to policies and approvers (the function's name otherwise); `reason` is what the approver reads about why, or a function
    of the call's arguments that says it; `timeout` is how long a request waits (a day otherwise). With `accepts_edits` a human may change the
    arguments, and the function runs with what was approved. A function takes a `Client`, an `async`
    function an `AsyncClient`.

    Calling raises `ApprovalDenied` with the human's comment, `ApprovalTimeout`, `AuthorizationError` when policy says no without asking,
    `TypeError` when an argument has no exact form to show, `InDoubt` when the outcome could not be recorded.
    """
    return guard(client, lambda action, secs: _flows.obtain(action, timeout_secs=secs), tool, reason, timeout, accepts_edits)


def guard(
    client: Client | AsyncClient,
    granting: Granting,
    tool: str | None,
    reason: Reason,
    timeout: float | timedelta | None,
    accepts_edits: bool = False,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`require_approval` with its own way to wait."""
    timeout_secs = seconds(timeout)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator runs after the call returns; decorate the function that consumes it")
        asynchronous = inspect.iscoroutinefunction(function)
        if asynchronous != isinstance(client, AsyncClient):
            raise TypeError("an `async` function needs an `AsyncClient`, any other function a `Client`")
        signature = inspect.signature(function)
        resource = resource_of(tool if tool is not None else getattr(function, "__name__", ""))

        def flow(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
            # Everything is captured before the flow begins: at the call, not when somebody drives it.
            captured = Arguments.capture(signature, args, kwargs)
            why = reason
            if callable(why):
                # A copy of its own: what the reason does to its arguments must not reach the call.
                shown_args, shown_kwargs = captured.restore(signature)
                why = why(*shown_args, **shown_kwargs)
            run_args, run_kwargs = captured.restore(signature)
            workflow = current()
            call = None if workflow is None else workflow.name(resource, captured.json).call
            action = Action(ACTION, resource, captured.json, why, call=call, accepts_edits=accepts_edits)

            def edited(arguments: dict[str, Any]) -> Invoke:
                args, kwargs = Arguments.approved(signature, arguments)
                return Invoke(function, args, kwargs)

            invoke = Invoke(function, run_args, run_kwargs)
            return _flows.guarded(granting(action, timeout_secs), invoke, edited if accepts_edits else None)

        if asynchronous:
            return cast(Callable[P, T], _awaiting(cast(AsyncClient, client), cast(Any, function), flow))
        return _blocking(cast(Client, client), function, flow)

    return decorate


def seconds(timeout: float | timedelta | None) -> float | None:
    """A timeout in seconds, as far as a request can wait."""
    secs = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if secs is not None and not 1 <= secs < 2**32:
        raise ValueError("`timeout` is at least a second and less than 2^32")
    return secs


def resource_of(name: str) -> str:
    """What a tool of this name is to policies."""
    if not name or any(c.isspace() or not c.isprintable() for c in name) or len(f"tool:{name}".encode()) > 512:
        raise ValueError(f"`{name}` cannot name a tool: use up to 500 bytes without spaces")
    return f"tool:{name}"


def _blocking(client: Client, function: Callable[P, T], flow: Callable[..., Flow[T]]) -> Callable[P, T]:
    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        return client.drive(flow(args, kwargs))

    return guarded


def _awaiting(client: AsyncClient, function: Callable[P, Awaitable[T]], flow: Callable[..., Flow[T]]) -> Callable[P, Awaitable[T]]:
    @functools.wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        return await client.drive(flow(args, kwargs))

    return guarded
