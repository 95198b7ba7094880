"""The rules of asking, reporting and tracking, driven without a server: each test says what the server answers."""

from decimal import Decimal

import pytest

from creto import AlreadyDone, ApprovalDenied, ApprovalTimeout, ConnectError, Granted, InDoubt, Pending, ProtocolError, TransportError
from creto._flows import Action, Call, Driving, Invoke, Pause, ask, guarded, obtain, report, subscription_of, track, track_all, usage_event
from creto.errors import from_answer

ACTION = Action("tool.call_with_approval", "tool:pay", {"to": "alice"}, reason="rent")
GRANTED = {"state": "granted", "admission": "adm_1", "digest": "d"}
PENDING = {"state": "pending", "request": "req_1", "digest": "d"}
LOST = TransportError("the answer did not come")
AWAY = ConnectError("the server cannot be reached")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def play(flow, answers, clock=None):
    """Drives a flow with `answers`; one may be an exception, or `(seconds, answer)` for an answer that took its time."""
    calls = []
    answers = iter(answers)
    driving = Driving(flow)
    while (wanted := driving.wanted) is not None:
        if isinstance(wanted, Pause):
            if clock:
                clock.now += wanted.secs
            driving.answered(None)
            continue
        calls.append(wanted)
        answer = next(answers)
        if isinstance(answer, tuple):
            clock.now += answer[0]
            answer = answer[1]
        (driving.failed if isinstance(answer, Exception) else driving.answered)(answer)
    assert next(answers, None) is None, "the flow asked less often than expected"
    return driving.result, calls


def test_the_very_same_action_is_asked_until_it_is_granted():
    clock = Clock()
    granted, calls = play(obtain(ACTION, timeout_secs=None, clock=clock), [(50, PENDING), (50, PENDING), (9, GRANTED)], clock)
    assert granted == Granted("adm_1", "d")
    assert calls[0] == calls[1] == calls[2]
    body = {"action": "tool.call_with_approval", "resource": "tool:pay", "arguments": {"to": "alice"}, "wait_secs": 50, "reason": "rent"}
    names = {name: calls[0].body[name] for name in ("attempt_id", "asker_id")}
    assert calls[0] == Call("POST", "/v1/actions", {**body, **names}, wait_secs=50)
    _, others = play(obtain(ACTION, timeout_secs=None, clock=clock), [GRANTED], clock)
    assert others[0].body["attempt_id"] != calls[0].body["attempt_id"], "the next call is another attempt"


def test_time_runs_out_here_before_it_does_at_the_server():
    clock = Clock()
    with pytest.raises(ApprovalTimeout, match="within 60 s") as caught:
        play(obtain(ACTION, timeout_secs=60, clock=clock), [(50, PENDING), (10, PENDING)], clock)
    assert caught.value.code == "gate.not_decided" and "req_1" in caught.value.hint


def test_the_last_wait_is_no_longer_than_the_time_left():
    clock = Clock()
    flow = obtain(ACTION, timeout_secs=60, clock=clock)
    _, calls = play(flow, [(50, PENDING), (1, GRANTED)], clock)
    assert [call.body["wait_secs"] for call in calls] == [50, 10]
    assert {call.body["timeout_secs"] for call in calls} == {60}


def test_a_denial_is_raised_with_the_humans_comment():
    problem = from_answer(403, b'{"code":"gate.denied_by_human","detail":"`bob` denied the request: not today"}')
    with pytest.raises(ApprovalDenied, match="not today"):
        play(obtain(ACTION, timeout_secs=None), [problem])


def test_a_server_that_restarts_while_a_human_is_waited_for_is_asked_again():
    clock = Clock()
    granted, calls = play(obtain(ACTION, timeout_secs=None, clock=clock), [(30, LOST), AWAY, AWAY, GRANTED], clock)
    assert granted.admission == "adm_1" and len(calls) == 4


def test_a_server_that_stays_away_is_an_error():
    clock = Clock()
    with pytest.raises(ConnectError):
        play(obtain(ACTION, timeout_secs=None, clock=clock), [(50, AWAY), (50, AWAY), (50, AWAY)], clock)


