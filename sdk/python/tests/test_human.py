"""Questions: what a human says comes back in their words, once, and never as nothing."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import Human, approve
from test_flows import AWAY, LOST, Clock, play

from creto import AsyncClient, Client, CretoError, NoAnswer, ProblemError, human_as_tool, resume
from creto._questions import Answer, Name, Question, ask_human

NAME = Name("run", "call")
PENDING = {"request": "req_1", "state": "pending"}
ANSWERED = {"request": "req_1", "state": "answered", "answer": "the blue one", "option": None}


class Answering:
    """An approver in a thread of its own, who answers the next question of these words."""

    def __init__(self, server, asked, text, option=None):
        self.client, self.asked, self.said = Human(server).client, asked, (text, option)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for request in self.client.requests("pending"):
                if str(request.action["arguments"].get("question", "")).startswith(self.asked):
                    self.seen = request
                    self.client.answer(request.id, *self.said)
                    return
            time.sleep(0.02)

    def done(self):
        self.thread.join(35)
        self.client.close()
        return self.seen


@pytest.fixture
def words(tool):
    """A question of this test alone."""
    return f"which account of {tool}?"


def test_an_answer_is_waited_for_however_long_and_also_past_a_restart():
    clock = Clock()
    flow = ask_human(Question("which?"), NAME, timeout_secs=None, clock=clock)
    answer, calls = play(flow, [LOST, PENDING, (50, PENDING), (30, LOST), AWAY, ANSWERED], clock)
    assert answer == Answer("the blue one", None, "req_1")
    assert calls[0] == calls[1] and calls[0].body == {"question": "which?", "run_id": "run", "call_id": "call"}
    assert {call.path for call in calls[2:]} == {"/v1/oversight/asked/req_1"}


def test_a_question_nobody_answers_is_not_an_empty_answer():
    for state in ["timed_out", "cancelled"]:
        with pytest.raises(NoAnswer) as caught:
            play(ask_human(Question("which?"), NAME, timeout_secs=5), [{"request": "req_1", "state": state, "comment": None}])
        assert (caught.value.state, caught.value.request) == (state, "req_1")


def test_a_human_answers_an_agents_tool(server, words):
    with server.agent() as agent:
        human = Answering(server, words, "the blue one")
        contact = human_as_tool(agent, context={"invoice": "INV-1"}, name="ask_finance", description="Ask finance.")
        assert (contact.__name__, contact.__doc__) == ("ask_finance", "Ask finance.")
        assert contact(words) == "the blue one"
        assert human.done().action["arguments"] == {"question": words, "context": {"invoice": "INV-1"}}


def test_an_option_comes_back_by_its_name_and_only_one_that_was_named(server, words):
    with server.agent() as agent:
        human = Answering(server, words, "go on", "yes")
        answer = agent.ask_human(words, options=["yes", "no"])
        human.done()
        assert (answer.text, answer.option) == ("go on", "yes")
        approver = Human(server).client
        standing = agent.call("POST", "/v1/oversight/questions", {"question": words, "options": ["yes", "no"]})
        for text, option in [("go on", "perhaps"), ("", "yes"), (" ", None)]:
            with pytest.raises(ProblemError) as caught:
                approver.answer(standing["request"], text, option)
            assert caught.value.code == "oversight.bad_input"
        with pytest.raises(ProblemError) as caught:
            agent.answer(standing["request"], "yes")
        assert caught.value.code == "http.forbidden"
        approver.close()
        assert agent.call("GET", f"/v1/oversight/asked/{standing['request']}")["state"] == "pending"


def test_an_async_agent_asks_without_blocking(server, words):
    async def main():
        async with AsyncClient(server.url, server.agent_token()) as agent:
            human = Answering(server, words, "bob")
            asked = asyncio.create_task(human_as_tool(agent)(words))
            await asyncio.sleep(0)
            answer = await asked
            human.done()
            return answer

    assert asyncio.run(main()) == "bob"


def test_a_question_runs_out_of_time(server, words):
    with server.agent() as agent, pytest.raises(NoAnswer) as caught:
        agent.ask_human(words, timeout=1)
    assert caught.value.state == "timed_out"


def test_an_agent_takes_its_question_back(server, words):
    with server.agent() as agent:
        standing = agent.call("POST", "/v1/oversight/questions", {"question": words})
        path = f"/v1/oversight/asked/{standing['request']}"
        assert agent.call("POST", f"{path}/cancel", {"reason": "found it"})["state"] == "cancelled"
        with server.agent() as other, pytest.raises(ProblemError) as caught:
            other.call("GET", path)
        assert caught.value.code == "oversight.unknown_request"


def test_a_process_that_takes_over_finds_the_answer_and_asks_nobody_again(server, words):
    token = server.agent_token()
    with Client(server.url, token) as first, resume(f"run of {words}"):
        human = Answering(server, words, "the blue one")
        assert human_as_tool(first)(words) == "the blue one"
        human.done()
    with Client(server.url, token) as second, resume(f"run of {words}"):
        assert human_as_tool(second)(words) == "the blue one"
        # The second question of the same words is another one.
        standing = threading.Thread(target=Answering, args=(server, words, "the red one"))
        standing.start()
        assert human_as_tool(second)(words) == "the red one"
        standing.join()


def test_what_is_no_question_is_refused_before_anybody_is_asked(server):
    with server.agent() as agent:
        for bad in ["", "  ", 5]:
            with pytest.raises(TypeError):
                human_as_tool(agent)(bad)
        for bad in [
            {"question": ""},
            {"question": "?", "options": ["a", "a"]},
            {"question": "?", "run_id": "r"},
            {"question": "?", "colour": 1},
        ]:
            with pytest.raises(CretoError) as caught:
                agent.call("POST", "/v1/oversight/questions", bad)
            assert caught.value.code in ("oversight.bad_input", "http.bad_body")


EXAMPLE = Path(__file__).resolve().parents[3] / "examples/agents/ask_human.py"


def test_the_example_asks_pays_after_an_approval_and_pays_once(server, human, tool):
    env = {**os.environ, "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token(), "PYTHONPATH": os.pathsep.join(sys.path)}

    def start():
        return subprocess.run([sys.executable, EXAMPLE, tool, "10.50"], env=env, capture_output=True, text=True, timeout=60, check=False)

    answering = Answering(server, f"From which account shall I pay {tool}", "DE 12")
    human.will(approve, "pay_invoice")
    first = start()
    answering.done()
    human.done()
    assert (first.returncode, first.stdout.splitlines()[1:]) == (0, ["the human said: DE 12", "paid 10.50 from DE 12"]), first.stderr
    again = start()
    assert (again.returncode, again.stdout.splitlines()[1:]) == (0, ["the human said: DE 12", "paid before"]), again.stderr
    assert human.seen[0].action["arguments"] == {"account": "DE 12", "amount": {"$decimal": "10.50"}}
