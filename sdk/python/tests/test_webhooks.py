"""Webhooks out, judged by the specification's own library."""

import json

import pytest
from receiving import receiver, server  # noqa: F401
from standardwebhooks import Webhook, WebhookVerificationError

from creto import ProblemError


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