def test_asking_once_is_one_attempt_however_often_its_answer_is_lost():
    granted, calls = play(ask(ACTION, timeout_secs=None, wait_secs=0), [AWAY, LOST, GRANTED])
    assert granted == Granted("adm_1", "d") and len(calls) == 3
    assert calls[0] == calls[1] == calls[2] and calls[0].body["attempt_id"]
    for error in (LOST, AWAY):
        with pytest.raises(type(error)):
            play(ask(ACTION, timeout_secs=None, wait_secs=0), [error] * 4)
    assert play(ask(ACTION, timeout_secs=None, wait_secs=0), [PENDING])[0] == Pending("req_1", "d")


def test_an_outcome_is_reported_once():
    with pytest.raises(TransportError):
        play(report("adm_1", True), [LOST])
    settled, calls = play(report("adm_1", False), [AWAY, {"admission": "adm_1", "leaf": "leaf_1", "cost": "0"}])
    assert settled.leaf == "leaf_1" and calls[1].path == "/v1/actions/adm_1/outcome" and calls[1].body == {"ok": False}


RUN = Invoke(print, (), {})
SETTLED = {"admission": "adm_1", "leaf": "leaf_1", "cost": "0"}


def test_what_a_function_returns_and_raises_goes_through_and_is_reported():
    result, calls = play(guarded(obtain(ACTION, timeout_secs=None), RUN), [GRANTED, "done", SETTLED])
    assert result == "done" and calls[1] is RUN and calls[2].body == {"ok": True}
    for raised in [LookupError("x"), StopIteration("its own"), AWAY]:
        with pytest.raises(type(raised)) as caught:
            play(guarded(obtain(ACTION, timeout_secs=None), RUN), [GRANTED, raised, SETTLED])
        assert caught.value is raised


def test_an_outcome_that_cannot_be_recorded_is_a_doubt_and_never_hides_what_was_raised():
    with pytest.raises(InDoubt) as caught:
        play(guarded(obtain(ACTION, timeout_secs=None), RUN), [GRANTED, "done", LOST])
    assert (caught.value.result, caught.value.admission) == ("done", "adm_1")
    with pytest.raises(LookupError):
        play(guarded(obtain(ACTION, timeout_secs=None), RUN), [GRANTED, LookupError("x"), LOST])


def test_an_answer_of_another_form_is_named():
    for answer in [{}, {"state": "granted"}, {"state": "maybe", "digest": "d"}, []]:
        with pytest.raises(ProtocolError):
            play(ask(ACTION, timeout_secs=None, wait_secs=0), [answer])


RECEIPT = {"transaction_id": "t1", "admission": "a", "cost": "0.10", "duplicate": False}
WHOAMI = {"identity": "spiffe://d/tenant/t/agent/r", "chain": ["spiffe://d/tenant/t/human/alice", "spiffe://d/tenant/t/agent/r"]}


def test_usage_is_sent_again_under_the_same_transaction_until_it_is_answered():
    known: dict = {}
    receipt, calls = play(track(known, "tokens", 3), [WHOAMI, LOST, AWAY, RECEIPT])
    assert receipt.cost == "0.10" and known == {"subscription": "alice"}
    assert calls[1] == calls[2] == calls[3]
    assert calls[1].body["external_subscription_id"] == "alice" and calls[1].body["properties"] == {"quantity": "3"}
    _, calls = play(track(known, "tokens", 3), [RECEIPT])
    assert len(calls) == 1
    _, calls = play(track(known, "tokens", 3, subscription="bob", transaction_id="mine"), [RECEIPT])
    assert (calls[0].body["external_subscription_id"], calls[0].body["transaction_id"]) == ("bob", "mine")


