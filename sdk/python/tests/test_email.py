"""Mail as a channel: a real SMTP server on loopback, and every link opened by programs that open links."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path

import httpx
import pytest
from aiosmtpd.controller import Controller
from channels import PATIENCE_SECS, payment

from conftest import Server, skip
from creto import Client

PASSWORD = "correct horse battery"
LINK = re.compile(r"http://localhost:\d+/#/mail/(req_[0-9a-f]{32})/([0-9a-f]{64})")


class Mailboxes:
    def __init__(self):
        self.mails, self.arrived, self.busy = [], threading.Condition(), False

    async def handle_DATA(self, server, session, envelope):
        with self.arrived:
            if self.busy:
                self.arrived.notify_all()
                return "451 try again later"
            self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
            self.arrived.notify_all()
        return "250 kept"

    def about(self, request, to):
        """The mails about a request to somebody, once there is one."""

        def found():
            return [mail for rcpt, mail in self.mails if rcpt == [to] and request in mail["message-id"]]

        with self.arrived:
            assert self.arrived.wait_for(found, PATIENCE_SECS), f"no mail about {request} to {to}"
            return found()


@pytest.fixture(scope="module")
def post():
    boxes = Mailboxes()
    with socket.create_server(("127.0.0.1", 0)) as free:
        boxes.port = free.getsockname()[1]
    controller = Controller(boxes, hostname="127.0.0.1", port=boxes.port)
    controller.start()
    yield boxes
    controller.stop()


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory, post):
    data = tmp_path_factory.mktemp("mail") / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(
        f'outbound_allow = ["127.0.0.1:{post.port}"]\n[email]\nurl = "smtp://127.0.0.1:{post.port}"\nfrom = "creto <creto@example.org>"\n'
        '[email.replies]\naddress = "approvals@example.org"\nauthserv_ids = ["mx.example.org"]\n'
    )
    server = Server(binary, data)
    for name in ("ada", "bob"):
        server.operator.call("POST", "/v1/accounts", {"name": name, "password": PASSWORD})
        server.operator.call("PUT", f"/v1/oversight/people/{name}/preferences", {"email": f"{name}@example.org"})
    yield server
    server.stop()


def signed_in(server, name):
    client = httpx.Client(base_url=server.url.replace("127.0.0.1", "localhost"))
    session = client.post("/v1/session", json={"name": name, "password": PASSWORD}).json()
    client.headers["x-csrf-token"] = session["csrf"]
    return client


def ask(server, tool, **more):
    return server.agent().call("POST", "/v1/actions", payment(tool, **more))


def state(server, request):
    return server.operator.call("GET", f"/v1/oversight/requests/{request}")["state"]


def link_of(mail):
    text = mail.get_body(("plain",)).get_content()
    found = LINK.search(text)
    assert found, text
    return found.group(0), found.group(1), found.group(2)


def test_a_mail_goes_to_each_approver_and_says_the_whole_action(server, post, tool):
    asked = ask(server, tool, arguments={"to": "<b>bob</b>", "hidden": "a\u202eb"}, reason="<script>alert(1)</script>\nBcc: eve@example.com")
    for name in ("ada", "bob"):
        (mail,) = post.about(asked["request"], f"{name}@example.org")
        assert mail["to"] == f"{name}@example.org" and mail["bcc"] is None and mail["auto-submitted"] == "auto-generated"
        plain, page = mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()
        assert "⟦U+202E⟧" in plain and "\u202e" not in plain + page
        assert "<script>" not in page and "<b>bob" not in page and "Untrusted" in page
        assert asked["digest"] in plain and link_of(mail)[1] == asked["request"]
    tokens = {link_of(post.about(asked["request"], f"{name}@example.org")[0])[2] for name in ("ada", "bob")}
    assert len(tokens) == 2, "each recipient has a secret of their own"


def test_a_mail_that_is_sent_again_has_the_same_message_id(server, post, tool):
    post.busy = True
    asked = ask(server, tool)
    with post.arrived:
        assert post.arrived.wait(PATIENCE_SECS), "it was tried"
    assert state(server, asked["request"]) == "pending", "a mail server that is down decides nothing"
    post.busy = False
    mails = post.about(asked["request"], "ada@example.org")
    assert len({mail["message-id"] for mail in mails}) == 1


def in_browser(folder, cookie, link, script):
    """What a script prints of a page that a browser opens with somebody's cookie; `sent` is what the page sent beside questions."""
    chromium = os.environ.get("CRETO_CHROMIUM") or shutil.which("chromium")
    console = Path(__file__).parents[3] / "console"
    if not chromium or not (console / "node_modules/playwright-core").is_dir():
        skip("a browser that runs the page", "there is no Chromium, or no Playwright in console/node_modules")
    file = folder / "open.mjs"
    file.write_text(
        f"""
        import {{ chromium }} from "{console}/node_modules/playwright-core/index.mjs";
        const browser = await chromium.launch({{ executablePath: "{chromium}", args: ["--headless", "--no-sandbox", "--disable-gpu"] }});
        const context = await browser.newContext();
        await context.addCookies([{{ name: "creto_session", value: "{cookie}", domain: "localhost", path: "/", httpOnly: true, sameSite: "Strict" }}]);
        const page = await context.newPage();
        const sent = [];
        page.on("request", (request) => {{ if (request.method() !== "GET") sent.push(request.method() + " " + request.url()); }});
        await page.goto("{link}");
        {script}
        await browser.close();
        """
    )
    done = subprocess.run(["node", str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hazard_13_opening_a_link_by_whatever_opens_links_decides_nothing(server, post, tool, tmp_path):
    asked = ask(server, tool)
    (mail,) = post.about(asked["request"], "ada@example.org")
    link, request, token = link_of(mail)
    ada = signed_in(server, "ada")
    cookie = ada.cookies["creto_session"]
    for client in (httpx.Client(), ada):
        for method in ("GET", "HEAD"):
            for _ in range(2):
                assert client.request(method, link).status_code == 200
    sent = """
        await page.getByRole("button", { name: /^Approve/ }).waitFor();
        await page.waitForLoadState("load");
        console.log(JSON.stringify(sent));
    """
    assert in_browser(tmp_path, cookie, link, sent) == [], "the page itself sends nothing but questions"
    assert state(server, request) == "pending"
    history = server.operator.call("GET", f"/v1/oversight/requests/{request}")
    assert history["votes"] == []
    answer = ada.post(f"/v1/oversight/requests/{request}/mail", json={"token": token, "choice": "approve", "digest": asked["digest"]})
    assert answer.json()["state"] == "approved", "and the link still works for its recipient"


def test_hazard_14_a_mails_secret_decides_only_with_its_recipient_signed_in(server, post, tool):
    asked = ask(server, tool)
    request, digest = asked["request"], asked["digest"]
    _, _, token = link_of(post.about(request, "ada@example.org")[0])
    other = ask(server, tool, arguments={"amount": "1"})
    ada, bob = signed_in(server, "ada"), signed_in(server, "bob")
    body = {"token": token, "choice": "approve", "digest": digest}
    path = f"/v1/oversight/requests/{request}/mail"
    nobody = httpx.post(f"{server.url}{path}", json=body)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "http.unauthenticated")
    without = httpx.post(f"{server.url}{path}", json=body, cookies=dict(ada.cookies))
    assert without.json()["code"] == "nhi.csrf_refused"
    for client, at, sent, code in (
        (bob, path, body, "oversight.mail_token"),
        (ada, path, {**body, "token": "0" * 64}, "oversight.mail_token"),
        (ada, f"/v1/oversight/requests/{other['request']}/mail", {**body, "digest": other["digest"]}, "oversight.mail_token"),
        (ada, path, {**body, "digest": other["digest"]}, "oversight.digest_mismatch"),
    ):
        assert client.post(at, json=sent).json()["code"] == code
    assert state(server, request) == "pending"
    stored = (server.data / "creto.db").read_bytes() + (server.data / "creto.db-wal").read_bytes()
    assert token.encode() not in stored, "the secret is kept as a digest"
    assert ada.post(path, json={**body, "choice": "deny", "comment": "not today"}).json()["state"] == "denied"


def test_who_muted_mail_or_has_no_address_is_sent_none(server, post, tool):
    bob = signed_in(server, "bob")
    assert bob.put("/v1/oversight/me", json={"email": "bob@example.org", "mute": ["email"]}).status_code == 200
    asked = ask(server, tool)
    post.about(asked["request"], "ada@example.org")
    assert not [mail for rcpt, mail in post.mails if rcpt == ["bob@example.org"] and asked["request"] in mail["message-id"]]
    for wrong in ({"email": "bob@example.org\r\nBcc: eve@example.com"}, {"email": "a@b, c@d"}, {"mute": ["pigeon"]}):
        assert bob.put("/v1/oversight/me", json=wrong).json()["code"] == "oversight.bad_input"
    assert bob.put("/v1/oversight/me", json={"email": "bob@example.org"}).status_code == 200


def test_an_operator_sends_somebodys_mail_elsewhere_and_the_link_stays_theirs(server, post, tool):
    def prefer(address):
        server.operator.call("PUT", "/v1/oversight/people/bob/preferences", {"email": address})

    prefer("bobs-desk@example.org")
    try:
        asked = ask(server, tool)
        _, request, secret = link_of(post.about(asked["request"], "bobs-desk@example.org")[0])
        assert not [mail for rcpt, mail in post.mails if rcpt == ["bob@example.org"] and request in mail["message-id"]]
        path, body = f"/v1/oversight/requests/{request}/mail", {"token": secret, "choice": "deny", "comment": "no"}
        assert signed_in(server, "ada").post(path, json=body).json()["code"] == "oversight.mail_token"
        assert signed_in(server, "bob").post(path, json=body).json()["state"] == "denied"
    finally:
        prefer("bob@example.org")


def test_who_muted_mail_is_not_mailed_because_a_client_names_the_address(server, post, tool):
    bob = signed_in(server, "bob")
    assert bob.put("/v1/oversight/me", json={"email": "bob@example.org", "mute": ["email"]}).status_code == 200
    try:
        spec = {"fn": tool, "kwargs": {}, "channel": {"email": {"address": "Bob@example.org", "additional_recipients": [{"address": "zed@example.org"}]}}}
        made = server.agent().call("POST", "/humanlayer/v1/function_calls", {"run_id": "run", "call_id": tool, "spec": spec})
        # Addresses are told in order: whoever mailed zed has mailed bob, or never will.
        post.about(made["creto"]["request"], "zed@example.org")
        mailed = [rcpt for rcpt, mail in post.mails if made["creto"]["request"] in mail["message-id"]]
        assert [address for rcpt in mailed for address in rcpt if address.lower() == "bob@example.org"] == [], mailed
    finally:
        assert bob.put("/v1/oversight/me", json={"email": "bob@example.org"}).status_code == 200


def test_a_humanlayer_request_is_mailed_where_it_asks_within_our_domains(server, post, tool):
    others = [{"address": "cfo@example.org", "field": "cc"}, {"address": "anybody@elsewhere.example"}]
    spec = {"fn": tool, "kwargs": {"amount": 5}, "channel": {"email": {"address": "desk@example.org", "additional_recipients": others}}}
    made = server.agent().call("POST", "/humanlayer/v1/function_calls", {"run_id": "run", "call_id": tool, "spec": spec})
    request = made["creto"]["request"]
    for address in ("desk@example.org", "cfo@example.org"):
        (mail,) = post.about(request, address)
        text = mail.get_body(("plain",)).get_content()
        assert f"/#/inbox/{request}" in text and not LINK.search(text), "an address is nobody: its mail has no secret"
    # Whoever decides is told too, and nobody outside of our domain is.
    assert link_of(post.about(request, "ada@example.org")[0])[1] == request
    assert not [rcpt for rcpt, _ in post.mails if rcpt == ["anybody@elsewhere.example"]]


VOUCHED = "mx.example.org; dkim=pass (2048-bit key; secure) header.d=example.org header.i=@example.org"


def answer(mail, text, sender="ada@example.org", **fields):
    """What a mail program makes of an answer: to the Reply-To, with the mail quoted below."""
    reply = EmailMessage(policy=policy.SMTP)
    for name, value in fields.items():
        reply[name.replace("_", "-")] = value
    reply["From"], reply["To"], reply["Subject"] = f"Ada <{sender}>", mail["reply-to"], f"Re: {mail['subject']}"
    reply["Message-ID"], reply["In-Reply-To"] = make_msgid(domain="example.org"), mail["message-id"]
    quoted = "".join(f"> {line}\n" for line in mail.get_body(("plain",)).get_content().splitlines())
    reply.set_content(f"{text}\n\nOn Sat, 28 Nov 2026 at 19:00, creto <creto@example.org> wrote:\n{quoted}")
    return reply


def pipe(server, mail, *arguments):
    """Hands a mail in as Postfix does: on standard input."""
    command = [server.binary, "oversight", "mail", "--data", str(server.data), *arguments]
    return subprocess.run(command, input=bytes(mail), capture_output=True, timeout=120)


def seen(server, request):
    return server.operator.call("GET", f"/v1/oversight/requests/{request}")


def test_an_answer_piped_into_the_command_is_a_comment_and_decides_nothing(server, post, tool, tmp_path):
    asked = ask(server, tool)
    request = asked["request"]
    mails = {name: post.about(request, f"{name}@example.org")[0] for name in ("ada", "bob")}
    assert re.fullmatch(r"approvals\+[0-9a-f]{32}@example\.org", mails["ada"]["reply-to"])
    assert mails["ada"]["reply-to"] != mails["bob"]["reply-to"], "each recipient has an address of their own"
    piped = answer(mails["ada"], "approve")
    done = pipe(server, piped, "--json")
    assert (done.returncode, json.loads(done.stdout)["request"]) == (0, request), done.stderr
    again = pipe(server, piped)
    assert again.returncode == 0 and b"decides nothing" in again.stdout
    assert pipe(server, answer(mails["ada"], "yes, approved \u202egrüße", Authentication_Results=VOUCHED)).returncode == 0
    # By way of the network, with a mail server's own key, and with no other.
    key = tmp_path / "key"
    key.write_text(server.key("mail") + "\n")
    assert pipe(server, answer(mails["bob"], "wait", "bob@example.org"), "--url", server.url, "--token-file", str(key)).returncode == 0
    for token, status in ((key.read_text().strip(), 200), (server.agent_token(), 403), (server.key("approver"), 403)):
        sent = httpx.post(
            f"{server.url}/v1/oversight/mail",
            content=bytes(piped),
            headers={"authorization": f"Bearer {token}", "content-type": "message/rfc822"},
        )
        assert sent.status_code == status, sent.text
    now = seen(server, request)
    assert (now["state"], now["votes"], now["thread"]) == ("pending", [], [])
    kept = [(mail["from"].rsplit("/", 1)[1], mail["sender"], mail["text"]) for mail in now["mail"]]
    assert kept == [("ada", "unverified", "approve"), ("ada", "dkim", "yes, approved \u202egrüße"), ("bob", "unverified", "wait")]
    assert all(mail["left_out"] > 5 for mail in now["mail"]), now["mail"]
    history = server.operator.call("GET", f"/v1/oversight/requests/{request}/history")["events"]
    assert [event["event"]["type"] for event in history] == ["opened"]
    inbox = subprocess.run([server.binary, "inbox", "--data", str(server.data)], capture_output=True, text=True, timeout=120)
    shown = next(line for line in inbox.stdout.splitlines() if line.endswith(": “approve”"))
    assert "untrusted: a mail from the address of ada" in shown and "nothing shows who sent it" in shown
    assert "signed by the sender's domain" in inbox.stdout and "\u202e" not in inbox.stdout and "grüße" in inbox.stdout
    token = mails["ada"]["reply-to"].split("+")[1].split("@")[0].encode()
    assert token not in (server.data / "creto.db").read_bytes() + (server.data / "creto.db-wal").read_bytes()
    # And then a human decides.
    assert server.operator.call("POST", f"/v1/oversight/requests/{request}/deny", {})["state"] == "denied"
    late = pipe(server, answer(mails["ada"], "please"))
    assert late.returncode == 65 and b"oversight.mail_late" in late.stderr and len(seen(server, request)["mail"]) == 3


def test_the_agent_that_waits_hears_nothing_of_an_answer(server, post, tool):
    token = server.agent_token()
    agent, waiter = Client(server.url, token), Client(server.url, token)
    request = agent.call("POST", "/v1/actions", payment(tool))["request"]
    (mail,) = post.about(request, "ada@example.org")
    paths = (f"/v1/oversight/asked/{request}", f"/v1/oversight/requests/{request}/watch?wait_secs=0")
    before = [agent.call("GET", path) for path in paths]
    heard = {}

    def wait():
        heard["watch"] = waiter.call("GET", f"/v1/oversight/requests/{request}/watch?seen={before[1]['seq']}&wait_secs=3")

    def listen():
        url = f"{server.url}/v1/oversight/requests/{request}/events?seen={before[1]['seq']}&wait_secs=3"
        heard["events"] = httpx.get(url, headers={"authorization": f"Bearer {token}"}, timeout=60).text

    waiting = [threading.Thread(target=wait), threading.Thread(target=listen)]
    for thread in waiting:
        thread.start()
    assert pipe(server, answer(mail, "approve")).returncode == 0
    for thread in waiting:
        thread.join(PATIENCE_SECS)
    assert len(seen(server, request)["mail"]) == 1, "approvers see it"
    assert heard["watch"] == before[1] and "event: request" not in heard["events"]
    assert [agent.call("GET", path) for path in paths] == before


def test_the_page_shows_an_answer_as_untrusted_and_every_character_of_it(server, post, tool, tmp_path):
    request = ask(server, tool)["request"]
    (mail,) = post.about(request, "ada@example.org")
    assert pipe(server, answer(mail, "approve \u202e<b>now</b>")).returncode == 0
    assert pipe(server, answer(mail, "signed", Authentication_Results=VOUCHED)).returncode == 0
    cookie = signed_in(server, "bob").cookies["creto_session"]
    link = f"{server.url.replace('127.0.0.1', 'localhost')}/#/inbox/{request}"
    script = """
        const answers = page.getByLabel("by mail");
        await answers.nth(1).waitFor();
        console.log(JSON.stringify({ texts: await answers.allInnerTexts(), sent }));
    """
    shown = in_browser(tmp_path, cookie, link, script)
    first, second = shown["texts"]
    assert "untrusted: nothing shows who sent it; it decides nothing" in first and "quoted lines left out" in first
    assert "approve RLO<b>now</b>" in first and "\u202e" not in first
    assert "signed by the sender's domain" in second and shown["sent"] == []
    assert state(server, request) == "pending"


def test_a_mail_that_is_refused_says_so_by_exit_code_and_changes_nothing(server, post, tool, tmp_path):
    asked = ask(server, tool)
    request = asked["request"]
    ada, bob = (post.about(request, f"{name}@example.org")[0] for name in ("ada", "bob"))
    unknown = answer(ada, "yes")
    unknown.replace_header("To", f"approvals+{'0' * 32}@example.org")
    ours = answer(ada, "yes")
    ours.replace_header("Message-ID", ada["message-id"])
    report = answer(ada, "yes")
    report.replace_header("Content-Type", "multipart/report; report-type=delivery-status; boundary=b")
    for mail, exit_code, code in (
        (unknown, 67, "mail_unknown"),
        (answer(ada, "yes", "eve@example.org"), 77, "mail_sender"),
        (answer(bob, "yes"), 77, "mail_sender"),
        (answer(ada, ""), 65, "mail_empty"),
        (answer(ada, "x" * 5000), 65, "comment_too_long"),
        (b"no mail", 65, "mail_unreadable"),
        (bytes(answer(ada, "yes")) + b"x" * (1 << 20), 65, "mail_too_large"),
        (answer(ada, "away", Auto_Submitted="auto-replied"), 0, "mail_automatic"),
        (answer(ada, "away", Precedence="bulk"), 0, "mail_automatic"),
        (answer(ada, "away", Return_Path="<>"), 0, "mail_automatic"),
        (ours, 0, "mail_automatic"),
        (report, 0, "mail_automatic"),
    ):
        done = pipe(server, mail)
        assert (done.returncode, f"(oversight.{code})" in done.stderr.decode()) == (exit_code, True), (code, done.stderr)
    key = tmp_path / "key"
    key.write_text(server.agent_token())
    # What is not about the mail is tried again: a key that may not, a server that is not there.
    for url in (server.url, "http://127.0.0.1:1"):
        assert pipe(server, answer(ada, "yes"), "--url", url, "--token-file", str(key)).returncode == 75
    now = seen(server, request)
    assert now["state"] == "pending" and "mail" not in now
