"""HumanLayer's own Python SDK, unmodified, against the real server: `pip install humanlayer==0.7.9` is the judge."""

import asyncio
import http.server
import json
import threading
import time
import uuid

import httpx
import pytest
from conftest import Human, Server
from humanlayer import (
    AsyncHumanLayer,
    ContactChannel,
    EmailContactChannel,
    FunctionCallSpec,
    FunctionCallStatus,
    HumanContactSpec,
    HumanContactStatus,
    HumanLayer,
    ResponseOption,
    SlackContactChannel,
)
from humanlayer.core.async_cloud import AsyncCloudHumanLayerBackend, AsyncHumanLayerCloudConnection
from humanlayer.core.models import EmailRecipient, Escalation
from humanlayer.core.models_agent_webhook import V1Beta2FunctionCallCompleted, V1Beta2HumanContactCompleted
from humanlayer.core.protocol import HumanLayerException

WAIT_SECS_MAX = 30


def quick(_):
    time.sleep(0.02)


async def quick_too(_):
    await asyncio.sleep(0.02)


def base(server):
    return f"{server.url}/humanlayer/v1"


def new_id():
    return f"call-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def agent_key(server):
    return server.agent_token()


@pytest.fixture
def hl(server, agent_key):
    return HumanLayer(api_key=agent_key, api_base_url=base(server), sleep=quick, run_id=f"run-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def approver(server):
    """The same SDK with an approver's key."""
    return HumanLayer(api_key=server.key("approver"), api_base_url=base(server), sleep=quick)


def raw(server, key, method, path, body=None):
    answer = httpx.request(method, f"{base(server)}{path}", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.headers["content-type"] == "application/json", f"{path}: {answer.status_code} {answer.text}"
    return answer


def until(look):
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + WAIT_SECS_MAX
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


class Deciding:
    """Answers the next call of a kind through HumanLayer's own API, in a thread of its own, by an approver's key."""

    def __init__(self, server, path, status):
        self.server, self.path, self.status, self.seen = server, path, status, None
        self.key = server.key("approver")
        self.thread = threading.Thread(target=self.run)

    def run(self):
        def pending():
            calls = raw(self.server, self.key, "GET", f"/agent/{self.path}/pending").json()
            return [call for call in calls if call["run_id"] == self.run_id]

        self.seen = until(pending)[0]
        self.answer = raw(self.server, self.key, "POST", f"/agent/{self.path}/{self.seen['call_id']}/respond", self.status)

    def about(self, run_id):
        self.run_id = run_id
        self.thread.start()
        return self

    def done(self):
        self.thread.join(WAIT_SECS_MAX + 5)
        assert not self.thread.is_alive() and self.answer.status_code == 200, self.answer.text
        return self.seen


def test_an_approved_function_runs_and_returns_what_it_returns(server, hl):
    ran = []

    @hl.require_approval()
    def pay(to: str, amount: int) -> str:
        ran.append((to, amount))
        return f"paid {amount}"

    human = Deciding(server, "function_calls", {"approved": True}).about(hl.run_id)
    assert pay(to="alice", amount=5) == "paid 5"
    assert ran == [("alice", 5)]
    assert human.done()["spec"]["kwargs"] == {"to": "alice", "amount": 5}


def test_a_denied_function_does_not_run_and_the_agent_reads_the_comment(server, hl):
    ran = []
    channel = ContactChannel(slack=SlackContactChannel(channel_or_user_id="C1", context_about_channel_or_user="the finance team"))
    human = Deciding(server, "function_calls", {"approved": False, "comment": "not to mallory"}).about(hl.run_id)
    guarded = hl.require_approval(contact_channel=channel)(lambda to: ran.append(to))
    guarded.__wrapped__.__name__ = "pay"
    assert guarded(to="mallory") == "User in the finance team denied pay with message: not to mallory"
    human.done()
    assert ran == []


def test_a_denial_without_words_has_words_all_the_same(server, hl, agent_key):
    human = Human(server)
    human.will(lambda client, request: client.deny(request.id), "pay_wordless")
    guarded = hl.require_approval()(pay_wordless)
    answer = guarded(to="mallory")
    human.done()
    human.client.close()
    assert answer.startswith("User denied pay_wordless with message: ") and len(answer) > len("User denied pay_wordless with message: ")


def pay_wordless(to):
    raise AssertionError("it was denied")


def test_a_named_refusal_comes_back_by_its_name_and_only_a_name_that_was_offered_is_taken(server, hl, approver):
    options = [ResponseOption(name="too_much"), ResponseOption(name="later", title="Later", prompt_fill="Ask me on ")]
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 5}, reject_options=options))
    assert [option.name for option in call.spec.reject_options] == ["too_much", "later"]
    with pytest.raises(HumanLayerException, match="reject_option_name"):
        approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=False, comment="x", reject_option_name="never"))
    assert hl.get_function_call(call.call_id).status.approved is None
    approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=False, reject_option_name="later"))
    status = hl.get_function_call(call.call_id).status
    assert (status.approved, status.reject_option_name) == (False, "later") and status.comment and status.responded_at
    assert call.status.requested_at <= status.responded_at
    assert status.as_completed().comment == status.comment


