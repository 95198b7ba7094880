"""Governed runs: what the server streams while a command runs in a sandbox."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypedDict

import httpx

from . import _model
from ._connection import failed
from .errors import ProtocolError, RunLost, from_answer, from_code


@dataclass(frozen=True)
class Started:
    """The sandbox runs. `hops` is the delegation chain, root first."""

    run: str
    agent: str
    hops: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """Bytes the command wrote."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True)
class Finished:
    """How the run ended: `end` is `code`, `signal`, `timed_out`, `killed` or `lost`. `raw` is the server's whole report."""

    exit_code: int | None
    end: str
    cost: str
    duration_ms: int
    warm: bool
    reached: tuple[Mapping[str, Any], ...]
    requests: tuple[Any, ...]
    audit: Mapping[str, Any] | None
    raw: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0."""
        return self.exit_code == 0


Event = Started | Output | Finished


class RunOptions(TypedDict, total=False):
    """How a command is run."""

    agent: str | None
    on_behalf_of: str | None
    chain: str | None
    budget: str | None
    allow_hosts: list[str] | None
    mounts: list[str] | None
    env: Mapping[str, str] | None
    timeout_secs: int | None
    reason: str | None


def run_body(argv: list[str] | tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON that starts a run; options that are `None` are left out."""
    if isinstance(argv, (str, bytes)) or not argv or not all(isinstance(word, str) for word in argv):
        raise TypeError("`argv` is a list of words, such as ['echo', 'hi']; no shell reads it")
    for name in options:
        if name not in RunOptions.__annotations__:
            raise TypeError(f"a run has no option `{name}`")
    return {"argv": list(argv), **{name: value for name, value in options.items() if value is not None}}


def run_request(argv: list[str] | tuple[str, ...], options: Mapping[str, Any], answer_secs: float) -> dict[str, Any]:
    """The request that starts a run; its answer takes as long as the run does."""
    timeout = httpx.Timeout(answer_secs, read=None)
    return {"method": "POST", "url": "/v1/runs", "json": run_body(argv, options), "timeout": timeout}


def _kind(end: Any) -> str:
    return str(end.get("kind", "")) if isinstance(end, dict) else str(end or "")


def parse_event(line: str) -> Event | None:
    """One line of the stream; `None` for an event this version does not know."""
    try:
        event = json.loads(line)
        name = event["event"]
        if name == "started":
            return Started(_model.text(event, "run"), _model.text(event, "agent"), tuple(event.get("hops") or ()))
        if name in ("stdout", "stderr"):
            return Output(name, base64.b64decode(_model.text(event, "data"), validate=True))
        if name == "finished":
            return Finished(
                exit_code=event.get("exit_code"),
                end=_kind(event.get("end")),
                cost=str(event.get("cost", "0")),
                duration_ms=int(event.get("duration_ms", 0)),
                warm=event.get("warm") is True,
                reached=tuple(event.get("reached") or ()),
                requests=tuple(event.get("requests") or ()),
                audit=event.get("audit"),
                raw=event,
            )
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise ProtocolError(f"a line of the run's stream cannot be read: {line[:200]!r}") from error
    if name in ("failed", "error"):
        code = event.get("code") or "runtime.failed"
        raise from_code(str(event.get("detail") or event), code=code, hint=event.get("hint"), status=200)
    return None


class _Report:
    """What both sorts of run keep. Their streams differ, their events do not."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self._finished: Finished | None = None

    def take(self, line: str) -> Event | None:
        event = parse_event(line) if line else None
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Finished):
            self._finished = event
        return event

    def lost(self) -> RunLost:
        run = self.started.run if self.started else "?"
        return RunLost("the stream ended before the run was reported finished", hint=f"look at it with `GET /v1/runs/{run}`")

    @property
    def result(self) -> Finished:
        """How it ended; raises `RunLost` while that is not known."""
        if self._finished is None:
            raise self.lost()
        return self._finished


class Run(_Report):
    """A run under way: iterate over its events, then read `result`. Leaving it early kills it."""

    def __init__(self, client: httpx.Client, request: httpx.Request) -> None:
        """Starts it; the request is answered as soon as the run is admitted or refused."""
        super().__init__()
        try:
            self._response = client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise failed(error) from error
        if not self._response.is_success:
            with closing(self._response) as response:
                raise from_answer(response.status_code, response.read())

    def __iter__(self) -> Iterator[Event]:
        """Every event, once, as it comes."""
        with closing(self._response):
            try:
                for line in self._response.iter_lines():
                    if (event := self.take(line)) is not None:
                        yield event
            except httpx.HTTPError as error:
                raise self.lost() from error
        if self._finished is None:
            raise self.lost()

    def wait(self) -> tuple[Finished, bytes, bytes]:
        """Reads to the end: how it ended, stdout and stderr."""
        written = {"stdout": bytearray(), "stderr": bytearray()}
        for event in self:
            if isinstance(event, Output):
                written[event.stream] += event.data
        return self.result, bytes(written["stdout"]), bytes(written["stderr"])

    def close(self) -> None:
        """Closes the stream, which kills the run if it is still under way."""
        self._response.close()

    def __enter__(self) -> Run:
        """Closes it at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()


class AsyncRun(_Report):
    """A run under way, for `async for`."""

    def __init__(self, response: httpx.Response) -> None:
        """Over an answer that has begun; `AsyncClient.run` makes one."""
        super().__init__()
        self._response = response

    @classmethod
    async def start(cls, client: httpx.AsyncClient, request: httpx.Request) -> AsyncRun:
        """Starts it; the request is answered as soon as the run is admitted or refused."""
        try:
            response = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise failed(error) from error
        if not response.is_success:
            try:
                raise from_answer(response.status_code, await response.aread())
            finally:
                await response.aclose()
        return cls(response)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Every event, once, as it comes."""
        try:
            async for line in self._response.aiter_lines():
                if (event := self.take(line)) is not None:
                    yield event
        except httpx.HTTPError as error:
            raise self.lost() from error
        finally:
            await self._response.aclose()
        if self._finished is None:
            raise self.lost()

    async def wait(self) -> tuple[Finished, bytes, bytes]:
        """Reads to the end: how it ended, stdout and stderr."""
        written = {"stdout": bytearray(), "stderr": bytearray()}
        async for event in self:
            if isinstance(event, Output):
                written[event.stream] += event.data
        return self.result, bytes(written["stdout"]), bytes(written["stderr"])

    async def close(self) -> None:
        """Closes the stream, which kills the run if it is still under way."""
        await self._response.aclose()

    async def __aenter__(self) -> AsyncRun:
        """Closes it at the end of the block."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        await self.close()
