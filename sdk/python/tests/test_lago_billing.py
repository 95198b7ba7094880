"""Lago's own Python client, unmodified, against the real server: invoices, their lines, and credit notes."""

import httpx
import pytest
from conftest import Server
from lago import client, code, raw, refused
from lago_python_client.models import (
    AddOn,
    AppliedCoupon,
    Coupon,
    CreditNote,
    CreditNoteEstimate,
    CreditNoteUpdate,
    Customer,
    Fee,
    Invoice,
    InvoiceFee,
    InvoiceFeesList,
    InvoiceMetadata,
    InvoiceMetadataList,
    Item,
    Items,
    OneOffInvoice,
    Plan,
    Subscription,
    Tax,
    Wallet,
)


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


@pytest.fixture
def customer(lago):
    """The identifier of a customer of this test alone, who pays in euros."""
    return lago.customers.create(Customer(external_id=code("acme"), name="Acme", currency="EUR", net_payment_term=14)).external_id


@pytest.fixture
def vat(lago):
    return lago.taxes.create(Tax(name="VAT", code=code("vat"), rate=20)).code


@pytest.fixture
def setup(lago, vat):
    """An add-on of 50.00 EUR and 20 % of tax."""
    return lago.add_ons.create(AddOn(name="Setup", code=code("setup"), amount_cents=5000, amount_currency="EUR", tax_codes=[vat])).code


def bill(lago, customer, *fees, **fields):
    wanted = OneOffInvoice(external_customer_id=customer, currency="EUR", fees=InvoiceFeesList(__root__=list(fees)), **fields)
    return lago.invoices.create(wanted)


def paid(lago, invoice):
    return lago.invoices.update(Invoice(payment_status="succeeded"), invoice.lago_id)


def items(*pairs):
    return Items(__root__=[Item(fee_id=fee, amount_cents=cents) for fee, cents in pairs])


def test_a_one_off_invoice_is_billed_taxed_and_paid(lago, customer, vat, setup):
    line = InvoiceFee(add_on_code=setup, units=2.5, unit_amount_cents=1001, description="moving in", invoice_display_name="Setup fee")
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup), line)
    assert (invoice.invoice_type, invoice.status, invoice.payment_status, invoice.currency) == ("one_off", "finalized", "pending", "EUR")
    # 2.5 × 10.01 is 25.025: the fee is 25.03, and its tax is taken on what stands before it was rounded.
    assert (invoice.fees_amount_cents, invoice.taxes_amount_cents, invoice.total_amount_cents) == (7503, 1501, 9004)
    assert (invoice.total_due_amount_cents, invoice.total_paid_amount_cents) == (9004, 0)
    assert invoice.number.startswith("INV-") and invoice.sequential_id > 0 and invoice.net_payment_term == 14
    assert invoice.customer.external_id == customer
    first, second = invoice.fees.__root__
    assert (first.amount_cents, first.taxes_amount_cents, first.taxes_rate, first.item.type, first.item.code) == (5000, 1000, 20.0, "add_on", setup)
    assert (second.units, second.amount_cents, second.precise_amount, second.description) == ("2.5", 2503, "25.025", "moving in")
    assert second.item.invoice_display_name == "Setup fee"
    (tax,) = invoice.applied_taxes.__root__
    assert (tax.tax_code, tax.tax_rate, tax.amount_cents, tax.fees_amount_cents) == (vat, 20.0, 1501, 7503)
    assert lago.invoices.find(invoice.lago_id) == invoice
    done = paid(lago, invoice)
    assert (done.payment_status, done.total_due_amount_cents, done.total_paid_amount_cents) == ("succeeded", 0, 9004)
    assert [fee.payment_status for fee in done.fees.__root__] == ["succeeded", "succeeded"]