def test_an_agents_key_never_decides(server, hl, agent_key):
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={}))
    contact = hl.create_human_contact(HumanContactSpec(msg="may I?"))
    with pytest.raises(HumanLayerException, match="403"):
        hl.respond_to_function_call(call.call_id, FunctionCallStatus(approved=True))
    with pytest.raises(HumanLayerException, match="403"):
        hl.respond_to_human_contact(contact.call_id, HumanContactStatus(response="yes"))
    assert hl.get_function_call(call.call_id).status.approved is None
    assert hl.get_human_contact(contact.call_id).status.response is None
    # Whatever it claims when it asks.
    forged = {"run_id": "r", "call_id": new_id(), "spec": {"fn": "pay", "kwargs": {}}, "status": {"approved": True}}
    raw(server, agent_key, "POST", "/function_calls", forged)
    assert hl.get_function_call(forged["call_id"]).status.approved is None


def test_one_decision_is_final(server, hl, approver):
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={}))
    decided = approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=True, comment="fine"))
    assert (decided.status.approved, decided.status.comment) == (True, "fine")
    with pytest.raises(HumanLayerException, match="409"):
        approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=False, comment="no"))
    assert hl.get_function_call(call.call_id).status.approved is True


def test_a_human_answers_a_question(server, hl):
    human = Deciding(server, "human_contacts", {"response": "the blue one"}).about(hl.run_id)
    assert hl.human_as_tool()("which one?") == "the blue one"
    assert human.done()["spec"]["msg"] == "which one?"


def test_an_answer_may_be_one_of_the_options_and_is_never_empty(server, hl, approver):
    options = [ResponseOption(name="yes"), ResponseOption(name="no", title="No")]
    contact = hl.create_human_contact(HumanContactSpec(msg="may I?", subject="a question", response_options=options))
    for bad in [HumanContactStatus(response=""), HumanContactStatus(response="   "), HumanContactStatus()]:
        with pytest.raises(HumanLayerException, match="422"):
            approver.respond_to_human_contact(contact.call_id, bad)
    with pytest.raises(HumanLayerException, match="response_option_name"):
        approver.respond_to_human_contact(contact.call_id, HumanContactStatus(response="perhaps", response_option_name="maybe"))
    assert hl.get_human_contact(contact.call_id).status.response is None
    approver.respond_to_human_contact(contact.call_id, HumanContactStatus(response="go on", response_option_name="yes"))
    status = hl.get_human_contact(contact.call_id).status
    assert (status.response, status.response_option_name) == ("go on", "yes")


