"""Elicitations of MCP servers, answered by a human in creto's inbox.

    async with Client(server, elicitation_callback=elicitation(creto_client)) as mcp: ...

An MCP server that needs something of a person sends `elicitation/create`. The callback asks it as a question, so that somebody who is
authenticated answers, on record: in words for a form of one field, as a JSON object for a form of several, or by choosing `decline` or
`cancel`. A form is accepted only with content that fits its schema. For URL mode the human opens the address themselves (nothing of what
they enter there passes through here) and chooses `accept`, `decline` or `cancel`.

Nobody answering in time is `cancel`: an elicitation is never accepted by default.

Needs `pip install creto[mcp]`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, cast

from mcp import types

from . import _questions
from ._async_client import AsyncClient
from ._questions import Answer, Question
from .approval import seconds
from .errors import NoAnswer
from .workflow import name_of

Callback = Callable[[Any, Any], Awaitable[types.ElicitResult | types.ErrorData]]

_KINDS: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,)}


def elicitation(client: AsyncClient, *, timeout: float | timedelta | None = None) -> Callback:
    """A callback for `mcp.Client(..., elicitation_callback=...)`; `client` is the agent's."""
    timeout_secs = seconds(timeout)

    async def callback(context: Any, params: Any) -> types.ElicitResult | types.ErrorData:
        url = getattr(params, "url", None)
        schema = getattr(params, "requested_schema", None) or {}
        question = _question(params.message, url, schema)
        name = name_of("elicitation", question.body(_questions.Name("", ""), None))
        try:
            answer = await client.drive(_questions.ask_human(question, name, timeout_secs=timeout_secs))
        except NoAnswer:
            return types.ElicitResult(action="cancel")
        if answer.option in ("decline", "cancel"):
            return types.ElicitResult(action=cast(Any, answer.option))
        if url is not None or not schema.get("properties"):
            # Words alone accept nothing.
            accepted = answer.option == "accept"
            return types.ElicitResult(action="accept" if accepted else "decline", content={} if accepted and url is None else None)
        try:
            return types.ElicitResult(action="accept", content=_content(answer, schema))
        except ValueError as problem:
            return types.ErrorData(code=types.INVALID_PARAMS, message=f"the human's answer does not fit the form: {problem}")

    return callback


def _question(message: str, url: str | None, schema: Mapping[str, Any]) -> Question:
    fields = schema.get("properties") or {}
    if url is not None:
        return Question(
            f"{message}\n\nOpen this address yourself, then say how it went: {url}", ("accept", "decline", "cancel"), {"url": url}
        )
    if not fields:
        return Question(message, ("accept", "decline", "cancel"))
    how = "Answer in words." if len(fields) == 1 else "Answer with a JSON object."
    return Question(f"{message}\n\n{how}", ("decline", "cancel"), {"form": dict(schema)})


def _content(answer: Answer, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a form, or `ValueError` for one that does not fit."""
    fields = dict(schema["properties"])
    if len(fields) == 1:
        ((name, field),) = fields.items()
        content: Any = {name: _value(answer.text, field)}
    else:
        content = json.loads(answer.text)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    for name in schema.get("required") or ():
        if name not in content:
            raise ValueError(f"`{name}` is missing")
    for name, value in content.items():
        if name not in fields:
            raise ValueError(f"`{name}` is not asked for")
        _check(name, value, fields[name])
    return content


def _value(text: str, field: Mapping[str, Any]) -> Any:
    """What was typed, as the one field of a form takes it."""
    if field.get("type") == "string" or "enum" in field:
        return text.strip()
    return json.loads(text)


def _check(name: str, value: Any, field: Mapping[str, Any]) -> None:
    kinds = _KINDS.get(str(field.get("type", "string")), ())
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"`{name}` is not of type {field.get('type')}")
    if "enum" in field and value not in field["enum"]:
        raise ValueError(f"`{name}` is none of {', '.join(map(str, field['enum']))}")
