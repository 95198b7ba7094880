"""Approvals in LangGraph: the graph is put away while a human thinks.

`require_approval` here guards a function that nodes or tools of a graph call. Where a human has not decided, the node stops by LangGraph's
`interrupt`, the checkpointer keeps the graph, and the process may end. Whoever goes on with the graph, here or in another process, calls
`resume` (or `Command(resume=...)` with anything at all): the node runs again, asks again about the very same action, and runs the function
when it was granted.

What a graph is resumed with decides nothing: the server alone says whether a human agreed, so a checkpoint that somebody changed approves
nothing. The function runs at most once for one approval, however often the node runs.

The interrupt's value has the shape agent inboxes read (`action_request`, `config`, `description`), with `creto` naming the request.

Needs `pip install creto[langgraph]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from langgraph.types import Command, interrupt

from . import _flows
from ._async_client import AsyncClient
from ._client import Client
from ._flows import Action, Flow
from ._model import Granted, Pending
from .approval import Reason, guard

P = ParamSpec("P")
T = TypeVar("T")

_patience: ContextVar[float] = ContextVar("creto_langgraph_patience", default=0.0)
"""How long a node that asks again waits before it is put away again."""


def require_approval(
    client: Client | AsyncClient,
    *,
    tool: str | None = None,
    reason: Reason = None,
    timeout: float | timedelta | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """As `creto.require_approval`, for functions that a graph's nodes and tools call."""
    return guard(client, _granting, tool, reason, timeout)


def _granting(action: Action, timeout_secs: float | None) -> Flow[Granted]:
    return _flows.paused(action, lambda pending: interrupt(_value(action, pending)), timeout_secs=timeout_secs, wait_secs=_patience.get)


def _value(action: Action, pending: Pending) -> dict[str, Any]:
    return {
        "action_request": {"action": action.resource.removeprefix("tool:"), "args": dict(action.arguments)},
        "config": {"allow_accept": False, "allow_edit": False, "allow_respond": False, "allow_ignore": False},
        "description": action.reason or "a human decides in creto's inbox",
        "creto": {"request": pending.request, "digest": pending.digest},
    }


def waiting(interrupts: Iterable[Any]) -> dict[str, str]:
    """Of a graph's interrupts those that wait for a human here: the interrupt's identifier and the request's."""
    ours = ((item.id, item.value.get("creto")) for item in interrupts if isinstance(item.value, dict))
    return {name: str(creto.get("request")) for name, creto in ours if isinstance(creto, dict)}


def resume(graph: Any, config: Any, *, patience: float = _flows.CALL_WAIT_SECS_MAX) -> Any:
    """Goes on with a graph that waits, until no node of it waits for a human here; gives what the graph's last `invoke` gave.

    A node asks for up to `patience` seconds at a time. Interrupts of the application's own are left to it: the graph is given back at them.
    """
    result = graph.get_state(config).values
    while ours := waiting(graph.get_state(config).interrupts):
        before = _patience.set(patience)
        try:
            result = graph.invoke(Command(resume=dict.fromkeys(ours, True)), config)
        finally:
            _patience.reset(before)
    return result


async def aresume(graph: Any, config: Any, *, patience: float = _flows.CALL_WAIT_SECS_MAX) -> Any:
    """As `resume`, for graphs that run under asyncio."""
    result = (await graph.aget_state(config)).values
    while ours := waiting((await graph.aget_state(config)).interrupts):
        before = _patience.set(patience)
        try:
            result = await graph.ainvoke(Command(resume=dict.fromkeys(ours, True)), config)
        finally:
            _patience.reset(before)
    return result