def test_the_async_client_asks_and_is_answered(server, agent_key):
    async def main():
        hl = AsyncHumanLayer(api_key=agent_key, api_base_url=base(server), sleep=quick_too, run_id=f"run-{uuid.uuid4().hex[:8]}")

        async def double(x: int) -> int:
            return x * 2

        guarded = hl.require_approval().wrap(double)
        human = Deciding(server, "function_calls", {"approved": True}).about(hl.run_id)
        doubled = await guarded(x=21)
        human.done()
        human = Deciding(server, "function_calls", {"approved": False, "comment": "no more"}).about(hl.run_id)
        denied = await guarded(x=4)
        human.done()
        human = Deciding(server, "human_contacts", {"response": "ask bob"}).about(hl.run_id)
        answer = await hl.human_as_tool()("whom?")
        human.done()
        call = await hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={}))
        backend = AsyncCloudHumanLayerBackend(connection=AsyncHumanLayerCloudConnection(api_key=agent_key, api_base_url=base(server)))
        escalated = await backend.functions().escalate_email(call.call_id, Escalation(escalation_msg="please"))
        with pytest.raises(HumanLayerException, match="403"):
            await hl.respond_to_function_call(call.call_id, FunctionCallStatus(approved=True))
        with pytest.raises(HumanLayerException, match="404"):
            await hl.get_function_call("nobody-asked")
        return doubled, denied, answer, escalated.call_id == call.call_id

    assert asyncio.run(main()) == (42, "User denied double with message: no more", "ask bob", True)


def test_the_same_call_again_is_the_same_call_and_another_under_its_name_is_refused(server, hl):
    call_id = new_id()
    first = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 5}), call_id)
    again = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 5}), call_id)
    assert again == first
    with pytest.raises(HumanLayerException, match="409"):
        hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 6}), call_id)
    with pytest.raises(HumanLayerException, match="409"):
        HumanLayer(api_key=hl.backend.functions().connection.api_key, api_base_url=base(server), run_id="another").create_function_call(
            FunctionCallSpec(fn="pay", kwargs={"amount": 5}), call_id
        )
    assert hl.get_function_call(call_id).spec.kwargs == {"amount": 5}
    # A question of the same name is another thing.
    assert hl.create_human_contact(HumanContactSpec(msg="?"), call_id).spec.msg == "?"
    with pytest.raises(HumanLayerException, match="409"):
        hl.create_human_contact(HumanContactSpec(msg="!"), call_id)


def test_one_agent_neither_sees_nor_takes_the_calls_of_another(server, hl, approver):
    call_id = new_id()
    hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 5}), call_id)
    other = HumanLayer(api_key=server.agent_token(), api_base_url=base(server), run_id="other")
    with pytest.raises(HumanLayerException, match="404"):
        other.get_function_call(call_id)
    with pytest.raises(HumanLayerException, match="404"):
        other.escalate_email_function_call(call_id, Escalation(escalation_msg="now"))
    assert all(call["call_id"] != call_id for call in pending(server, other))
    # The name is free for it, and then no approver can mean one of both by it.
    other.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 6}), call_id)
    assert other.get_function_call(call_id).spec.kwargs == {"amount": 6}
    with pytest.raises(HumanLayerException, match="409"):
        approver.respond_to_function_call(call_id, FunctionCallStatus(approved=True))
    assert {hl.get_function_call(call_id).status.approved, other.get_function_call(call_id).status.approved} == {None}


def pending(server, client, kind="function_calls", query=""):
    key = client.backend.functions().connection.api_key
    return raw(server, key, "GET", f"/agent/{kind}/pending{query}").json()


def test_what_is_pending_is_listed_in_both_forms_that_clients_read(server, approver):
    hl = HumanLayer(api_key=server.agent_token(), api_base_url=base(server), run_id="lists")
    ids = [hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"n": n})).call_id for n in range(3)]
    asked = hl.create_human_contact(HumanContactSpec(msg="?")).call_id
    assert [call["call_id"] for call in pending(server, hl)] == ids, "oldest first"
    page = pending(server, hl, query="?limit=2&offset=1")
    assert [call["call_id"] for call in page["items"]] == ids[1:] and page["total"] == 3
    assert (page["limit"], page["offset"], page["has_more"]) == (2, 1, False)
    assert pending(server, hl, query="?limit=1")["has_more"] is True
    assert [contact["call_id"] for contact in pending(server, hl, "human_contacts")] == [asked]
    approver.respond_to_function_call(ids[0], FunctionCallStatus(approved=True))
    assert [call["call_id"] for call in pending(server, hl)] == ids[1:]
    assert set(ids[1:]) <= {call["call_id"] for call in pending(server, approver)}, "an approver sees everybody's"
    for bad in ["?limit=0", "?limit=x", "?offset=-1", "?state=all"]:
        assert raw(server, hl.backend.functions().connection.api_key, "GET", f"/agent/function_calls/pending{bad}").status_code == 422


