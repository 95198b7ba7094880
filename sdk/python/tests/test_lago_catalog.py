"""Lago's own Python client, unmodified, against the real server: what is sold and to whom."""

import uuid

import pytest
from lago import client, code, raw, refused
from lago_python_client.models import BillableMetric, BillableMetricFilter, BillableMetricFilters, Customer, CustomerBillingConfiguration
from lago_python_client.models.customer import Address, Metadata, MetadataList


@pytest.fixture(scope="module")
def lago(server):
    return client(server)


def test_who_is_nobody_or_may_not_is_told_in_lagos_form(server):
    answer = raw(server, None, "GET", "billable_metrics")
    assert answer.status_code == 401 and answer.json()["error"] == "Unauthorized", answer.text
    assert raw(server, "creto_operator_forged", "GET", "billable_metrics").status_code == 401
    agent = raw(server, server.agent_token(), "POST", "billable_metrics", {"billable_metric": {}})
    assert agent.status_code == 403 and agent.json()["creto"]["code"] == "http.forbidden", agent.text
    for method, path in (("GET", "quotes"), ("PATCH", "billable_metrics")):
        nowhere = raw(server, server.key("operator"), method, path)
        assert (nowhere.status_code, nowhere.json()["creto"]["code"]) == (404, "http.no_route"), nowhere.text
    broken = httpx_post(server, "{")
    assert broken.status_code == 422 and broken.json()["code"] == "validation_errors", broken.text


def httpx_post(server, text):
    import httpx

    headers = {"authorization": f"Bearer {server.key('operator')}", "content-type": "application/json"}
    return httpx.post(f"{server.url}/lago/api/v1/billable_metrics", content=text, headers=headers)


def test_a_billable_metric_lives_through_the_client(lago):
    name = code("storage")
    region = BillableMetricFilter(key="region", values=["eu", "us"])
    wanted = BillableMetric(
        name="Storage", code=name, description="GB", aggregation_type="sum_agg", field_name="gb", recurring=False,
        rounding_function="ceil", rounding_precision=2, filters=BillableMetricFilters(__root__=[region]),
    )
    made = lago.billable_metrics.create(wanted)
    assert uuid.UUID(made.lago_id).version == 7
    assert (made.code, made.name, made.description, made.aggregation_type, made.field_name) == (name, "Storage", "GB", "sum_agg", "gb")
    assert (made.rounding_function, made.rounding_precision, made.recurring) == ("ceil", 2, False)
    assert made.filters.__root__ == [region]
    assert lago.billable_metrics.find(name) == made
    changed = lago.billable_metrics.update(BillableMetric(name="Disk"), name)
    assert (changed.lago_id, changed.name, changed.description) == (made.lago_id, "Disk", "GB"), "what is not sent stays"
    assert lago.billable_metrics.destroy(name).lago_id == made.lago_id
    assert refused(404, lago.billable_metrics.find, name)["code"] == "billable_metric_not_found"


def test_every_aggregation_is_made_and_shown_by_lagos_name(lago):
    for kind in ("count_agg", "sum_agg", "max_agg", "unique_count_agg", "weighted_sum_agg", "latest_agg", "min_agg", "avg_agg"):
        field = None if kind == "count_agg" else "n"
        weighted = "seconds" if kind == "weighted_sum_agg" else None
        made = lago.billable_metrics.create(
            BillableMetric(name=kind, code=code(kind), aggregation_type=kind, field_name=field, weighted_interval=weighted)
        )
        assert (made.aggregation_type, made.field_name, made.weighted_interval) == (kind, field, weighted)


