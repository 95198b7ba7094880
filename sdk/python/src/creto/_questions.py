"""Questions to a human, as flows; see `_flows`.

A question is made before anybody waits for its answer, under a name of its own: whoever asks again under that name, also after a restart,
finds it and its answer.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from . import _flows, _model
from ._flows import Call, Flow, Pause
from .errors import NoAnswer, TransportError


@dataclass(frozen=True)
class Answer:
    """What a human said: words, and the option they chose where the question named some."""

    text: str
    option: str | None
    request: str


@dataclass(frozen=True)
class Name:
    """A call within a run: asking again under it is asking the same thing."""

    run: str
    call: str

    @classmethod
    def new(cls) -> Name:
        """One that nobody else has."""
        return cls("once", uuid.uuid4().hex)


@dataclass(frozen=True)
class Question:
    """What is asked."""

    question: str
    options: Sequence[str] = ()
    context: Mapping[str, Any] = field(default_factory=dict)

    def body(self, name: Name, timeout_secs: float | None) -> dict[str, Any]:
        """The JSON of asking."""
        body: dict[str, Any] = {"question": self.question, "run_id": name.run, "call_id": name.call}
        if self.options:
            body["options"] = list(self.options)
        if self.context:
            body["context"] = dict(self.context)
        if timeout_secs is not None:
            body["timeout_secs"] = math.ceil(timeout_secs)
        return body


class QuestionOptions(TypedDict, total=False):
    """What can be said of a question beside its words."""

    options: Sequence[str]
    """Named answers to choose from, beside free words."""
    context: Mapping[str, Any]
    """More of what the human should know, as plain JSON."""


def ask_human(
    question: Question,
    name: Name,
    *,
    timeout_secs: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> Flow[Answer]:
    """Asks and waits until a human has answered. A server that restarts meanwhile is waited for."""
    call = Call("POST", "/v1/oversight/questions", question.body(name, timeout_secs))
    standing = yield from _flows.retried(call, TransportError)
    request, last_answer_at = _model.text(standing, "request"), clock()
    while _model.text(standing, "state") == "pending":
        wait_secs = _flows.CALL_WAIT_SECS_MAX
        params = {"wait_secs": str(wait_secs)}
        try:
            standing = yield Call("GET", f"/v1/oversight/asked/{request}", params=params, wait_secs=wait_secs)
            last_answer_at = clock()
        except TransportError:
            if clock() - last_answer_at > wait_secs + _flows.OUTAGE_SECS_MAX:
                raise
            yield Pause(_flows.ASK_AGAIN_SECS)
    if _model.text(standing, "state") == "answered":
        return Answer(_model.text(standing, "answer"), _model.optional(standing, "option"), request)
    raise NoAnswer(standing["state"], request=request, comment=_model.optional(standing, "comment"))


def answer(request: str, text: str, option: str | None) -> Flow[Any]:
    """Answers a question, as an approver."""
    body = {"text": text} if option is None else {"text": text, "option": option}
    return (yield Call("POST", f"/v1/oversight/requests/{request}/answer", body))