def test_a_bot_token_is_neither_echoed_nor_kept(server, hl, files_of_the_server):
    secret = f"xoxb-{uuid.uuid4().hex}"
    channel = ContactChannel(slack=SlackContactChannel(channel_or_user_id="C1", bot_token=secret, allowed_responder_ids=["U1"]))
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={}, channel=channel))
    contact = hl.create_human_contact(HumanContactSpec(msg="?", channel=channel))
    assert call.spec.channel.slack.bot_token == contact.spec.channel.slack.bot_token != secret
    assert call.spec.channel.slack.allowed_responder_ids == ["U1"]
    assert hl.get_function_call(call.call_id).spec.channel.slack.bot_token != secret
    assert not any(secret.encode() in content for content in files_of_the_server())


@pytest.fixture
def files_of_the_server(server):
    """Everything the server has written, as it lies on disk."""
    return lambda: [path.read_bytes() for path in server.data.rglob("*") if path.is_file()]


def test_every_part_of_a_specification_comes_back(hl):
    email = EmailContactChannel(
        address="alice@example.org",
        context_about_user="the boss",
        additional_recipients=[EmailRecipient(address="bob@example.org", field="cc")],
        subject="Re: invoice",
        template="<p>{{ event.spec.fn }}</p>",
    )
    spec = FunctionCallSpec(
        fn="pay",
        kwargs={"amount": "10.50", "nested": {"list": [1, None, True, 0.5], "über": "§"}},
        channel=ContactChannel(email=email),
        reject_options=[ResponseOption(name="no", interactive=True)],
        state={"step": 7},
    )
    call = hl.create_function_call(spec)
    assert call.spec == spec and hl.get_function_call(call.call_id).spec == spec
    contact = HumanContactSpec(msg="which?", subject="s", state={"a": [1]}, channel=ContactChannel(email=email))
    asked = hl.create_human_contact(contact)
    assert asked.spec == contact and hl.get_human_contact(asked.call_id).spec == contact


def test_an_escalation_reaches_whoever_waits_and_is_on_record(server, hl, approver):
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={}))
    again = hl.escalate_email_function_call(
        call.call_id,
        Escalation(escalation_msg="it is urgent", additional_recipients=[EmailRecipient(address="bob@example.org", field="to")]),
    )
    assert (again.call_id, again.status.approved) == (call.call_id, None)
    contact = hl.create_human_contact(HumanContactSpec(msg="?"))
    assert hl.escalate_email_human_contact(contact.call_id, Escalation(escalation_msg="please")).call_id == contact.call_id
    native = request_of(server, raw_call(server, hl, call.call_id))
    assert native["seq"] == 2, "its history holds the escalation"
    approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=True))
    with pytest.raises(HumanLayerException, match="409"):
        hl.escalate_email_function_call(call.call_id, Escalation(escalation_msg="too late"))


def raw_call(server, hl, call_id, kind="function_calls"):
    return raw(server, hl.backend.functions().connection.api_key, "GET", f"/{kind}/{call_id}").json()


def request_of(server, call):
    return server.operator.call("GET", f"/v1/oversight/requests/{call['creto']['request']}")


