"""Lago's own Python client, unmodified, against the real server: taxes, add-ons, coupons, and credits that were paid before."""

import pytest
from lago import client, code, refused
from lago_python_client.models import (
    AddOn,
    AppliedCoupon,
    Coupon,
    Customer,
    LimitationConfiguration,
    RecurringTransactionRule,
    RecurringTransactionRuleList,
    Tax,
    Wallet,
    WalletTransaction,
)


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


@pytest.fixture
def customer(lago):
    """The identifier of a customer of this test alone, who pays in euros."""
    return lago.customers.create(Customer(external_id=code("acme"), name="Acme", currency="EUR")).external_id


def new_wallet(lago, customer, **fields):
    return lago.wallets.create(Wallet(**{"external_customer_id": customer, "currency": "EUR", "rate_amount": "1", **fields}))


def listed(page, name):
    """The items of a page with its totals."""
    assert page["meta"]["total_count"] >= len(page[name]) and page["meta"]["current_page"] == 1
    return page[name]


def test_a_tax_lives_through_the_client(lago):
    name = code("vat")
    made = lago.taxes.create(Tax(name="VAT", code=name, rate=20.5, description="on top", applied_to_organization=False))
    assert (made.code, made.name, made.rate, made.description, made.applied_to_organization) == (name, "VAT", 20.5, "on top", False)
    assert lago.taxes.find(name) == made
    changed = lago.taxes.update(Tax(rate=21), name)
    assert (changed.lago_id, changed.rate, changed.name) == (made.lago_id, 21.0, "VAT"), "what is not sent stays"
    assert name in [tax.code for tax in listed(lago.taxes.find_all({"per_page": 100}), "taxes")]
    assert refused(422, lago.taxes.create, Tax(name="VAT", code=name, rate=1))["error_details"] == {"code": ["value_already_exist"]}
    assert lago.taxes.destroy(name).lago_id == made.lago_id
    assert refused(404, lago.taxes.find, name)["code"] == "tax_not_found"


def test_an_add_on_shows_its_taxes_and_keeps_them_from_being_deleted(lago):
    vat, name = code("vat"), code("setup")
    lago.taxes.create(Tax(name="VAT", code=vat, rate=20))
    made = lago.add_ons.create(AddOn(name="Setup", code=name, amount_cents=5000, amount_currency="EUR", tax_codes=[vat]))
    assert (made.amount_cents, made.amount_currency) == (5000, "EUR")
    assert [(tax.code, tax.rate) for tax in made.taxes.__root__] == [(vat, 20.0)]
    assert lago.add_ons.find(name) == made
    assert lago.add_ons.update(AddOn(description="once"), name).description == "once"
    assert name in [add_on.code for add_on in listed(lago.add_ons.find_all({"per_page": 100}), "add_ons")]
    assert refused(405, lago.taxes.destroy, vat)["code"] == "not_allowed"
    assert lago.add_ons.destroy(name).lago_id == made.lago_id
    assert lago.taxes.destroy(vat).code == vat


def test_a_coupon_lives_through_the_client_and_is_redeemed_once(lago, customer):
    name = code("ten")
    made = lago.coupons.create(
        Coupon(
            name="Ten off", code=name, coupon_type="fixed_amount", amount_cents=1000, amount_currency="EUR", expiration="time_limit",
            expiration_at="2099-01-01T00:00:00Z", frequency="once", reusable=False,
        )
    )
    assert (made.amount_cents, made.amount_currency, made.frequency, made.reusable) == (1000, "EUR", "once", False)
    assert (made.expiration, made.expiration_at[:10], made.limited_plans) == ("time_limit", "2099-01-01", False)
    assert lago.coupons.find(name) == made
    applied = lago.applied_coupons.create(AppliedCoupon(external_customer_id=customer, coupon_code=name, amount_cents=700))
    assert (applied.coupon_code, applied.status, applied.amount_cents, applied.amount_cents_remaining) == (name, "active", 700, 700)
    assert applied.lago_coupon_id == made.lago_id
    again = AppliedCoupon(external_customer_id=customer, coupon_code=name)
    assert refused(422, lago.applied_coupons.create, again)["creto"]["code"] == "metering.already_exists"
    found = lago.applied_coupons.find_all({"external_customer_id": customer, "status": "active"})
    assert listed(found, "applied_coupons") == [applied]
    stranger = lago.customers.create(Customer(external_id=code("rival"), currency="EUR")).external_id
    assert refused(404, lago.applied_coupons.destroy, stranger, applied.lago_id)["code"] == "applied_coupon_not_found"
    ended = lago.applied_coupons.destroy(customer, applied.lago_id)
    assert (ended.lago_id, ended.status) == (applied.lago_id, "terminated") and ended.terminated_at
    assert lago.coupons.destroy(name).lago_id == made.lago_id


