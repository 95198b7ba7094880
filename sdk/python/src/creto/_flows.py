"""What the client does, as generators that do no I/O: they yield a `Call`, a `Pause` or an `Invoke`, and are sent what came of it.

`Client` and `AsyncClient` only drive them, so there is one text of every rule, and tests drive them with any answer and any clock.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from . import _model
from ._model import Granted, OversightRequest, Pending, Settled, TrackedEvent, UsageReceipt
from .errors import AlreadyDone, ApprovalTimeout, ConnectError, CretoError, InDoubt, ProtocolError, TransportError

if TYPE_CHECKING:
    from typing_extensions import Unpack

_log = logging.getLogger("creto")

CALL_WAIT_SECS_MAX = 50
"""Longest wait for a human in one HTTP call; the server allows 55. Then the same action is asked again."""
ASK_AGAIN_SECS = 0.5
"""Pause before the same action is asked again."""
OUTAGE_SECS_MAX = 60.0
"""How long a server may be away while a human is waited for."""
ANSWER_SECS = 30.0
"""Longest time an answer takes that waits for nobody."""
TRIES_MAX = 4
"""How often a call is tried that is known not to have arrived, or that may arrive twice."""
QUANTITY_FIELD = "quantity"
"""The property a plain quantity is sent as: what the server's own SUM metrics read."""


@dataclass(frozen=True)
class Call:
    """One HTTP request. `wait_secs` is how much longer than usual its answer may take."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str] | None = None
    wait_secs: float = 0.0


@dataclass(frozen=True)
class Pause:
    """Nothing for a while."""

    secs: float


@dataclass(frozen=True)
class Invoke:
    """The caller's own function, with arguments that were approved. What it returns is the answer, what it raises is raised in the flow."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


T = TypeVar("T")
Flow = Generator["Call | Pause | Invoke", Any, T]


class Driving(Generic[T]):
    """A flow under way: `wanted` is what it waits for, or `None` when it has returned `result`. What it raises leaves from here."""

    wanted: Call | Pause | Invoke | None
    result: T

    def __init__(self, flow: Flow[T]) -> None:
        """Runs it up to the first thing it wants."""
        self._flow = flow
        self._thrown: Exception | None = None
        self._step(lambda: next(flow))

    def answered(self, answer: Any) -> None:
        """Goes on with what came."""
        self._step(lambda: self._flow.send(answer))

    def failed(self, error: Exception) -> None:
        """Goes on with what went wrong."""
        self._thrown = error
        self._step(lambda: self._flow.throw(error))

    def _step(self, step: Callable[[], Call | Pause | Invoke]) -> None:
        try:
            self.wanted = step()
        except StopIteration as done:
            self.wanted, self.result = None, done.value
        except RuntimeError as wrapped:
            # A generator may not raise `StopIteration`; a caller's function may.
            if self._thrown is not None and wrapped.__cause__ is self._thrown:
                raise self._thrown from None
            raise


def request(call: Call) -> Flow[Any]:
    """One call as it is."""
    return (yield call)


def retried(call: Call, on: type[TransportError]) -> Flow[Any]:
    """One call, made again where it failed like this."""
    for attempt in range(TRIES_MAX - 1):
        try:
            return (yield call)
        except on:
            yield Pause(0.1 * 4**attempt)
    return (yield call)


@dataclass(frozen=True)
class Attempt:
    """One attempt at an action: what it is called in whichever process, and who asks here. The server repeats an admission to the asker
    that got it and to nobody else: no other can know whether the action was done.
    """

    name: str
    asker: str


@dataclass(frozen=True)
class Action:
    """What is asked. Asking the very same one again finds the request that is already open."""

    action: str
    resource: str
    arguments: Mapping[str, Any]
    reason: str | None = None
    context: Mapping[str, Any] | None = None
    reserve: Decimal | str | None = None
    call: str | None = None
    """The agent's own name for this call: it is one attempt, in whichever process, and is admitted once."""
    accepts_edits: bool = False
    """Whether what is done is what was approved, where a human changed the arguments."""

    def attempt(self) -> Attempt:
        """One attempt, asked here: what another process asks under the same name, the server tells apart."""
        asker = str(uuid.uuid4())
        return Attempt(self.call or asker, asker)

    def body(self, attempt: Attempt, timeout_secs: float | None, wait_secs: float) -> dict[str, Any]:
        """The JSON of asking. To the same `attempt` the answer is the same, however often it is lost on its way."""
        body: dict[str, Any] = {
            "action": self.action,
            "resource": self.resource,
            "arguments": dict(self.arguments),
            "attempt_id": attempt.name,
            "asker_id": attempt.asker,
            "wait_secs": math.ceil(wait_secs),
        }
        if self.reason is not None:
            body["reason"] = self.reason
        if self.context:
            body["context"] = dict(self.context)
        if self.accepts_edits:
            body["accepts_edits"] = True
        if self.reserve is not None:
            body["reserve"] = str(self.reserve)
        if timeout_secs is not None:
            body["timeout_secs"] = math.ceil(timeout_secs)
        return body


