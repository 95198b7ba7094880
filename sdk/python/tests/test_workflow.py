"""`resume(run_id)`: a program that is started again under its run asks nobody twice and does nothing twice."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import Human, approve

from creto import AlreadyDone, Client, require_approval, resume
from creto.workflow import Workflow, current, name_of


def test_names_depend_on_run_question_and_ordinal_and_on_nothing_else():
    one, again, other = Workflow("a"), Workflow("a"), Workflow("b")
    assert one.name("q", {"x": 1, "y": 2}) == again.name("q", {"y": 2, "x": 1})
    assert one.name("q", {"x": 1, "y": 2}) != again.name("q", {"x": 2, "y": 1})
    assert one.name("q", 1) != other.name("q", 1)
    assert one.name("q", 7) != one.name("q", 7)
    assert all(len(name.call) <= 64 for name in [one.name("q", "long" * 1000)])
    for bad in ["", "x" * 65, "a\n"]:
        with pytest.raises(ValueError, match="run"):
            Workflow(bad)


def test_outside_of_a_run_every_call_has_a_name_of_its_own():
    assert current() is None and name_of("q", 1) != name_of("q", 1)
    with resume("a") as workflow:
        assert current() is workflow
    assert current() is None


def test_a_call_that_was_made_is_not_made_again_and_equal_calls_are_told_apart(server, human, tool):
    token, ran = server.agent_token(), []

    def start(client, times):
        pay = require_approval(client, tool=tool)(lambda to: ran.append(to) or f"paid {to}")
        done = []
        with resume(tool):
            for _ in range(times):
                try:
                    done.append(pay("alice"))
                except AlreadyDone:
                    done.append("done before")
        return done

    with Client(server.url, token) as client:
        human.will(approve, tool)
        assert start(client, 1) == ["paid alice"]
        human.done()
        human.will(approve, tool)
        # Started again: the first payment was made, the second of the same words is another one.
        assert start(client, 2) == ["done before", "paid alice"]
        human.done()
        assert start(client, 2) == ["done before", "done before"]
    assert ran == ["alice", "alice"] and len(human.seen) == 2


PROGRAM = """
import sys
from creto import Client, require_approval, resume
run, tool, ledger = sys.argv[1:]
with Client() as client, resume(run):
    @require_approval(client, tool=tool)
    def pay(to):
        with open(ledger, "a") as book:
            book.write(f"{to}\\n")
        return "paid"
    print("asking", flush=True)
    print(pay("alice"), flush=True)
"""


def test_a_process_killed_while_a_human_thinks_is_taken_over_and_pays_once(server, human, tmp_path, tool):
    ledger = tmp_path / "ledger"
    env = {**os.environ, "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token(), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, "run", tool, str(ledger)]
    first = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "asking\n"
    # It waits at the server by now, or will never have asked: either way the second one finds what there is.
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    human.will(approve, tool)
    second = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    human.done()
    assert second.stdout.splitlines() == ["asking", "paid"], second.stderr
    third = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert third.returncode == 1 and "AlreadyDone" in third.stderr
    assert ledger.read_text() == "alice\n" and len(human.seen) == 1


WORKING = """
import sys, time
from pathlib import Path
from creto import Client, InDoubt, require_approval, resume
run, tool, ledger, go = sys.argv[1:]
with Client() as client, resume(run):
    @require_approval(client, tool=tool)
    def pay(to):
        with open(ledger, "a") as book:
            book.write(f"{to}\\n")
        print("paying", flush=True)
        while not Path(go).exists():
            time.sleep(0.02)
        return "paid"
    try:
        print(pay("alice"), flush=True)
    except InDoubt as doubt:
        print("in doubt", doubt.result, flush=True)
"""


def test_a_server_killed_while_a_call_is_made_lets_nobody_who_takes_over_make_it_again(own_server, tmp_path, tool):
    """kill -9 of the server, then a second process resumes while the first one is still at it."""
    human = Human(own_server)
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    token = own_server.agent_token()

    def start():
        env = {**os.environ, "CRETO_URL": own_server.url, "CRETO_TOKEN": token, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", WORKING, "run", tool, str(ledger), str(go)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    human.will(approve, tool)
    first = start()
    assert first.stdout.readline() == "paying\n"
    human.done()
    human.client.close()
    listen = own_server.url.removeprefix("http://")
    own_server.stop(signal.SIGKILL)
    own_server.start(listen)
    second = start()
    _, said = second.communicate(timeout=60)
    assert second.returncode == 1 and "AlreadyDone" in said, said
    doubts = own_server.operator.call("GET", "/v1/actions", params={"state": "in_doubt"})["actions"]
    assert [doubt["resource"] for doubt in doubts] == [f"tool:{tool}"], "a human is asked what came of it"
    go.touch()
    out, said = first.communicate(timeout=60)
    assert out.splitlines() == ["in doubt paid"], said
    assert ledger.read_text() == "alice\n"
