"""Payments through Stripe: the real server against a stub of Stripe's API, of which Stripe's own Python client says that it speaks Stripe.
No real Stripe is contacted by any test."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import stripe
from conftest import Server
from lago import client as lago_client
from lago import code, refused
from lago_python_client.models import Customer, CustomerBillingConfiguration
from stripe_stub import KEY, SIGNING, Stub

from creto import CretoError


@pytest.fixture(scope="module")
def stub():
    stub = Stub()
    yield stub
    stub.close()


def configured(data, stub, poll_secs=3600):
    data.mkdir(mode=0o700)
    (data.parent / "stripe.key").write_text(KEY + "\n")
    (data / "config.toml").write_text(
        f'outbound_allow = ["{stub.place}"]\n[stripe]\napi = "{stub.url}"\npoll_secs = {poll_secs}\n'
        f'secret_key_file = "{data.parent / "stripe.key"}"\n'
    )


@pytest.fixture(scope="module")
def server(binary, tmp_path_factory, stub):
    data = tmp_path_factory.mktemp("stripe") / "data"
    configured(data, stub)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRETO_STRIPE_WEBHOOK_SECRET", SIGNING)
        server = Server(binary, data)
        yield server
        assert server.stop() == 0


@pytest.fixture
def lago(server):
    return lago_client(server)


@pytest.fixture(autouse=True)
def no_faults(stub):
    yield
    stub.faults.clear()


def customer(server, currency="EUR", **fields):
    name = code("acme")
    body = {"external_id": name, "name": "Acme", "currency": currency, "payment_provider": "stripe", "sync_with_provider": True, **fields}
    server.operator.call("POST", "/v1/metering/customers", body)
    return name


def bill(server, customer, *cents, currency="EUR", **fields):
    items = []
    for each in cents:
        add_on = code("addon")
        server.operator.call("POST", "/v1/metering/add-ons", {"code": add_on, "name": f"Work {each}", "amount_cents": each, "amount_currency": currency, **fields})
        items.append({"add_on_code": add_on})
    return server.operator.call("POST", "/v1/metering/invoices", {"external_customer_id": customer, "items": items})


def shown(server, invoice):
    return server.operator.call("GET", f"/v1/metering/invoices/{invoice['id']}")


def standing(server, invoice):
    now = shown(server, invoice)
    return now["payment_status"], (now["payment"] or {}).get("state")


def until(stub, server, invoice, *wanted):
    stub.until(lambda: standing(server, invoice) == wanted, f"the payment is {wanted}, not {standing(server, invoice)}")
    return shown(server, invoice)


def opened(stub, server, invoice):
    """Our invoice's at Stripe, once it is open there and on record here."""
    until(stub, server, invoice, "pending", "open")
    return stub.of(invoice["id"])


def log(server):
    """Every leaf of the log, oldest first."""
    leaves = []
    while True:
        page = server.operator.call("GET", f"/v1/audit/entries?from={len(leaves)}")
        leaves += [it["entry"] for it in page["entries"]]
        if len(leaves) >= page["size"]:
            return leaves


def recorded(server, invoice, action):
    """How often the log says that this was done to the invoice."""
    return sum(1 for it in log(server) if it["action"] == action and it["resource"] == f"invoice:{invoice['id']}")


