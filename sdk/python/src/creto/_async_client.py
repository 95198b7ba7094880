"""The client for asyncio. Its methods are those of `Client`, awaited."""

from __future__ import annotations

import asyncio
import os
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
from ._runs import AsyncRun, run_request
from .workflow import name_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._flows import AskOptions, TrackOptions
    from ._questions import QuestionOptions
    from ._runs import RunOptions

T = TypeVar("T")


class AsyncClient(Connection):
    """A connection to a server for asyncio; see `Client` for where it is found."""

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
        transport = httpx.AsyncHTTPTransport(uds=self._place.socket) if self._place.socket else None
        self._http = httpx.AsyncClient(transport=transport, auth=own_key, **self._place.options(timeout))

    async def _send(self, call: Call) -> Any:
        try:
            return answer_of(await self._http.request(**to_httpx(call, self._timeout)))
        except httpx.HTTPError as error:
            raise failed(error) from error

    async def drive(self, flow: Flow[T]) -> T:
        """Does what a flow wants until it returns."""
        driving = Driving(flow)
        while (wanted := driving.wanted) is not None:
            try:
                answer = await self._do(wanted)
            except Exception as error:
                driving.failed(error)
            else:
                driving.answered(answer)
        return driving.result

    async def _do(self, wanted: Call | Pause | Invoke) -> Any:
        if isinstance(wanted, Call):
            return await self._send(wanted)
        if isinstance(wanted, Pause):
            return await asyncio.sleep(wanted.secs)
        return await wanted.function(*wanted.args, **wanted.kwargs)

    async def call(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Any endpoint of the HTTP API: its JSON, or the problem as an exception."""
        return await self.drive(_flows.request(Call(method, path, body, params)))

    async def whoami(self) -> Any:
        """Who the credential proves."""
        return await self.call("GET", "/v1/whoami")

    async def ask(
        self,
        action: str,
        resource: str,
        arguments: Mapping[str, Any],
        *,
        timeout: float | None = None,
        wait: float = _flows.CALL_WAIT_SECS_MAX,
        **options: Unpack[AskOptions],
    ) -> Granted | Pending:
        """Asks once to do an action."""
        return await self.drive(_flows.ask(Action(action, resource, arguments, **options), timeout_secs=timeout, wait_secs=wait))

    async def report(self, admission: str, ok: bool) -> Settled:
        """Says what came of an admitted action."""
        return await self.drive(_flows.report(admission, ok))

    async def track(self, code: str, quantity: int | Decimal | str | None = None, **options: Unpack[TrackOptions]) -> UsageReceipt:
        """Records usage of a metric, once however often it is sent; see `Client.track`."""
        return await self.drive(_flows.track(self._known, code, quantity, **options))

    async def track_all(self, events: Iterable[Mapping[str, Any]], *, subscription: str | None = None) -> list[TrackedEvent]:
        """Records many events, as `usage_event` makes them, in few requests; each is answered by itself."""
        return await self.drive(_flows.track_all(self._known, events, subscription=subscription))

    async def ask_human(self, question: str, *, timeout: float | None = None, **options: Unpack[QuestionOptions]) -> Answer:
        """Asks a human and waits for the answer, `timeout` seconds or a day. Raises `NoAnswer` when nobody answers."""
        asked = Question(question, **options)
        name = name_of("question", asked.body(Name("", ""), None))
        return await self.drive(ask_human(asked, name, timeout_secs=timeout))

    async def answer(self, request: str, text: str, option: str | None = None) -> None:
        """Answers a question, as an approver; `option` is one that the question named."""
        await self.drive(answering(request, text, option))

    async def requests(self, state: str | None = "pending") -> list[OversightRequest]:
        """Requests to humans, newest first, for an approver."""
        return await self.drive(_flows.requests(state))

    async def approve(self, request: str, digest: str, comment: str | None = None, *, shown: str | None = None) -> OversightRequest:
        """Approves exactly the action with this digest; `shown` is the request's, where some of it is hidden from you."""
        return await self.drive(_flows.decide(request, digest, comment, shown))

    async def deny(self, request: str, comment: str | None = None) -> OversightRequest:
        """Denies; the agent is told the comment."""
        return await self.drive(_flows.decide(request, None, comment))

    async def run(self, argv: list[str] | tuple[str, ...], **options: Unpack[RunOptions]) -> AsyncRun:
        """Runs a command in a sandbox, as operator; see `Client.run`."""
        return await AsyncRun.start(self._http, self._http.build_request(**run_request(argv, options, self._timeout)))

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        """Closes it at the end of the block."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        await self.close()
