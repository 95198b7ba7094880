"""Requests signed by the agent's own key, against the real server."""

import asyncio
import os
import subprocess

import pytest

from creto import AsyncClient, Client, ConfigurationError, CretoError, OwnKey


@pytest.fixture
def enrolled(server, tmp_path):
    """A key of an agent's own, made and registered on the agent's side, and its identifier."""
    environ = {**os.environ, "CRETO_KEYS": str(tmp_path), "CRETO_URL": server.url, "CRETO_TOKEN": server.agent_token("signer")}
    environ.pop("CRETO_OWN_KEY", None)

    def creto(*words):
        return subprocess.run([server.binary, "agent", "key", *words], env=environ, capture_output=True, check=True, text=True).stdout

    creto("create", "mine")
    creto("register", "mine")
    return OwnKey("mine", keys=tmp_path, command=server.binary), lambda: creto("revoke", creto("list", "--json").split('"key":"')[-1][:32])


def test_a_client_with_a_key_of_its_own_needs_no_token_and_is_refused_once_the_key_is_revoked(server, enrolled, monkeypatch):
    monkeypatch.setenv("CRETO_TOKEN", "creto_operator_never_sent")
    key, revoke = enrolled
    with Client(server.url, own_key=key) as agent:
        assert agent.whoami()["how"] == "proof_of_possession"
        granted = agent.ask("tool.call", "tool:search", {"q": "weather"})
        assert agent.report(granted.admission, ok=True).leaf

    async def asks():
        async with AsyncClient(server.url, own_key=key) as agent:
            return await agent.whoami()

    assert asyncio.run(asks())["identity"].endswith("/agent/signer")
    revoke()
    with Client(server.url, own_key=key) as agent, pytest.raises(CretoError) as caught:
        agent.whoami()
    assert caught.value.code == "nhi.proof_key"


def test_a_key_that_is_not_there_and_a_second_credential_are_refused(server, tmp_path):
    missing = OwnKey("nobody", keys=tmp_path, command=server.binary)
    with Client(server.url, own_key=missing) as agent, pytest.raises(ConfigurationError, match="nobody"):
        agent.whoami()
    with pytest.raises(ConfigurationError):
        Client(server.url, "creto_agent_x", own_key=missing)
