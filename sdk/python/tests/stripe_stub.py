"""A stand-in for Stripe's API on the loopback, as strict as its documents: form bodies with brackets, unknown parameters refused,
idempotency keys with what they were first answered, states of invoices, amounts by currency. `test_stripe.py` lets Stripe's own client
say that it speaks Stripe."""

import copy
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import httpx
import stripe

KEY, SIGNING = "sk_test_of_the_stub_4242", "whsec_of_the_stub"
PATIENCE_SECS = 40
ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split()
THREE_DECIMAL = "bhd jod kwd omr tnd".split()

TEXT, WHOLE, FLAG, WORDS = "text", "whole", "flag", "words"
CUSTOMER = {"name": TEXT, "email": TEXT, "phone": TEXT, "address": WORDS, "metadata": WORDS, "description": TEXT}
PARAMETERS = {
    ("POST", "customers"): CUSTOMER,
    ("POST", "customers/ID"): CUSTOMER,
    ("POST", "invoices"): {
        "customer": TEXT, "currency": TEXT, "auto_advance": FLAG, "pending_invoice_items_behavior": TEXT, "description": TEXT,
        "metadata": WORDS, "collection_method": TEXT, "days_until_due": WHOLE,
    },
    ("POST", "invoices/ID/add_lines"): {"lines": WORDS},
    ("POST", "invoices/ID/finalize"): {"auto_advance": FLAG},
    ("POST", "invoices/ID/pay"): {"paid_out_of_band": FLAG},
    ("POST", "invoices/ID/void"): {},
    ("GET", "invoices/ID"): {"expand": WORDS},
    ("GET", "customers/ID"): {},
    ("DELETE", "invoices/ID"): {},
    ("DELETE", "customers/ID"): {},
    ("GET", "customers/search"): {"query": TEXT, "limit": WHOLE},
    ("GET", "invoices/search"): {"query": TEXT, "limit": WHOLE},
    ("GET", "invoice_payments"): {"payment": WORDS, "limit": WHOLE},
}


class Refused(Exception):
    def __init__(self, status, kind, message, **more):
        super().__init__(message)
        self.status, self.body = status, {"error": {"type": kind, "message": message, **more}}


def invalid(message, **more):
    return Refused(400, "invalid_request_error", message, **more)


def nested(text):
    """Form fields with brackets, as a document; lists by their indexes."""
    found = {}
    for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
        path = re.findall(r"[^\[\]]+", name)
        here = found
        for part in path[:-1]:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise invalid(f"Invalid parameter: {name}")
        here[path[-1]] = value
    return found


def typed(name, kind, value):
    if kind == WORDS:
        if not isinstance(value, dict):
            raise invalid(f"Invalid hash or array: {name}", param=name)
        return value
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {name}", param=name)
    if kind == WHOLE:
        return whole(name, value)
    if kind == FLAG:
        if value not in ("true", "false"):
            raise invalid(f"Invalid boolean: {value}", param=name)
        return value == "true"
    return value


def whole(name, value):
    if not re.fullmatch(r"-?\d+", str(value)):
        raise invalid(f"Invalid integer: {value}", param=name)
    return int(value)


