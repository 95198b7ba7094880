"""Slack as a channel, judged by slack_sdk: its signature, its blocks, its client's idea of an answer."""

import json
import time
from urllib.parse import urlencode

import httpx
import pytest
from channels import Service, payment
from slack_sdk.models.blocks import Block
from slack_sdk.signature import SignatureVerifier

from conftest import Server
from creto import ProblemError

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ROOM, TEAM, USER = "C0ROOM", "T0TEAM", "U0ADA"


class Slack(Service):
    def __init__(self):
        self.down = False
        super().__init__(self.api)

    def api(self, method, path, body, headers):
        assert headers["authorization"] == "Bearer xoxb-test"
        if self.down:
            return 503, {}
        stamp = f"{len(self.received) + 1}.0001"
        return 200, {"ok": True, "channel": body["channel"], "ts": body.get("ts", stamp)}

    def said(self, method, about):
        """The newest call of a method about a request."""

        def find(received):
            calls = [body for _, path, body, _ in received if path == f"/api/{method}" and about in json.dumps(body)]
            return calls[-1] if calls else None

        return self.until(find, f"slack heard {method} about {about}")


@pytest.fixture(scope="module")
def slack():
    slack = Slack()
    yield slack
    slack.close()


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory, slack):
    data = tmp_path_factory.mktemp("slack") / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(f'outbound_allow = ["{slack.place}"]\n[slack]\napi = "http://{slack.place}/api"\nroom = "{ROOM}"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRETO_SLACK_BOT_TOKEN", "xoxb-test")
        patch.setenv("CRETO_SLACK_SIGNING_SECRET", SECRET)
        server = Server(binary, data)
    document = {"requirement": {"at_least": {"count": 1, "of": ["role:approver"]}}, "separation": "agents", "secrets": ["iban"]}
    server.operator.call("PUT", "/v1/oversight/policies/require_approval", {"policy": document})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ada(server):
    """Ada, who linked her Slack account by a code."""
    server.operator.call("POST", "/v1/accounts", {"name": "ada", "password": "correct horse battery"})
    ada = Person(server, "ada")
    said = command(server, f"link {ada.code()}").json()
    assert "linked" in said["text"], said
    return ada


@pytest.fixture(scope="module")
def dora(server, ada):
    """Dora, who linked hers too and is told after ada: whoever has told dora of a request has told ada, or never will."""
    server.operator.call("POST", "/v1/accounts", {"name": "dora", "password": "correct horse battery"})
    dora = Person(server, "dora")
    assert "linked" in command(server, f"link {dora.code()}", user="U0DORA").json()["text"]
    return dora


class Person:
    def __init__(self, server, name):
        url = server.url
        self.client = httpx.Client(base_url=url)
        session = self.client.post("/v1/session", json={"name": name, "password": "correct horse battery"}).json()
        self.client.headers["x-csrf-token"] = session["csrf"]

    def code(self):
        return self.client.post("/v1/oversight/me/links/slack", json={}).json()["code"]

    def prefers(self, **preferences):
        answer = self.client.put("/v1/oversight/me", json=preferences)
        assert answer.status_code == 200, answer.text

    def links(self):
        return self.client.get("/v1/oversight/me").json()["links"]


def signed(server, body, stamp=None, secret=SECRET, **changes):
    """A request as Slack sends it, signed by slack_sdk."""
    stamp = str(int(time.time()) if stamp is None else stamp)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body),
    }
    headers.update(changes)
    return httpx.post(f"{server.url}/v1/channels/slack/callback", content=body, headers=headers)


def command(server, text, user=USER):
    body = {"command": "/creto", "text": text, "team_id": TEAM, "user_id": user, "channel_id": ROOM, "trigger_id": str(time.time_ns())}
    return signed(server, urlencode(body))


def click(card, button, user=USER, **changes):
    """The callback of a click on a button of a card."""
    actions = next(block for block in card["blocks"] if block["type"] == "actions")["elements"]
    value = changes.get("value") or next(element["value"] for element in actions if element["action_id"] == button)
    payload = {
        "type": "block_actions",
        "user": {"id": user, "team_id": TEAM},
        "team": {"id": TEAM},
        "channel": {"id": card["channel"]},
        "actions": [{"action_id": button, "type": "button", "value": value, "action_ts": str(time.time_ns())}],
    }
    return urlencode({"payload": json.dumps(payload)})


