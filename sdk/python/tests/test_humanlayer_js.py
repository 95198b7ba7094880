"""HumanLayer's own JavaScript SDK, unmodified, against the real server: `@humanlayer/sdk` 0.7.9 of npm is the judge."""

import json
import os
import shutil
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
from conftest import skip
from test_humanlayer import base, raw

CLIENTS = Path(__file__).resolve().parents[3] / "tests" / "clients"


@pytest.fixture
def node():
    found = shutil.which("node")
    if not found or not (CLIENTS / "node_modules/@humanlayer/sdk").is_dir():
        skip("humanlayer's javascript client", "no node, or `cargo xtask setup` has not installed the clients")
    return found


def decide(server, run_id, over):
    """Approves what goes to alice, refuses the rest, answers questions that want an answer."""
    key = server.key("approver")
    while not over.wait(0.02):
        for call in raw(server, key, "GET", "/agent/function_calls/pending").json():
            if call["run_id"] == run_id and call["spec"]["kwargs"]:
                fine = call["spec"]["kwargs"]["to"] == "alice"
                status = {"approved": fine, "comment": "fine" if fine else "not to mallory"}
                raw(server, key, "POST", f"/agent/function_calls/{call['call_id']}/respond", status)
        for contact in raw(server, key, "GET", "/agent/human_contacts/pending").json():
            if contact["run_id"] == run_id and contact["spec"]["msg"] == "which one?":
                raw(server, key, "POST", f"/agent/human_contacts/{contact['call_id']}/respond", {"response": "the blue one"})


def test_the_javascript_client_asks_is_answered_and_decides_nothing(server, node):
    run_id, over = f"js-{uuid.uuid4().hex[:8]}", threading.Event()
    human = threading.Thread(target=decide, args=(server, run_id, over))
    human.start()
    env = {**os.environ, "RUN_ID": run_id, "HUMANLAYER_API_KEY": server.agent_token(), "HUMANLAYER_API_BASE": base(server)}
    try:
        done = subprocess.run([node, CLIENTS / "humanlayer.mjs"], env=env, capture_output=True, text=True, timeout=60, check=False)
    finally:
        over.set()
        human.join()
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["approved"] == "paid 5 to alice" and said["ran"] == [{"to": "alice", "amount": 5}]
    assert said["denied"] == "User denied function pay with comment: not to mallory"
    assert said["answer"] == "the blue one"
    assert said["call"]["spec"]["reject_options"][0]["name"] == "later" and said["read"]["call_id"] == said["call"]["call_id"]
    assert said["escalated"]["status"]["approved"] is None and said["contact"]["status"]["response"] is None
    assert " 403: " in said["forged"] and " 404: " in said["unknown"] and " 422: " in said["bad"]
