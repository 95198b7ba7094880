"""The blocking client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from . import _flows
from ._connection import ANSWER_SECS, Connection, answer_of, failed, to_httpx
from ._flows import Action, Call, Driving, Flow, Invoke, Pause
from ._model import Granted, OversightRequest, Pending, Settled, TrackedEvent, UsageReceipt
from ._own_key import OwnKey
from ._questions import Answer, Name, Question, ask_human
from ._questions import answer as answering
from ._runs import Run, run_request
from .workflow import name_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._flows import AskOptions, TrackOptions
    from ._questions import QuestionOptions
    from ._runs import RunOptions

T = TypeVar("T")


class Client(Connection):
    """A connection to a server, safe to share between threads.

    - `Client("http://127.0.0.1:7433", "creto_agent_…")`, or without arguments from `CRETO_URL` and `CRETO_TOKEN`;
    - `Client()` inside a sandbox: the run's agent, through the sandbox's proxy, with no token at all;
    - `Client(url, own_key=OwnKey(name))`: requests signed by a key of the agent's own, instead of a token;
    - `Client(socket=DIR)`: the local human, over the socket in the server's data directory. `act_as` picks another human.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        socket: str | os.PathLike[str] | None = None,
        act_as: str | None = None,
        own_key: OwnKey | None = None,
        timeout: float = ANSWER_SECS,
    ) -> None:
        """`timeout` bounds each answer in seconds; waiting for a human comes on top."""
        super().__init__(url, token, socket, act_as, timeout, own_key)
        transport = httpx.HTTPTransport(uds=self._place.socket) if self._place.socket else None
        self._http = httpx.Client(transport=transport, auth=own_key, **self._place.options(timeout))

    def _send(self, call: Call) -> Any:
        try:
            return answer_of(self._http.request(**to_httpx(call, self._timeout)))
        except httpx.HTTPError as error:
            raise failed(error) from error

    def drive(self, flow: Flow[T]) -> T:
        """Does what a flow wants until it returns."""
        driving = Driving(flow)
        while (wanted := driving.wanted) is not None:
            try:
                answer = self._do(wanted)
            except Exception as error:
                driving.failed(error)
            else:
                driving.answered(answer)
        return driving.result

    def _do(self, wanted: Call | Pause | Invoke) -> Any:
        if isinstance(wanted, Call):
            return self._send(wanted)
        if isinstance(wanted, Pause):
            return time.sleep(wanted.secs)
        return wanted.function(*wanted.args, **wanted.kwargs)

    def call(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Any endpoint of the HTTP API: its JSON, or the problem as an exception."""
        return self.drive(_flows.request(Call(method, path, body, params)))

    def whoami(self) -> Any:
        """Who the credential proves: `identity`, `tenant`, `roles`, `chain`, `how`."""
        return self.call("GET", "/v1/whoami")

    def ask(
        self,
        action: str,
        resource: str,
        arguments: Mapping[str, Any],
        *,
        timeout: float | None = None,
        wait: float = _flows.CALL_WAIT_SECS_MAX,
        **options: Unpack[AskOptions],
    ) -> Granted | Pending:
        """Asks once to do an action. `timeout` is how long the request may wait for a human, `wait` how long this call does."""
        return self.drive(_flows.ask(Action(action, resource, arguments, **options), timeout_secs=timeout, wait_secs=wait))

    def report(self, admission: str, ok: bool) -> Settled:
        """Says what came of an admitted action."""
        return self.drive(_flows.report(admission, ok))

    def track(self, code: str, quantity: int | Decimal | str | None = None, **options: Unpack[TrackOptions]) -> UsageReceipt:
        """Records usage of a metric: `quantity` as the property of that name, or any `properties`.

        The event counts once, however often it is sent. Raises `BudgetExceeded` when a budget on the chain has no room.
        """
        return self.drive(_flows.track(self._known, code, quantity, **options))

    def track_all(self, events: Iterable[Mapping[str, Any]], *, subscription: str | None = None) -> list[TrackedEvent]:
        """Records many events, as `usage_event` makes them, in few requests; each is answered by itself."""
        return self.drive(_flows.track_all(self._known, events, subscription=subscription))

    def ask_human(self, question: str, *, timeout: float | None = None, **options: Unpack[QuestionOptions]) -> Answer:
        """Asks a human and waits for the answer, `timeout` seconds or a day. Raises `NoAnswer` when nobody answers."""
        asked = Question(question, **options)
        name = name_of("question", asked.body(Name("", ""), None))
        return self.drive(ask_human(asked, name, timeout_secs=timeout))

    def answer(self, request: str, text: str, option: str | None = None) -> None:
        """Answers a question, as an approver; `option` is one that the question named."""
        self.drive(answering(request, text, option))

    def requests(self, state: str | None = "pending") -> list[OversightRequest]:
        """Requests to humans, newest first, for an approver."""
        return self.drive(_flows.requests(state))

    def approve(self, request: str, digest: str, comment: str | None = None, *, shown: str | None = None) -> OversightRequest:
        """Approves exactly the action with this digest; `shown` is the request's, where some of it is hidden from you."""
        return self.drive(_flows.decide(request, digest, comment, shown))

    def deny(self, request: str, comment: str | None = None) -> OversightRequest:
        """Denies; the agent is told the comment."""
        return self.drive(_flows.decide(request, None, comment))

    def run(self, argv: list[str] | tuple[str, ...], **options: Unpack[RunOptions]) -> Run:
        """Runs a command in a sandbox, as operator. Iterate over the `Run` for its events; closing it kills the run.

        A run that is refused raises here.
        """
        return Run(self._http, self._http.build_request(**run_request(argv, options, self._timeout)))

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def __enter__(self) -> Client:
        """Closes it at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()