def test_a_percentage_is_not_an_amount(lago, customer):
    name = code("half")
    limits = LimitationConfiguration(plan_codes=["nobody_sells_this"])
    wanted = Coupon(
        name="Half", code=name, coupon_type="percentage", percentage_rate=50, expiration="no_expiration", frequency="recurring",
        frequency_duration=3,
    )
    unknown = Coupon(**{**wanted.dict(), "applies_to": limits})
    assert refused(404, lago.coupons.create, unknown)["code"] == "plan_not_found"
    made = lago.coupons.create(wanted)
    assert (made.percentage_rate, made.amount_cents, made.frequency_duration) == (50.0, None, 3)
    over = AppliedCoupon(external_customer_id=customer, coupon_code=name, amount_cents=5)
    assert refused(422, lago.applied_coupons.create, over)["error_details"] == {"amount_cents": ["value_is_invalid"]}
    applied = lago.applied_coupons.create(AppliedCoupon(external_customer_id=customer, coupon_code=name, percentage_rate=25))
    assert (applied.percentage_rate, applied.frequency_duration_remaining) == (25.0, 3)
    to_fixed = lago.coupons.update(Coupon(coupon_type="fixed_amount", amount_cents=5, amount_currency="EUR", frequency="once"), name)
    assert (to_fixed.percentage_rate, to_fixed.amount_cents, to_fixed.frequency_duration) == (None, 5, None)


def test_a_wallet_begins_with_what_was_given_and_what_was_bought_comes_with_its_payment(lago, server, customer):
    rule = RecurringTransactionRule(trigger="threshold", method="fixed", threshold_credits="5", paid_credits="10", granted_credits="0")
    wallet = new_wallet(
        lago, customer, name="Prepaid", code="main", priority=3, rate_amount="0.5", granted_credits="10", paid_credits="100",
        metadata={"tier": "gold"}, recurring_transaction_rules=RecurringTransactionRuleList(__root__=[rule]), transaction_name="First",
    )
    assert (wallet.status, wallet.currency, wallet.rate_amount, wallet.code, wallet.priority) == ("active", "EUR", "0.5", "main", 3)
    assert (wallet.credits_balance, wallet.balance_cents, wallet.consumed_credits) == ("10", 500, "0"), "10 credits are worth 5 EUR"
    assert (wallet.ongoing_balance_cents, wallet.ongoing_usage_balance_cents) == (500, 0)
    kept = wallet.recurring_transaction_rules.__root__[0]
    assert (kept.trigger, kept.threshold_credits, kept.paid_credits) == ("threshold", "5", "10")
    assert wallet.metadata == {"tier": "gold"}
    moves = listed(lago.wallet_transactions.find_all(wallet.lago_id), "wallet_transactions")
    bought = next(it for it in moves if it.transaction_status == "purchased")
    given = next(it for it in moves if it.transaction_status == "granted")
    assert (bought.status, bought.amount, bought.credit_amount, bought.name) == ("pending", "50", "100", "First")
    assert (given.status, given.amount, given.remaining_amount_cents, given.remaining_credit_amount) == ("settled", "5", 500, "10")
    assert bought.lago_invoice_id, "an invoice asks for the payment"
    ours = f"inv_{bought.lago_invoice_id.replace('-', '')}"
    server.operator.call("PUT", f"/v1/metering/invoices/{ours}", {"payment_status": "succeeded"})
    paid = lago.wallets.find(wallet.lago_id)
    assert (paid.credits_balance, paid.balance_cents) == ("110", 5500)