def test_many_events_go_in_few_requests_and_each_is_answered():
    events = [usage_event("tokens", n) for n in range(10_001)]
    told = [{"transaction_id": "t", "status": "recorded", "cost": "0"}, {"transaction_id": None, "status": "refused", "code": "metering.bad_event"}]
    answers, calls = play(track_all({}, events), [WHOAMI, LOST, {"events": told}, {"events": told[:1]}])
    assert [answer.status for answer in answers] == ["recorded", "refused", "recorded"] and answers[1].code == "metering.bad_event"
    assert calls[1] == calls[2] and [len(call.body["events"]) for call in calls[2:]] == [10_000, 1]
    assert calls[3].body["events"][0]["external_subscription_id"] == "alice"
    _, calls = play(track_all({}, [{**usage_event("tokens", 1), "external_subscription_id": "own"}]), [{"events": told[:1]}])
    assert len(calls) == 1 and calls[0].body["events"][0]["external_subscription_id"] == "own"


def test_two_calls_are_two_transactions_unless_named():
    first, second = (usage_event("tokens", 1) for _ in range(2))
    assert first["transaction_id"] != second["transaction_id"]
    assert usage_event("tokens", 1, transaction_id="mine")["transaction_id"] == "mine"


def test_amounts_stay_exact():
    event = usage_event(
        "tokens", Decimal("0.10"), properties={"n": 2**80, "model": "m", "cached": True, "note": None}, timestamp="2026-11-22T10:00:00Z"
    )
    assert event["properties"] == {"n": str(2**80), "model": "m", "cached": True, "note": None, "quantity": "0.10"}
    assert event["timestamp"] == "2026-11-22T10:00:00Z"
    for quantity, properties in [(0.1, None), (True, None), (None, {"x": 0.1}), (None, {"x": []}), (1, {"quantity": 2})]:
        with pytest.raises(TypeError):
            usage_event("tokens", quantity, properties=properties)


def test_the_subscription_is_the_roots_name():
    assert subscription_of(WHOAMI) == "alice"
    assert subscription_of({"identity": "spiffe://d/tenant/t/human/bob", "chain": None}) == "bob"


AGAIN = {**GRANTED, "again": True}


def test_a_grant_that_is_repeated_is_taken_only_by_who_can_have_lost_it():
    named = Action("tool.call_with_approval", "tool:pay", {"to": "alice"}, call="call-1")
    clock = Clock()
    granted, calls = play(obtain(named, timeout_secs=None, clock=clock), [(30, LOST), AGAIN], clock)
    assert granted.admission == "adm_1" and {call.body["attempt_id"] for call in calls} == {"call-1"}
    assert play(ask(named, timeout_secs=None, wait_secs=0), [LOST, AGAIN])[0].again
    # What never reached the server was answered to nobody: the grant is another process's.
    for answers in [[AGAIN], [AWAY, AGAIN]]:
        for flow in [obtain(named, timeout_secs=None, clock=clock), ask(named, timeout_secs=None, wait_secs=0)]:
            with pytest.raises(AlreadyDone, match="adm_1"):
                play(flow, answers, clock)


def test_each_process_that_asks_under_a_name_is_an_asker_of_its_own():
    named = Action("tool.call_with_approval", "tool:pay", {"to": "alice"}, call="call-1")
    askers = [play(ask(named, timeout_secs=None, wait_secs=0), [LOST, GRANTED])[1] for _ in range(2)]
    assert [len({call.body["asker_id"] for call in calls}) for calls in askers] == [1, 1]
    assert askers[0][0].body["asker_id"] != askers[1][0].body["asker_id"]


def test_changed_arguments_run_only_where_they_are_accepted_and_fit():
    changed = {**GRANTED, "arguments": {"to": "bob"}}
    other = Invoke(print, ("bob",), {})
    result, calls = play(guarded(obtain(ACTION, timeout_secs=None), RUN, lambda arguments: other), [changed, "done", SETTLED])
    assert result == "done" and calls[1] is other and calls[2].body == {"ok": True}
    refusing = [None, lambda arguments: (_ for _ in ()).throw(ProtocolError("they do not fit"))]
    for edited in refusing:
        answers = iter([changed, SETTLED])
        driving, calls = Driving(guarded(obtain(ACTION, timeout_secs=None), RUN, edited)), []
        with pytest.raises(ProtocolError):
            while driving.wanted is not None:
                calls.append(driving.wanted)
                driving.answered(next(answers))
        assert calls[-1].body == {"ok": False} and RUN not in calls, "it is on record that nothing was done"