def test_numbers_of_invoices_follow_each_other(lago, customer, setup):
    numbers = [bill(lago, customer, InvoiceFee(add_on_code=setup)).sequential_id for _ in range(3)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_invoices_are_listed_by_what_they_are(lago, server, customer, setup):
    one, two = (bill(lago, customer, InvoiceFee(add_on_code=setup)) for _ in range(2))
    paid(lago, two)

    def ids(**asked):
        page = lago.invoices.find_all({"external_customer_id": customer, **asked})
        assert page["meta"]["total_count"] == len(page["invoices"])
        return [invoice.lago_id for invoice in page["invoices"]]

    assert ids() == [two.lago_id, one.lago_id], "newest first"
    assert ids(payment_status="succeeded") == [two.lago_id] and ids(**{"payment_statuses[]": "pending"}) == [one.lago_id]
    assert ids(status="draft") == [] and ids(invoice_type="one_off", currency="EUR") == [two.lago_id, one.lago_id]
    second = lago.invoices.find_all({"external_customer_id": customer, "page": 2, "per_page": 1})
    assert ([it.lago_id for it in second["invoices"]], second["meta"]["prev_page"], second["meta"]["next_page"]) == ([one.lago_id], 1, None)
    assert refused(422, lago.invoices.find_all, {"colour": "red"})["error_details"] == {"colour": ["field_is_unknown"]}
    # This client sends no key to the lists under a customer; others do.
    own = raw(server, server.key("operator"), "GET", f"customers/{customer}/invoices").json()
    assert [it["lago_id"] for it in own["invoices"]] == [two.lago_id, one.lago_id]


def test_entries_are_put_on_an_invoice_in_place_of_those_before(lago, customer, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup))

    def put(*pairs):
        entries = InvoiceMetadataList(__root__=[InvoiceMetadata(key=key, value=value) for key, value in pairs])
        return [(it.key, it.value) for it in lago.invoices.update(Invoice(metadata=entries), invoice.lago_id).metadata.__root__]

    assert put(("a", "1"), ("b", "2")) == [("a", "1"), ("b", "2")]
    assert put(("b", "3")) == [("b", "3")]


def test_a_coupon_and_credits_pay_in_their_order(lago, customer, setup):
    ten = code("ten")
    lago.coupons.create(Coupon(name="Ten", code=ten, coupon_type="fixed_amount", amount_cents=1000, amount_currency="EUR",
                               expiration="no_expiration", frequency="once"))
    lago.applied_coupons.create(AppliedCoupon(external_customer_id=customer, coupon_code=ten))
    wallet = lago.wallets.create(Wallet(external_customer_id=customer, currency="EUR", rate_amount="1", granted_credits="8"))
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup))
    assert (invoice.fees_amount_cents, invoice.coupons_amount_cents, invoice.sub_total_excluding_taxes_amount_cents) == (5000, 1000, 4000)
    assert (invoice.taxes_amount_cents, invoice.sub_total_including_taxes_amount_cents) == (800, 4800), "the coupon comes before the tax"
    assert (invoice.prepaid_credit_amount_cents, invoice.total_amount_cents) == (800, 4000), "the credits come last"
    (credit,) = invoice.credits.__root__
    assert (credit.item.type, credit.item.code, credit.amount_cents, credit.before_taxes) == ("coupon", ten, 1000, True)
    assert lago.wallets.find(wallet.lago_id).credits_balance == "0"
    (move,) = lago.wallet_transactions.find_all(wallet.lago_id, {"transaction_status": "invoiced"})["wallet_transactions"]
    assert (move.lago_invoice_id, move.amount, move.transaction_type) == (invoice.lago_id, "8", "outbound")
    back = lago.invoices.void(invoice.lago_id)
    assert (back.status, bool(back.voided_at), back.total_due_amount_cents) == ("voided", True, 0)
    assert lago.wallets.find(wallet.lago_id).credits_balance == "8", "what paid a voided invoice comes back"


def test_what_an_invoice_does_not_do_is_said_in_lagos_words(lago, customer, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup))
    for call in (lago.invoices.finalize, lago.invoices.refresh, lago.invoices.retry):
        assert refused(405, call, invoice.lago_id)["creto"]["code"] == "metering.wrong_state"
    for call in (lago.invoices.payment_url, lago.invoices.retry_payment):
        no = refused(422, call, invoice.lago_id)
        assert no["error_details"] == {"base": ["no_linked_payment_provider"]} and no["creto"]["hint"]
    assert refused(422, lago.invoices.void_invoice, invoice.lago_id, {"generate_credit_note": True})["error_details"] == {
        "void.generate_credit_note": ["value_is_not_supported"]
    }
    assert refused(404, lago.invoices.find, "00000000-0000-7000-8000-000000000000")["code"] == "invoice_not_found"
    assert refused(404, lago.invoices.find, "nonsense")["code"] == "invoice_not_found"
    fee = invoice.fees.__root__[0].lago_id
    assert refused(405, lago.fees.update, Fee(payment_status="succeeded"), fee)["creto"]["code"] == "metering.wrong_state"
    assert refused(405, lago.fees.destroy, fee)["code"] == "not_allowed"
    dollars = OneOffInvoice(external_customer_id=customer, currency="USD", fees=InvoiceFeesList(__root__=[InvoiceFee(add_on_code=setup)]))
    assert refused(422, lago.invoices.create, dollars)["error_details"] == {"currency": ["currencies_does_not_match"]}
    lost = lago.invoices.lose_dispute(invoice.lago_id)
    assert lost.payment_dispute_lost_at and refused(405, lago.invoices.lose_dispute, invoice.lago_id)