def test_the_stub_speaks_stripe_as_stripes_own_client_does(stub):
    own = stripe.StripeClient(KEY, base_addresses={"api": stub.url}, max_network_retries=0)
    made = own.v1.customers.create({"name": "Ada", "metadata": {"creto_customer": "probe"}}, {"idempotency_key": "probe-1"})
    again = own.v1.customers.create({"name": "Ada", "metadata": {"creto_customer": "probe"}}, {"idempotency_key": "probe-1"})
    assert made.id == again.id
    with pytest.raises(stripe.IdempotencyError):
        own.v1.customers.create({"name": "Eve"}, {"idempotency_key": "probe-1"})
    assert [it.id for it in own.v1.customers.search({"query": "metadata['creto_customer']:'probe'"}).data] == [made.id]
    invoice = own.v1.invoices.create({"customer": made.id, "currency": "eur", "auto_advance": False, "pending_invoice_items_behavior": "exclude"})
    lines = [{"amount": 1200, "description": "Work", "discountable": False}, {"amount": -200, "description": "Coupon"}]
    assert own.v1.invoices.add_lines(invoice.id, {"lines": lines}).total == 1000
    final = own.v1.invoices.finalize_invoice(invoice.id, {"auto_advance": True})
    assert (final.status, final.amount_due, bool(final.hosted_invoice_url)) == ("open", 1000, True)
    with pytest.raises(stripe.InvalidRequestError):
        own.v1.invoices.finalize_invoice(invoice.id)
    with pytest.raises(stripe.CardError) as declined:
        own.v1.invoices.pay(invoice.id)
    assert declined.value.code == "card_declined"
    expanded = own.v1.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    intent = expanded.payments.data[0].payment.payment_intent
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "card_declined")
    (of_intent,) = own.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent.id}}).data
    assert of_intent.invoice == invoice.id
    assert own.v1.invoices.void_invoice(invoice.id).status == "void"
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        own.v1.customers.update(made.id, {"colour": "red"})
    assert unknown.value.code == "parameter_unknown"
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_test_of_nobody", base_addresses={"api": stub.url}).v1.customers.retrieve(made.id)
    assert own.v1.customers.delete(made.id).deleted
    body = stub.event("invoice.paid", {"id": invoice.id, "object": "invoice"})
    assert stripe.Webhook.construct_event(body, stub.signed(body), SIGNING).type == "invoice.paid"


def test_a_customer_is_made_once_kept_in_step_linked_and_forgotten(stub, server, lago):
    asked = CustomerBillingConfiguration(payment_provider="stripe", sync=True, sync_with_provider=True)
    name = lago.customers.create(Customer(external_id=code("acme"), name="Acme", email="a@acme.example", currency="EUR", billing_configuration=asked)).external_id
    stub.until(lambda: [it for it in stub.customers.values() if it.get("email") == "a@acme.example"], "the customer is at stripe")
    (there,) = [it for it in stub.customers.values() if it["metadata"].get("creto_external_id") == name]
    billing = lago.customers.find(name).billing_configuration
    assert (billing.payment_provider, billing.provider_customer_id, billing.sync_with_provider) == ("stripe", there["id"], True)
    native = server.operator.call("GET", f"/v1/metering/customers/{name}")
    assert native["provider_ids"] == {"stripe": there["id"]} and there["metadata"]["creto_customer"] == native["id"]
    lago.customers.create(Customer(external_id=name, city="Paris", country="FR"))
    stub.until(lambda: there.get("address", {}).get("city") == "Paris", "the change is at stripe")
    made = [it for it in stub.calls("POST", "/v1/customers") if native["id"] in it[2]]
    assert len(made) == 1 and made[0][3]["stripe-version"] == stripe.api_version, "in the version of Stripe's own client"
    server.operator.call("POST", f"/v1/metering/customers/{name}/erase")
    stub.until(lambda: there.get("deleted"), "who is forgotten here is forgotten there")
    other = Customer(external_id=code("acme"), billing_configuration=CustomerBillingConfiguration(payment_provider="stripe", sync_with_provider=False))
    assert refused(422, lago.customers.create, other)["error_details"].keys() == {"sync_with_provider"}
    named = CustomerBillingConfiguration(payment_provider="stripe", provider_customer_id=there["id"], sync_with_provider=False)
    mine = lago.customers.create(Customer(external_id=code("acme"), billing_configuration=named))
    assert mine.billing_configuration.provider_customer_id == there["id"], "a customer that is there is named, and not made"


