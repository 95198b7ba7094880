"""The example agents, run as anybody would run them."""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Human, deny

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


class Place:
    """A local HTTP server that counts its calls."""

    def __init__(self, says: str):
        place = self
        self.calls = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                place.calls += 1
                self.send_response(200)
                self.send_header("content-length", str(len(says)))
                self.end_headers()
                self.wfile.write(says.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def places():
    places = Place("the forecast is sunny"), Place("never to be read"), Place("the archive is open")
    yield places
    for place in places:
        place.stop()


def ask_about(server, address):
    """A policy under which a human decides about connections to `address`."""
    text = server.operator.call("GET", "/v1/policy")["text"]
    rule = (
        f'@id("test.archive")\n@oversight("egress_review")\nforbid (principal, action == Action::"runtime.egress", '
        f'resource == Host::"{address}")\nunless {{ context.approved }};\n'
    )
    server.operator.call("PUT", "/v1/policy", {"text": f"{text}\n{rule}"})


class Planner:
    """The agent that gets the report, outside any sandbox, with its own keys."""

    def __init__(self, server):
        self.binary = server.binary
        state = str(server.data.parent / "planner.state")
        self.environ = {**os.environ, "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token("planner"), "CRETO_MSG_STATE": state}

    def messages(self, command):
        done = subprocess.run([self.binary, "msg", command], capture_output=True, text=True, env=self.environ, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_the_researcher_goes_through_its_steps(sandbox_of_its_own, places):
    server, (allowed, refused, ask) = sandbox_of_its_own, places
    ask_about(server, ask.address)
    metric = {"aggregation": "sum", "field": "quantity", "unit_price": "0.000003"}
    server.operator.call("PUT", "/v1/metering/metrics/demo.tokens", metric)
    server.operator.call("POST", "/v1/identities", {"kind": "agent", "name": "researcher"})
    planner = Planner(server)
    planner.messages("publish")
    human = Human(server)
    human.will(lambda client, request: client.approve(request.id, request.digest), resource=f"host:{ask.address}")
    steps = ["--dataset", str(EXAMPLES / "dataset"), "--allowed", allowed.url, "--refused", refused.url, "--ask", ask.url]
    run = server.operator.run(
        ["python3", str(EXAMPLES / "agents/researcher.py"), "--all", *steps, "--code", "demo.tokens", "--to", "planner"],
        chain=server.chain("researcher", budget="0.10"),
        mounts=[str(EXAMPLES)],
        allow_hosts=[allowed.address, ask.address],
        timeout_secs=300,
    )
    result, out, err = run.wait()
    human.done()
    human.client.close()
    said = out.decode()
    assert result.ok, said + err.decode()
    for line in ["12 rows, 4 stations", "the forecast is sunny", "to allow it: ", "approved and answered 200", "demo.tokens for 0.0"]:
        assert line in said
    assert (allowed.calls, refused.calls, ask.calls) == (1, 0, 1)
    received = planner.messages("receive")
    assert "report of the rainfall" in received and "wettest aachen" in received
    spent = {account["identity"]: account for account in server.operator.call("GET", "/v1/metering/accounts")["accounts"]}
    ceilings = [account for account in spent.values() if account["ceiling"] is not None]
    assert ceilings and all(float(a["spent"]) + float(a["held"]) <= float(a["ceiling"]) for a in ceilings)


@pytest.mark.parametrize(("missing", "why"), [([], "nothing says"), (["--dataset", "/nowhere.csv"], "No such file")])
def test_a_step_that_does_not_happen_ends_the_researcher(missing, why):
    command = [sys.executable, "-B", str(EXAMPLES / "agents/researcher.py"), "--all", *missing]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""}, timeout=60)
    assert done.returncode == 1 and why in done.stdout


def test_the_researcher_does_not_take_an_answer_for_a_refusal(places):
    command = [sys.executable, "-B", str(EXAMPLES / "agents/researcher.py"), "--refused", places[1].url]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=60)
    assert done.returncode == 1 and "should have been refused: HTTP 200" in done.stdout


@pytest.mark.parametrize(("decides", "code", "said"), [("approve", 0, "paid 10.50 to alice (rent)"), ("deny", 3, "not to mallory")])
def test_the_payment_waits_for_a_human(server, decides, code, said):
    def decide(client, request):
        assert request.reason == "rent for alice"
        if decides == "approve":
            client.approve(request.id, request.digest)
        else:
            deny(client, request)

    human = Human(server)
    human.will(decide, "pay")
    source = str(Path(__file__).resolve().parents[1] / "src")
    environ = {**os.environ, "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token(), "PYTHONPATH": source}
    command = [sys.executable, "-B", str(EXAMPLES / "agents/approve_payment.py"), "alice", "10.50"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    human.done()
    human.client.close()
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
