"""`human_as_tool`: a function that asks a human and returns what they said, for agents that call tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, overload

from . import _questions
from ._async_client import AsyncClient
from ._client import Client
from ._flows import Flow
from ._questions import Answer, Question
from .approval import seconds
from .workflow import name_of

NAME = "contact_human"
DESCRIPTION = "Ask a human a question and wait for the answer."


@overload
def human_as_tool(
    client: Client,
    *,
    options: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    timeout: float | timedelta | None = None,
    name: str = NAME,
    description: str = DESCRIPTION,
) -> Callable[[str], str]: ...


@overload
def human_as_tool(
    client: AsyncClient,
    *,
    options: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    timeout: float | timedelta | None = None,
    name: str = NAME,
    description: str = DESCRIPTION,
) -> Callable[[str], Awaitable[str]]: ...


def human_as_tool(
    client: Client | AsyncClient,
    *,
    options: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    timeout: float | timedelta | None = None,
    name: str = NAME,
    description: str = DESCRIPTION,
) -> Callable[[str], str] | Callable[[str], Awaitable[str]]:
    """A function of a question that returns a human's answer in words; async for an `AsyncClient`.

    `options` are named answers the human may choose, `context` more of what they should know; `timeout` is how long the question waits (a
    day otherwise), after which `NoAnswer` is raised. `name` and `description` are what the model reads of the tool.

    Inside `creto.resume(run_id)` the same question of the same run is asked once, also by a process that took over.
    """
    timeout_secs = seconds(timeout)

    def flow(message: str) -> Flow[Answer]:
        if type(message) is not str or not message.strip():
            raise TypeError("a question is text that is not empty")
        question = Question(message, tuple(options), dict(context or {}))
        return _questions.ask_human(question, name_of("question", question.body(_questions.Name("", ""), None)), timeout_secs=timeout_secs)

    if isinstance(client, AsyncClient):

        async def ask_async(message: str) -> str:
            return (await client.drive(flow(message))).text

        contact: Any = ask_async
    else:

        def ask(message: str) -> str:
            return client.drive(flow(message)).text

        contact = ask
    contact.__name__ = contact.__qualname__ = name
    contact.__doc__ = description
    return contact  # type: ignore[no-any-return]
