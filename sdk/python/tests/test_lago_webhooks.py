"""Webhooks in Lago's format: the endpoints through Lago's own client, the signatures by the recipes of Lago's documentation."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from lago import client, raw, refused
from lago_python_client.models import (
    AddOn,
    BillableMetric,
    CreditNote,
    Customer,
    Invoice,
    InvoiceFee,
    InvoiceFeesList,
    Item,
    Items,
    OneOffInvoice,
    Plan,
    Subscription,
    Wallet,
    WalletTransaction,
    WebhookEndpoint,
)
from lago_python_client.models.credit_note import CreditNoteResponse
from lago_python_client.models.customer import CustomerResponse
from lago_python_client.models.invoice import InvoiceResponse
from lago_python_client.models.plan import PlanResponse
from lago_python_client.models.subscription import SubscriptionResponse
from lago_python_client.models.wallet import WalletResponse
from lago_python_client.models.wallet_transaction import WalletTransactionResponse
from receiving import receiver, server  # noqa: F401

MODELS = {
    "credit_note": CreditNoteResponse,
    "customer": CustomerResponse,
    "invoice": InvoiceResponse,
    "plan": PlanResponse,
    "subscription": SubscriptionResponse,
    "wallet": WalletResponse,
    "wallet_transaction": WalletTransactionResponse,
}


@pytest.fixture
def lago(server):
    return client(server)


def take(receiver, word):
    """The next webhook, which is this one: its headers, its bytes, its object as the client models it."""
    headers, body = receiver.take()
    told = json.loads(body)
    assert told["webhook_type"] == word, body
    model = MODELS.get(told["object_type"])
    return headers, body, model.parse_obj(told[told["object_type"]]) if model else told[told["object_type"]]


def test_an_endpoint_lives_through_the_client(lago, server, receiver):
    wanted = WebhookEndpoint(webhook_url=receiver.url, signature_algo="hmac", name="Books", event_types=["invoice.created", "plan.created"])
    made = lago.webhook_endpoints.create(wanted)
    assert (made.webhook_url, made.signature_algo, made.name, made.event_types) == (
        receiver.url, "hmac", "Books", ["invoice.created", "plan.created"],
    )
    assert lago.webhook_endpoints.find(made.lago_id) == made
    server.operator.call("POST", "/v1/webhooks", {"url": receiver.url})
    assert lago.webhook_endpoints.find_all()["webhook_endpoints"] == [made], "others are not Lago's"
    changed = lago.webhook_endpoints.update(WebhookEndpoint(webhook_url=f"{receiver.url}2", event_types=["*"]), made.lago_id)
    assert (changed.webhook_url, changed.signature_algo, changed.event_types) == (f"{receiver.url}2", "hmac", None)
    never = WebhookEndpoint(webhook_url=receiver.url, event_types=["quote.created"])
    assert refused(422, lago.webhook_endpoints.create, never)["error_details"] == {"event_types": ["value_is_not_supported"]}
    for url in ("https://127.0.0.1:1/", "nonsense"):
        assert refused(422, lago.webhook_endpoints.create, WebhookEndpoint(webhook_url=url))["error_details"] == {"webhook_url": ["url_invalid"]}
    assert lago.webhook_endpoints.destroy(made.lago_id).lago_id == made.lago_id
    assert refused(404, lago.webhook_endpoints.find, made.lago_id)["code"] == "webhook_endpoint_not_found"


def test_a_jwt_is_signed_by_the_key_that_the_client_fetches_and_covers_the_body(lago, receiver):
    lago.webhook_endpoints.create(WebhookEndpoint(webhook_url=receiver.url, event_types=["customer.created"]))
    key = lago.webhooks.public_key()
    assert key.startswith(b"-----BEGIN PUBLIC KEY-----") and lago.webhooks.public_key() == key
    lago.customers.create(Customer(external_id="acme", name="Acme"))
    headers, body, told = take(receiver, "customer.created")
    assert (told.external_id, told.name) == ("acme", "Acme")
    assert headers["x-lago-signature-algorithm"] == "jwt" and headers["x-lago-unique-key"]
    signed = jwt.decode(headers["x-lago-signature"], key, algorithms=["RS256"], options={"verify_iss": False})
    assert signed["data"] == body and signed["iss"].startswith("http://localhost")
    head, claims, signature = headers["x-lago-signature"].split(".")
    other = base64.urlsafe_b64encode(json.dumps({"data": "{}", "iss": signed["iss"]}).encode()).rstrip(b"=").decode()
    for forged in (f"{head}.{other}.{signature}", f"{head}.{claims}.{signature[:-8]}AAAAAAAA"):
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(forged, key, algorithms=["RS256"])


def test_an_hmac_is_that_of_the_endpoints_secret_which_is_shown_once_and_rotated(lago, server, receiver):
    body = {"webhook_endpoint": {"webhook_url": receiver.url, "signature_algo": "hmac", "event_types": ["customer.created"]}}
    made = raw(server, server.key("operator"), "POST", "webhook_endpoints", body).json()["webhook_endpoint"]
    ours, secret = made["creto"]["id"], made["creto"]["secret"]

    def signed_by(secret, name):
        lago.customers.create(Customer(external_id=name))
        headers, sent, _ = take(receiver, "customer.created")
        assert headers["x-lago-signature-algorithm"] == "hmac"
        return headers["x-lago-signature"] == base64.b64encode(hmac.new(secret.encode(), sent.encode(), hashlib.sha256).digest()).decode()

    assert signed_by(secret, "one")
    assert secret not in json.dumps(raw(server, server.key("operator"), "GET", "webhook_endpoints").json())
    another = server.operator.call("POST", f"/v1/webhooks/{ours}/rotate", {"overlap_secs": 0})["secret"]
    assert signed_by(another, "two") and not signed_by(secret, "three")


def test_every_change_that_lago_has_a_word_for_is_told_with_the_object_as_the_client_models_it(lago, receiver):
    lago.webhook_endpoints.create(WebhookEndpoint(webhook_url=receiver.url, signature_algo="hmac"))
    lago.billable_metrics.create(BillableMetric(name="Calls", code="calls", aggregation_type="count_agg"))
    assert take(receiver, "billable_metric.created")[2]["code"] == "calls"
    lago.plans.create(Plan(name="Pro", code="pro", interval="monthly", amount_cents=100, amount_currency="EUR", pay_in_advance=False))
    assert take(receiver, "plan.created")[2].code == "pro"
    lago.customers.create(Customer(external_id="acme", currency="EUR"))
    take(receiver, "customer.created")
    lago.customers.create(Customer(external_id="acme", name="Acme"))
    assert take(receiver, "customer.updated")[2].name == "Acme"
    lago.subscriptions.create(Subscription(external_customer_id="acme", plan_code="pro", external_id="sub", billing_time="calendar"))
    assert take(receiver, "subscription.started")[2].external_id == "sub"
    lago.add_ons.create(AddOn(name="Setup", code="setup", amount_cents=500, amount_currency="EUR"))

    invoice = lago.invoices.create(
        OneOffInvoice(external_customer_id="acme", currency="EUR", fees=InvoiceFeesList(__root__=[InvoiceFee(add_on_code="setup")]))
    )
    told = take(receiver, "invoice.one_off_created")[2]
    assert told == invoice, "the add-on has no word of Lago's, and the draft of what is final at once is not told"
    lago.invoices.update(Invoice(payment_status="succeeded"), invoice.lago_id)
    assert take(receiver, "invoice.payment_status_updated")[2].payment_status == "succeeded"
    items = Items(__root__=[Item(fee_id=invoice.fees.__root__[0].lago_id, amount_cents=100)])
    note = lago.credit_notes.create(CreditNote(invoice_id=invoice.lago_id, reason="other", credit_amount_cents=100, items=items))
    assert take(receiver, "credit_note.created")[2] == note

    wallet = lago.wallets.create(Wallet(external_customer_id="acme", currency="EUR", rate_amount="1", granted_credits="5"))
    words = sorted(json.loads(receiver.take()[1])["webhook_type"] for _ in range(2))
    assert words == ["wallet.created", "wallet_transaction.created"]
    (bought,) = lago.wallet_transactions.create(WalletTransaction(wallet_id=wallet.lago_id, paid_credits="7"))["wallet_transactions"]
    words = {told["webhook_type"]: told for told in (json.loads(receiver.take()[1]) for _ in range(2))}
    assert set(words) == {"wallet_transaction.created", "invoice.paid_credit_added"}
    assert words["invoice.paid_credit_added"]["invoice"]["lago_id"] == bought.lago_invoice_id
    lago.wallets.destroy(wallet.lago_id)
    assert take(receiver, "wallet.terminated")[2].status == "terminated"
    lago.subscriptions.destroy("sub")
    assert take(receiver, "subscription.terminated")[2].status == "terminated"
