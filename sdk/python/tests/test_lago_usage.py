"""Lago's own Python client, unmodified, against the real server: events in, and what they come to."""

import calendar
import datetime
import time
import uuid

import httpx
import pytest
from lago import client, code, raw, refused
from lago_python_client.models import (
    BatchEvent,
    BillableMetric,
    BillableMetricFilter,
    BillableMetricFilters,
    Charge,
    ChargeFilter,
    ChargeFilters,
    Charges,
    Customer,
    Event,
    Plan,
    Subscription,
)

NOW = datetime.datetime.now(datetime.timezone.utc)


def this_second():
    """As most programs say when something happened."""
    return int(time.time())


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


@pytest.fixture(scope="module")
def metric(lago):
    region = BillableMetricFilter(key="region", values=["eu", "us"])
    filters = BillableMetricFilters(__root__=[region])
    return lago.billable_metrics.create(
        BillableMetric(name="Tokens", code=code("tokens"), aggregation_type="sum_agg", field_name="n", filters=filters)
    )


@pytest.fixture(scope="module")
def calls(lago):
    return lago.billable_metrics.create(BillableMetric(name="Calls", code=code("calls"), aggregation_type="count_agg"))


def subscribed(lago, *charges, **terms):
    plan = Plan(
        name="P", code=code("plan"), interval="monthly", amount_cents=0, amount_currency="EUR", pay_in_advance=False,
        charges=Charges(__root__=list(charges)),
    )
    lago.plans.create(plan)
    customer, external_id = code("acme"), code("sub")
    lago.customers.create(Customer(external_id=customer, currency="EUR"))
    return lago.subscriptions.create(
        Subscription(external_customer_id=customer, plan_code=plan.code, external_id=external_id, **terms)
    )


@pytest.fixture
def plain(lago, metric, calls):
    """A subscription that pays 0.50 for each token, and tiers for calls."""
    tiers = [
        {"from_value": 0, "to_value": 2, "per_unit_amount": "1", "flat_amount": "0"},
        {"from_value": 2, "to_value": None, "per_unit_amount": "0.1", "flat_amount": "0"},
    ]
    return subscribed(
        lago,
        Charge(billable_metric_id=metric.lago_id, charge_model="standard", properties={"amount": "0.5"}),
        Charge(billable_metric_id=calls.lago_id, charge_model="graduated", properties={"graduated_ranges": tiers}),
    )


def event(subscription, metric, transaction=None, **fields):
    return Event(
        transaction_id=transaction or str(uuid.uuid4()), external_subscription_id=subscription.external_id, code=metric.code, **fields
    )


def usage_of(lago, subscription, **which):
    return lago.customers.current_usage(subscription.external_customer_id, subscription.external_id, **which)


