"""Requests signed by a key that only its holder has (HTTP Message Signatures, RFC 9421)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Generator

import httpx

from .errors import ConfigurationError

SIGN_SECS_MAX = 30
"""Longest time signing one request may take."""
FIELDS = ("authorization", "content-digest", "signature-input", "signature")


class OwnKey(httpx.Auth):
    """A key that `creto agent key create` made and `creto agent key register` registered.

    The `creto` command signs: the key stays sealed in its folder and never enters this process. Each request is signed anew, and is
    good once, unchanged, at the server it was made for.
    """

    requires_request_body = True

    def __init__(
        self,
        name: str,
        *,
        keys: str | os.PathLike[str] | None = None,
        chain: str | None = None,
        command: str | os.PathLike[str] = "creto",
    ) -> None:
        """`name` is the key's; `keys` its folder; `chain` the delegation it signs under, unless it was registered with it."""
        self._words = [os.fspath(command), "agent", "key", "headers", name]
        self._environ = dict(os.environ)
        if keys is not None:
            self._environ["CRETO_KEYS"] = os.fspath(keys)
        if chain is not None:
            self._environ["CRETO_OWN_CHAIN"] = chain
        # A token of the environment is another credential, and not this one's.
        self._environ.pop("CRETO_TOKEN", None)
        self._environ.pop("CRETO_OWN_KEY", None)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        words = [*self._words, request.method, str(request.url), "--body", "-"]
        try:
            done = subprocess.run(
                words, input=request.content, env=self._environ, capture_output=True, timeout=SIGN_SECS_MAX, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"`{words[0]}` cannot sign: {error}", hint="install creto, or name it as `command=`") from error
        if done.returncode != 0:
            raise ConfigurationError(f"the request is not signed: {done.stderr.decode(errors='replace').strip()}")
        fields = dict(line.split(": ", 1) for line in done.stdout.decode().splitlines() if ": " in line)
        for name in FIELDS:
            request.headers[name] = fields[name]
        return request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Signs, then sends."""
        request.read()
        yield self._signed(request)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Signs beside the event loop, then sends."""
        await request.aread()
        yield await asyncio.to_thread(self._signed, request)