class AskOptions(TypedDict, total=False):
    """What can be said of an action beside what is done, to what, with which arguments."""

    reason: str | None
    """Why, for the approver."""
    context: Mapping[str, Any] | None
    """Facts that policies may read."""
    reserve: Decimal | str | None
    """Money to hold until the outcome is reported."""
    accepts_edits: bool
    """Whether what is done is what was approved: `Granted.arguments`, where a human changed them."""
    call: str | None
    """The agent's own name for this call, at most 64 letters, digits, `-`, `_`, `.` and `:`: under it the call is admitted once."""


def _asking(action: Action, attempt: Attempt, timeout_secs: float | None, wait_secs: float) -> Call:
    return Call("POST", "/v1/actions", action.body(attempt, timeout_secs, wait_secs), wait_secs=wait_secs)


def ask(action: Action, *, timeout_secs: float | None, wait_secs: float) -> Flow[Granted | Pending]:
    """Asks once, as one attempt: a call whose answer was lost is repeated and gets the answer that was lost."""
    call = _asking(action, action.attempt(), timeout_secs, wait_secs)
    lost = False
    for tries in range(TRIES_MAX):
        try:
            return _first(_model.admitted((yield call)), lost)
        except TransportError as error:
            if tries == TRIES_MAX - 1:
                raise
            lost = lost or _may_have_arrived(error)
            yield Pause(0.1 * 4**tries)
    raise AssertionError("unreachable")


def _may_have_arrived(error: TransportError) -> bool:
    """Whether its answer can have been lost: what never reached the server was answered to nobody."""
    return not isinstance(error, ConnectError)


def _first(answer: Granted | Pending, lost: bool) -> Granted | Pending:
    """The answer, unless it repeats a grant that no call of this process can have lost: then another process has it."""
    if isinstance(answer, Granted) and answer.again and not lost:
        raise AlreadyDone(
            f"this call was admitted before, as `{answer.admission}`, and what became of it is not known here",
            code="gate.attempt_used",
            hint="`creto doubts` lists it once its server gives up on it",
            status=409,
        )
    return answer


def obtain(action: Action, *, timeout_secs: float | None, clock: Callable[[], float] = time.monotonic) -> Flow[Granted]:
    """Asks until a human has decided, or `timeout_secs` are over. A server that restarts meanwhile is waited for.

    Asking again is safe: it is one attempt, so it finds the open request, and where the lost answer held a grant, it gets that very
    grant. The server times the request out by itself.
    """
    attempt, lost = action.attempt(), False
    end = math.inf if timeout_secs is None else clock() + timeout_secs
    last_answer_at = clock()
    request: str | None = None
    while True:
        wait_secs = max(1.0, min(CALL_WAIT_SECS_MAX, end - clock()))
        try:
            answer = _first(_model.admitted((yield _asking(action, attempt, timeout_secs, wait_secs))), lost)
        except TransportError as error:
            lost = lost or _may_have_arrived(error)
            if clock() - last_answer_at > wait_secs + OUTAGE_SECS_MAX:
                raise
        else:
            if isinstance(answer, Granted):
                return answer
            last_answer_at, request = clock(), answer.request
        if clock() >= end:
            raise ApprovalTimeout(
                f"nobody decided `{action.action}` on `{action.resource}` within {timeout_secs:g} s",
                code="gate.not_decided",
                hint=f"decide it with `creto approve {request or 'ID'}`, then try again",
                status=403,
            )
        yield Pause(ASK_AGAIN_SECS)


def paused(
    action: Action, pause: Callable[[Pending], object], *, timeout_secs: float | None, wait_secs: Callable[[], float]
) -> Flow[Granted]:
    """Asks, and where a human has not decided, has the program put away: `pause` raises, and the action is asked again when it goes on."""
    while True:
        answer = yield from ask(action, timeout_secs=timeout_secs, wait_secs=wait_secs())
        if isinstance(answer, Granted):
            return answer
        pause(answer)


def guarded(granting: Flow[Granted], run: Invoke, edited: Callable[[dict[str, Any]], Invoke] | None = None) -> Flow[Any]:
    """Has an action granted, does it, and reports what came of it. `edited` makes the call of arguments that a human changed; without it,
    or where it raises, nothing is called.

    The function's exceptions are its own. Only an `Exception` is known to be a failure: of a process that is being stopped nobody knows
    what came of the call, so the action stays in doubt.
    """
    granted = yield from granting
    if granted.arguments is not None:
        try:
            if edited is None:
                raise ProtocolError("a human changed the arguments, and this call takes no changes")
            run = edited(granted.arguments)
        except CretoError:
            yield from report(granted.admission, ok=False)
            raise
    try:
        result = yield run
    except Exception:
        try:
            yield from report(granted.admission, ok=False)
        except CretoError as error:
            _log.warning("action %s is in doubt: %s", granted.admission, error)
        raise
    try:
        yield from report(granted.admission, ok=True)
    except CretoError as error:
        raise InDoubt(error, admission=granted.admission, result=result) from error
    return result


