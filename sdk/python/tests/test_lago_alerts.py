"""Lago's own Python client, unmodified, against the real server: alerts of subscriptions and wallets, and what receivers are told of them.

What it has no call for (features, entitlements) is asked as its JavaScript twin asks it, in `test_lago_js.py`."""

import json

import pytest
from lago import client, raw, refused
from lago_python_client.models import (
    BillableMetric,
    Charge,
    Charges,
    Customer,
    Event,
    Plan,
    Subscription,
    Wallet,
    WalletTransaction,
    WebhookEndpoint,
)
from lago_python_client.models.alert import Alert, AlertsList, AlertThreshold, AlertThresholdList
from receiving import receiver, server  # noqa: F401


@pytest.fixture
def lago(server):
    """A client whose customer `acme` pays 0.50 for each call."""
    lago = client(server)
    metric = lago.billable_metrics.create(BillableMetric(name="Calls", code="calls", aggregation_type="sum_agg", field_name="n"))
    charge = Charge(billable_metric_id=metric.lago_id, charge_model="standard", properties={"amount": "0.5"})
    charges = Charges(__root__=[charge])
    lago.plans.create(
        Plan(name="Pro", code="pro", interval="monthly", amount_cents=0, amount_currency="EUR", pay_in_advance=False, charges=charges)
    )
    lago.customers.create(Customer(external_id="acme", currency="EUR"))
    lago.subscriptions.create(Subscription(external_customer_id="acme", plan_code="pro", external_id="sub", billing_time="calendar"))
    return lago


def alert(code, kind, *values, metric=None, **recurring):
    thresholds = [AlertThreshold(value=value, code=None, recurring=None) for value in values]
    thresholds += [AlertThreshold(value=value, code=name, recurring=True) for name, value in recurring.items()]
    return Alert(alert_type=kind, code=code, name=f"about {code}", thresholds=AlertThresholdList(__root__=thresholds), billable_metric_code=metric)


def used(lago, name, n):
    lago.events.create(Event(transaction_id=name, external_subscription_id="sub", code="calls", properties={"n": n}))


def test_alerts_of_a_subscription_are_made_together_and_told_once(lago, server, receiver):
    units, cents = (
        alert("units", "billable_metric_current_usage_units", "10", metric="calls", again="10"),
        alert("cents", "current_usage_amount", "100000"),
    )
    made = lago.subscriptions.create_alerts("sub", AlertsList(alerts=[units, cents]))["alerts"]
    assert [(it.code, it.alert_type, it.direction, it.external_subscription_id) for it in made] == [
        ("units", "billable_metric_current_usage_units", "increasing", "sub"), ("cents", "current_usage_amount", "increasing", "sub"),
    ]
    assert [(it.value, it.recurring, it.code) for it in made[0].thresholds.__root__] == [("10", False, None), ("10", True, "again")]
    assert made[0].billable_metric.code == "calls" and made[1].billable_metric is None
    twice = AlertsList(alerts=[alert("new", "current_usage_amount", "1"), cents])
    assert refused(422, lago.subscriptions.create_alerts, "sub", twice)["error_details"] == {"code": ["value_already_exist"]}
    key = server.key("operator")
    listed = raw(server, key, "GET", "subscriptions/sub/alerts").json()["alerts"]
    assert sorted(it["code"] for it in listed) == ["cents", "units"], "all or none"

    lago.webhook_endpoints.create(WebhookEndpoint(webhook_url=receiver.url, signature_algo="hmac", event_types=["alert.triggered"]))
    used(lago, "one", "9")
    used(lago, "two", "16")
    headers, body = receiver.take()
    told = json.loads(body)
    assert (told["webhook_type"], told["object_type"]) == ("alert.triggered", "triggered_alert") and headers["x-lago-unique-key"]
    told = told["triggered_alert"]
    assert (told["alert_code"], told["lago_alert_id"], told["external_subscription_id"]) == ("units", made[0].lago_id, "sub")
    assert (told["external_customer_id"], told["billable_metric_code"], told["current_value"]) == ("acme", "calls", 25)
    assert told["crossed_thresholds"] == [
        {"code": None, "value": "10", "recurring": False}, {"code": "again", "value": "20", "recurring": True},
    ], "each is named"
    assert told["triggered_at"] and told["previous_value"] in (0, 9)
    used(lago, "three", "1")
    used(lago, "four", "0.5")
    lago.events.create(Event(transaction_id="five", external_subscription_id="sub", code="calls", properties={"n": "3.5"}))
    second = json.loads(receiver.take()[1])["triggered_alert"]
    assert (second["current_value"], [it["value"] for it in second["crossed_thresholds"]]) == (30, ["30"]), "what was told is not told again"
    found = raw(server, key, "GET", "subscriptions/sub/alerts/units").json()["alert"]
    assert (found["previous_value"], bool(found["last_processed_at"])) == ("30", True)
    lago.subscriptions.delete_alerts("sub")
    assert raw(server, key, "GET", "subscriptions/sub/alerts").json()["alerts"] == []