def test_what_is_wrong_with_a_metric_is_told_by_field(lago):
    name = code("twice")
    metric = BillableMetric(name="Twice", code=name, aggregation_type="count_agg")
    lago.billable_metrics.create(metric)
    again = refused(422, lago.billable_metrics.create, metric)
    assert (again["code"], again["error_details"]) == ("validation_errors", {"code": ["value_already_exist"]})
    assert again["creto"]["code"] == "metering.already_exists"
    nameless = refused(422, lago.billable_metrics.create, BillableMetric(name="x", aggregation_type="count_agg"))
    assert nameless["error_details"] == {"code": ["value_is_mandatory"]}
    no_field = refused(422, lago.billable_metrics.create, BillableMetric(name="x", code=code("x"), aggregation_type="sum_agg"))
    assert list(no_field["error_details"]) == ["field_name"], no_field


def test_lists_are_pages_with_their_totals(lago):
    for at in range(3):
        lago.billable_metrics.create(BillableMetric(name=f"Page {at}", code=code("page"), aggregation_type="count_agg"))
    page = lago.billable_metrics.find_all({"page": 2, "per_page": 2})
    meta, rows = page["meta"], page["billable_metrics"]
    assert meta["current_page"] == 2 and meta["prev_page"] == 1 and len(rows) in (1, 2), page
    assert meta["total_pages"] == -(-meta["total_count"] // 2)
    assert meta["next_page"] == (3 if meta["total_pages"] > 2 else None)
    first = lago.billable_metrics.find_all({"per_page": 2})
    assert first["meta"]["prev_page"] is None and first["billable_metrics"][0].name == "Page 2", "newest first"
    assert refused(422, lago.billable_metrics.find_all, {"colour": "red"})["error_details"] == {"colour": ["field_is_unknown"]}


def test_a_customer_is_made_changed_listed_and_deleted(lago):
    name = code("acme")
    made = lago.customers.create(
        Customer(
            external_id=name, name="Acme", email="a@acme.example", address_line1="1 Road", city="Lyon", country="FR", currency="EUR",
            timezone="Europe/Paris", net_payment_term=30, finalize_zero_amount_invoice="skip", legal_name="Acme SA",
            shipping_address=Address(city="Nice", country="FR"),
            metadata=MetadataList(__root__=[Metadata(key="tier", value="gold", display_in_invoice=True)]),
            billing_configuration=CustomerBillingConfiguration(
                invoice_grace_period=3, document_locale="fr", payment_provider="stripe", provider_customer_id="cus_1", sync=False
            ),
        )
    )
    assert (made.external_id, made.address_line1, made.country, made.applicable_timezone) == (name, "1 Road", "FR", "Europe/Paris")
    assert (made.billing_configuration.invoice_grace_period, made.billing_configuration.provider_customer_id) == (3, "cus_1")
    assert made.shipping_address.city == "Nice" and made.finalize_zero_amount_invoice == "skip" and made.net_payment_term == 30
    assert [(entry.key, entry.value, entry.display_in_invoice) for entry in made.metadata.__root__] == [("tier", "gold", True)]
    again = lago.customers.create(Customer(external_id=name, city="Paris"))
    assert (again.lago_id, again.city, again.name, again.created_at) == (made.lago_id, "Paris", "Acme", made.created_at)
    assert lago.customers.find(name) == again
    assert any(row.external_id == name for row in lago.customers.find_all()["customers"])
    assert lago.customers.destroy(name).external_id == name
    assert refused(404, lago.customers.find, name)["code"] == "customer_not_found"


def test_what_a_customer_cannot_have_here_is_refused_by_its_name(lago):
    body = refused(422, lago.customers.create, Customer(external_id=code("x"), timezone="Mars/Base", country="FR"))
    assert list(body["error_details"]) == ["timezone"], body
    body = refused(422, lago.customers.create, Customer(external_id=code("x"), invoice_custom_section_codes=["a"]))
    assert body["error_details"] == {"invoice_custom_section_codes": ["value_is_not_supported"]}
    body = refused(404, lago.customers.create, Customer(external_id=code("x"), tax_codes=["no-such-tax"]))
    assert body["code"] == "tax_not_found"
