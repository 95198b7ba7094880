"""Where the server is and how to prove who is calling."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ._flows import ANSWER_SECS, Call
from .errors import ConfigurationError, ConnectError, CretoError, ProtocolError, TransportError, from_answer

INTERNAL_HOST = "creto.internal"
"""The server, as a sandbox sees it: whoever calls is the run's agent, and needs no credential."""
SOCKET_NAME = "creto.sock"
"""The local socket in the server's data directory; the server knows its user by the socket itself."""
VERSION = "0.1.0"


@dataclass(frozen=True)
class Place:
    """A server and a credential."""

    url: str
    socket: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        url: str | None,
        token: str | None,
        socket: str | os.PathLike[str] | None,
        act_as: str | None,
        environ: Mapping[str, str],
    ) -> Place:
        """From arguments, else from `CRETO_URL` and `CRETO_TOKEN`, else, inside a sandbox, `http://creto.internal`.

        A token is sent only where it was given: never to `creto.internal`, and `CRETO_TOKEN` never over the local socket.
        """
        if socket is not None:
            if url is not None or token is not None:
                raise ConfigurationError("a local socket takes neither a URL nor a token")
            path = Path(socket)
            headers = {} if act_as is None else {"creto-as": act_as}
            return cls("http://localhost", str(path / SOCKET_NAME if path.is_dir() else path), headers)
        if act_as is not None:
            raise ConfigurationError("`act_as` needs the local socket")
        url = url or environ.get("CRETO_URL") or ("http://" + INTERNAL_HOST if environ.get("CRETO_AGENT_ID") else None)
        if url is None:
            raise ConfigurationError(
                "no server is named",
                hint="pass a URL, set CRETO_URL, or pass `socket=` with the server's data directory",
            )
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(f"`{url}` is not the URL of a server", hint="expected http://HOST:PORT or https://HOST")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError("the URL holds a user or password", hint="pass the token as `token=` or in CRETO_TOKEN")
        if token is None and parts.hostname != INTERNAL_HOST:
            token = environ.get("CRETO_TOKEN")
        if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
            raise ConfigurationError("the token is empty or holds characters no token has")
        return cls(url.rstrip("/"), None, {} if token is None else {"authorization": f"Bearer {token}"})

    def options(self, timeout_secs: float) -> dict[str, Any]:
        """Options of either httpx client. Redirects are never followed: they could carry the token elsewhere."""
        return {
            "base_url": self.url,
            "headers": {**self.headers, "user-agent": f"creto-python/{VERSION}"},
            "timeout": httpx.Timeout(timeout_secs),
            "trust_env": self.socket is None,
            "follow_redirects": False,
        }


class Connection:
    """What both clients are: a place, how long an answer may take, and what was learned."""

    def __init__(
        self,
        url: str | None,
        token: str | None,
        socket: str | os.PathLike[str] | None,
        act_as: str | None,
        timeout: float,
        own_key: httpx.Auth | None = None,
    ) -> None:
        """Finds the server; connects to nothing."""
        environ: Mapping[str, str] = os.environ
        if own_key is not None:
            if token is not None or socket is not None:
                raise ConfigurationError("a key of one's own takes neither a token nor a local socket")
            environ = {name: value for name, value in environ.items() if name != "CRETO_TOKEN"}
        self._place = Place.find(url, token, socket, act_as, environ)
        self._timeout = timeout
        self._known: dict[str, str] = {}


def to_httpx(call: Call, answer_secs: float) -> dict[str, Any]:
    """The arguments of httpx's `request`."""
    options: dict[str, Any] = {"method": call.method, "url": call.path, "params": call.params}
    if call.body is not None:
        options["json"] = call.body
    if call.wait_secs:
        options["timeout"] = httpx.Timeout(answer_secs, read=answer_secs + call.wait_secs)
    return options


def answer_of(response: httpx.Response) -> Any:
    """The JSON of an answer, or its problem as an exception."""
    if not response.is_success:
        raise from_answer(response.status_code, response.content)
    if not response.content:
        return {}
    try:
        answer = response.json()
    except ValueError:
        raise ProtocolError(f"the answer to {response.request.url.path} is not JSON") from None
    if not isinstance(answer, (dict, list)):
        raise ProtocolError(f"the answer to {response.request.url.path} is no object")
    return answer


def failed(error: httpx.HTTPError) -> CretoError:
    """A failure of httpx as ours: whether the request can have arrived is what matters."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(
        error,
        (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol),
    ):
        return ConnectError(f"the server cannot be reached: {what}", hint="is `creto serve` running, and is the address right?")
    return TransportError(f"the answer did not come: {what}")


__all__ = ["ANSWER_SECS", "INTERNAL_HOST", "Connection", "Place", "answer_of", "failed", "to_httpx"]
