"""Tables as they leave, judged by DuckDB: types, sums as the API says them, and one table in two formats."""

import csv
import subprocess
import uuid
from datetime import datetime
from decimal import Decimal

import duckdb
import httpx
import pytest

from creto import Client

TIMES = "TIMESTAMP WITH TIME ZONE"
TYPES = {
    "events": {
        "seq": "BIGINT", "transaction_id": "VARCHAR", "timestamp": TIMES, "received_at": TIMES, "properties": "VARCHAR", "agent": "VARCHAR",
        "attribution": "VARCHAR", "chain": "VARCHAR", "cost": "DECIMAL(19,6)", "given_back": "DECIMAL(19,6)", "cancelled_at": TIMES,
        "digest": "VARCHAR", "admission": "VARCHAR", "root": "VARCHAR",
    },
    "invoices": {"number": "VARCHAR", "total_cents": "BIGINT", "created_at": TIMES, "finalized_at": TIMES},
    "lines": {"units": "DECIMAL(38,12)", "exact_units": "VARCHAR", "amount_cents": "BIGINT", "from": TIMES},
    "ledger": {"line": "BIGINT", "amount": "DECIMAL(19,6)", "currency": "VARCHAR", "posted_at": TIMES},
    "entries": {"side": "VARCHAR", "hop": "BIGINT", "amount": "DECIMAL(19,6)", "posted_at": TIMES},
}  # fmt: skip


@pytest.fixture(scope="module")
def sold(server):
    """A metric, a plan, a wallet, usage of an agent's own chain, a cancelled event and a final invoice."""
    call, own = server.operator.call, uuid.uuid4().hex[:8]
    code, customer, subscription = f"tokens-{own}", f"acme-{own}", f"s-{own}"
    call("POST", "/v1/metering/billable-metrics", {"code": code, "aggregation_type": "sum", "field_name": "n"})
    charge = {"billable_metric_code": code, "charge_model": "standard", "properties": {"amount": "0.0000123"}}
    call("POST", "/v1/metering/plans", {
        "code": f"plan-{own}", "interval": "monthly", "amount_cents": 999, "amount_currency": "EUR", "charges": [charge],
    })  # fmt: skip
    call("POST", "/v1/metering/customers", {"external_id": customer, "name": "Müller, Söhne & 東京"})
    call("POST", "/v1/metering/subscriptions", {
        "external_id": subscription, "external_customer_id": customer, "plan_code": f"plan-{own}",
        "subscription_at": "2020-01-31T00:00:00Z",
    })  # fmt: skip
    wallet = {"currency": "EUR", "rate_amount": "1"}
    body = {"external_customer_id": customer, "wallet": wallet, "granted_credits": "5.123456"}
    call("POST", "/v1/metering/wallets", body)
    call("PUT", f"/v1/metering/reporters/{subscription}", {"reporters": ["*"]})
    with Client(server.url, server.agent_token()) as agent:
        events = [
            {
                "transaction_id": f"{own}-{at}", "external_subscription_id": subscription, "code": code,
                "properties": {"n": str(1000 + at), "note": '=said, "so"\n'}, "timestamp": f"2020-02-0{1 + at % 9}T12:00:00.000001Z",
            }
            for at in range(1200)
        ]  # fmt: skip
        answer = agent.call("POST", "/v1/metering/events", events)
    assert answer["recorded"] == 1200, answer
    call("POST", f"/v1/metering/events/{own}-7/cancel", {"subscription": subscription})
    run = call("POST", "/v1/metering/billing-runs")
    assert run["finalized"] >= 1, run
    return subscription, code, customer


def exported(server, folder, table, *options):
    """The table in both formats, by the command line: rows of text, and DuckDB over the Parquet file."""
    for kind in ("csv", "parquet"):
        command = [server.binary, "--data", str(server.data), "meter", "export", table, "--format", kind, "-o", str(folder / f"{table}.{kind}")]
        subprocess.run([*command, *options], check=True)
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows, duckdb.from_parquet(str(folder / f"{table}.parquet"))


def said(value, kind):
    """A cell of the CSV as DuckDB says it."""
    if kind == "VARCHAR":
        return value.removeprefix("'") if value[1:2] in "=+-@\t\r" else value
    if value == "":
        return None
    if kind == TIMES:
        at = datetime.fromisoformat(value)
        return int(at.timestamp()) * 1_000_000 + at.microsecond
    return Decimal(value)