def test_a_final_invoice_is_asked_for_line_by_line_and_paid_once(stub, server, lago):
    server.operator.call("POST", "/v1/metering/taxes", {"code": (vat := code("vat")), "name": "VAT", "rate": "20"})
    invoice = bill(server, customer(server), 5000, 1250, tax_codes=[vat])
    there = opened(stub, server, invoice)
    assert [(line["description"], line["amount"]) for line in there["lines"]["data"]] == [("Work 5000", 5000), ("Work 1250", 1250), ("VAT 20%", 1250)]
    assert (there["total"], there["currency"], there["collection_method"], there["auto_advance"]) == (7500, "eur", "charge_automatically", True)
    assert there["metadata"] == {"creto_invoice": invoice["id"], "creto_tenant": "default", "creto_number": invoice["number"]}
    assert lago.invoices.payment_url(invoice["id"]) == there["hosted_invoice_url"]
    said = subprocess.run([server.binary, "--data", str(server.data), "invoice", "show", invoice["id"]], capture_output=True, text=True, check=True).stdout
    assert f"payment: pending, open at stripe as {there['id']}" in said and there["hosted_invoice_url"] in said
    stub.charge(there)
    event = stub.event("invoice.paid", there)
    assert stub.tell(server, event).json() == {"received": True}
    paid = until(stub, server, invoice, "succeeded", "paid")
    assert recorded(server, invoice, "metering.set_payment") == 1
    # The same event, another one of the same thing, and one that is late and says that it failed: nothing moves again.
    late = stub.event("invoice.payment_failed", {**there, "status": "open"})
    for body in (event, event, stub.event("invoice.payment_succeeded", there), late):
        assert stub.tell(server, body).status_code == 200
    marker = bill(server, customer(server), 100)
    opened(stub, server, marker)  # What was told before is looked at before.
    assert shown(server, invoice)["revision"] == paid["revision"] and recorded(server, invoice, "metering.set_payment") == 1
    assert refused(405, lago.invoices.retry_payment, invoice["id"])["creto"]["code"] == "metering.wrong_state"
    assert lago.invoices.find(invoice["id"]).total_paid_amount_cents == 7500


@pytest.mark.parametrize(("currency", "cents", "there_cents"), [("JPY", 1234, 1234), ("EUR", 1234, 1234), ("KWD", 1230, 1230), ("ISK", 5, 500), ("MGA", 1200, 12)])
def test_amounts_are_exact_in_stripes_units(stub, server, currency, cents, there_cents):
    invoice = bill(server, customer(server, currency), cents, currency=currency)
    there = opened(stub, server, invoice)
    assert (there["total"], there["currency"]) == (there_cents, currency.lower())


def test_what_stripe_cannot_be_asked_for_exactly_is_a_dead_letter_and_is_seen(stub, server):
    invoice = bill(server, customer(server, "KWD"), 1234, currency="KWD")
    payment = until(stub, server, invoice, "pending", "given_up")["payment"]
    assert "1234" in payment["problem"] and "end in 0" in payment["problem"] and stub.of(invoice["id"]) is None
    dead = server.operator.call("GET", "/v1/metering/payments?state=given_up")["items"]
    assert invoice["id"] in [it["invoice"] for it in dead] and recorded(server, invoice, "metering.give_up_payment") == 1
    # Lines of single fils that add up to tens are asked for as one.
    whole = bill(server, customer(server, "KWD"), 1234, 1236, currency="KWD")
    assert [line["amount"] for line in opened(stub, server, whole)["lines"]["data"]] == [2470]


def test_a_payment_that_failed_is_tried_again_under_lagos_path(stub, server, lago):
    invoice = bill(server, customer(server), 900)
    there = opened(stub, server, invoice)
    stub.charge(there, "requires_payment_method", "insufficient_funds")
    assert stub.tell(server, stub.event("invoice.payment_failed", there)).status_code == 200
    assert "insufficient_funds" in until(stub, server, invoice, "failed", "open")["payment"]["problem"]
    lago.invoices.retry_payment(invoice["id"])
    stub.until(lambda: stub.calls("POST", f"/v1/invoices/{there['id']}/pay"), "the payment is tried")
    until(stub, server, invoice, "failed", "open")
    stub.cards[there["customer"]] = "good"
    lago.invoices.retry_payment(invoice["id"])
    until(stub, server, invoice, "succeeded", "paid")
    keys = [it[3]["idempotency-key"] for it in stub.calls("POST", f"/v1/invoices/{there['id']}/pay")]
    assert len(keys) == len(set(keys)) == 2, "each wish is tried once"


def test_a_payment_under_way_is_not_a_failed_one(stub, server):
    invoice = bill(server, customer(server), 900)
    there = opened(stub, server, invoice)
    stub.charge(there, "processing")
    looks = len(stub.calls("GET", f"/v1/invoices/{there['id']}"))
    stub.tell(server, stub.event("invoice.updated", there))
    stub.until(lambda: len(stub.calls("GET", f"/v1/invoices/{there['id']}")) > looks, "it is looked at")
    stub.charge(there)
    stub.tell(server, stub.event("invoice.paid", there))
    until(stub, server, invoice, "succeeded", "paid")
    assert recorded(server, invoice, "metering.set_payment") == 1


