"""`@require_approval`: what it refuses by itself, and against the real server what a human's answer does."""

import asyncio
import signal
from decimal import Decimal

import pytest
from conftest import Human, approve, deny

from creto import ApprovalDenied, ApprovalTimeout, AsyncClient, Client, CretoError, InDoubt, require_approval


@pytest.fixture
def nowhere():
    """A client whose server must never be asked: whatever is sent would fail."""
    with Client("http://127.0.0.1:1", "creto_agent_x") as client:
        yield client


def test_an_argument_without_an_exact_form_is_refused_before_anybody_is_asked(nowhere):
    ran = []
    guarded = require_approval(nowhere)(lambda order: ran.append(order))
    with pytest.raises(TypeError, match="`order` holds a object"):
        guarded(object())
    assert ran == []


def test_nothing_runs_when_the_server_cannot_be_asked(nowhere, monkeypatch):
    monkeypatch.setattr("creto._flows.OUTAGE_SECS_MAX", -100)
    ran = []
    with pytest.raises(CretoError):
        require_approval(nowhere, tool="t")(lambda x: ran.append(x))(1)
    assert ran == []


def test_what_cannot_be_guarded_is_refused_where_it_is_written(nowhere):
    def generator():
        yield 1

    async def coroutine():
        return 1

    with pytest.raises(TypeError, match="generator"):
        require_approval(nowhere)(generator)
    with pytest.raises(TypeError, match="AsyncClient"):
        require_approval(nowhere)(coroutine)
    with pytest.raises(TypeError, match="AsyncClient"):
        require_approval(AsyncClient("http://127.0.0.1:1"))(print)
    for name in ["", "a b", "a\n", "x" * 600]:
        with pytest.raises(ValueError, match="cannot name a tool"):
            require_approval(nowhere, tool=name)(print)
    for timeout in [0, -1, 2**32]:
        with pytest.raises(ValueError, match="timeout"):
            require_approval(nowhere, timeout=timeout)


def state_of(server, digest):
    rows = server.operator.call("GET", "/v1/actions")["actions"]
    return [row["state"] for row in rows if row["digest"] == digest]


def test_the_approver_sees_every_argument_and_the_call_runs_once(server, human, tool):
    with server.agent() as agent:
        calls = []

        @require_approval(agent, tool=tool, reason=lambda to, amount, memo: f"pay {to}")
        def pay(to, amount, memo="rent"):
            calls.append((to, amount, memo))
            return "paid"

        human.will(approve, tool)
        assert pay("alice", Decimal("10.50")) == "paid"
        human.done()
    assert calls == [("alice", Decimal("10.50"), "rent")]
    (request,) = human.seen
    assert request.action["arguments"] == {"to": "alice", "amount": {"$decimal": "10.50"}, "memo": "rent"}
    assert request.action["action"] == "tool.call_with_approval" and request.reason == "pay alice"
    assert state_of(server, request.digest) == ["done"]


def test_arguments_changed_while_the_human_thinks_do_not_run(server, human, tool):
    order = {"to": "alice", "amount": 10}
    with server.agent() as agent:
        guarded = require_approval(agent, tool=tool)(lambda order: dict(order))
        human.will(approve, tool, before=lambda: order.update(to="mallory", amount=1000))
        assert guarded(order) == {"to": "alice", "amount": 10}
    assert order["to"] == "mallory", "the change did happen before the decision"


def test_a_denial_carries_the_comment_and_nothing_runs(server, human, tool):
    ran = []
    with server.agent() as agent:
        human.will(deny, tool)
        with pytest.raises(ApprovalDenied, match="not to mallory") as caught:
            require_approval(agent, tool=tool)(lambda to: ran.append(to))("mallory")
    assert ran == [] and caught.value.code == "gate.denied_by_human" and "not to mallory" in caught.value.detail


def test_the_functions_exception_is_its_own_and_is_recorded_as_a_failure(server, human, tool):
    class Broke(Exception):
        pass

    with server.agent() as agent:

        @require_approval(agent, tool=tool)
        def fails():
            raise Broke("on its own")

        human.will(approve, tool)
        with pytest.raises(Broke, match="on its own"):
            fails()
        human.done()
    assert state_of(server, human.seen[0].digest) == ["failed"]


def test_a_process_that_is_stopped_does_not_claim_to_know_the_outcome(server, human, tool):
    with server.agent() as agent:

        @require_approval(agent, tool=tool)
        def stopped():
            raise KeyboardInterrupt

        human.will(approve, tool)
        with pytest.raises(KeyboardInterrupt):
            stopped()
        human.done()
    assert state_of(server, human.seen[0].digest) == ["intent"]


def test_an_approval_is_used_once(server, human, tool):
    with server.agent() as agent:
        guarded = require_approval(agent, tool=tool)(lambda: "ran")
        for _ in range(2):
            human.will(approve, tool)
            assert guarded() == "ran"
            human.done()
    first, second = human.seen
    assert first.id != second.id and first.digest == second.digest