def test_credits_are_topped_up_and_taken_back_and_each_movement_says_what_it_used(lago, customer):
    wallet = new_wallet(lago, customer, granted_credits="10")
    made = lago.wallet_transactions.create(
        WalletTransaction(
            wallet_id=wallet.lago_id, granted_credits="5", paid_credits="20", voided_credits="8", name="Autumn",
            metadata=[{"key": "po", "value": "7"}],
        )
    )["wallet_transactions"]
    kinds = {it.transaction_status: it for it in made}
    assert {kind: (it.transaction_type, it.status, it.credit_amount) for kind, it in kinds.items()} == {
        "purchased": ("inbound", "pending", "20"),
        "granted": ("inbound", "settled", "5"),
        "voided": ("outbound", "settled", "8"),
    }
    assert [(entry["key"], entry["value"]) for entry in kinds["granted"].metadata] == [("po", "7")] and kinds["granted"].name == "Autumn"
    assert lago.wallets.find(wallet.lago_id).credits_balance == "7"
    used = lago.wallet_transactions.fundings(kinds["voided"].lago_id)["wallet_transaction_fundings"]
    assert sum(it.amount_cents for it in used) == 800
    first = next(it for it in lago.wallet_transactions.find_all(wallet.lago_id, {"transaction_status": "granted"})["wallet_transactions"]
                 if it.lago_id != kinds["granted"].lago_id)
    consumed = lago.wallet_transactions.consumptions(first.lago_id)["wallet_transaction_consumptions"]
    assert [it.wallet_transaction.lago_id for it in consumed] == [kinds["voided"].lago_id]
    outbound = lago.wallet_transactions.find_all(wallet.lago_id, {"transaction_type": "outbound"})["wallet_transactions"]
    assert [it.lago_id for it in outbound] == [kinds["voided"].lago_id]
    too_much = WalletTransaction(wallet_id=wallet.lago_id, voided_credits="7.01")
    assert refused(422, lago.wallet_transactions.create, too_much)["error_details"] == {"credits": ["insufficient_credits"]}
    no = refused(422, lago.wallet_transactions.payment_url, kinds["purchased"].lago_id)
    assert no["creto"]["code"] == "metering.no_payment_provider"


def test_a_wallet_is_found_by_its_code_under_its_customer(lago, customer):
    own = lago.customers.wallets
    made = own.create(customer, Wallet(name="Own", code="own", currency="EUR", rate_amount="1", granted_credits="2"))
    assert own.find(customer, "own") == made and own.find_all(customer)["wallets"] == [made]
    assert own.update(customer, "own", Wallet(name="Renamed")).name == "Renamed"
    assert own.metadata.replace(customer, "own", {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    assert own.metadata.merge(customer, "own", {"b": "3"}) == {"a": "1", "b": "3"}
    assert own.metadata.delete_key(customer, "own", "a") == {"b": "3"}
    assert own.metadata.delete_all(customer, "own") == {}
    assert own.destroy(customer, "own").status == "terminated"
    assert refused(405, lago.wallet_transactions.create, WalletTransaction(wallet_id=made.lago_id, granted_credits="1"))["creto"]["code"] == (
        "metering.wrong_state"
    )
    again = own.create(customer, Wallet(code="own", currency="EUR", rate_amount="1"))
    assert again.lago_id != made.lago_id and own.find(customer, "own").lago_id == again.lago_id, "a closed wallet's code is free"
    assert refused(404, own.find, customer, "none")["code"] == "wallet_not_found"


def test_a_wallets_entries_and_terms_change_and_its_worth_does_not(lago, customer):
    wallet = new_wallet(lago, customer)
    assert lago.wallets.replace_metadata(wallet.lago_id, {"a": "1", "b": None}) == {"a": "1", "b": None}
    assert lago.wallets.merge_metadata(wallet.lago_id, {"c": "3"}) == {"a": "1", "b": None, "c": "3"}
    assert lago.wallets.delete_metadata_key(wallet.lago_id, "b") == {"a": "1", "c": "3"}
    changed = lago.wallets.update(Wallet(name="Other", priority=7, expiration_at="2099-01-01T00:00:00Z"), wallet.lago_id)
    assert (changed.name, changed.priority, changed.metadata) == ("Other", 7, {"a": "1", "c": "3"})
    assert refused(422, lago.wallets.update, Wallet(rate_amount="2"), wallet.lago_id)["creto"]["code"] == "metering.bad_definition"
    assert refused(422, lago.wallets.update, Wallet(priority=51), wallet.lago_id)["error_details"] == {"priority": ["value_is_invalid"]}
    elsewhere = Wallet(external_customer_id=customer, currency="USD", rate_amount="1")
    assert refused(422, lago.wallets.create, elsewhere)["error_details"] == {"currency": ["currencies_does_not_match"]}
    assert [it.lago_id for it in listed(lago.wallets.find_all({"external_customer_id": customer}), "wallets")] == [wallet.lago_id]
    assert lago.wallets.destroy(wallet.lago_id).status == "terminated"