def amount(cents, currency):
    if abs(cents) > 99_999_999:
        raise invalid("Amount must be no more than 8 digits", code="amount_too_large")
    if currency in THREE_DECIMAL and cents % 10:
        raise invalid("Amounts in three-decimal currencies must end in 0", code="invalid_charge_amount")
    if currency == "isk" and cents % 100:
        raise invalid("Currency ISK has become effectively zero-decimal", code="invalid_charge_amount_no_decimal_compatible")
    return cents


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.customers, self.invoices, self.intents, self.keys = {}, {}, {}, {}
        self.received, self.faults, self.cards = [], [], {}
        self.changed, self.count = threading.Condition(threading.RLock()), 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def place(self):
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self):
        return f"http://{self.place}"

    def close(self):
        self.shutdown()
        self.server_close()

    def until(self, holds, what, seconds=PATIENCE_SECS):
        """Waits until `holds()` gives something, and gives it; looked at after every request and now and then."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (found := holds()):
                assert time.monotonic() < deadline, f"waited in vain until {what}: {[it[:3] for it in self.received[-12:]]}"
                self.changed.wait(0.1)
            return found

    def calls(self, method, pattern):
        return [it for it in self.received if it[0] == method and re.fullmatch(pattern, it[1])]

    def fail(self, method, pattern, status=None, times=1, headers=None, after=None):
        """The next such calls fail: with a status before anything is done, or `after` is called when it is done and nobody is answered."""
        self.faults.append({"on": (method, pattern), "status": status, "times": times, "headers": headers or {}, "after": after})

    def fault(self, method, path):
        for fault in self.faults:
            if fault["times"] and fault["on"][0] == method and re.fullmatch(fault["on"][1], path):
                fault["times"] -= 1
                return fault
        return None

    # What Stripe does by itself.

    def of(self, invoice):
        """The invoice here that was made for one of ours."""
        found = [it for it in self.invoices.values() if it["metadata"].get("creto_invoice") == invoice]
        assert len(found) <= 1, f"one invoice of ours is {len(found)} at stripe"
        return found[0] if found else None

    def charge(self, there, status="succeeded", code=None):
        """A payment of an open invoice is tried."""
        with self.changed:
            there["attempted"], there["attempt_count"] = True, there["attempt_count"] + 1
            intent = self.intents.setdefault(there["_intent"], {"id": there["_intent"], "object": "payment_intent"})
            intent["status"], intent["last_payment_error"] = status, {"code": code} if code else None
            if status == "succeeded":
                there["status"], there["amount_remaining"] = "paid", 0
            self.changed.notify_all()

    def event(self, kind, about, **more):
        with self.changed:
            self.count += 1
            body = {"id": f"evt_{self.count}", "object": "event", "type": kind, "created": int(time.time()), "livemode": False,
                    "api_version": "2020-08-27", "data": {"object": public(about)}, **more}
        return json.dumps(body, indent=2)

    @staticmethod
    def signed(body, secret=SIGNING, timestamp=None):
        return stripe.WebhookSignature.generate_signature_header(body, secret, timestamp)

    def tell(self, server, body, header=None):
        url = f"{server.url}/v1/metering/payment-providers/stripe/webhook"
        headers = {"stripe-signature": header or self.signed(body), "content-type": "application/json; charset=utf-8"}
        return httpx.post(url, content=body.encode(), headers=headers)

    # The API.

    def answer(self, method, path, text, headers):
        if headers.get("authorization") != f"Bearer {KEY}":
            raise Refused(401, "invalid_request_error", f"Invalid API Key provided: {headers.get('authorization', '')[7:][:12]}***")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(\.[a-z]+)?", headers.get("stripe-version", "")):
            raise invalid("Invalid Stripe API version")
        split = urlsplit(path)
        if method == "POST" and text and headers.get("content-type") != "application/x-www-form-urlencoded":
            raise invalid("The body of a request is form-encoded")
        if method != "POST" and text:
            raise invalid("Only POST has a body")
        parts = split.path.removeprefix("/v1/").split("/")
        name = parts[1] if len(parts) > 1 and parts[1] != "search" else None
        shape = "/".join(["ID" if part == name and at == 1 else part for at, part in enumerate(parts)])
        wanted = PARAMETERS.get((method, shape))
        if wanted is None:
            raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({method}: {split.path})")
        sent = nested(text if method == "POST" else split.query)
        for field in sent:
            if field not in wanted:
                raise invalid(f"Received unknown parameter: {field}", param=field, code="parameter_unknown")
        fields = {field: typed(field, wanted[field], value) for field, value in sent.items()}
        do = getattr(self, f"{method.lower()}_{shape.replace('/ID', '_one').replace('/', '_')}")
        return do(fields) if name is None else do(self.named(parts[0], name), fields)

    def named(self, kind, name):
        found = getattr(self, kind).get(name)
        if found is None or found.get("deleted"):
            raise Refused(404, "invalid_request_error", f"No such {kind[:-1]}: '{name}'", code="resource_missing")
        return found

    def fresh(self, prefix):
        self.count += 1
        return f"{prefix}_{self.count:016d}"

    def post_customers(self, fields):
        it = {"id": self.fresh("cus"), "object": "customer", "created": time.time(), "livemode": False, "metadata": {}}
        self.customers[it["id"]] = it
        return self.post_customers_one(it, fields)

    def post_customers_one(self, it, fields):
        it["metadata"] = {**it["metadata"], **fields.pop("metadata", {})}
        it.update(fields)
        return it

    def get_customers_one(self, it, _):
        return it

    def delete_customers_one(self, it, _):
        it["deleted"] = True
        return {"id": it["id"], "object": "customer", "deleted": True}

    def post_invoices(self, fields):
        customer = self.named("customers", fields.get("customer", ""))
        if fields.get("collection_method") == "send_invoice" and "days_until_due" not in fields:
            raise invalid("If invoice `collection_method`=`send_invoice`, you must pass `days_until_due`")
        it = {
            "id": self.fresh("in"), "object": "invoice", "created": time.time(), "livemode": False, "status": "draft", "attempted": False,
            "attempt_count": 0, "currency": fields.pop("currency", "usd"), "customer": customer["id"], "metadata": {}, "total": 0,
            "amount_due": 0, "amount_remaining": 0, "auto_advance": False, "hosted_invoice_url": None,
            "lines": {"object": "list", "data": [], "has_more": False, "url": "/v1/invoices/lines"}, "_intent": None, **fields,
        }
        if it["currency"] != it["currency"].lower() or len(it["currency"]) != 3:
            raise invalid(f"Invalid currency: {it['currency']}")
        self.invoices[it["id"]] = it
        return it

    def post_invoices_one_add_lines(self, it, fields):
        only(it, "draft")
        lines = []
        for at, line in sorted(fields["lines"].items(), key=lambda pair: int(pair[0])):
            unknown = set(line) - {"amount", "description", "discountable", "metadata"}
            if unknown or at != str(len(lines)):
                raise invalid(f"Received unknown parameter: lines[{at}]{sorted(unknown)}", code="parameter_unknown")
            cents = amount(whole("amount", line.pop("amount")), it["currency"])
            lines.append({"id": self.fresh("il"), "object": "line_item", "amount": cents, "currency": it["currency"], **line})
        if len(it["lines"]["data"]) + len(lines) > 250:
            raise invalid("An invoice has at most 250 lines")
        it["lines"]["data"] += lines
        it["total"] = it["amount_due"] = it["amount_remaining"] = sum(line["amount"] for line in it["lines"]["data"])
        return it

    def post_invoices_one_finalize(self, it, fields):
        only(it, "draft", code="invoice_not_editable")
        amount(it["total"], it["currency"])
        it.update(fields)
        it["status"], it["_intent"] = "open", self.fresh("pi")
        self.intents[it["_intent"]] = {"id": it["_intent"], "object": "payment_intent", "status": "requires_payment_method", "last_payment_error": None}
        it["hosted_invoice_url"] = f"https://invoice.stripe.example/i/{it['id']}"
        return it

    def post_invoices_one_pay(self, it, fields):
        only(it, "open", "uncollectible")
        if fields.get("paid_out_of_band"):
            it["status"], it["amount_remaining"], it["paid_out_of_band"] = "paid", 0, True
            return it
        if self.cards.get(it["customer"]) == "good":
            self.charge(it)
            return it
        self.charge(it, "requires_payment_method", "card_declined")
        raise Refused(402, "card_error", "Your card was declined.", code="card_declined")

    def post_invoices_one_void(self, it, _):
        only(it, "open", "uncollectible")
        it["status"] = "void"
        return it

    def delete_invoices_one(self, it, _):
        only(it, "draft")
        it["deleted"] = True
        return {"id": it["id"], "object": "invoice", "deleted": True}

    def get_invoices_one(self, it, fields):
        shown = copy.deepcopy(it)
        for path in fields.get("expand", {}).values():
            if len(path.split(".")) > 4:
                raise invalid("You cannot expand more than 4 levels of a property")
            if path != "payments.data.payment.payment_intent":
                raise invalid(f"This property cannot be expanded ({path})")
            paid = {"id": "inpay_1", "object": "invoice_payment", "payment": {"type": "payment_intent", "payment_intent": self.intents.get(it["_intent"])}}
            shown["payments"] = {"object": "list", "data": [paid] if it["_intent"] else [], "has_more": False, "url": "/v1/invoice_payments"}
        return shown

    def search(self, kind, fields):
        match = re.fullmatch(r"metadata\['(\w+)'\]:'([\w-]+)'", fields.get("query", ""))
        if not match:
            raise invalid("the search query is not understood")
        found = [it for it in getattr(self, kind).values() if it["metadata"].get(match[1]) == match[2] and not it.get("deleted")]
        return {"object": "search_result", "data": found[: fields.get("limit", 10)], "has_more": False, "next_page": None, "url": f"/v1/{kind}/search"}

    def get_customers_search(self, fields):
        return self.search("customers", fields)

    def get_invoices_search(self, fields):
        return self.search("invoices", fields)

    def get_invoice_payments(self, fields):
        asked = fields.get("payment", {})
        if asked.get("type") != "payment_intent":
            raise invalid("Missing required param: payment[type]")
        found = [it for it in self.invoices.values() if it["_intent"] == asked.get("payment_intent")]
        data = [{"id": "inpay_1", "object": "invoice_payment", "invoice": it["id"]} for it in found]
        return {"object": "list", "data": data, "has_more": False, "url": "/v1/invoice_payments"}


def only(it, *states, **more):
    if it["status"] not in states:
        raise invalid(f"This invoice is {it['status']}, not {' or '.join(states)}", **more)


def public(value):
    """As it leaves: what the stub keeps for itself does not."""
    return {name: int(part) if name == "created" else part for name, part in value.items() if not name.startswith("_")}


class Handler(BaseHTTPRequestHandler):
    def respond(self):
        stub, length = self.server, int(self.headers.get("content-length") or 0)
        text = self.rfile.read(length).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = urlsplit(self.path).path
        with stub.changed:
            stub.received.append((self.command, path, text, headers, time.monotonic()))
            fault = stub.fault(self.command, path)
            if fault and fault["status"]:
                status, body, more = fault["status"], {"error": {"type": "api_error", "message": "try later"}}, fault["headers"]
            else:
                status, body, more = self.keyed(stub, text, headers)
            stub.changed.notify_all()
        if fault and fault["after"]:
            fault["after"]()
            self.close_connection = True
            return
        out = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(out)), "request-id": "req_1", **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(out)

    def keyed(self, stub, text, headers):
        """What a key was first answered is answered again; with other parameters it is refused. What was never begun is not kept."""
        key = headers.get("idempotency-key")
        if key and len(key) > 255:
            return 400, invalid("the idempotency key is too long").body, {}
        asked = (self.command, self.path, text)
        if key in stub.keys:
            before, status, body = stub.keys[key]
            if before != asked:
                message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
                return 400, {"error": {"type": "idempotency_error", "message": message}}, {}
            return status, body, {"idempotent-replayed": "true"}
        try:
            status, body = 200, public(copy.deepcopy(stub.answer(self.command, self.path, text, headers)))
        except Refused as refused:
            status, body = refused.status, refused.body
        if key and self.command == "POST" and status not in (400, 401, 404):
            stub.keys[key] = (asked, status, body)
        return status, body, {}

    do_GET = do_POST = do_DELETE = respond

    def log_message(self, *args):
        pass