def test_the_record_says_that_the_client_only_declared_what_it_does(server, hl):
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"to": "alice"}))
    answer = raw_call(server, hl, call.call_id)
    assert answer["creto"]["binding"] == "declared"
    native = request_of(server, answer)
    assert (native["binding"], native["kind"], native["editable"]) == ("declared", "approval", False)
    action = json.loads(native["action"])
    assert action["resource"] == "tool:pay" and action["arguments"]["kwargs"] == {"to": "alice"}
    asked = request_of(server, raw_call(server, hl, hl.create_human_contact(HumanContactSpec(msg="which?")).call_id, "contact_requests"))
    assert (asked["binding"], asked["kind"]) == ("declared", "question")

    def opened():
        first, found = 0, []
        while True:
            page = server.operator.call("GET", "/v1/audit/entries", params={"from": str(first), "limit": "200"})
            facts = [entry["entry"].get("facts", {}) for entry in page["entries"]]
            found += [fact for fact in facts if fact.get("request") == answer["creto"]["request"] and fact.get("binding") == "declared"]
            first += len(facts)
            if not facts or first >= page["size"]:
                return found

    assert until(opened)


def test_the_aliases_and_the_projects_routes_answer(server, hl, agent_key):
    asked = raw(server, agent_key, "POST", "/human_contacts", {"run_id": "r", "call_id": new_id(), "spec": {"msg": "?"}})
    assert asked.status_code == 200
    assert raw(server, agent_key, "GET", f"/human_contacts/{asked.json()['call_id']}").json()["spec"] == asked.json()["spec"]
    assert raw(server, agent_key, "GET", "/status").json() == {"status": "ok"}
    assert raw(server, agent_key, "GET", "/project").json()["slug"] == "default"
    assert httpx.get(f"{server.url}/version").json()["version"]


SPEC = {"fn": "pay", "kwargs": {}}
BAD = [
    ({"call_id": "c", "spec": SPEC}, ["body", "run_id"]),
    ({"run_id": "r", "call_id": 5, "spec": SPEC}, ["body", "call_id"]),
    ({"run_id": "r", "call_id": "", "spec": SPEC}, ["body", "call_id"]),
    ({"run_id": "r", "call_id": "x" * 65, "spec": SPEC}, ["body", "call_id"]),
    ({"run_id": "é" * 33, "call_id": "c", "spec": SPEC}, ["body", "run_id"]),
    ({"run_id": "r", "call_id": "c\n", "spec": SPEC}, ["body", "call_id"]),
    ({"run_id": "r", "call_id": "a/b", "spec": SPEC}, ["body", "call_id"]),
    ({"run_id": "r", "call_id": "c"}, ["body", "spec"]),
    ({"run_id": "r", "call_id": "c", "spec": {"kwargs": {}}}, ["body", "spec", "fn"]),
    ({"run_id": "r", "call_id": "c", "spec": {"fn": "", "kwargs": {}}}, ["body", "spec", "fn"]),
    ({"run_id": "r", "call_id": "c", "spec": {"fn": "pay", "kwargs": []}}, ["body", "spec", "kwargs"]),
    ({"run_id": "r", "call_id": "c", "spec": {**SPEC, "colour": "red"}}, ["body", "spec", "colour"]),
    ({"run_id": "r", "call_id": "c", "spec": {**SPEC, "state": 5}}, ["body", "spec", "state"]),
    ({"run_id": "r", "call_id": "c", "spec": {**SPEC, "reject_options": [{}]}}, ["body", "spec", "reject_options", 0, "name"]),
    (
        {"run_id": "r", "call_id": "c", "spec": {**SPEC, "reject_options": [{"name": "a"}, {"name": "a"}]}},
        ["body", "spec", "reject_options", 1, "name"],
    ),
    (
        {"run_id": "r", "call_id": "c", "spec": {**SPEC, "channel": {"slack": {"channel_or_user_id": "C", "allowed_responder_ids": []}}}},
        ["body", "spec", "channel", "slack", "allowed_responder_ids"],
    ),
    ({"run_id": "r", "call_id": "c", "spec": {**SPEC, "channel": {"email": {}}}}, ["body", "spec", "channel", "email", "address"]),
    ({"run_id": "r", "call_id": "c", "spec": {**SPEC, "channel": {"fax": {}}}}, ["body", "spec", "channel", "fax"]),
    ([], ["body"]),
]


