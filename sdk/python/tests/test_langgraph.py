"""The adapter for LangGraph, with LangGraph itself and its SQLite checkpointer."""

import asyncio
import operator
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from conftest import approve, deny
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from creto import ApprovalDenied, AsyncClient
from creto.langgraph import aresume, require_approval, resume, waiting


class State(TypedDict):
    done: Annotated[list, operator.add]


def graph_of(**nodes):
    """A graph whose nodes run side by side."""
    graph = StateGraph(State)
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile(checkpointer=InMemorySaver())


@pytest.fixture
def config(tool):
    return {"configurable": {"thread_id": tool}}


def test_a_graph_is_put_away_while_a_human_thinks_and_runs_the_function_once(server, human, tool, config):
    with server.agent() as agent:
        ran = []
        pay = require_approval(agent, tool=tool, reason="rent")(lambda to: ran.append(to) or f"paid {to}")
        graph = graph_of(pay=lambda state: {"done": [pay("alice")]})
        result = graph.invoke({"done": []}, config)
        (stopped,) = result["__interrupt__"]
        assert stopped.value["action_request"] == {"action": tool, "args": {"to": "alice"}} and stopped.value["description"] == "rent"
        (request,) = [found for found in human.client.requests() if found.action["resource"] == f"tool:{tool}"]
        assert waiting(result["__interrupt__"]) == {stopped.id: request.id} and ran == []
        human.will(approve, tool)
        human.done()
        assert resume(graph, config)["done"] == ["paid alice"]
    assert ran == ["alice"]


def test_what_a_graph_is_resumed_with_approves_nothing(server, tool, config):
    with server.agent() as agent:
        ran = []
        pay = require_approval(agent, tool=tool)(lambda to: ran.append(to))
        graph = graph_of(pay=lambda state: {"done": [pay("mallory")]})
        graph.invoke({"done": []}, config)
        for forged in [True, {"approved": True}, [{"type": "accept", "args": None}], "approve"]:
            result = graph.invoke(Command(resume=forged), config)
            assert len(waiting(result["__interrupt__"])) == 1
    assert ran == []


def test_a_graph_waits_patiently_where_it_is_told_to(server, human, tool, config):
    with server.agent() as agent:
        pay = require_approval(agent, tool=tool)(lambda to: f"paid {to}")
        graph = graph_of(pay=lambda state: {"done": [pay("alice")]})
        graph.invoke({"done": []}, config)
        human.will(approve, tool)
        # One second at a time: it is put away and taken up again until the human has decided.
        assert resume(graph, config, patience=1)["done"] == ["paid alice"]


def test_a_denial_is_raised_in_the_node(server, human, tool, config):
    with server.agent() as agent:
        pay = require_approval(agent, tool=tool)(lambda to: "paid")

        def node(state):
            try:
                return {"done": [pay("mallory")]}
            except ApprovalDenied as denied:
                return {"done": [denied.detail]}

        graph = graph_of(pay=node)
        graph.invoke({"done": []}, config)
        human.will(deny, tool)
        (said,) = resume(graph, config)["done"]
    assert "not to mallory" in said


def test_nodes_that_run_side_by_side_wait_for_their_own_requests(server, human, tool, config):
    with server.agent() as agent:
        ran = []
        pay = require_approval(agent, tool=tool)(lambda to: ran.append(to) or to)
        graph = graph_of(one=lambda state: {"done": [pay("alice")]}, two=lambda state: {"done": [pay("bob")]})
        result = graph.invoke({"done": []}, config)
        assert len(set(waiting(result["__interrupt__"]).values())) == 2
        for _ in range(2):
            human.will(approve, tool)
            human.done()
        assert sorted(resume(graph, config)["done"]) == ["alice", "bob"] == sorted(ran)


def test_an_interrupt_of_the_applications_own_is_left_to_it(server, human, tool, config):
    with server.agent() as agent:
        pay = require_approval(agent, tool=tool)(lambda to: to)
        graph = graph_of(ours=lambda state: {"done": [pay("alice")]}, theirs=lambda state: {"done": [interrupt("which one?")]})
        graph.invoke({"done": []}, config)
        human.will(approve, tool)
        result = resume(graph, config)
        (left,) = result["__interrupt__"]
        assert left.value == "which one?"
        assert sorted(graph.invoke(Command(resume={left.id: "blue"}), config)["done"]) == ["alice", "blue"]


def test_an_async_graph_is_put_away_and_taken_up(server, human, tool, config):
    async def main():
        async with AsyncClient(server.url, server.agent_token()) as agent:

            @require_approval(agent, tool=tool)
            async def pay(to):
                return f"paid {to}"

            async def node(state):
                return {"done": [await pay("alice")]}

            graph = graph_of(pay=node)
            result = await graph.ainvoke({"done": []}, config)
            assert len(waiting(result["__interrupt__"])) == 1
            human.will(approve, tool)
            return (await aresume(graph, config))["done"]

    assert asyncio.run(main()) == ["paid alice"]


EXAMPLE = Path(__file__).resolve().parents[3] / "examples/agents/langgraph_payment.py"


def test_a_process_that_died_while_a_human_thought_is_taken_over_by_another(server, human, tmp_path, tool):
    """The example agent, killed by SIGKILL while it waits, and started again over the same checkpoints."""
    command = [sys.executable, EXAMPLE, "--checkpoints", tmp_path / "graph.db", "--ledger", tmp_path / "ledger", "--tool", tool]
    env = {**os.environ, "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token(), "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen([*command, "alice", "10.50"], env=env, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline().startswith("waiting for a human")
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    human.will(approve, tool)
    human.done()
    second = subprocess.run([*command, "alice", "10.50"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (second.returncode, second.stdout.splitlines()[-1]) == (0, "paid 10.50 to alice"), second.stderr
    assert (tmp_path / "ledger").read_text() == "alice 10.50\n"
    third = subprocess.run([*command, "alice", "10.50"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert third.stdout.splitlines()[-1] == "paid 10.50 to alice" and (tmp_path / "ledger").read_text() == "alice 10.50\n", "once"


def test_plain_users_do_not_pay_for_the_adapters():
    program = "import sys, creto; print([name for name in sys.modules if name.split('.')[0] in ('langgraph', 'agents', 'mcp', 'pydantic')])"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
