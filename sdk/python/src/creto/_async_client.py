"""The client for asyncio. Its methods are those of `Client`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

import httpx

from . import _flows
from ._client import _sending, _throwing
from ._connection import ANSWER_SECS, Place, answer_of, failed, to_httpx
from ._flows import Action, Call, Flow, Pause
from ._model import Granted, OversightRequest, Pending, Settled, UsageReceipt
from ._runs import AsyncRun, run_body

T = TypeVar("T")


class AsyncClient:
    """A connection to a server for asyncio; see `Client` for where it is found."""

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
        transport = httpx.AsyncHTTPTransport(uds=place.socket) if place.socket else None
        self._timeout = timeout
        self._http = httpx.AsyncClient(transport=transport, **place.options(timeout))
        self._known: dict[str, str] = {}

    async def _send(self, call: Call) -> Any:
        try:
            return answer_of(await self._http.request(**to_httpx(call, self._timeout)))
        except httpx.HTTPError as error:
            raise failed(error) from error

    async def drive(self, flow: Flow[T]) -> T:
        """Does what a flow yields until it returns."""
        step = flow.__next__
        while True:
            try:
                wanted = step()
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if isinstance(wanted, Pause):
                await asyncio.sleep(wanted.secs)
                step = flow.__next__
                continue
            try:
                answer = await self._send(wanted)
            except Exception as error:
                step = _throwing(flow, error)
            else:
                step = _sending(flow, answer)

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
        reason: str | None = None,
        context: Mapping[str, Any] | None = None,
        reserve: Decimal | str | None = None,
        timeout: float | None = None,
        wait: float = _flows.CALL_WAIT_SECS_MAX,
    ) -> Granted | Pending:
        """Asks once to do an action."""
        asked = Action(action, resource, arguments, reason, context, reserve)
        return await self.drive(_flows.ask(asked, timeout_secs=timeout, wait_secs=wait))

    async def report(self, admission: str, ok: bool) -> Settled:
        """Says what came of an admitted action."""
        return await self.drive(_flows.report(admission, ok))

    async def track(
        self,
        code: str,
        quantity: int | Decimal | str | None = None,
        *,
        properties: Mapping[str, Any] | None = None,
        transaction_id: str | None = None,
        subscription: str | None = None,
        timestamp: str | None = None,
    ) -> UsageReceipt:
        """Records usage of a metric, once however often it is sent; see `Client.track`."""
        event = _flows.usage_event(code, quantity, properties, transaction_id, timestamp)
        return await self.drive(_flows.track(event, subscription, self._known))

    async def requests(self, state: str | None = "pending") -> list[OversightRequest]:
        """Requests to humans, newest first, for an approver."""
        return await self.drive(_flows.requests(state))

    async def approve(self, request: str, digest: str, comment: str | None = None) -> OversightRequest:
        """Approves exactly the action with this digest."""
        return await self.drive(_flows.decide(request, digest, comment))

    async def deny(self, request: str, comment: str | None = None) -> OversightRequest:
        """Denies; the agent is told the comment."""
        return await self.drive(_flows.decide(request, None, comment))

    async def run(
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
    ) -> AsyncRun:
        """Runs a command in a sandbox, as operator; see `Client.run`."""
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
        return await AsyncRun.start(self._http, self._http.build_request("POST", "/v1/runs", json=body, timeout=timeout))

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        """Closes it at the end of the block."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        await self.close()
