"""MCP elicitations answered by a human, with the MCP SDK itself on both sides."""

import asyncio
from typing import Literal

import pytest
from mcp import Client as McpClient
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel
from test_human import Answering

from creto import AsyncClient
from creto.mcp import elicitation


class Account(BaseModel):
    account: str


class Order(BaseModel):
    size: Literal["small", "large"]
    pieces: int
    gift: bool = False


class Nothing(BaseModel):
    pass


def server_of(words):
    """An MCP server whose tools need something of a person."""
    mcp = MCPServer("shop")

    async def ask(ctx, schema):
        result = await ctx.elicit(words, schema)
        return result.model_dump_json()

    @mcp.tool()
    async def account(ctx: Context) -> str:
        return await ask(ctx, Account)

    @mcp.tool()
    async def order(ctx: Context) -> str:
        return await ask(ctx, Order)

    @mcp.tool()
    async def confirm(ctx: Context) -> str:
        return await ask(ctx, Nothing)

    @mcp.tool()
    async def pay(ctx: Context) -> str:
        result = await ctx.elicit_url(words, "https://pay.example/1", "e1")
        return result.action

    return mcp


@pytest.fixture
def call(server, tool):
    """Calls a tool of the MCP server; the human answers as told."""
    words = f"what of {tool}?"

    def call(name, text=None, option=None, timeout=None):
        async def main():
            async with AsyncClient(server.url, server.agent_token()) as agent:
                callback = elicitation(agent, timeout=timeout)
                async with McpClient(server_of(words), elicitation_callback=callback, mode="legacy") as mcp:
                    human = Answering(server, words, text, option) if text else None
                    try:
                        result = await mcp.call_tool(name, {})
                    except MCPError as refused:
                        return refused.message, True, None
                    return result.content[0].text, result.is_error, human.done() if human else None

        return asyncio.run(main())

    return call


def test_a_form_of_one_field_is_answered_in_words(call):
    text, failed, seen = call("account", "DE 12 34")
    assert not failed and '"accept"' in text and "DE 12 34" in text
    assert seen.action["arguments"]["context"]["form"]["properties"]["account"]["type"] == "string"


def test_a_form_of_several_is_answered_with_an_object_that_fits(call):
    text, failed, _ = call("order", '{"size": "large", "pieces": 3}')
    assert not failed and '"accept"' in text and '"pieces":3' in text
    for bad in ['{"size": "huge", "pieces": 3}', '{"size": "small"}', '{"size": "small", "pieces": true}', '{"a": 1}', "large, 3"]:
        text, failed, _ = call("order", bad)
        assert failed and "does not fit" in text, f"{bad}: {text}"


def test_a_human_declines_and_cancels(call):
    for option in ["decline", "cancel"]:
        text, failed, _ = call("account", "no", option)
        assert not failed and f'"{option}"' in text


def test_a_question_without_a_form_is_accepted_only_by_that_name(call):
    assert '"accept"' in call("confirm", "fine", "accept")[0]
    assert '"decline"' in call("confirm", "fine, go on")[0], "words alone accept nothing"


def test_an_address_is_opened_by_the_human_and_nothing_of_it_passes_through(call):
    text, _, seen = call("pay", "done", "accept")
    assert text == "accept" and seen.action["arguments"]["context"] == {"url": "https://pay.example/1"}


def test_nobody_answering_cancels_and_never_accepts(call):
    text, failed, _ = call("account", timeout=1)
    assert not failed and '"cancel"' in text