def report(admission: str, ok: bool) -> Flow[Settled]:
    """Says what came of an admitted action."""
    call = Call("POST", f"/v1/actions/{admission}/outcome", {"ok": ok})
    answer = yield from retried(call, ConnectError)
    return Settled(_model.text(answer, "admission"), _model.text(answer, "leaf"), _model.text(answer, "cost"))


def subscription_of(whoami: Any) -> str:
    """Whose usage it is by default: the name of the human or service at the root of the chain, as the server's own products count."""
    chain = whoami.get("chain")
    root = chain[0] if chain else _model.text(whoami, "identity")
    return str(root).rpartition("/")[2]


class EventOptions(TypedDict, total=False):
    """What a usage event holds beside its metric and quantity."""

    properties: Mapping[str, Any] | None
    transaction_id: str | None
    """The event counts once, however often it is sent: the identifier you keep, or one made for this call."""
    timestamp: str | None
    """When it was used; now unless said."""


class TrackOptions(EventOptions, total=False):
    """What can be said of usage beside its metric and quantity."""

    subscription: str | None
    """Whose usage it is: the chain's root unless named."""


def usage_event(
    code: str,
    quantity: int | Decimal | str | None = None,
    *,
    properties: Mapping[str, Any] | None = None,
    transaction_id: str | None = None,
    timestamp: str | None = None,
) -> dict[str, Any]:
    """A usage event without its subscription. Amounts go as decimal strings, which keep all digits."""
    fields = {name: _property(name, value) for name, value in (properties or {}).items()}
    if quantity is not None:
        if QUANTITY_FIELD in fields:
            raise TypeError(f"`quantity` is given twice: as an argument and as the property `{QUANTITY_FIELD}`")
        fields[QUANTITY_FIELD] = _property("quantity", quantity, number=True)
    event: dict[str, Any] = {"transaction_id": transaction_id or str(uuid.uuid4()), "code": code, "properties": fields}
    if timestamp is not None:
        event["timestamp"] = timestamp
    return event


def exact(name: str, value: Any) -> str:
    """An amount as a decimal text, which keeps all digits."""
    return str(_property(name, value, number=True))


def _property(name: str, value: Any, number: bool = False) -> Any:
    if type(value) in (int, Decimal):
        return str(value)
    if type(value) is str or (not number and (value is None or type(value) is bool)):
        return value
    raise TypeError(f"`{name}` is a {type(value).__qualname__}: use int, Decimal or text, which are exact")


def track(
    known: dict[str, str],
    code: str,
    quantity: int | Decimal | str | None = None,
    *,
    subscription: str | None = None,
    **options: Unpack[EventOptions],
) -> Flow[UsageReceipt]:
    """Records a usage event. Its transaction identifier makes it safe to send again, so it is, until there is an answer.

    `known` remembers the default subscription between calls.
    """
    event = usage_event(code, quantity, **options)
    if subscription is None:
        if "subscription" not in known:
            known["subscription"] = subscription_of((yield from retried(Call("GET", "/v1/whoami"), TransportError)))
        subscription = known["subscription"]
    call = Call("POST", "/v1/metering/events", {**event, "external_subscription_id": subscription})
    answer = yield from retried(call, TransportError)
    return UsageReceipt(_model.text(answer, "transaction_id"), _model.text(answer, "cost"), answer.get("duplicate") is True)


BATCH_EVENTS_MAX = 10_000
"""Most events of one request."""


def track_all(known: dict[str, str], events: Iterable[Mapping[str, Any]], *, subscription: str | None = None) -> Flow[list[TrackedEvent]]:
    """Records many usage events, as `usage_event` makes them, in requests of at most `BATCH_EVENTS_MAX`; each is answered by itself.

    Sent again until there is an answer: the transaction identifiers make that safe.
    """
    waiting = [dict(event) for event in events]
    if subscription is None and any("external_subscription_id" not in event for event in waiting):
        if "subscription" not in known:
            known["subscription"] = subscription_of((yield from retried(Call("GET", "/v1/whoami"), TransportError)))
        subscription = known["subscription"]
    told: list[TrackedEvent] = []
    for begin in range(0, len(waiting), BATCH_EVENTS_MAX):
        batch = [{"external_subscription_id": subscription, **event} for event in waiting[begin : begin + BATCH_EVENTS_MAX]]
        answer = yield from retried(Call("POST", "/v1/metering/events", {"events": batch}), TransportError)
        told.extend(TrackedEvent.read(event) for event in answer.get("events", []))
    return told


def requests(state: str | None) -> Flow[list[OversightRequest]]:
    """Requests to humans."""
    answer = yield Call("GET", "/v1/oversight/requests", params={"state": state} if state else None)
    return [OversightRequest.read(item) for item in answer.get("requests", [])]


def decide(request: str, digest: str | None, comment: str | None, shown: str | None = None) -> Flow[OversightRequest]:
    """Approves exactly `digest`, or denies. `shown` is the request's own, where some of it is hidden."""
    body = {name: value for name, value in (("digest", digest), ("shown", shown), ("comment", comment)) if value is not None}
    verb = "deny" if digest is None else "approve"
    return OversightRequest.read((yield Call("POST", f"/v1/oversight/requests/{request}/{verb}", body)))