def ask(server, tool, **more):
    agent = server.agent()
    asked = agent.call("POST", "/v1/actions", payment(tool, **more))
    assert asked["state"] == "pending"
    return asked["request"]


def state(server, request):
    return server.operator.call("GET", f"/v1/oversight/requests/{request}")["state"]


def test_a_card_is_what_slacks_own_library_calls_valid_and_says_everything(server, slack, tool):
    request = ask(server, tool, arguments={"to": "<!channel> & *bob*", "note": "a\u202eb\u200b"}, reason="<https://evil.example|ok> do it")
    card = slack.said("chat.postMessage", request)
    blocks = Block.parse_all(card["blocks"])
    for block in blocks:
        block.validate_json()
    assert len(blocks) == len(card["blocks"]) and card["channel"] == ROOM
    assert card["unfurl_links"] is False and card["unfurl_media"] is False
    text = json.dumps(card["blocks"], ensure_ascii=False)
    assert "⟦U+202E⟧" in text and "⟦U+200B⟧" in text and "\u202e" not in text
    assert "mrkdwn" not in text, "nothing that others wrote is markup"
    assert "untrusted" in text and "<!channel>" in text and "<!channel>" not in card["text"]


def test_a_click_by_a_linked_approver_decides_and_every_card_is_updated(server, slack, ada, tool):
    request = ask(server, tool)
    card = slack.said("chat.postMessage", request)
    began = time.monotonic()
    answered = signed(server, click(card, "creto_approve"))
    assert answered.status_code == 200 and time.monotonic() - began < 3, answered.text
    assert state(server, request) == "approved"
    decided = server.operator.call("GET", f"/v1/oversight/requests/{request}")
    assert decided["decided_by"].endswith("/human/ada") and decided["how"] == "slack_signature"
    posted = slack.until(
        lambda received: [b for _, path, b, _ in received if path.endswith("postMessage") and request in json.dumps(b)][1:] and received,
        "the room and ada were told",
    )
    places = {b["channel"] for _, path, b, _ in posted if path.endswith("postMessage") and request in json.dumps(b)}
    assert places == {ROOM, USER}

    def closed(received):
        done = {b["channel"] for _, path, b, _ in received if path.endswith("chat.update") and request in json.dumps(b) and "approved" in b["text"]}
        return done == places

    slack.until(closed, "both cards are closed")
    final = slack.said("chat.update", request)
    assert [element["action_id"] for element in final["blocks"][-1]["elements"]] == ["creto_open"], "a closed card has no buttons"


def test_who_did_not_link_is_nobody(server, slack, ada, tool):
    request = ask(server, tool)
    card = slack.said("chat.postMessage", request)
    answered = signed(server, click(card, "creto_approve", user="U0EVE"))
    assert answered.status_code == 200
    told = slack.said("chat.postEphemeral", "U0EVE")
    assert "oversight.not_linked" in told["text"]
    assert state(server, request) == "pending"