def test_an_event_is_recorded_read_back_and_counted_at_once(lago, plain, metric, calls):
    second = this_second()
    sent = event(plain, metric, timestamp=second, properties={"n": "2.5", "region": "eu", "note": "x"})
    made = lago.events.create(sent)
    assert (made.transaction_id, made.code, made.properties) == (sent.transaction_id, metric.code, sent.properties)
    assert (made.lago_subscription_id, made.external_subscription_id) == (plain.lago_id, plain.external_id)
    assert made.lago_customer_id == plain.lago_customer_id and uuid.UUID(made.lago_id).version == 8
    assert made.timestamp.startswith(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    assert lago.events.find(sent.transaction_id) == made
    for _ in range(3):
        lago.events.create(event(plain, calls))
    usage = usage_of(lago, plain)
    assert (usage.amount_cents, usage.total_amount_cents, usage.currency) == (125 + 210, 335, "EUR")
    tokens, graduated = usage.charges_usage
    assert (tokens.units, tokens.events_count, tokens.amount_cents, tokens.billable_metric.code) == ("2.5", 1, 125, metric.code)
    assert (graduated.units, graduated.events_count, graduated.amount_cents, graduated.charge.charge_model) == ("3", 3, 210, "graduated")
    assert (tokens.billable_metric.lago_id, tokens.billable_metric.aggregation_type) == (metric.lago_id, "sum_agg")
    assert usage.from_datetime <= made.timestamp <= usage.to_datetime and usage.issuing_date > usage.to_datetime[:10]


def test_an_identifier_is_used_once_whatever_the_event_is(lago, plain, metric):
    first = event(plain, metric, timestamp=this_second(), properties={"n": 1})
    lago.events.create(first)
    other = event(plain, metric, first.transaction_id, timestamp=first.timestamp, properties={"n": 2})
    for again in (first, other):
        body = refused(422, lago.events.create, again)
        assert (body["code"], body["error_details"]) == ("validation_errors", {"transaction_id": ["value_already_exist"]})
    assert usage_of(lago, plain).charges_usage[0].units == "1"


def test_a_batch_is_recorded_whole_or_not_at_all(server, lago, plain, metric):
    batch = [event(plain, metric, properties={"n": n}) for n in (1, 2, 3)]
    lago.events.batch_create(BatchEvent(events=batch))
    assert usage_of(lago, plain).charges_usage[0].units == "6"
    known = event(plain, metric, batch[1].transaction_id, properties={"n": 9})
    lost, wrong = event(plain, metric, properties={"n": 4}), event(plain, metric, properties={"n": "many"})
    body = refused(422, lago.events.batch_create, BatchEvent(events=[lost, known]))
    assert body["error_details"] == {"1": {"transaction_id": ["value_already_exist"]}}
    body = refused(422, lago.events.batch_create, BatchEvent(events=[lost, wrong]))
    assert body["error_details"] == {"1": {"properties": ["value_is_invalid"]}}
    twice = refused(422, lago.events.batch_create, BatchEvent(events=[lost, lost]))
    assert twice["error_details"] == {"1": {"transaction_id": ["value_already_exist"]}}
    assert usage_of(lago, plain).charges_usage[0].units == "6", "nothing of a refused batch counts"
    assert refused(404, lago.events.find, lost.transaction_id)["code"] == "event_not_found"
    many = [event(plain, metric, properties={"n": 1}) for _ in range(101)]
    assert refused(422, lago.events.batch_create, BatchEvent(events=many))["error_details"] == {"events": ["too_many_events"]}
    lago.events.batch_create(BatchEvent(events=many[:100]))
    assert usage_of(lago, plain).charges_usage[0].units == "106"
    made = raw(server, lago.api_key, "POST", "events/batch", {"events": [event(plain, metric, properties={"n": 1}).dict(exclude_none=True)]})
    assert [one["external_subscription_id"] for one in made.json()["events"]] == [plain.external_id]


def test_what_would_never_be_billed_is_refused(lago, plain, metric):
    stray = Event(transaction_id=str(uuid.uuid4()), external_subscription_id=code("nobody"), code=metric.code, properties={"n": 1})
    assert refused(404, lago.events.create, stray)["code"] == "subscription_not_found"
    unpriced = Event(transaction_id=str(uuid.uuid4()), external_subscription_id=plain.external_id, code=code("no"), properties={})
    body = refused(422, lago.events.create, unpriced)
    assert body["error_details"] == {"code": ["billable_metric_not_charged"]} and body["creto"]["code"] == "metering.not_charged"
    ahead = event(plain, metric, timestamp=this_second() + 7200, properties={"n": 1})
    assert refused(422, lago.events.create, ahead)["error_details"] == {"timestamp": ["value_is_invalid"]}
    empty = event(plain, metric)
    assert list(refused(422, lago.events.create, empty)["error_details"]) == ["properties"]


def test_an_agent_reports_its_own_and_no_others(server, lago, plain, metric):
    agent = server.agent_token()
    body = {"event": event(plain, metric, properties={"n": 1}).dict(exclude_none=True)}
    answer = raw(server, agent, "POST", "events", body)
    assert answer.status_code == 403 and answer.json()["creto"]["code"] == "metering.not_reporter", answer.text
    server.operator.call("PUT", f"/v1/metering/reporters/{plain.external_id}", {"reporters": ["*"]})
    assert raw(server, agent, "POST", "events", body).status_code == 200
    assert raw(server, agent, "GET", "events").status_code == 403


def test_events_are_listed_by_subscription_metric_and_time(server, lago, metric, calls):
    charges = [Charge(billable_metric_id=one.lago_id, charge_model="standard", properties={"amount": "1"}) for one in (metric, calls)]
    plain = subscribed(lago, *charges, subscription_at=(NOW - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    days = [NOW - datetime.timedelta(minutes=minutes) for minutes in (3, 2, 1)]
    sent = [event(plain, metric, timestamp=f"{int(day.timestamp())}", properties={"n": 1}) for day in days]
    for one in sent:
        lago.events.create(one)
    lago.events.create(event(plain, calls))

    def listed(**which):
        answer = raw(server, lago.api_key, "GET", "events", params=which).json()
        return [one["transaction_id"] for one in answer["events"]], answer["meta"]

    ours = {"external_subscription_id": plain.external_id, "code": metric.code}
    assert listed(**ours)[0] == [one.transaction_id for one in reversed(sent)], "newest first"
    page, meta = listed(**ours, page=2, per_page=2)
    assert page == [sent[0].transaction_id] and (meta["total_count"], meta["next_page"], meta["prev_page"]) == (3, None, 1)
    since = (days[1] - datetime.timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(listed(**ours, timestamp_from=since)[0]) == 2
    assert listed(per_page=1)[1]["total_count"] >= 4
    body = raw(server, lago.api_key, "GET", "events", params={"code": metric.code}).json()
    assert body["error_details"] == {"external_subscription_id": ["value_is_mandatory"]}


def test_usage_is_shown_by_filter_group_and_what_is_shown_apart(lago, metric):
    subscription = subscribed(
        lago,
        Charge(
            billable_metric_id=metric.lago_id, charge_model="standard",
            properties={"amount": "1", "pricing_group_keys": ["agent"], "presentation_group_keys": ["team"]},
            filters=ChargeFilters(__root__=[ChargeFilter(invoice_display_name="Europe", properties={"amount": "0.1", "pricing_group_keys": ["agent"]}, values={"region": ["eu"]})]),
        ),
    )
    for n, region, agent, team in ((10, "eu", "a", "x"), (20, "us", "a", "x"), (30, "eu", "b", "y")):
        lago.events.create(event(subscription, metric, properties={"n": n, "region": region, "agent": agent, "team": team}))
    (charge,) = usage_of(lago, subscription).charges_usage
    assert (charge.units, charge.amount_cents, charge.events_count) == ("60", 100 + 2000 + 300, 3)
    europe, rest = charge.filters
    assert (europe.values, europe.units, europe.amount_cents, europe.invoice_display_name) == ({"region": ["eu"]}, "40", 400, "Europe")
    assert (rest.values, rest.units, rest.amount_cents) == ({}, "20", 2000)
    groups = {group.grouped_by["agent"]: (group.units, group.amount_cents, group.events_count) for group in charge.grouped_usage}
    assert groups == {"a": ("30", 2100, 2), "b": ("30", 300, 1)}
    apart = {(one.presentation_by["team"]) for one in charge.presentation_breakdowns.__root__}
    assert apart <= {"x", "y"}
    only = usage_of(lago, subscription, charge_id=charge.charge.lago_id, group={"agent": "b"})
    assert (only.amount_cents, only.charges_usage[0].units) == (300, "30")
    assert usage_of(lago, subscription, billable_metric_code="other").charges_usage == []


def test_usage_of_nobody_is_not_found(lago, plain):
    assert refused(404, lago.customers.current_usage, "nobody", plain.external_id)["code"] == "customer_not_found"
    assert refused(404, lago.customers.current_usage, plain.external_customer_id, "none")["code"] == "subscription_not_found"
    other = subscribed_elsewhere(lago)
    assert refused(404, lago.customers.current_usage, other, plain.external_id)["code"] == "subscription_not_found", "whose it is counts"


def subscribed_elsewhere(lago):
    customer = code("other")
    lago.customers.create(Customer(external_id=customer))
    return customer


def test_usage_that_goes_on_is_projected_by_days_and_priced_as_so_much(lago, plain, metric, calls):
    lago.events.create(event(plain, metric, properties={"n": 1000}))
    lago.events.create(event(plain, calls))
    projected = lago.customers.projected_usage(plain.external_customer_id, plain.external_id)
    tokens, graduated = projected.charges_usage
    days = calendar.monthrange(NOW.year, NOW.month)[1] - NOW.day + 1
    assert tokens.units == "1000" and float(tokens.projected_units) == 1000 * days, projected
    assert tokens.projected_amount_cents == tokens.amount_cents * days
    expected = min(days, 2) * 100 + max(days - 2, 0) * 10
    assert graduated.projected_amount_cents == expected and projected.projected_amount_cents == tokens.projected_amount_cents + expected


def test_billed_periods_are_told_as_they_were_billed(server, lago, metric):
    began = (NOW.replace(day=1) - datetime.timedelta(days=45)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    subscription = subscribed(
        lago,
        Charge(billable_metric_id=metric.lago_id, charge_model="standard", properties={"amount": "0.5"}),
        subscription_at=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    for day, n in ((began + datetime.timedelta(days=3), 10), (began + datetime.timedelta(days=40), 4), (NOW, 2)):
        lago.events.create(event(subscription, metric, timestamp=int(day.timestamp()), properties={"n": n}))
    server.operator.call("POST", "/v1/metering/billing-runs", {})
    past = lago.customers.past_usage(subscription.external_customer_id, subscription.external_id)
    assert past["meta"]["total_count"] == 2, past
    last, first = past["usage_periods"]
    assert (first.from_datetime[:10], first.amount_cents, first.charges_usage[0].units) == (began.strftime("%Y-%m-%d"), 500, "10")
    assert (last.amount_cents, last.charges_usage[0].units) == (200, "4") and last.lago_invoice_id
    one = lago.customers.past_usage(subscription.external_customer_id, subscription.external_id, {"periods_count": 1})
    assert len(one["usage_periods"]) == 1 and one["usage_periods"][0].from_datetime == last.from_datetime
    lifetime = lago.subscriptions.lifetime_usage(subscription.external_id)
    assert (lifetime.invoiced_usage_amount_cents, lifetime.current_usage_amount_cents) == (700, 100)
    assert usage_of(lago, subscription).amount_cents == 100


def test_a_body_that_is_no_json_is_refused_in_lagos_form(server, lago):
    headers = {"authorization": f"Bearer {lago.api_key}", "content-type": "application/json"}
    for text in ("{", "[]", '{"event": 1}', '{"event": {"a": 1, "a": 2}}'):
        answer = httpx.post(f"{server.url}/lago/api/v1/events", content=text, headers=headers)
        assert answer.status_code == 422 and answer.json()["code"] == "validation_errors", f"{text}: {answer.text}"


def test_usage_is_taxed_as_its_invoice_will_be(server, lago, metric):
    tax = code("vat")
    server.operator.call("POST", "/v1/metering/taxes", {"code": tax, "name": "VAT", "rate": "20"})
    charge = Charge(billable_metric_id=metric.lago_id, charge_model="standard", properties={"amount": "0.5"}, tax_codes=[tax])
    subscription = subscribed(lago, charge)
    (shown,) = lago.plans.find(subscription.plan_code).charges.__root__
    assert [(one.code, one.rate) for one in shown.taxes.__root__] == [(tax, 20.0)]
    lago.events.create(event(subscription, metric, properties={"n": 10}))
    taxed, plain = usage_of(lago, subscription), usage_of(lago, subscription, apply_taxes="false")
    assert (taxed.amount_cents, taxed.taxes_amount_cents, taxed.total_amount_cents) == (500, 100, 600)
    assert (plain.amount_cents, plain.taxes_amount_cents, plain.total_amount_cents) == (500, 0, 500)


def test_usage_never_shows_more_than_its_invoice_bills(server, lago, metric):
    plan = code("capped")
    charge = {"billable_metric_code": metric.code, "charge_model": "standard", "properties": {"amount": "0.5"}, "max_amount_cents": 300}
    body = {"code": plan, "interval": "monthly", "amount_currency": "EUR", "charges": [charge]}
    server.operator.call("POST", "/v1/metering/plans", body)
    customer, external_id = code("acme"), code("sub")
    lago.customers.create(Customer(external_id=customer))
    subscription = lago.subscriptions.create(Subscription(external_customer_id=customer, plan_code=plan, external_id=external_id))
    lago.events.create(event(subscription, metric, properties={"n": 10}))
    assert usage_of(lago, subscription).amount_cents == 300