def test_nobody_deciding_is_a_timeout_and_not_a_denial(server, tool):
    ran = []
    with server.agent() as agent, pytest.raises(ApprovalTimeout):
        require_approval(agent, tool=tool, timeout=1)(lambda: ran.append(1))()
    assert ran == []


def test_an_async_function_waits_without_blocking(server, human, tool):
    async def main():
        async with AsyncClient(server.url, server.agent_token()) as agent:
            ticks = 0

            @require_approval(agent, tool=tool)
            async def double(x, *, by=2):
                await asyncio.sleep(0)
                return x * by

            async def tick():
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            human.will(approve, tool)
            result = await double(2**60)
            ticking.cancel()
            return result, ticks

    result, ticks = asyncio.run(main())
    assert result == 2**61 and ticks > 0
    assert human.seen[0].action["arguments"] == {"x": {"$int": str(2**60)}, "by": 2}


def test_a_cancelled_task_leaves_the_outcome_open_and_a_failing_one_is_recorded(server, human, tool):
    async def main():
        async with AsyncClient(server.url, server.agent_token()) as agent:
            began = asyncio.Event()

            @require_approval(agent, tool=tool)
            async def waits(how):
                began.set()
                if how == "fail":
                    raise LookupError(how)
                await asyncio.Event().wait()

            human.will(approve, tool)
            task = asyncio.create_task(waits("cancel"))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            human.done()
            human.will(approve, tool)
            with pytest.raises(LookupError, match="fail"):
                await waits("fail")

    asyncio.run(main())
    human.done()
    assert [state_of(server, request.digest) for request in human.seen] == [["intent"], ["failed"]]


def test_an_agent_cannot_approve_itself(server, human, tool):
    with server.agent() as agent:
        human.will(lambda client, request: deny(client, request), tool, before=lambda: refusals.append(try_to_approve(agent, human)))
        refusals: list = []
        with pytest.raises(ApprovalDenied):
            require_approval(agent, tool=tool)(lambda: None)()
    assert refusals == ["http.forbidden"]


def try_to_approve(agent, human):
    request = human.seen[-1]
    try:
        agent.approve(request.id, request.digest)
    except CretoError as error:
        return error.code
    return "approved"


def test_a_server_killed_between_grant_and_outcome_leaves_the_action_in_doubt(own_server, tool):
    human = Human(own_server)
    with own_server.agent() as agent:

        @require_approval(agent, tool=tool)
        def killing():
            own_server.stop(signal.SIGKILL)
            return "done all the same"

        human.will(approve, tool)
        with pytest.raises(InDoubt) as caught:
            killing()
        human.done()
        human.client.close()
    assert caught.value.result == "done all the same" and caught.value.admission
    own_server.start()
    assert state_of(own_server, human.seen[0].digest) == ["in_doubt"]


def test_a_wait_survives_a_server_that_is_killed_and_comes_back(own_server, tool):
    human = Human(own_server)
    listen = own_server.url.removeprefix("http://")

    def restart():
        own_server.stop(signal.SIGKILL)
        own_server.start(listen)

    with own_server.agent() as agent:
        ran = []
        human.will(approve, tool, before=restart)
        require_approval(agent, tool=tool)(lambda: ran.append(1))()
        human.done()
        human.client.close()
    assert ran == [1]
    assert state_of(own_server, human.seen[0].digest) == ["done"]


def edit(arguments):
    """A human who changes the arguments, and another who approves what came of it."""

    def decide(client, request):
        edited = client.call("POST", f"/v1/oversight/requests/{request.id}/edit", {"revision": 1, "arguments": arguments})
        client.approve(request.id, edited["digest"])

    return decide


def test_what_a_human_changed_and_approved_is_what_runs_where_the_call_accepts_it(server, human, tool):
    ran = []
    with server.agent() as agent:
        pay = require_approval(agent, tool=tool, accepts_edits=True)(lambda to, amount: ran.append((to, amount)) or "paid")
        human.will(edit({"to": "alice", "amount": {"$decimal": "5.00"}}), tool)
        assert pay("alice", Decimal("500.00")) == "paid"
        human.done()
        human.will(edit({"to": "alice", "sum": 5}), tool)
        with pytest.raises(CretoError, match="do not fit"):
            pay("alice", Decimal("500.00"))
        human.done()
    assert ran == [("alice", Decimal("5.00"))]


def test_a_call_that_takes_no_changes_cannot_be_changed(server, human, tool):
    refused = []

    def decide(client, request):
        try:
            edit({"to": "mallory"})(client, request)
        except CretoError as error:
            refused.append(error.code)
        client.approve(request.id, request.digest)

    with server.agent() as agent:
        human.will(decide, tool)
        assert require_approval(agent, tool=tool)(lambda to: to)("alice") == "alice"
        human.done()
    assert refused == ["oversight.not_editable"]
