"""Webhooks out, judged by the specification's own library."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Server
from standardwebhooks import Webhook, WebhookVerificationError

from creto import ProblemError


class Receiver(ThreadingHTTPServer):
    """Whoever is told: keeps what came, answers 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received, self.arrived = [], threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    def take(self):
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.received, 30), "nothing was sent"
            return self.received.pop(0)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with self.server.arrived:
            self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.server.arrived.notify_all()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture
def server(binary, tmp_path, receiver):
    """A server whose owner named the receiver."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(f'outbound_allow = ["127.0.0.1:{receiver.server_port}"]\n')
    server = Server(binary, data)
    yield server
    server.stop()


def test_hazard_16_the_published_library_accepts_what_is_sent_and_nothing_that_was_changed(server, receiver):
    made = server.operator.call("POST", "/v1/webhooks", {"url": receiver.url})
    server.operator.call("POST", f"/v1/webhooks/{made['endpoint']['id']}/test", {})
    headers, body = receiver.take()
    judge = Webhook(made["secret"])
    assert judge.verify(body, headers)["type"] == "webhook.test"
    for changed in (body.replace("webhook.test", "webhook.best"), body + " "):
        with pytest.raises(WebhookVerificationError):
            judge.verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        judge.verify(body, {**headers, "webhook-id": "another"})


def test_a_receiver_changes_its_secret_without_missing_an_event(server, receiver):
    made = server.operator.call("POST", "/v1/webhooks", {"url": receiver.url})
    path = f"/v1/webhooks/{made['endpoint']['id']}"
    changed = server.operator.call("POST", f"{path}/rotate", {"overlap_secs": 3600})
    server.operator.call("POST", f"{path}/test", {})
    headers, body = receiver.take()
    for secret in (made["secret"], changed["secret"]):
        assert Webhook(secret).verify(body, headers)
    at_once = server.operator.call("POST", f"{path}/rotate", {"overlap_secs": 0})
    server.operator.call("POST", f"{path}/test", {})
    headers, body = receiver.take()
    assert Webhook(at_once["secret"]).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(changed["secret"]).verify(body, headers)
    listed = json.dumps(server.operator.call("GET", "/v1/webhooks"))
    assert not any(secret["secret"] in listed for secret in (made, changed, at_once)), "a secret is shown once"


def test_an_inside_address_is_refused_when_it_is_configured(server, receiver):
    for url, code in (
        ("https://127.0.0.1:1/", "outbound.forbidden"),
        ("http://hooks.example.com/", "outbound.forbidden"),
        ("https://[::ffff:10.0.0.1]/", "outbound.forbidden"),
        ("https://user:pass@hooks.example.com/", "outbound.bad_address"),
        ("file:///etc/passwd", "outbound.bad_address"),
    ):
        with pytest.raises(ProblemError) as refused:
            server.operator.call("POST", "/v1/webhooks", {"url": url})
        assert refused.value.code == code, url
    assert server.operator.call("GET", "/v1/webhooks")["webhooks"] == []
