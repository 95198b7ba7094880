"""Lago's own Python client, unmodified, against the real server: invoices before there are any."""

import pytest
from lago import client, code, raw, refused
from lago_python_client.models import (
    AppliedCoupon,
    BillableMetric,
    Charge,
    Charges,
    Coupon,
    Customer,
    Event,
    InvoicePreview,
    Plan,
    Subscription,
    Tax,
    Wallet,
)
from lago_python_client.models.coupon import CouponsList
from lago_python_client.models.subscription import Subscriptions


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


@pytest.fixture
def vat(lago):
    return lago.taxes.create(Tax(name="VAT", code=code("vat"), rate=20)).code


@pytest.fixture
def metric(lago):
    return lago.billable_metrics.create(BillableMetric(name="Calls", code=code("calls"), aggregation_type="sum_agg", field_name="n"))


def plan(lago, metric, cents, pay_in_advance=False, currency="EUR"):
    charge = Charge(billable_metric_id=metric.lago_id, charge_model="standard", properties={"amount": "0.5"})
    wanted = Plan(
        name="Pro", code=code("pro"), interval="monthly", amount_cents=cents, amount_currency=currency, pay_in_advance=pay_in_advance,
        charges=Charges(__root__=[charge]),
    )
    return lago.plans.create(wanted).code


@pytest.fixture
def subscribed(lago, metric, vat):
    """A customer with a tax, and a subscription that pays 31.00 EUR a month and 0.50 a call."""
    customer, subscription = code("acme"), code("sub")
    lago.customers.create(Customer(external_id=customer, name="Acme", currency="EUR", tax_codes=[vat]))
    lago.subscriptions.create(
        Subscription(external_id=subscription, external_customer_id=customer, plan_code=plan(lago, metric, 3100), billing_time="anniversary")
    )
    return customer, subscription


def call(lago, metric, subscription, n):
    lago.events.create(Event(transaction_id=code("t"), external_subscription_id=subscription, code=metric.code, properties={"n": n}))


def of(customer, subscription, **change):
    held = Subscriptions(external_ids=[subscription], **change)
    return InvoicePreview(customer=Customer(external_id=customer), subscriptions=held)


def amounts(invoice):
    return [(fee.item.type, fee.item.code, fee.amount_cents) for fee in invoice.fees.__root__]


def test_the_next_invoice_of_a_subscription_has_its_usage_tax_coupons_and_credits(lago, server, metric, subscribed, vat):
    customer, subscription = subscribed
    call(lago, metric, subscription, 40)
    ten = code("ten")
    lago.coupons.create(Coupon(name="Ten", code=ten, coupon_type="fixed_amount", amount_cents=1000, amount_currency="EUR",
                               expiration="no_expiration", frequency="once"))
    lago.applied_coupons.create(AppliedCoupon(external_customer_id=customer, coupon_code=ten))
    wallet = lago.wallets.create(Wallet(external_customer_id=customer, currency="EUR", rate_amount="1", granted_credits="8"))
    invoice = lago.invoices.preview(of(customer, subscription))
    own = lago.subscriptions.find(subscription)
    assert amounts(invoice) == [("subscription", own.plan_code, 3100), ("charge", metric.code, 2000)]
    assert (invoice.status, invoice.number, invoice.invoice_type, invoice.currency) == ("draft", "", "subscription", "EUR")
    assert (invoice.fees_amount_cents, invoice.coupons_amount_cents, invoice.taxes_amount_cents) == (5100, 1000, 820)
    assert (invoice.prepaid_credit_amount_cents, invoice.total_amount_cents) == (800, 4120)
    (period,) = invoice.billing_periods.__root__
    assert (period.external_subscription_id, period.lago_subscription_id) == (subscription, own.lago_id)
    assert period.subscription_to_datetime[:19] == own.current_billing_period_ending_at[:19]
    (credit,) = invoice.credits.__root__
    assert (credit.item.type, credit.item.code, credit.amount_cents) == ("coupon", ten, 1000)
    assert [(tax.tax_code, tax.amount_cents) for tax in invoice.applied_taxes.__root__] == [(vat, 820)]
    assert invoice.customer.external_id == customer and invoice.customer.name == "Acme", "what is not said stays as it is"
    # Nothing was made of it, and nothing was used up.
    assert lago.invoices.find_all({"external_customer_id": customer})["meta"]["total_count"] == 0
    assert refused(404, lago.invoices.find, invoice.lago_id)["code"] == "invoice_not_found"
    assert lago.wallets.find(wallet.lago_id).credits_balance == "8"
    assert lago.applied_coupons.find_all({"external_customer_id": customer, "status": "active"})["meta"]["total_count"] == 1
    native = {"external_customer_id": customer, "subscriptions": [subscription]}
    ours = raw(server, server.key("operator"), "POST", "../../../v1/metering/invoices/preview", native).json()
    assert ours["sums"]["total_cents"] == 4120 and len(ours["fees"]) == 2