def test_hazard_15_what_slack_did_not_sign_now_is_refused_and_changes_nothing(server, slack, ada, tool):
    request = ask(server, tool)
    card = slack.said("chat.postMessage", request)
    body, now = click(card, "creto_approve"), int(time.time())
    refused = [
        signed(server, body, secret="another secret"),
        signed(server, body, stamp=now - 301),
        signed(server, body, stamp=now + 600),
        signed(server, body, **{"x-slack-signature": ""}),
        signed(server, body, **{"x-slack-signature": "v0=" + "0" * 64}),
        signed(server, body, **{"x-slack-request-timestamp": str(now + 100)}),
        httpx.post(f"{server.url}/v1/channels/slack/callback", content=body),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (401, "oversight.forged_callback"), answer.text
    assert httpx.post(f"{server.url}/v1/channels/carrier-pigeon/callback").json()["code"] == "oversight.no_channel"
    assert state(server, request) == "pending"


def test_a_callback_that_comes_twice_decides_once(server, slack, ada, tool):
    request = ask(server, tool)
    card = slack.said("chat.postMessage", request)
    body, stamp = click(card, "creto_deny"), int(time.time())
    for _ in range(2):
        assert signed(server, body, stamp=stamp).status_code == 200
    assert state(server, request) == "denied"
    again = ask(server, tool, arguments={"amount": "99"})
    other = slack.said("chat.postMessage", again)
    value = next(e["value"] for e in other["blocks"][-1]["elements"] if e["action_id"] == "creto_deny")
    wrong = value.rsplit("|", 1)[0] + "|" + "0" * 64
    assert signed(server, click(other, "creto_approve", value=wrong)).status_code == 200
    assert "oversight.digest_mismatch" in slack.said("chat.postEphemeral", "digest_mismatch")["text"]
    assert state(server, again) == "pending", "a click approves the digest its card showed and no other"


def test_a_link_is_proved_by_a_code_used_once_and_ends_with_its_person(server, slack, tool):
    server.operator.call("POST", "/v1/accounts", {"name": "carol", "password": "correct horse battery"})
    carol = Person(server, "carol")
    first, second = carol.code(), carol.code()
    for code in (first, "AAAAAAAAAAAA", ""):
        assert "nothing was decided" in command(server, f"link {code}", user="U0CAROL").text or code == ""
    assert "linked" in command(server, f"link {second.lower()}", user="U0CAROL").json()["text"]
    assert "oversight.link_code" in command(server, f"link {second}", user="U0EVE").json()["text"]
    assert [link["subject"] for link in carol.links()] == [f"{TEAM}/U0CAROL"]
    request = ask(server, tool)
    card = slack.said("chat.postMessage", request)
    server.operator.call("POST", "/v1/identities/human/carol/suspend", {})
    assert signed(server, click(card, "creto_approve", user="U0CAROL")).status_code == 200
    assert "oversight.not_linked" in slack.said("chat.postEphemeral", "U0CAROL")["text"]
    assert state(server, request) == "pending"


def told(slack, request, fence="U0DORA"):
    """Where a request was told of, once dora was."""

    def rooms(received):
        return {body["channel"] for _, path, body, _ in received if path == "/api/chat.postMessage" and request in json.dumps(body)}

    slack.until(lambda received: fence in rooms(received), f"{fence} was told of {request}")
    return rooms(slack.received)


def test_who_muted_slack_is_told_nothing_there_and_decides_in_the_room_all_the_same(server, slack, ada, dora, tool):
    assert told(slack, ask(server, f"{tool}-heard")) >= {ROOM, USER}
    ada.prefers(mute=["slack"])
    try:
        request = ask(server, tool)
        places = told(slack, request)
        assert ROOM in places and USER not in places, places
        assert [link["subject"] for link in ada.links()] == [f"{TEAM}/{USER}"], "she is linked still"
        # A client's own wish tells nobody who wants to hear nothing.
        spec = {"fn": tool, "kwargs": {}, "channel": {"slack": {"channel_or_user_id": USER, "context_about_channel_or_user": "ada"}}}
        made = server.agent().call("POST", "/humanlayer/v1/function_calls", {"run_id": "run", "call_id": tool, "spec": spec})
        told(slack, made["creto"]["request"])
        card = next(b for _, p, b, _ in slack.received if p == "/api/chat.postMessage" and b["channel"] == ROOM and request in json.dumps(b))
        assert signed(server, click(card, "creto_approve")).status_code == 200
        assert state(server, request) == "approved"
    finally:
        ada.prefers()
    assert told(slack, ask(server, f"{tool}-again")) >= {ROOM, USER}, "and hears again"
    # What a request names is told after people are: by now all of it was.
    assert USER not in told(slack, made["creto"]["request"])


def test_an_operator_says_how_somebody_else_is_told_and_nobody_else_does(server, slack, ada, dora, tool):
    at = "/v1/oversight/people/ada/preferences"

    def mine():
        return ada.client.get("/v1/oversight/me").json()["preferences"]

    for client in (ada.client, dora.client):
        assert client.put(at, json={"mute": ["slack"]}).json()["code"] == "http.forbidden"
    with pytest.raises(ProblemError) as refused:
        server.operator.call("PUT", at, {"mute": ["pigeon"]})
    assert (refused.value.code, mine()) == ("oversight.bad_input", {})
    for nobody in ("nobody-here", "No%20Body", "ada%2F..%2Fdora"):
        with pytest.raises(ProblemError):
            server.operator.call("PUT", f"/v1/oversight/people/{nobody}/preferences", {"mute": ["slack"]})
    assert server.operator.call("PUT", at, {"mute": ["slack"]})["person"].endswith("/human/ada")
    try:
        assert mine() == {"mute": ["slack"]}
        places = told(slack, ask(server, tool))
        assert ROOM in places and USER not in places, places
        # On record: that it was set, for whom and by whom, and no word of it.
        size = server.operator.call("GET", "/v1/audit/entries?from=0&limit=1")["size"]
        entries = server.operator.call("GET", f"/v1/audit/entries?from={max(0, size - 100)}")["entries"]
        leaf = [entry["entry"] for entry in entries if entry["entry"]["action"] == "oversight.prefer"][-1]
        assert leaf["resource"] == "person:ada" and not leaf["actor"].endswith("/human/ada"), leaf
        assert "slack" not in json.dumps(leaf)
    finally:
        # What somebody says of themselves later stands.
        ada.prefers()
    assert told(slack, ask(server, f"{tool}-again")) >= {ROOM, USER}


def test_a_service_that_is_down_decides_nothing_and_hears_of_it_later(server, slack, ada, tool):
    slack.down = True
    request = ask(server, tool)
    slack.until(lambda received: any(request in json.dumps(body) for _, _, body, _ in received), "it was tried")
    assert state(server, request) == "pending"
    tried = len(slack.received)
    slack.down = False
    slack.until(lambda received: any(request in json.dumps(body) for _, _, body, _ in received[tried:]), "it was tried again")
    assert state(server, request) == "pending"


def test_what_only_operators_may_see_is_sent_to_no_service_and_clicked_by_nobody(server, slack, ada, tool):
    request = ask(server, tool, arguments={"iban": "DE89370400440532013000", "amount": "5"})
    card = slack.said("chat.postMessage", request)
    assert "DE89370400440532013000" not in json.dumps(card) and "amount" in json.dumps(card)
    assert [element["action_id"] for element in card["blocks"][-1]["elements"]] == ["creto_open"]


def test_a_humanlayer_request_is_told_where_it_asks_and_only_those_it_names_answer_there(server, slack, ada, tool):
    agent = server.agent()

    def call(call_id, **channel):
        spec = {"fn": tool, "kwargs": {"amount": 5}, "channel": {"slack": {"context_about_channel_or_user": "finance", **channel}}}
        made = agent.call("POST", "/humanlayer/v1/function_calls", {"run_id": "run", "call_id": call_id, "spec": spec})
        return made["creto"]["request"]

    def rooms(request):
        return {body["channel"] for _, path, body, _ in slack.received if path == "/api/chat.postMessage" and request in json.dumps(body)}

    request = call(f"{tool}-1", channel_or_user_id="C7FINANCE", allowed_responder_ids=["U0SOMEBODY"])
    slack.until(lambda _: rooms(request) >= {ROOM, "C7FINANCE"}, "both rooms were told")
    card = slack.said("chat.postMessage", request)
    assert signed(server, click(card, "creto_approve")).status_code == 200
    slack.said("chat.postEphemeral", "you are not among them")
    assert state(server, request) == "pending"

    request = call(f"{tool}-2", channel_or_user_id="C7FINANCE", allowed_responder_ids=[USER])
    slack.until(lambda _: rooms(request) >= {ROOM, "C7FINANCE"}, "both rooms were told")
    assert signed(server, click(slack.said("chat.postMessage", request), "creto_approve")).status_code == 200
    assert state(server, request) == "approved"
    # What is no conversation of the bot's workspace is not written to.
    request = call(f"{tool}-3", channel_or_user_id="https://evil.example")
    slack.said("chat.postMessage", request)
    assert rooms(request) <= {ROOM, USER}