@pytest.mark.parametrize(("body", "loc"), BAD)
def test_what_is_malformed_is_told_by_its_place(server, agent_key, body, loc):
    answer = raw(server, agent_key, "POST", "/function_calls", body)
    assert answer.status_code == 422, answer.text
    refusal = answer.json()
    assert loc in [fault["loc"] for fault in refusal["detail"]], refusal
    assert all(fault["msg"] and fault["type"] for fault in refusal["detail"])
    assert refusal["error"]["message"] and refusal["error"]["code"]


def test_a_number_no_reader_keeps_and_a_body_that_is_no_json_are_refused(server, agent_key):
    for text in [
        '{"run_id":"r","call_id":"c","spec":{"fn":"f","kwargs":{"n":9007199254740993}}}',
        '{"run_id":"r","call_id":"c","spec":{"fn":"f","kwargs":{"a":1,"a":2}}}',
        '{"run_id":"r","call_id":"c","spec":{"fn":"f","kwargs":{"s":"\\ud800"}}}',
        "nonsense",
        "",
    ]:
        headers = {"authorization": f"Bearer {agent_key}", "content-type": "application/json"}
        answer = httpx.post(f"{base(server)}/function_calls", content=text, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json"), answer.text
        assert answer.json()["detail"][0]["loc"][0] == "body" and answer.json()["error"]["message"]


def test_no_credential_and_an_unknown_call_are_refused_in_json(server, hl, agent_key):
    with pytest.raises(HumanLayerException, match="401"):
        HumanLayer(api_key="creto_agent_nobody", api_base_url=base(server)).get_function_call("x")
    for path in ["/function_calls/unknown", "/contact_requests/unknown", "/human_contacts/unknown"]:
        assert raw(server, agent_key, "GET", path).status_code == 404
    for kind in ["function_calls", "human_contacts"]:
        body = {"escalation_msg": "x"}
        assert raw(server, agent_key, "POST", f"/agent/{kind}/unknown/escalate_email", body).status_code == 404


class Receiver:
    """Takes webhooks, and keeps what it was sent."""

    def __init__(self):
        receiver, self.bodies = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.bodies.append((dict(self.headers), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def told(binary, tmp_path):
    """A server that may send webhooks to a receiver here, and the receiver."""
    receiver, data = Receiver(), tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(f'outbound_allow = ["{receiver.address}"]\n')
    server = Server(binary, data)
    yield server, receiver
    server.stop()
    receiver.stop()


def test_webhooks_carry_the_envelope_that_humanlayers_models_read(told):
    server, receiver = told
    events = ["function_call.completed", "human_contact.completed"]
    server.operator.call("POST", "/v1/webhooks", {"url": f"http://{receiver.address}/", "events": events})
    hl = HumanLayer(api_key=server.agent_token(), api_base_url=base(server), run_id="told")
    approver = HumanLayer(api_key=server.key("approver"), api_base_url=base(server))
    call = hl.create_function_call(FunctionCallSpec(fn="pay", kwargs={"amount": 5}, state={"step": 7}))
    contact = hl.create_human_contact(HumanContactSpec(msg="which?"))
    approver.respond_to_function_call(call.call_id, FunctionCallStatus(approved=False, comment="not today"))
    approver.respond_to_human_contact(contact.call_id, HumanContactStatus(response="the blue one"))
    until(lambda: len({body["type"] for _, body in receiver.bodies}) == 2)
    by_type = {body["type"]: body for _, body in receiver.bodies}
    refused = V1Beta2FunctionCallCompleted.model_validate(by_type["function_call.completed"])
    assert refused.event.call_id == call.call_id and refused.event.spec.state == {"step": 7}
    assert (refused.event.status.approved, refused.event.status.comment) == (False, "not today")
    answered = V1Beta2HumanContactCompleted.model_validate(by_type["human_contact.completed"])
    assert (answered.event.call_id, answered.event.status.response) == (contact.call_id, "the blue one")
    assert not refused.is_test and all(headers["webhook-signature"] for headers, _ in receiver.bodies)
