"""The rest of the client against the real server."""

import asyncio
import signal
import time
import uuid

import pytest

from creto import (
    AsyncClient,
    BudgetExceeded,
    Client,
    Finished,
    Granted,
    IdentityError,
    Output,
    RequestError,
    RunLost,
    RuntimeFault,
    Started,
)


def define_metric(server, price="0.25"):
    code = f"test.{uuid.uuid4().hex[:8]}"
    metric = {"aggregation": "sum", "field": "quantity", "unit_price": price}
    server.operator.call("PUT", f"/v1/metering/metrics/{code}", metric)
    return code


def test_each_credential_proves_who_it_is(server):
    assert server.operator.whoami()["roles"].split("+") == ["operator", "approver"]
    name = f"agent-{uuid.uuid4().hex[:8]}"
    with Client(server.url, server.agent_token(name)) as agent:
        who = agent.whoami()
    assert who["identity"].endswith(f"/agent/{name}") and who["chain"][-1] == who["identity"] and len(who["chain"]) == 2


def test_no_credential_and_a_wrong_one_are_refused(server, monkeypatch):
    monkeypatch.delenv("CRETO_TOKEN", raising=False)
    for token in [None, "creto_operator_AAAAAAAAAAAAAAAAAAAAAAAA"]:
        with Client(server.url, token) as client, pytest.raises((RequestError, IdentityError)) as caught:
            client.whoami()
        assert caught.value.status == 401


def test_the_environment_names_server_and_token(server, monkeypatch):
    monkeypatch.setenv("CRETO_URL", server.url)
    monkeypatch.setenv("CRETO_TOKEN", server.key("approver"))
    with Client() as client:
        assert "approver" in client.whoami()["roles"]


def test_an_action_that_needs_nobody_is_granted_at_once_and_settled(server):
    with server.agent() as agent:
        granted = agent.ask("tool.call", "tool:search", {"q": "weather"})
        assert isinstance(granted, Granted)
        settled = agent.report(granted.admission, ok=True)
    assert settled.admission == granted.admission and settled.leaf


def test_usage_counts_once_however_often_it_is_sent(server):
    code, transaction = define_metric(server), str(uuid.uuid4())
    with server.agent() as agent:
        first = agent.track(code, 2, transaction_id=transaction)
        again = agent.track(code, 2, transaction_id=transaction)
        other = agent.track(code, properties={"quantity": "3"})
        assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
        assert float(first.cost) == 0.5 and float(other.cost) == 0.75
        usage = {row["code"]: row for row in agent.call("GET", "/v1/metering/usage")["usage"]}
    assert usage[code]["events"] == 2 and float(usage[code]["cost"]) == 1.25


def test_a_budget_ends_spending(server):
    code, name = define_metric(server), f"agent-{uuid.uuid4().hex[:8]}"
    server.operator.call("POST", "/v1/identities", {"kind": "agent", "name": name})
    chain = server.chain(name, budget="1.00")
    with Client(server.url, server.agent_token(name, chain=chain)) as agent:
        for _ in range(4):
            agent.track(code, 1)
        with pytest.raises(BudgetExceeded) as caught:
            agent.track(code, 1)
    assert caught.value.status == 429 and caught.value.code == "metering.budget_exceeded"


def test_asyncio_does_the_same(server):
    code = define_metric(server)

    async def main():
        async with AsyncClient(server.url, server.agent_token()) as agent:
            receipts = await asyncio.gather(*(agent.track(code, 1, transaction_id=f"{code}-{n % 3}") for n in range(9)))
            granted = await agent.ask("tool.call", "tool:search", {})
            settled = await agent.report(granted.admission, ok=False)
            return receipts, settled

    receipts, settled = asyncio.run(main())
    assert sum(not receipt.duplicate for receipt in receipts) == 3 and settled.leaf


def test_a_run_streams_what_it_writes_and_says_how_it_ended(sandbox):
    with sandbox.operator.run(["sh", "-c", "echo out; echo err >&2; exit 7"], reason="a test") as run:
        events = list(run)
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    assert b"".join(e.data for e in events if isinstance(e, Output) and e.stream == "stdout") == b"out\n"
    assert b"".join(e.data for e in events if isinstance(e, Output) and e.stream == "stderr") == b"err\n"
    assert run.result.exit_code == 7 and not run.result.ok and run.started.run


def test_a_command_may_be_silent_for_longer_than_an_answer_may_take(sandbox):
    with Client(socket=sandbox.data, timeout=0.5) as operator:
        result, _, _ = operator.run(["sleep", "1.5"]).wait()
    assert result.ok and result.duration_ms >= 1500


def test_leaving_a_run_early_ends_it(sandbox):
    with sandbox.operator.run(["sleep", "600"]) as run:
        assert isinstance(next(iter(run)), Started)
    with pytest.raises(RunLost):
        _ = run.result
    deadline = time.monotonic() + 30
    while sandbox.operator.call("GET", f"/v1/runs/{run.started.run}")["actions"][0]["state"] == "intent":
        assert time.monotonic() < deadline, "the run went on"
        time.sleep(0.05)


def test_a_server_that_dies_does_not_look_like_a_run_that_ended(sandbox_of_its_own):
    server = sandbox_of_its_own
    events = []
    with pytest.raises(RunLost, match="before the run was reported finished"):
        for event in server.operator.run(["sh", "-c", "echo go; sleep 600"]):
            events.append(event)
            if isinstance(event, Output):
                server.stop(signal.SIGKILL)
    assert Output("stdout", b"go\n") in events
    # The next server of this directory clears away what the run left behind.
    server.start()


def test_a_run_for_asyncio(sandbox):
    async def main():
        async with AsyncClient(socket=sandbox.data) as operator, await operator.run(["printenv", "CRETO_AGENT_ID"]) as run:
            return await run.wait()

    result, out, _ = asyncio.run(main())
    assert result.ok and b"/agent/" in out


def test_a_run_that_is_refused_raises_where_it_is_started(sandbox):
    with pytest.raises(RuntimeFault) as caught:
        sandbox.operator.run(["true"], mounts=["/"])
    assert caught.value.code == "runtime.mount_refused"


def test_inside_a_sandbox_the_program_is_its_agent_with_no_credential(sandbox):
    script = "import urllib.request; print(urllib.request.urlopen('http://creto.internal/v1/whoami').read().decode())"
    result, out, err = sandbox.operator.run(["python3", "-c", script]).wait()
    assert result.ok, err.decode()
    assert b'"identity":"spiffe://' in out.replace(b" ", b"")
