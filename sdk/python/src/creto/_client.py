"""The blocking client."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _flows
from ._connection import ANSWER_SECS, Place, answer_of, failed, to_httpx
from ._flows import Action, Call, Flow, Pause
from ._model import Granted, OversightRequest, Pending, Settled, UsageReceipt
from ._runs import Run, run_body

T = TypeVar("T")


class Client:
    """A connection to a server, safe to share between threads.

    - `Client("http://127.0.0.1:7433", "creto_agent_…")`, or without arguments from `CRETO_URL` and `CRETO_TOKEN`;
    - `Client()` inside a sandbox: the run's agent, through the sandbox's proxy, with no token at all;
    - `Client(socket=DIR)`: the local human, over the socket in the server's data directory. `act_as` picks another human.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        socket: str | os.PathLike[str] | None = None,
        act_as: str | None = None,
        timeout: float = ANSWER_SECS,
    ) -> None:
        """`timeout` bounds each answer in seconds; waiting for a human comes on top."""
        place = Place.find(url, token, socket, act_as, os.environ)
        transport = httpx.HTTPTransport(uds=place.socket) if place.socket else None
        self._timeout = timeout
        self._http = httpx.Client(transport=transport, **place.options(timeout))
        self._known: dict[str, str] = {}

    def _send(self, call: Call) -> Any:
        try:
            return answer_of(self._http.request(**to_httpx(call, self._timeout)))
        except httpx.HTTPError as error:
            raise failed(error) from error

    def drive(self, flow: Flow[T]) -> T:
        """Does what a flow yields until it returns."""
        step = flow.__next__
        while True:
            try:
                wanted = step()
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if isinstance(wanted, Pause):
                time.sleep(wanted.secs)
                step = flow.__next__
                continue
            try:
                answer = self._send(wanted)
            except Exception as error:
                step = _throwing(flow, error)
            else:
                step = _sending(flow, answer)

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
        reason: str | None = None,
        context: Mapping[str, Any] | None = None,
        reserve: Decimal | str | None = None,
        timeout: float | None = None,
        wait: float = _flows.CALL_WAIT_SECS_MAX,
    ) -> Granted | Pending:
        """Asks once to do an action. `timeout` is how long the request may wait for a human, `wait` how long this call does."""
        asked = Action(action, resource, arguments, reason, context, reserve)
        return self.drive(_flows.ask(asked, timeout_secs=timeout, wait_secs=wait))

    def report(self, admission: str, ok: bool) -> Settled:
        """Says what came of an admitted action."""
        return self.drive(_flows.report(admission, ok))

    def track(
        self,
        code: str,
        quantity: int | Decimal | str | None = None,
        *,
        properties: Mapping[str, Any] | None = None,
        transaction_id: str | None = None,
        subscription: str | None = None,
        timestamp: str | None = None,
    ) -> UsageReceipt:
        """Records usage of a metric: `quantity` as the property of that name, or any `properties`.

        The event counts once, however often it is sent: give the `transaction_id` you keep, or let one be made for this call. The
        subscription is the chain's root unless named. Raises `BudgetExceeded` when a budget on the chain has no room.
        """
        event = _flows.usage_event(code, quantity, properties, transaction_id, timestamp)
        return self.drive(_flows.track(event, subscription, self._known))

    def requests(self, state: str | None = "pending") -> list[OversightRequest]:
        """Requests to humans, newest first, for an approver."""
        return self.drive(_flows.requests(state))

    def approve(self, request: str, digest: str, comment: str | None = None) -> OversightRequest:
        """Approves exactly the action with this digest."""
        return self.drive(_flows.decide(request, digest, comment))

    def deny(self, request: str, comment: str | None = None) -> OversightRequest:
        """Denies; the agent is told the comment."""
        return self.drive(_flows.decide(request, None, comment))

    def run(
        self,
        argv: list[str] | tuple[str, ...],
        *,
        agent: str | None = None,
        on_behalf_of: str | None = None,
        chain: str | None = None,
        budget: str | None = None,
        allow_hosts: list[str] | None = None,
        mounts: list[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout_secs: int | None = None,
        reason: str | None = None,
    ) -> Run:
        """Runs a command in a sandbox, as operator. Iterate over the `Run` for its events; closing it kills the run.

        A run that is refused raises here.
        """
        body = run_body(
            argv,
            {
                "agent": agent,
                "on_behalf_of": on_behalf_of,
                "chain": chain,
                "budget": budget,
                "allow_hosts": allow_hosts,
                "mounts": mounts,
                "env": env,
                "timeout_secs": timeout_secs,
                "reason": reason,
            },
        )
        timeout = httpx.Timeout(self._timeout, read=None)
        return Run(self._http, self._http.build_request("POST", "/v1/runs", json=body, timeout=timeout))

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def __enter__(self) -> Client:
        """Closes it at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()


def _throwing(flow: Flow[T], error: Exception) -> Any:
    return lambda: flow.throw(error)


def _sending(flow: Flow[T], answer: Any) -> Any:
    return lambda: flow.send(answer)
