"""Usage and budgets.

`track` records what was used. `budget` holds money and quota while a block works, and settles what of them it used:

    with creto.meter.budget("report", amount="2.50", expects={"llm.tokens": 5000}, client=client) as budget:
        answer = ask_a_model()
        budget.used("llm.tokens", answer.tokens)

With an `AsyncClient` it is `async with`. Where no client is named, one is made from the environment.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _model
from ._async_client import AsyncClient
from ._client import Client
from ._flows import Call, Flow, exact, retried
from ._model import Settled, UsageReceipt
from .errors import ConnectError, CretoError, TransportError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._flows import TrackOptions

Amount = int | Decimal | str if TYPE_CHECKING else Any
"""Numbers that are exact: a float is refused."""


def track(code: str, quantity: Amount | None = None, *, client: Client | None = None, **options: Unpack[TrackOptions]) -> UsageReceipt:
    """Records usage of a metric, as `Client.track` does."""
    if client is not None:
        return client.track(code, quantity, **options)
    with Client() as own:
        return own.track(code, quantity, **options)


def budget(
    name: str,
    amount: Amount = "0",
    *,
    expects: Mapping[str, Amount] | None = None,
    client: Client | AsyncClient | None = None,
) -> Budget:
    """A budget for a block of work: at most `amount` of money, and of each metric in `expects` at most so much.

    Entering raises `BudgetExceeded` or `QuotaExceeded` where a ceiling or a quota of the chain has no room; nothing is held then.
    Leaving settles: what was said to be `used` is posted, the rest is released.
    """
    lines = {code: exact(code, units) for code, units in (expects or {}).items()}
    return Budget(name, exact("amount", amount), lines, client)


class Budget:
    """A budget that is held inside a `with` block; `admission` names it, `settled` says what became of it."""

    def __init__(self, name: str, amount: str, expects: Mapping[str, str], client: Client | AsyncClient | None) -> None:
        """See `budget`."""
        self.name, self.amount, self.expects = name, amount, dict(expects)
        self.admission: str | None = None
        self.settled: Settled | None = None
        self._client, self._own = client, client is None
        self._used: dict[str, Decimal] = {}

    def used(self, code: str, quantity: Amount) -> None:
        """Notes that so much of a metric was used; settled when the block ends."""
        self._used[code] = self._used.get(code, Decimal(0)) + Decimal(exact(code, quantity))

    def __enter__(self) -> Budget:
        """Holds it."""
        if self._client is None:
            self._client = Client()
        client = self._client
        if not isinstance(client, Client):
            raise TypeError("with an `AsyncClient` it is `async with`")
        try:
            self.admission = client.drive(_hold(self.name, self.amount, self.expects))
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Settles it; what the block raised goes before what settling raises."""
        client = self._client
        try:
            if isinstance(client, Client) and self.admission is not None:
                self.settled = client.drive(_settle(self.admission, error is None, self._used))
        except CretoError:
            if error is None:
                raise
        finally:
            self._let_go()

    async def __aenter__(self) -> Budget:
        """Holds it."""
        if self._client is None:
            self._client = AsyncClient()
        client = self._client
        if not isinstance(client, AsyncClient):
            raise TypeError("with a `Client` it is `with`")
        try:
            self.admission = await client.drive(_hold(self.name, self.amount, self.expects))
        except BaseException:
            await self._let_go_async()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Settles it; what the block raised goes before what settling raises."""
        client = self._client
        try:
            if isinstance(client, AsyncClient) and self.admission is not None:
                self.settled = await client.drive(_settle(self.admission, error is None, self._used))
        except CretoError:
            if error is None:
                raise
        finally:
            await self._let_go_async()

    def _let_go(self) -> None:
        if self._own and isinstance(self._client, Client):
            self._client.close()
            self._client = None

    async def _let_go_async(self) -> None:
        if self._own and isinstance(self._client, AsyncClient):
            await self._client.close()
            self._client = None


def _hold(name: str, amount: str, expects: Mapping[str, str]) -> Flow[str]:
    """Holds a budget. The attempt's name makes it safe to ask again, so it is, until there is an answer."""
    body = {"name": name, "amount": amount, "expects": _lines(expects), "attempt_id": str(uuid.uuid4())}
    answer = yield from retried(Call("POST", "/v1/metering/budgets", body), TransportError)
    return _model.text(answer, "admission")


def _settle(admission: str, ok: bool, used: Mapping[str, Decimal]) -> Flow[Settled]:
    usage = _lines({code: format(units, "f") for code, units in used.items() if units > 0})
    call = Call("POST", f"/v1/metering/budgets/{admission}/settle", {"ok": ok, "usage": usage})
    answer = yield from retried(call, ConnectError)
    return Settled(_model.text(answer, "admission"), _model.text(answer, "leaf"), _model.text(answer, "cost"))


def _lines(units: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"code": code, "quantity": quantity} for code, quantity in units.items()]