@pytest.mark.parametrize("table", TYPES)
def test_a_table_has_its_types_and_says_the_same_in_both_formats(server, sold, tmp_path, table):
    rows, parquet = exported(server, tmp_path, table)
    types = dict(zip(parquet.columns, map(str, parquet.types), strict=True))
    assert {name: types[name] for name in TYPES[table]} == TYPES[table]
    assert list(rows[0]) == parquet.columns and len(rows) == len(parquet)
    shown = ", ".join(f'epoch_us("{name}")' if kind == TIMES else f'"{name}"' for name, kind in types.items())
    for text, typed in zip(rows, parquet.project(shown).fetchall(), strict=True):
        wanted = tuple(said(text[name], kind) for name, kind in types.items())
        # Nothing and empty text are one in the csv module.
        assert wanted == tuple("" if cell is None and types[name] == "VARCHAR" else cell for name, cell in zip(types, typed, strict=True))


def test_sums_are_those_of_the_api(server, sold, tmp_path):
    subscription, code, customer = sold
    call = server.operator.call
    _, events = exported(server, tmp_path, "events")
    mine = events.filter(f"subscription = '{subscription}'")
    count, cost, agents = mine.aggregate("count(*), sum(cost - given_back), count(distinct agent)").fetchall()[0]
    (usage,) = call("GET", "/v1/metering/usage", params={"subscription": subscription})["usage"]
    assert (count - 1, cost, agents) == (usage["events"], Decimal(usage["cost"]), 1)
    assert mine.filter("attribution = 'caller' and cancelled_at is null").aggregate("count(*)").fetchall()[0] == (1199,)
    one = call("GET", f"/v1/metering/events/{mine.project('min(transaction_id)').fetchall()[0][0]}", params={"subscription": subscription})
    told = mine.filter(f"digest = '{one['digest']}'").project("agent, chain, collector, admission").fetchall()[0]
    assert told == tuple(one[name] for name in ("agent", "chain", "collector", "admission"))

    _, invoices = exported(server, tmp_path, "invoices")
    listed = call("GET", "/v1/metering/invoices", params={"customer": customer, "per_page": "100"})["items"]
    total = invoices.filter(f"customer = '{customer}'").aggregate("sum(total_cents), sum(fees_cents)").fetchall()[0]
    assert total == (sum(it["sums"]["total_cents"] for it in listed), sum(it["sums"]["fees_cents"] for it in listed))
    rows, lines = exported(server, tmp_path, "lines")
    (units,) = lines.filter(f"metric = '{code}'").aggregate("sum(units)").fetchall()[0]
    assert units == sum(1000 + at for at in range(1200)) - 1007
    assert all(row["units"] for row in rows if "/" not in row["exact_units"])

    for table in ("ledger", "entries"):
        _, ledger = exported(server, tmp_path, table)
        sides = dict(ledger.aggregate("side, sum(amount)").fetchall())
        assert sides["debit"] == sides["credit"] > 0, table
    spent = ledger.filter("side = 'debit'").aggregate("sum(amount)").fetchall()[0]
    assert spent == (sum(Decimal(root["total"]) for root in call("GET", "/v1/metering/costs")["costs"]),)


def test_exports_of_adjoining_times_have_every_row_once(server, sold, tmp_path):
    _, whole = exported(server, tmp_path, "events")
    (middle,) = whole.project("strftime(max(received_at) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')").fetchall()[0]
    ids = sorted(row[0] for row in whole.project("seq").fetchall())
    _, before = exported(server, tmp_path, "events", "--until", middle)
    first = [row[0] for row in before.project("seq").fetchall()]
    _, after = exported(server, tmp_path, "events", "--since", middle)
    assert sorted(first + [row[0] for row in after.project("seq").fetchall()]) == ids


def test_a_format_is_named_or_accepted_and_only_operators_are_answered(server, sold):
    path, parquet = f"{server.url}/v1/metering/export/events", "application/vnd.apache.parquet"
    key = {"Authorization": f"Bearer {server.key('operator')}"}
    accepted = httpx.get(path, headers={**key, "Accept": parquet})
    assert accepted.headers["content-type"] == parquet and accepted.content[:4] == accepted.content[-4:] == b"PAR1"
    assert "events.parquet" in accepted.headers["content-disposition"]
    assert httpx.get(path, headers=key, params={"format": "csv"}).headers["content-type"].startswith("text/csv")
    assert httpx.get(path, headers=key, params={"format": "xlsx"}).json()["code"] == "metering.bad_definition"
    agent = {"Authorization": f"Bearer {server.agent_token()}"}
    assert httpx.get(path, headers={**agent, "Accept": parquet}).status_code == 403