def test_only_what_stripe_signed_now_is_heard(stub, server):
    invoice = bill(server, customer(server), 900)
    there = opened(stub, server, invoice)
    stub.charge(there)
    body, now = stub.event("invoice.paid", there), int(time.time())
    good = stub.signed(body)
    for header in (
        "", "t=1,v1=00", good.replace("v1=", "v0="), stub.signed(body, "whsec_of_another"), stub.signed(body + " "),
        stub.signed(body, timestamp=now - 400), stub.signed(body, timestamp=now + 400), good.replace(f"t={now}", f"t={now + 1}") if f"t={now}" in good else "t=",
    ):
        answer = stub.tell(server, body, header or "nothing")
        assert (answer.status_code, answer.json()["code"]) == (422, "metering.bad_payment_notice"), header
    assert standing(server, invoice) == ("pending", "open")
    rotated = f"{good},v1={'0' * 64}"
    stamp, tag = good.split(",")
    assert stub.tell(server, body, f"{stamp},v1={'0' * 64},{tag}").status_code == 200, "any of several signatures, while a secret changes over"
    assert stub.tell(server, body, rotated).status_code == 200
    until(stub, server, invoice, "succeeded", "paid")
    url = f"{server.url}/v1/metering/payment-providers/adyen/webhook"
    assert httpx.post(url, content=b"{}").json()["code"] == "metering.no_payment_provider"


def test_an_invoice_nobody_knows_is_heard_and_noted(stub, server):
    body = stub.event("invoice.paid", {"id": "in_of_somebody", "object": "invoice", "metadata": {"creto_invoice": "inv_1", "creto_tenant": "other"}})
    for _ in range(2):
        assert stub.tell(server, body).status_code == 200
    noted = [it["facts"] for it in log(server) if it["resource"] == f"payment_notice:{json.loads(body)['id']}"]
    assert [(it["known"], it["type"]) for it in noted] == [("false", "invoice.paid")]
    assert stub.tell(server, stub.event("customer.created", {"id": "cus_1", "object": "customer"})).status_code == 200


def test_taking_an_invoice_back_and_paying_it_elsewhere_are_mirrored(stub, server):
    voided, settled = (bill(server, customer(server), 700) for _ in range(2))
    there, other = opened(stub, server, voided), opened(stub, server, settled)
    server.operator.call("POST", f"/v1/metering/invoices/{voided['id']}/void", {})
    stub.until(lambda: there["status"] == "void", "the invoice is void at stripe")
    until(stub, server, voided, "pending", "withdrawn")
    server.operator.call("PUT", f"/v1/metering/invoices/{settled['id']}", {"payment_status": "succeeded"})
    stub.until(lambda: other["status"] == "paid", "the invoice is paid at stripe")
    assert other["paid_out_of_band"] and until(stub, server, settled, "succeeded", "paid")
    assert len(stub.calls("POST", f"/v1/invoices/{other['id']}/pay")) == 1


def test_a_dispute_that_was_lost_is_lost_here_once(stub, server):
    invoice = bill(server, customer(server), 700)
    there = opened(stub, server, invoice)
    stub.charge(there)
    stub.tell(server, stub.event("invoice.paid", there))
    until(stub, server, invoice, "succeeded", "paid")
    for status in ("won", "lost", "lost"):
        dispute = {"id": "du_1", "object": "dispute", "payment_intent": there["_intent"], "status": status}
        assert stub.tell(server, stub.event("charge.dispute.closed", dispute)).status_code == 200
    stub.until(lambda: shown(server, invoice).get("payment_dispute_lost_at"), "the dispute is lost")
    assert recorded(server, invoice, "metering.lose_dispute") == 1


def test_what_stripe_told_nobody_is_found_by_looking(binary, tmp_path, stub, monkeypatch):
    monkeypatch.setenv("CRETO_STRIPE_WEBHOOK_SECRET", SIGNING)
    configured(tmp_path / "data", stub, poll_secs=1)
    server = Server(binary, tmp_path / "data")
    try:
        invoice = bill(server, customer(server), 700)
        stub.charge(opened(stub, server, invoice))
        until(stub, server, invoice, "succeeded", "paid")
        assert recorded(server, invoice, "metering.set_payment") == 1
    finally:
        server.stop()


