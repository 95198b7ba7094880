"""Lago's own Python client, unmodified, against the real server: plans with every price, and who is subscribed to them."""

import datetime
import uuid

import pytest
from lago import client, code, raw, refused
from lago_python_client.models import (
    BillableMetric,
    BillableMetricFilter,
    BillableMetricFilters,
    Charge,
    ChargeFilter,
    ChargeFilters,
    Charges,
    Customer,
    MinimumCommitment,
    Plan,
    Subscription,
    UsageThreshold,
    UsageThresholds,
)
from lago_python_client.models.charge import ChargeOverrides, ChargesOverrides
from lago_python_client.models.plan import PlanOverrides


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


@pytest.fixture(scope="module")
def metric(lago):
    region = BillableMetricFilter(key="region", values=["eu", "us"])
    return lago.billable_metrics.create(
        BillableMetric(
            name="Tokens", code=code("tokens"), aggregation_type="sum_agg", field_name="n",
            filters=BillableMetricFilters(__root__=[region]),
        )
    )


def plan_of(*charges, **terms):
    named = {"name": "Pro", "code": code("plan"), "interval": "monthly", "amount_cents": 1000, "amount_currency": "EUR", "pay_in_advance": False}
    return Plan(**{**named, **terms}, charges=Charges(__root__=list(charges)))


def charge_of(metric, model="standard", properties=None, **terms):
    return Charge(billable_metric_id=metric.lago_id, charge_model=model, properties=properties or {"amount": "0.5"}, **terms)


TIERS = [
    {"from_value": 0, "to_value": 10, "per_unit_amount": "1", "flat_amount": "0"},
    {"from_value": 10, "to_value": None, "per_unit_amount": "0.5", "flat_amount": "2"},
]
RATES = [{"from_value": 0, "to_value": 10, "rate": "1", "flat_amount": "3"}, {"from_value": 10, "to_value": None, "rate": "2", "flat_amount": "0"}]
PRICES = {
    "standard": {"amount": "0.00000000009"},
    "graduated": {"graduated_ranges": TIERS},
    "volume": {"volume_ranges": TIERS},
    "package": {"amount": "3", "package_size": 1000, "free_units": 50},
    "percentage": {"rate": "1.2", "fixed_amount": "0.5", "free_units_per_events": 3, "free_units_per_total_aggregation": "100"},
    "graduated_percentage": {"graduated_percentage_ranges": RATES},
    "dynamic": {},
}


@pytest.mark.parametrize("model", PRICES)
def test_every_price_model_of_lago_is_taken_and_shown_as_it_was_written(lago, metric, model):
    plan = lago.plans.create(plan_of(charge_of(metric, model, PRICES[model] or {"pricing_group_keys": ["agent"]})))
    (charge,) = plan.charges.__root__
    assert charge.charge_model == model and charge.properties == (PRICES[model] or {"pricing_group_keys": ["agent"]})
    assert (charge.lago_billable_metric_id, charge.billable_metric_code) == (metric.lago_id, metric.code)
    assert lago.plans.find(plan.code) == plan


def test_a_plan_with_all_that_lago_gives_one_lives_through_the_client(lago, metric):
    charge = charge_of(
        metric, properties={"amount": "1", "pricing_group_keys": ["agent"], "presentation_group_keys": [{"value": "team", "options": {"display_in_invoice": True}}]},
        invoice_display_name="Use", min_amount_cents=500, prorated=False, pay_in_advance=False, invoiceable=True,
        filters=ChargeFilters(__root__=[ChargeFilter(invoice_display_name="Europe", properties={"amount": "0.2"}, values={"region": ["eu"]})]),
    )
    wanted = plan_of(
        charge, description="all of it", invoice_display_name="The plan", trial_period=7.0, pay_in_advance=True, interval="yearly",
        bill_charges_monthly=True, minimum_commitment=MinimumCommitment(amount_cents=90000, invoice_display_name="At least"),
        usage_thresholds=UsageThresholds(
            __root__=[
                UsageThreshold(amount_cents=9000, threshold_display_name="second"),
                UsageThreshold(amount_cents=4000, threshold_display_name="first"),
                UsageThreshold(amount_cents=1000, recurring=True),
            ]
        ),
    )
    plan = lago.plans.create(wanted)
    assert (plan.trial_period, plan.pay_in_advance, plan.bill_charges_monthly, plan.interval) == (7, True, True, "yearly")
    assert (plan.minimum_commitment.amount_cents, plan.minimum_commitment.interval) == (90000, "yearly")
    assert [(t.amount_cents, t.recurring) for t in plan.usage_thresholds.__root__] == [(1000, True), (4000, False), (9000, False)]
    (shown,) = plan.charges.__root__
    assert shown.properties == {"amount": "1", "pricing_group_keys": ["agent"], "presentation_group_keys": ["team"]}
    assert (shown.min_amount_cents, shown.filters.__root__[0].values) == (500, {"region": ["eu"]})
    ids = [shown.lago_id, plan.minimum_commitment.lago_id, *(t.lago_id for t in plan.usage_thresholds.__root__)]
    assert len({uuid.UUID(one) for one in ids}) == 5, "each has an identifier of its own"
    changed = lago.plans.update(Plan(name="Prime", charges=Charges(__root__=[Charge(id=shown.lago_id, min_amount_cents=700)])), plan.code)
    (kept,) = changed.charges.__root__
    assert (changed.name, changed.trial_period, kept.min_amount_cents, kept.lago_id) == ("Prime", 7, 700, shown.lago_id)
    assert kept.properties == shown.properties and kept.filters == shown.filters
    assert lago.plans.destroy(plan.code).lago_id == plan.lago_id
    assert refused(404, lago.plans.find, plan.code)["code"] == "plan_not_found"


