"""Lago's own JavaScript client, unmodified, against the real server: `lago-javascript-client` 1.53.0 of npm is the judge."""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from conftest import skip

CLIENTS = Path(__file__).resolve().parents[3] / "tests" / "clients"


@pytest.fixture
def node():
    found = shutil.which("node")
    if not found or not (CLIENTS / "node_modules/lago-javascript-client").is_dir():
        skip("lago's javascript client", "no node, or `cargo xtask setup` has not installed the clients")
    return found


def told(server, node, script):
    """What a script of Lago's client prints, run with an operator's key."""
    env = {
        **os.environ, "RUN_ID": uuid.uuid4().hex[:8], "LAGO_API_KEY": server.key("operator"), "LAGO_API_URL": f"{server.url}/lago/api/v1",
    }
    done = subprocess.run([node, CLIENTS / script], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_javascript_client_sells_subscribes_and_reads_its_usage(server, node):
    said = told(server, node, "lago.mjs")
    metric, plan, subscription = said["metric"], said["plan"], said["subscription"]
    assert (metric["aggregation_type"], metric["description"]) == ("sum_agg", None)
    assert said["tried"] == {"value": "2.5"}
    (charge,) = plan["charges"]
    assert charge["properties"] == {"amount": "3", "package_size": 10, "free_units": 5} and charge["lago_billable_metric_id"] == metric["lago_id"]
    assert (subscription["status"], subscription["plan_amount_cents"], subscription["lago_customer_id"]) == ("active", 1000, said["customer"]["lago_id"])
    assert said["found"] == said["sent"] and said["sent"]["lago_subscription_id"] == subscription["lago_id"]
    assert [event["properties"] for event in said["batch"]] == [{"n": 8}, {"n": 9}]
    assert (said["again"]["status"], said["again"]["error_details"]) == (422, {"transaction_id": ["value_already_exist"]})
    assert [event["properties"]["n"] for event in said["events"]["events"]] == [9, 8] and said["events"]["meta"]["total_count"] == 3
    (used,) = said["usage"]["charges_usage"]
    assert (used["units"], used["amount_cents"], said["usage"]["total_amount_cents"]) == ("24", 600, 600)
    new, coming = said["preview"], said["next"]
    assert (new["fees_amount_cents"], new["coupons_amount_cents"], new["total_amount_cents"], new["status"]) == (500, 100, 400, "draft")
    assert [fee["amount_cents"] for fee in coming["fees"] if fee["item"]["type"] == "charge"] == [600], "what the usage comes to is on the next invoice"
    assert [one["code"] for one in said["charges"]["charges"]] == [charge["code"]]
    for listed in (said["subscriptions"], said["listed"]):
        assert [one["external_id"] for one in listed["subscriptions"]] == [subscription["external_id"]] and listed["meta"]["current_page"] == 1
    assert (said["changed"]["name"], said["changed"]["description"], said["changed"]["amount_cents"]) == ("Prime", "better", 1000)
    assert said["ended"]["status"] == "terminated"
    assert (said["unknown"]["status"], said["unknown"]["code"]) == (404, "customer_not_found")
    assert said["invalid"]["status"] == 422 and said["invalid"]["error_details"] == {"code": ["value_is_mandatory"]}
    assert (said["nobody"]["status"], said["nobody"]["error"]) == (401, "Unauthorized")


def test_the_javascript_client_entitles_plans_and_subscriptions_and_keeps_alerts(server, node):
    said = told(server, node, "lago_entitlements.mjs")

    def values(entitlement, name="value"):
        return {it["code"]: it[name] for it in entitlement["privileges"]}

    assert [(it["code"], it["value_type"]) for it in said["feature"]["privileges"]] == [
        ("max", "integer"), ("root", "boolean"), ("provider", "select"),
    ]
    assert said["feature"]["privileges"][2]["config"] == {"select_options": ["google", "okta"]}
    assert said["renamed"]["description"] == "how many" and [it["code"] for it in said["renamed"]["privileges"]][-1] == "note"
    assert len(said["renamed"]["privileges"]) == 4, "what is not sent stays"
    assert [it["code"] for it in said["features"]["features"]] == [said["feature"]["code"]] and said["features"]["meta"]["total_count"] == 1
    assert said["invalid"]["error_details"] == {"privileges": ["value_is_invalid"]}
    assert [values(it) for it in said["planned"]] == [{"max": 10, "root": True, "provider": "google"}]
    assert values(said["patched"][0]) == values(said["one"]) == {"max": 20, "root": True, "provider": "google", "note": "x"}
    assert values(said["lessOne"]) == {"max": 20, "root": True, "provider": "google"}
    assert said["bad"]["status"] == 422, said["bad"]
    (mine,) = said["mine"]
    assert (values(mine)["max"], values(mine, "plan_value")["max"], values(mine, "override_value")["max"]) == (30, 20, 30)
    assert mine["overrides"] == {"max": 30} and values(mine, "override_value")["root"] is None
    assert values(said["without"]) == {"max": 30, "provider": "google"}
    assert (said["inUse"]["status"], said["inUse"]["code"]) == (405, "not_allowed")
    assert (said["none"], said["left"]) == ([], [])
    assert said["alert"]["thresholds"] == [{"code": "soon", "value": "99", "recurring": False}]
    assert (said["changed"]["name"], said["changed"]["lago_id"]) == ("Warn", said["alert"]["lago_id"])
    assert [it["code"] for it in said["alerts"]["alerts"]] == ["warn"] and said["gone"]["code"] == "warn"
    assert (said["unknown"]["status"], said["unknown"]["code"]) == (404, "alert_not_found")