def test_the_paper_of_an_invoice_and_of_a_credit_note_is_where_it_is_said_to_be(lago, server, customer, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup))
    note = lago.credit_notes.create(
        CreditNote(invoice_id=invoice.lago_id, reason="other", credit_amount_cents=6000, items=items((invoice.fees.__root__[0].lago_id, 5000)))
    )
    key = server.key("operator")
    for url in (lago.invoices.download(invoice.lago_id).file_url, lago.credit_notes.download(note.lago_id).file_url):
        assert url.startswith("http://localhost:")
        answer = httpx.get(url, headers={"authorization": f"Bearer {key}"})
        assert answer.headers["content-type"] == "application/pdf" and answer.content.startswith(b"%PDF-")
        assert httpx.get(url).status_code == 401, "the paper is behind a key"


def test_a_credit_note_credits_lines_with_their_tax_and_pays_the_next_invoice(lago, customer, vat, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup), InvoiceFee(add_on_code=setup, unit_amount_cents=333))
    first, second = (fee.lago_id for fee in invoice.fees.__root__)
    worth = lago.credit_notes.estimate(CreditNoteEstimate(invoice_id=invoice.lago_id, items=items((first, 1000), (second, 333))))
    assert (worth.sub_total_excluding_taxes_amount_cents, worth.taxes_amount_cents, worth.max_creditable_amount_cents) == (1333, 267, 1600)
    assert (worth.taxes_rate, worth.max_refundable_amount_cents) == (20.0, 0), "nothing was paid that could be paid back"
    assert [(it.lago_fee_id, it.amount_cents) for it in worth.items.__root__] == [(first, 1000), (second, 333)]
    wanted = CreditNote(
        invoice_id=invoice.lago_id, reason="duplicated_charge", description="twice", credit_amount_cents=1600, refund_amount_cents=0,
        items=items((first, 1000), (second, 333)), metadata={"ticket": "7"},
    )
    wrong = wanted.copy(update={"credit_amount_cents": 1500})
    assert refused(422, lago.credit_notes.create, wrong)["error_details"] == {"base": ["does_not_match_item_amounts"]}
    note = lago.credit_notes.create(wanted)
    assert (note.credit_status, note.refund_status, note.reason) == ("available", None, "duplicated_charge")
    assert (note.total_amount_cents, note.balance_amount_cents, note.credit_amount_cents, note.taxes_amount_cents) == (1600, 1600, 1600, 267)
    assert note.number == f"{invoice.number}-CN001" and note.sequential_id == 1 and note.invoice_number == invoice.number
    (tax,) = note.applied_taxes.__root__
    assert (tax.tax_code, tax.amount_cents, tax.base_amount_cents) == (vat, 267, 1333)
    assert [(it.amount_cents, it.fee.lago_id) for it in note.items.__root__] == [(1000, first), (333, second)]
    assert lago.credit_notes.find(note.lago_id) == note and note.metadata == {"ticket": "7"}
    too_much = CreditNote(invoice_id=invoice.lago_id, reason="other", credit_amount_cents=1, items=items((second, 1)))
    assert refused(422, lago.credit_notes.create, too_much)["creto"]["code"] == "metering.bad_definition"
    found = lago.credit_notes.find_all({"external_customer_id": customer, "credit_status": "available"})["credit_notes"]
    assert [it.lago_id for it in found] == [note.lago_id]
    after = bill(lago, customer, InvoiceFee(add_on_code=setup, unit_amount_cents=1000))
    assert (after.credit_notes_amount_cents, after.total_amount_cents, after.payment_status) == (1200, 0, "succeeded")
    assert lago.credit_notes.find(note.lago_id).balance_amount_cents == 400
    voided = lago.credit_notes.void(note.lago_id)
    assert (voided.credit_status, voided.balance_amount_cents) == ("voided", 0)
    assert refused(405, lago.credit_notes.void, note.lago_id)["creto"]["code"] == "metering.wrong_state"