def test_the_end_and_a_change_of_plan_are_previewed(lago, metric, subscribed):
    customer, subscription = subscribed
    call(lago, metric, subscription, 4)
    own = lago.subscriptions.find(subscription)
    dear, cheap = plan(lago, metric, 6200, pay_in_advance=True), plan(lago, metric, 310, pay_in_advance=True)
    changed = lago.invoices.preview(of(customer, subscription, plan_code=dear))
    kinds = [(kind, item) for kind, item, _ in amounts(changed)]
    # The plan that runs is billed to today, and the next one in advance.
    assert ("subscription", dear) in kinds and ("charge", metric.code) in kinds
    later = lago.invoices.preview(of(customer, subscription, plan_code=cheap))
    assert amounts(later) == [("subscription", own.plan_code, 3100), ("charge", metric.code, 200), ("subscription", cheap, 310)]
    ended = lago.invoices.preview(of(customer, subscription, terminated_at=own.current_billing_period_ending_at))
    assert amounts(ended) == [("subscription", own.plan_code, 3100), ("charge", metric.code, 200)]
    assert lago.subscriptions.find(subscription).status == "active"
    past = of(customer, subscription, terminated_at="2020-01-01T00:00:00Z")
    assert refused(422, lago.invoices.preview, past)["error_details"] == {"terminated_at": ["value_is_invalid"]}


def test_somebody_new_sees_the_first_invoice(lago, metric, vat):
    pro, ahead = plan(lago, metric, 3100), plan(lago, metric, 3100, pay_in_advance=True)

    def first(**more):
        new = Customer(external_id="", name="New", timezone="Europe/Berlin", tax_codes=[vat])
        return lago.invoices.preview(InvoicePreview(**{"customer": new, "plan_code": pro, "subscription_at": "2026-06-16T10:00:00Z", **more}))

    half = first(billing_time="calendar")
    assert amounts(half) == [("subscription", pro, 1550), ("charge", metric.code, 0)], "half a June"
    assert (half.taxes_amount_cents, half.total_amount_cents, half.issuing_date) == (310, 1860, "2026-07-01")
    assert (half.customer.name, half.customer.external_id) == ("New", "")
    assert first(billing_time="anniversary").fees_amount_cents == 3100
    assert amounts(first(plan_code=ahead)) == [("subscription", ahead, 1550)]
    off = CouponsList(__root__=[Coupon(code="deal", name="Deal", coupon_type="percentage", percentage_rate=10)])
    reduced = first(coupons=off)
    assert (reduced.coupons_amount_cents, reduced.total_amount_cents) == (155, 1674)
    assert [(it.item.code, it.amount_cents) for it in reduced.credits.__root__] == [("deal", 155)]
    known = code("ten")
    lago.coupons.create(Coupon(name="Ten", code=known, coupon_type="fixed_amount", amount_cents=1000, amount_currency="EUR",
                               expiration="no_expiration", frequency="once"))
    assert first(coupons=CouponsList(__root__=[Coupon(code=known)])).coupons_amount_cents == 1000
    assert first(coupons=CouponsList(__root__=[Coupon(code=known, amount_cents=300)])).coupons_amount_cents == 300
    dollars = CouponsList(__root__=[Coupon(code="usd", coupon_type="fixed_amount", amount_cents=5, amount_currency="USD")])
    for more, status, details in [
        ({"coupons": dollars}, 422, {"currency": ["currencies_does_not_match"]}),
        ({"coupons": CouponsList(__root__=[Coupon(code="none")])}, 422, {"coupons[0].coupon_type": ["value_is_mandatory"]}),
        ({"plan_code": None}, 422, {"plan_code": ["value_is_invalid"]}),
        ({"billing_time": "whenever"}, 422, {"base": ["value_is_invalid"]}),
        ({"customer": None}, 422, {"customer": ["value_is_mandatory"]}),
        ({"subscriptions": Subscriptions(external_ids=[])}, 422, {"subscriptions.external_ids": ["value_is_mandatory"]}),
        ({"billing_entity_code": "other"}, 422, {"billing_entity_code": ["value_is_not_supported"]}),
        ({"plan_code": "none"}, 404, None),
        ({"customer": Customer(external_id="nobody-has-this-name")}, 404, None),
    ]:
        with_status = refused(status, first, **more)
        assert with_status.get("error_details") == details, more


def test_the_line_of_an_event_is_found_by_it(lago, server, metric):
    customer, subscription, ahead = code("acme"), code("sub"), code("ahead")
    charge = Charge(billable_metric_id=metric.lago_id, charge_model="standard", pay_in_advance=True, properties={"amount": "0.5"})
    lago.plans.create(
        Plan(name="Ahead", code=ahead, interval="monthly", amount_cents=0, amount_currency="EUR", pay_in_advance=False,
             charges=Charges(__root__=[charge]))
    )
    lago.customers.create(Customer(external_id=customer, name="Acme", currency="EUR"))
    lago.subscriptions.create(Subscription(external_id=subscription, external_customer_id=customer, plan_code=ahead))
    events = [code("t"), code("t")]
    for event, n in zip(events, (3, 5)):
        lago.events.create(Event(transaction_id=event, external_subscription_id=subscription, code=metric.code, properties={"n": n}))
    assert raw(server, server.key("operator"), "POST", "../../../v1/metering/billing-runs").json()["done"]
    each = [lago.fees.find_all({"event_transaction_id": event})["fees"] for event in events]
    assert [[(fee.event_transaction_id, fee.amount_cents) for fee in fees] for fees in each] == [[(events[0], 150)], [(events[1], 250)]]
    page = lago.fees.find_all({"event_transaction_id": events[0], "external_customer_id": customer})
    assert page["meta"]["total_count"] == 1
    assert lago.fees.find_all({"event_transaction_id": code("t")})["fees"] == []
