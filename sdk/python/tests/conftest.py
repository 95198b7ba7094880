"""A real server for the tests that need one: `$CRETO_BIN serve` over a temporary directory."""

import os
import select
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest

from creto import Client, ProblemError

START_SECS_MAX = 60
STOP_SECS_MAX = 20


def skip(what, why):
    """Skips loudly; where everything must be present it is a failure instead."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what}: {why}", pytrace=False)
    print(f"SKIPPED {what}: {why}")
    pytest.skip(f"{what}: {why}")


class Server:
    """A running server, the local human's connection to it, and people and agents made on demand."""

    def __init__(self, binary: str, data: Path):
        self.binary, self.data = binary, data
        self.start()

    def start(self, listen="127.0.0.1:0"):
        self.log = (self.data.parent / "stderr.log").open("ab")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data", str(self.data), "--listen", listen], stdout=subprocess.PIPE, stderr=self.log
        )
        line = self._ready_line()
        assert line.startswith("ready on http://"), f"`{line}`; stderr: {(self.data.parent / 'stderr.log').read_text()[-2000:]}"
        self.url = line.removeprefix("ready on ").split()[0]
        self.operator = Client(socket=self.data)

    def _ready_line(self):
        pipe, deadline, line = self.process.stdout, time.monotonic() + START_SECS_MAX, b""
        while not line.endswith(b"\n") and time.monotonic() < deadline and self.process.poll() is None:
            if select.select([pipe], [], [], 0.2)[0]:
                line += os.read(pipe.fileno(), 1)
        return line.decode().strip()

    def stop(self, how=signal.SIGTERM):
        self.operator.close()
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECS_MAX)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()

    def key(self, role: str, **fields) -> str:
        name = f"{role}-{uuid.uuid4().hex[:8]}"
        return self.operator.call("POST", "/v1/keys", {"role": role, "name": name, **fields})["token"]

    def agent_token(self, name: str | None = None, **fields) -> str:
        name = name or f"agent-{uuid.uuid4().hex[:8]}"
        known = self.operator.call("GET", "/v1/identities")["identities"]
        if not any(identity["id"].endswith(f"/agent/{name}") for identity in known):
            self.operator.call("POST", "/v1/identities", {"kind": "agent", "name": name})
        return self.key("agent", agent=name, **fields)

    def agent(self, **fields) -> Client:
        return Client(self.url, self.agent_token(**fields))

    def chain(self, agent: str, **grant) -> str:
        return self.operator.call("POST", "/v1/delegations", {"to": agent, **grant})["chain"]


@pytest.fixture(scope="session")
def binary():
    binary = os.environ.get("CRETO_BIN")
    if not binary:
        skip("python sdk against the server", "CRETO_BIN does not name the `creto` binary")
    if not os.access(binary, os.X_OK):
        skip("python sdk against the server", f"`{binary}` is not a program")
    return binary


@pytest.fixture(scope="session")
def server(binary, tmp_path_factory):
    server = Server(binary, tmp_path_factory.mktemp("creto") / "data")
    yield server
    assert server.stop() == 0


@pytest.fixture
def own_server(binary, tmp_path):
    """A server that the test may kill."""
    server = Server(binary, tmp_path / "data")
    yield server
    server.stop()


def sandboxed(server):
    """The server, where it can start a sandbox at all."""
    try:
        server.operator.run(["true"], timeout_secs=60).wait()
    except ProblemError as error:
        if error.code not in ("app.no_runtime", "runtime.unavailable"):
            raise
        skip("runs in a sandbox", error.detail)
    return server


@pytest.fixture
def sandbox(server):
    """A server that can run programs."""
    return sandboxed(server)


@pytest.fixture
def sandbox_of_its_own(own_server):
    """One whose policy the test may change."""
    return sandboxed(own_server)


class Human:
    """An approver in a thread of its own: decides the next requests as told, by its own key."""

    def __init__(self, server: Server):
        self.client = Client(server.url, server.key("approver"))
        self.seen = []
        self._thread = None

    def will(self, decide, tool: str | None = None, before=None, resource: str | None = None, count: int = 1):
        """Decides the next request about `tool` or `resource`: `decide(client, request)`; `before` runs first, while the agent waits."""
        wanted = resource or f"tool:{tool}"

        def watch():
            deadline, left = time.monotonic() + 30, count
            while time.monotonic() < deadline:
                for request in self.client.requests("pending"):
                    if request.action["resource"] == wanted:
                        self.seen.append(request)
                        if before:
                            before()
                        decide(self.client, request)
                        left -= 1
                        if not left:
                            return
                time.sleep(0.05)

        self._thread = threading.Thread(target=watch)
        self._thread.start()

    def done(self):
        if self._thread:
            self._thread.join(40)
            assert not self._thread.is_alive()
            self._thread = None


def approve(client, request):
    client.approve(request.id, request.digest, "go ahead")


def deny(client, request):
    client.deny(request.id, "not to mallory")


@pytest.fixture
def human(server):
    human = Human(server)
    yield human
    human.done()
    human.client.close()


@pytest.fixture
def tool():
    """A tool of this test alone."""
    return f"tool_{uuid.uuid4().hex[:8]}"
