"""Where the server is looked for, and where a token goes."""

import pytest

from creto import Client, ConfigurationError, ConnectError
from creto._connection import Place

TOKEN = {"CRETO_TOKEN": "creto_agent_x"}


def find(url=None, token=None, socket=None, act_as=None, **environ):
    return Place.find(url, token, socket, act_as, environ)


def test_arguments_win_over_the_environment():
    place = find("http://a:1/", "t1", CRETO_URL="http://b:2", **TOKEN)
    assert (place.url, place.headers) == ("http://a:1", {"authorization": "Bearer t1"})
    place = find(CRETO_URL="http://b:2", **TOKEN)
    assert (place.url, place.headers) == ("http://b:2", {"authorization": "Bearer creto_agent_x"})


def test_inside_a_sandbox_nothing_is_needed_and_no_token_is_sent():
    for environ in [{"CRETO_AGENT_ID": "spiffe://x"}, {"CRETO_URL": "http://creto.internal", "CRETO_AGENT_ID": "spiffe://x"}]:
        place = find(**environ, **TOKEN)
        assert (place.url, place.headers, place.socket) == ("http://creto.internal", {}, None)


def test_the_socket_is_found_in_its_directory_and_carries_no_token(tmp_path):
    for given in [tmp_path, str(tmp_path), tmp_path / "creto.sock"]:
        place = find(socket=given, act_as="bob", **TOKEN)
        assert place.socket == str(tmp_path / "creto.sock") and place.headers == {"creto-as": "bob"}
        assert place.options(1)["trust_env"] is False


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"url": "127.0.0.1:80"},
        {"url": "ftp://host"},
        {"url": "http://"},
        {"url": "http://user:secret@host"},
        {"url": "http://host?token=x"},
        {"url": "http://host", "act_as": "bob"},
        {"url": "http://host", "socket": "/x"},
        {"token": "t", "socket": "/x"},
        {"url": "http://host", "token": ""},
        {"url": "http://host", "token": "a\r\nx: y"},
    ],
    ids=str,
)
def test_contradictions_are_refused(given):
    with pytest.raises(ConfigurationError):
        find(**given)


def test_a_server_that_is_not_there_is_said_so(tmp_path):
    with Client(socket=tmp_path) as client, pytest.raises(ConnectError, match="cannot be reached") as caught:
        client.whoami()
    assert "creto serve" in caught.value.hint