def test_alerts_of_a_wallet_live_through_the_client_and_tell_when_the_balance_comes_down(lago, receiver):
    wallet = lago.wallets.create(Wallet(external_customer_id="acme", currency="EUR", rate_amount="1", granted_credits="20", code="main"))
    alerts = lago.customers.wallets.alerts
    made = alerts.create("acme", wallet.code, alert("low", "wallet_balance_amount", "1000"))
    assert (made.alert_type, made.direction, made.wallet_code, made.lago_wallet_id) == (
        "wallet_balance_amount", "decreasing", wallet.code, wallet.lago_id,
    )
    both = AlertsList(alerts=[alert("ongoing", "wallet_credits_ongoing_balance", "5"), alert("credits", "wallet_credits_balance", "1")])
    assert [it.code for it in alerts.create_batch("acme", wallet.code, both)["alerts"]] == ["ongoing", "credits"]
    assert sorted(it.code for it in alerts.find_all("acme", wallet.code)["alerts"]) == ["credits", "low", "ongoing"]
    assert alerts.find("acme", wallet.code, "low").lago_id == made.lago_id
    lower = AlertThresholdList(__root__=[AlertThreshold(value="800", code="deep", recurring=None)])
    changed = alerts.update("acme", wallet.code, "low", Alert(name="Low", thresholds=lower, alert_type=None, code=None, billable_metric_code=None))
    assert (changed.name, changed.code, [it.value for it in changed.thresholds.__root__]) == ("Low", "low", ["800"])
    wrong = alert("x", "current_usage_amount", "1")
    assert refused(422, alerts.create, "acme", wallet.code, wrong)["error_details"] == {"alert_type": ["value_is_invalid"]}
    assert refused(404, alerts.find, "acme", wallet.code, "none")["code"] == "alert_not_found"
    assert refused(404, alerts.find_all, "acme", "none")["code"] == "wallet_not_found"

    lago.webhook_endpoints.create(WebhookEndpoint(webhook_url=receiver.url, signature_algo="hmac", event_types=["alert.triggered"]))
    lago.wallet_transactions.create(WalletTransaction(wallet_id=wallet.lago_id, voided_credits="12"))
    told = json.loads(receiver.take()[1])["triggered_alert"]
    assert (told["alert_code"], told["alert_name"], told["current_value"], told["lago_wallet_id"]) == ("low", "Low", 800, wallet.lago_id)
    assert told["crossed_thresholds"] == [{"code": "deep", "value": "800", "recurring": False}]
    used(lago, "much", "8")
    told = json.loads(receiver.take()[1])["triggered_alert"]
    assert (told["alert_code"], told["current_value"], told["external_customer_id"]) == ("ongoing", 4, "acme"), "used and not billed yet"
    assert alerts.destroy("acme", wallet.code, "ongoing").code == "ongoing"
    alerts.destroy_all("acme", wallet.code)
    assert alerts.find_all("acme", wallet.code)["alerts"] == []