def test_an_invoice_is_not_lost_to_a_stripe_that_is_down_and_its_wish_for_quiet_is_kept(stub, server):
    name = customer(server)
    stub.fail("POST", "/v1/invoices", 503, times=2)
    stub.fail("POST", "/v1/invoices/[^/]+/finalize", 429, headers={"retry-after": "4"})
    invoice = bill(server, name, 800)
    stub.until(lambda: (shown(server, invoice)["payment"] or {}).get("problem"), "what stands in the way is seen")
    there = opened(stub, server, invoice)
    first, second = stub.calls("POST", f"/v1/invoices/{there['id']}/finalize")
    assert second[4] - first[4] >= 4
    tries = [it for it in stub.calls("POST", "/v1/invoices") if invoice["id"] in it[2]]
    assert len({it[3]["idempotency-key"] for it in tries}) == 1 and len(tries) >= 3
    assert shown(server, invoice)["payment"]["problem"] is None


def killed_at(binary, folder, call):
    """A server of its own that dies when Stripe has done what `call` says and nobody was answered; then another one goes on."""
    stub = Stub()
    folder.mkdir()
    configured(folder / "data", stub)
    server = Server(binary, folder / "data")
    stub.fail("POST", call, after=lambda: (os.kill(server.process.pid, signal.SIGKILL), server.process.wait()))
    name = code("acme")
    try:
        server.operator.call(
            "POST", "/v1/metering/customers", {"external_id": name, "currency": "EUR", "payment_provider": "stripe", "sync_with_provider": True}
        )
        bill(server, name, 4200)
    except (httpx.HTTPError, CretoError):
        pass  # It may die before it answers.
    server.process.wait(30)
    assert server.process.returncode == -signal.SIGKILL, call
    server.stop()
    server = Server(binary, folder / "data")
    try:
        invoices = server.operator.call("GET", f"/v1/metering/invoices?customer={name}")["items"]
        invoice = invoices[0] if invoices and invoices[0]["status"] == "finalized" else bill(server, name, 4200)
        there = until_claimed(stub, server, invoice)
        assert (there["total"], there["status"], len(there["lines"]["data"])) == (4200, "open", 1), call
        ours = server.operator.call("GET", f"/v1/metering/customers/{name}")
        assert len([it for it in stub.customers.values() if it["metadata"].get("creto_customer") == ours["id"]]) == 1, call
        assert ours["provider_ids"]["stripe"] == there["customer"], call
    finally:
        server.stop()
        stub.close()


def test_killed_between_a_call_and_its_record_there_is_one_of_each(binary, tmp_path, monkeypatch):
    monkeypatch.setenv("CRETO_STRIPE_WEBHOOK_SECRET", SIGNING)
    calls = ["/v1/customers", "/v1/invoices", "/v1/invoices/[^/]+/add_lines", "/v1/invoices/[^/]+/finalize"]
    # Side by side: each waits until what the dead server had claimed is free again.
    with ThreadPoolExecutor() as pool:
        each = [pool.submit(killed_at, binary, tmp_path / str(at), call) for at, call in enumerate(calls)]
        for done in each:
            done.result()


def until_claimed(stub, server, invoice):
    """As `opened`, for longer than a dead server holds what it had claimed of the outbox."""
    stub.until(lambda: standing(server, invoice) == ("pending", "open"), "the invoice is open at stripe", seconds=100)
    return stub.of(invoice["id"])


def test_the_secret_is_in_no_log_no_problem_and_no_answer(binary, tmp_path, stub, monkeypatch):
    monkeypatch.setenv("CRETO_STRIPE_WEBHOOK_SECRET", "whsec_that_nobody_reads")
    monkeypatch.setenv("CRETO_STRIPE_SECRET_KEY", "sk_test_that_nobody_reads")
    monkeypatch.setenv("CRETO_LOG", "debug")
    configured(tmp_path / "data", stub)
    server = Server(binary, tmp_path / "data")
    try:
        invoice = bill(server, customer(server), 700)
        problem = stub.until(lambda: (shown(server, invoice)["payment"] or {}).get("problem"), "the key is refused")
        assert "401" in problem and standing(server, invoice) == ("pending", "asking"), "an operator can repair a key"
        doctor = subprocess.run([binary, "--data", str(server.data), "doctor"], capture_output=True, text=True).stdout
        assert "never on Stripe itself" in doctor
        said = problem + doctor + json.dumps(shown(server, invoice)) + json.dumps(log(server))
    finally:
        server.stop()
    said += (tmp_path / "stderr.log").read_text()
    assert "that_nobody_reads" not in said
