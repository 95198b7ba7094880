"""Budgets that are held while a block works, against the real server."""

import asyncio
import uuid

import pytest

from creto import AsyncClient, BudgetExceeded, Client, MeteringError, QuotaExceeded, meter


@pytest.fixture
def spender(server):
    """An agent of its own with a budget of one, a metric at 0.01, and a quota of 60 of it a day."""
    name, code = f"agent-{uuid.uuid4().hex[:8]}", f"test.{uuid.uuid4().hex[:8]}"
    server.operator.call("POST", "/v1/identities", {"kind": "agent", "name": name})
    metric = {"aggregation": "sum", "field": "quantity", "unit_price": "0.01"}
    server.operator.call("PUT", f"/v1/metering/metrics/{code}", metric)
    quota = {"metric": code, "scope": "agent", "subject": name, "window": "daily", "limit": "60"}
    server.operator.call("PUT", f"/v1/metering/quotas/{code}", quota)
    token = server.agent_token(name, chain=server.chain(name, budget="1.00"))
    return token, code


def counted(server, code):
    (subject,) = server.operator.call("GET", f"/v1/metering/quotas/{code}")["subjects"]
    return float(subject["counted"]) - float(subject["leased"])


def held(server, code):
    return sum(float(account["held"]) for account in server.operator.call("GET", "/v1/metering/accounts")["accounts"])


def test_what_a_block_used_is_posted_and_the_rest_is_released(server, spender):
    token, code = spender
    with Client(server.url, token) as agent:
        with meter.budget("report", "0.90", expects={code: 50}, client=agent) as budget:
            assert counted(server, code) == 50
            # Beside it there is no room for as much again, of money or of quota.
            with pytest.raises(BudgetExceeded), meter.budget("other", "0.20", client=agent):
                pass
            with pytest.raises(QuotaExceeded) as caught, meter.budget("other", expects={code: 11}, client=agent):
                pass
            assert caught.value.status == 429 and code in caught.value.hint
            budget.used(code, 10)
            budget.used(code, "2.5")
        assert float(budget.settled.cost) == 0.125 and counted(server, code) == 12.5
        meter.track(code, 1, client=agent)
    assert counted(server, code) == 13.5


def test_what_a_block_raises_passes_and_what_it_used_until_then_is_posted(server, spender):
    token, code = spender
    with Client(server.url, token) as agent:
        before = held(server, code)
        with pytest.raises(ZeroDivisionError), meter.budget("report", "0.50", expects={code: 40}, client=agent) as budget:
            budget.used(code, 4)
            1 / 0
        assert float(budget.settled.cost) == 0.04 and counted(server, code) == 4 and held(server, code) == before
        with pytest.raises(MeteringError), meter.budget("report", "0.50", client=agent) as budget:
            budget.used("no.such.metric", 4)


def test_asyncio_holds_budgets_side_by_side_within_the_quota(server, spender):
    token, code = spender

    async def work(agent, units):
        async with meter.budget("piece", expects={code: units}, client=agent) as budget:
            await asyncio.sleep(0)
            budget.used(code, units)
        return budget.settled

    async def main():
        async with AsyncClient(server.url, token) as agent:
            return await asyncio.gather(*(work(agent, 10) for _ in range(9)), return_exceptions=True)

    outcomes = asyncio.run(main())
    refused = [outcome for outcome in outcomes if isinstance(outcome, QuotaExceeded)]
    assert len(refused) == 3 and counted(server, code) == 60, outcomes


def test_the_wrong_block_and_a_float_are_refused_before_anybody_is_asked(server, spender):
    token, code = spender
    with Client(server.url, token) as agent:
        with pytest.raises(TypeError):
            meter.budget("report", 0.5, client=agent)

        async def wrong():
            async with meter.budget("report", client=agent):
                pass

        with pytest.raises(TypeError):
            asyncio.run(wrong())