def test_a_refund_is_told_to_have_gone_back_and_entries_are_kept(lago, customer, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup))
    paid(lago, invoice)
    line = invoice.fees.__root__[0].lago_id
    note = lago.credit_notes.create(
        CreditNote(invoice_id=invoice.lago_id, reason="other", credit_amount_cents=100, refund_amount_cents=1100, items=items((line, 1000)))
    )
    assert (note.refund_status, note.refund_amount_cents, note.credit_amount_cents, note.balance_amount_cents) == ("pending", 1100, 100, 100)
    assert lago.credit_notes.update(CreditNoteUpdate(refund_status="succeeded"), note.lago_id).refund_status == "succeeded"
    assert lago.credit_notes.replace_metadata(note.lago_id, {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    assert lago.credit_notes.merge_metadata(note.lago_id, {"b": "3"}) == {"a": "1", "b": "3"}
    assert lago.credit_notes.delete_metadata_key(note.lago_id, "a") == {"b": "3"}
    assert lago.credit_notes.delete_all_metadata(note.lago_id) == {}


def test_lines_are_listed_by_whose_they_are(lago, customer, setup):
    invoice = bill(lago, customer, InvoiceFee(add_on_code=setup), InvoiceFee(add_on_code=setup, unit_amount_cents=7))
    ids = {fee.lago_id for fee in invoice.fees.__root__}
    found = lago.fees.find_all({"external_customer_id": customer, "fee_type": "add_on", "currency": "EUR"})["fees"]
    assert {fee.lago_id for fee in found} == ids
    for asked in ({"fee_type": "charge"}, {"payment_status": "succeeded"}, {"created_at_to": "2020-01-01T00:00:00Z"}):
        assert lago.fees.find_all({"external_customer_id": customer, **asked})["fees"] == []
    one = lago.fees.find(found[0].lago_id)
    assert (one.lago_invoice_id, one.external_customer_id) == (invoice.lago_id, customer)


def test_a_period_is_drafted_refreshed_and_made_final_with_its_plan(binary, tmp_path):
    server = Server(binary, tmp_path / "data")
    try:
        lago, clock = client(server), lambda now: server.operator.call("PUT", "/v1/metering/test-clock", {"now": now})
        clock("2030-01-01T00:00:00Z")
        lago.customers.create(Customer(external_id="acme", currency="EUR", billing_configuration={"invoice_grace_period": 3}))
        lago.plans.create(Plan(name="Pro", code="pro", interval="monthly", amount_cents=3100, amount_currency="EUR", pay_in_advance=False))
        lago.subscriptions.create(
            Subscription(external_customer_id="acme", plan_code="pro", external_id="sub", billing_time="calendar",
                         subscription_at="2030-01-01T00:00:00Z")
        )
        server.operator.call("POST", "/v1/metering/billing-runs", {})
        clock("2030-02-01T00:00:00Z")
        server.operator.call("POST", "/v1/metering/billing-runs", {})
        (listed,) = lago.invoices.find_all({"status": "draft"})["invoices"]
        draft = lago.invoices.refresh(listed.lago_id)
        assert (draft.status, draft.number, draft.fees_amount_cents, draft.invoice_type) == ("draft", "", 3100, "subscription")
        (period,) = draft.billing_periods.__root__
        assert (period.external_subscription_id, period.subscription_from_datetime[:19], period.subscription_to_datetime[:19]) == (
            "sub", "2030-01-01T00:00:00", "2030-01-31T23:59:59",
        )
        (fee,) = draft.fees.__root__
        assert (fee.item.type, fee.item.item_type, fee.external_subscription_id) == ("subscription", "Subscription", "sub")
        assert refused(405, lago.invoices.download, draft.lago_id)["creto"]["code"] == "metering.wrong_state"
        final = lago.invoices.finalize(draft.lago_id)
        assert (final.status, final.sequential_id, final.total_amount_cents) == ("finalized", 1, 3100)
        assert (final.issuing_date, final.payment_overdue) == (draft.issuing_date, False)
        clock("2030-03-15T00:00:00Z")
        assert lago.invoices.find(final.lago_id).payment_overdue is True
    finally:
        server.stop()