def test_charges_and_their_filters_have_paths_of_their_own(server, lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    second = lago.plan_charges.create(plan.code, charge_of(metric, "package", {"amount": "1", "package_size": 10}))
    assert second.code == f"{metric.code}_2" and second.properties == {"amount": "1", "package_size": 10, "free_units": 0}
    # Lists of what belongs to another resource are the ones that this client asks for without its key.
    listed = raw(server, lago.api_key, "GET", f"plans/{plan.code}/charges").json()
    assert [charge["code"] for charge in listed["charges"]] == [metric.code, second.code] and listed["meta"]["total_count"] == 2
    changed = lago.plan_charges.update(plan.code, second.code, Charge(invoice_display_name="Packs"))
    assert lago.plan_charges.find(plan.code, second.lago_id) == changed and changed.invoice_display_name == "Packs"
    made = lago.plans.create_charge_filter(plan.code, metric.code, ChargeFilter(properties={"amount": "2"}, values={"region": ["us"]}))
    assert lago.plans.find_charge_filter(plan.code, metric.code, made.lago_id) == made
    cheaper = lago.plans.update_charge_filter(plan.code, metric.code, made.lago_id, ChargeFilter(properties={"amount": "1"}))
    assert (cheaper.lago_id, cheaper.values, cheaper.properties) == (made.lago_id, {"region": ["us"]}, {"amount": "1"})
    assert lago.plans.find_all_charge_filters(plan.code, metric.code)["filters"] == [cheaper]
    lago.plans.destroy_charge_filter(plan.code, metric.code, made.lago_id)
    assert lago.plans.find_all_charge_filters(plan.code, metric.code)["filters"] == []
    lago.plan_charges.destroy(plan.code, second.code)
    assert refused(404, lago.plan_charges.find, plan.code, second.code)["code"] == "charge_not_found"


def test_what_is_wrong_with_a_plan_is_told_by_field(lago, metric):
    nobody = str(uuid.uuid4())
    unknown = plan_of(Charge(billable_metric_id=nobody, charge_model="standard", properties={"amount": "1"}))
    assert refused(404, lago.plans.create, unknown)["code"] == "billable_metric_not_found"
    negative = refused(422, lago.plans.create, plan_of(charge_of(metric, properties={"amount": "-1"})))
    assert negative["error_details"] == {"charges[0].properties.amount": ["value_is_invalid"]}
    barter = refused(422, lago.plans.create, plan_of(charge_of(metric, "barter")))
    assert list(barter["error_details"]) == ["charges[0].charge_model"], barter
    fixed = refused(422, lago.plans.create, plan_of(metadata={"a": "b"}))
    assert fixed["error_details"] == {"metadata": ["value_is_not_supported"]}
    taxed = refused(404, lago.plans.create, plan_of(tax_codes=["no-such-tax"]))
    assert taxed["code"] == "tax_not_found"


def subscribed(lago, plan, **terms):
    customer, external_id = code("acme"), code("sub")
    lago.customers.create(Customer(external_id=customer, currency="EUR"))
    return lago.subscriptions.create(Subscription(external_customer_id=customer, plan_code=plan.code, external_id=external_id, **terms))


def test_a_subscription_begins_changes_its_plan_and_ends(lago, metric):
    small, large = lago.plans.create(plan_of(charge_of(metric))), lago.plans.create(plan_of(charge_of(metric), amount_cents=9000))
    begun = subscribed(lago, small, name="first", billing_time="anniversary")
    assert (begun.status, begun.plan_code, begun.plan_amount_cents, begun.billing_time, begun.name) == ("active", small.code, "1000", "anniversary", "first")
    assert begun.started_at and begun.current_billing_period_started_at < begun.current_billing_period_ending_at
    again = lago.subscriptions.create(
        Subscription(external_customer_id=begun.external_customer_id, plan_code=small.code, external_id=begun.external_id)
    )
    assert again == begun, "asked for once more it is the one that runs"
    renamed = lago.subscriptions.update(Subscription(name="renamed", ending_at="2100-01-01T00:00:00Z"), begun.external_id)
    assert (renamed.name, renamed.ending_at[:10], renamed.lago_id) == ("renamed", "2100-01-01", begun.lago_id)
    dearer = lago.subscriptions.create(
        Subscription(external_customer_id=begun.external_customer_id, plan_code=large.code, external_id=begun.external_id)
    )
    assert (dearer.status, dearer.previous_plan_code, dearer.plan_code) == ("active", small.code, large.code)
    cheaper = lago.subscriptions.create(
        Subscription(external_customer_id=begun.external_customer_id, plan_code=small.code, external_id=begun.external_id)
    )
    assert cheaper.status == "pending"
    waiting = lago.subscriptions.find(begun.external_id)
    assert (waiting.next_plan_code, waiting.plan_code) == (small.code, large.code) and waiting.downgrade_plan_date
    ended = lago.subscriptions.destroy(begun.external_id)
    assert ended.status == "terminated" and ended.terminated_at
    assert refused(404, lago.subscriptions.find, begun.external_id)["code"] == "subscription_not_found"


def test_lists_of_subscriptions_are_narrowed_by_customer_plan_and_state(server, lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    runs, waits = subscribed(lago, plan), subscribed(lago, plan, subscription_at="2100-01-01")
    assert waits.status == "pending" and waits.subscription_at.startswith("2100-01-01T00:00:00")

    def listed(**which):
        return {row.external_id for row in lago.subscriptions.find_all({"plan_code": plan.code, **which})["subscriptions"]}

    assert listed() == {runs.external_id}, "those that run"
    assert listed(**{"status[]": ["active", "pending"]}) == {runs.external_id, waits.external_id}
    assert listed(**{"status[]": ["pending"], "external_customer_id": runs.external_customer_id}) == set()
    of_one = raw(server, lago.api_key, "GET", f"customers/{runs.external_customer_id}/subscriptions").json()
    assert [row["external_id"] for row in of_one["subscriptions"]] == [runs.external_id]
    assert raw(server, lago.api_key, "GET", "customers/nobody/subscriptions").json()["code"] == "customer_not_found"


def test_a_subscription_differs_from_its_plan_where_it_says_so(server, lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    (charge,) = plan.charges.__root__
    own = PlanOverrides(amount_cents=700, charges=ChargesOverrides(__root__=[ChargeOverrides(id=charge.lago_id, properties={"amount": "0.1"})]))
    begun = subscribed(lago, plan, plan_overrides=own)
    assert begun.plan_amount_cents == "700"
    shown = raw(server, lago.api_key, "GET", f"subscriptions/{begun.external_id}").json()["subscription"]
    assert shown["plan"]["charges"][0]["properties"] == {"amount": "0.1"} and shown["plan"]["amount_cents"] == 700
    assert lago.plans.find(plan.code).charges.__root__[0].properties == {"amount": "0.5"}, "the plan itself is as it was"
    unknown = PlanOverrides(charges=ChargesOverrides(__root__=[ChargeOverrides(id=str(uuid.uuid4()), min_amount_cents=1)]))
    assert refused(404, subscribed, lago, plan, plan_overrides=unknown)["code"] == "charge_not_found"
    body = refused(422, subscribed, lago, plan, purchase_order_number="7")
    assert body["error_details"] == {"purchase_order_number": ["value_is_not_supported"]}


def test_a_charge_is_changed_for_one_subscription_alone(lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    begun, other = subscribed(lago, plan), subscribed(lago, plan)
    lago.subscription_charges.update(begun.external_id, metric.code, Charge(min_amount_cents=300))
    changed = lago.subscription_charges.update(begun.external_id, metric.code, Charge(properties={"amount": "0.2"}))
    assert (changed.properties, changed.min_amount_cents) == ({"amount": "0.2"}, 300)
    assert lago.subscription_charges.find(begun.external_id, changed.lago_id) == changed
    assert lago.subscription_charges.find(other.external_id, metric.code).properties == {"amount": "0.5"}
    assert lago.subscriptions.find_all_charge_filters(begun.external_id, metric.code)["filters"] == []
    assert refused(404, lago.subscription_charges.find, begun.external_id, "none")["code"] == "charge_not_found"


def test_a_plans_next_version_is_for_those_who_come_unless_all_are_to_move(server, lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    begun = subscribed(lago, plan)

    def pays():
        return lago.subscriptions.find(begun.external_id).plan_amount_cents

    lago.plans.update(Plan(amount_cents=2000), plan.code)
    assert pays() == "1000"
    lago.plans.update(Plan(amount_cents=3000, cascade_updates=True), plan.code)
    assert pays() == "3000"
    in_use = refused(405, lago.plans.destroy, plan.code)
    assert (in_use["code"], in_use["creto"]["code"]) == ("not_allowed", "metering.in_use")


def test_the_moments_of_a_subscription_are_read_as_lago_writes_them(lago, metric):
    plan = lago.plans.create(plan_of(charge_of(metric)))
    began = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    begun = subscribed(lago, plan, subscription_at=began)
    assert begun.started_at.startswith(began[:19])
    body = refused(422, subscribed, lago, plan, subscription_at="tomorrow")
    assert body["error_details"] == {"subscription_at": ["value_is_invalid"]}
