"""The adapter for the OpenAI Agents SDK, with the SDK itself and its scripted model."""

import asyncio
import json

import pytest
from agents import Agent, Runner, RunState, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call
from conftest import approve, deny
from test_approval import state_of

from creto import AsyncClient
from creto.openai_agents import Approvals

set_tracing_disabled(True)


def script(tool, *calls, then="done"):
    """A model that makes these calls in one turn and then says something."""
    made = [function_call(tool, arguments, call_id=f"call_{n}") for n, arguments in enumerate(calls)]
    return ScriptedModel([made, [assistant_message(then)]])


def told(model):
    """What the model was told its calls came to."""
    return [item["output"] for item in model.calls[-1].input if isinstance(item, dict) and item.get("type") == "function_call_output"]


@pytest.fixture
def play(server, tool):
    """Runs a coroutine over approvals of an agent's own."""

    def play(scene):
        async def main():
            async with AsyncClient(server.url, server.agent_token()) as client:
                return await scene(Approvals(client))

        return asyncio.run(main())

    return play


def test_a_tool_runs_once_with_what_a_human_approved(server, play, human, tool):
    ran = []

    async def scene(approvals):
        @approvals.tool(name_override=tool, reason=lambda to, amount: f"rent of {to}")
        def pay(to: str, amount: int) -> str:
            """Pays."""
            ran.append((to, amount))
            return f"paid {amount}"

        model = script(tool, {"to": "alice", "amount": 5})
        human.will(approve, tool)
        result = await approvals.run(Agent(name="clerk", model=model, tools=[pay]), "pay alice")
        return result.final_output, told(model)

    assert play(scene) == ("done", ["paid 5"]) and ran == [("alice", 5)]
    human.done()
    (request,) = human.seen
    assert request.action["arguments"] == {"to": "alice", "amount": 5} and request.reason == "rent of alice"
    assert state_of(server, request.digest) == ["done"]


def test_a_refusal_reaches_the_model_in_the_humans_words(play, human, tool):
    ran = []

    async def scene(approvals):
        @approvals.tool(name_override=tool)
        async def pay(to: str) -> str:
            """Pays."""
            ran.append(to)
            return "paid"

        model = script(tool, {"to": "mallory"})
        human.will(deny, tool)
        await approvals.run(Agent(name="clerk", model=model, tools=[pay]), "pay mallory")
        return told(model)

    (words,) = play(scene)
    assert "not to mallory" in words and ran == []


def test_a_run_is_kept_and_gone_on_with_by_another_process(server, human, tool):
    """The state goes through JSON, to approvals that never saw the call: what they know of it is what the server knows."""
    ran, token = [], server.agent_token()

    def agent_of(approvals, model):
        @approvals.tool(name_override=tool)
        def pay(to: str) -> str:
            """Pays."""
            ran.append(to)
            return f"paid {to}"

        return Agent(name="clerk", model=model, tools=[pay])

    async def first():
        async with AsyncClient(server.url, token) as client:
            agent = agent_of(Approvals(client), script(tool, {"to": "alice"}))
            result = await Runner.run(agent, "pay alice")
            assert [item.name for item in result.interruptions] == [tool]
            return json.dumps(result.to_state().to_json())

    async def second(kept):
        async with AsyncClient(server.url, token) as client:
            approvals = Approvals(client)
            agent = agent_of(approvals, ScriptedModel([[assistant_message("done")]]))
            state = await RunState.from_json(agent, json.loads(kept))
            human.will(approve, tool)
            return (await approvals.run(agent, state)).final_output

    kept = asyncio.run(first())
    assert ran == [] and asyncio.run(second(kept)) == "done" and ran == ["alice"]


def test_a_state_that_was_approved_by_other_means_runs_nothing_without_the_server(play, human, tool):
    ran = []

    async def scene(approvals):
        @approvals.tool(name_override=tool)
        def pay(to: str) -> str:
            """Pays."""
            ran.append(to)
            return "paid"

        model = script(tool, {"to": "mallory"})
        agent = Agent(name="clerk", model=model, tools=[pay])
        state = (await Runner.run(agent, "pay mallory")).to_state()
        for item in state.get_interruptions():
            state.approve(item)
        human.will(deny, tool)
        await Runner.run(agent, state)
        return told(model)

    (words,) = play(scene)
    assert "not to mallory" in words and ran == []


def test_calls_of_one_turn_are_asked_about_together_and_each_has_its_own_answer(play, human, tool):
    ran = []

    async def scene(approvals):
        @approvals.tool(name_override=tool)
        def pay(to: str) -> str:
            """Pays."""
            ran.append(to)
            return f"paid {to}"

        model = script(tool, {"to": "alice"}, {"to": "mallory"})

        def judge(client, request):
            (approve if request.action["arguments"]["to"] == "alice" else deny)(client, request)

        human.will(judge, tool, count=2)
        await approvals.run(Agent(name="clerk", model=model, tools=[pay]), "pay both")
        return told(model)

    paid, refused = play(scene)
    assert paid == "paid alice" and "not to mallory" in refused and ran == ["alice"]


def test_a_function_that_raises_is_on_record_as_failed_and_the_model_is_told(server, play, human, tool):
    async def scene(approvals):
        @approvals.tool(name_override=tool)
        def pay(to: str) -> str:
            """Pays."""
            raise LookupError("no such account")

        model = script(tool, {"to": "alice"})
        human.will(approve, tool)
        await approvals.run(Agent(name="clerk", model=model, tools=[pay]), "pay")
        return told(model)

    (words,) = play(scene)
    assert "error" in words.lower(), "in the SDK's own words"
    human.done()
    assert state_of(server, human.seen[0].digest) == ["failed"]


def test_a_tool_from_elsewhere_is_guarded_and_others_interruptions_are_left_alone(play, human, tool):
    ran = []

    async def scene(approvals):
        @function_tool(name_override=tool)
        def pay(to: str) -> str:
            """Pays."""
            ran.append(to)
            return "paid"

        @function_tool(needs_approval=True)
        def theirs(x: int) -> str:
            """Somebody else's."""
            return "ran"

        calls = [function_call(tool, {"to": "alice"}, call_id="c1"), function_call("theirs", {"x": 1}, call_id="c2")]
        model = ScriptedModel([calls, [assistant_message("done")]])
        human.will(approve, tool)
        result = await approvals.run(Agent(name="clerk", model=model, tools=[approvals.guard(pay), theirs]), "go")
        return [item.name for item in result.interruptions]

    assert play(scene) == ["theirs"] and ran == ["alice"]
