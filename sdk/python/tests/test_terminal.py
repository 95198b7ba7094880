"""`creto inbox` at a terminal: read and decided under a pty."""

import os
import pty
import re
import select
import struct
import time
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest
from channels import payment


class Terminal:
    def __init__(self, server, columns=80, rows=20):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(server.binary, [server.binary, "inbox", "--data", str(server.data)])
        ioctl(self.fd, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seen = ""

    def until(self, pattern):
        deadline = time.monotonic() + 30
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"no `{pattern}` in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found

    def type(self, text):
        os.write(self.fd, text.encode())

    def ended(self):
        """The exit status, once it has ended."""
        while True:
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def waiting(own_server, tool):
    return own_server.agent().call("POST", "/v1/actions", payment(tool, arguments={"a_name": "bob\u001b[2J", "text": "word " * 400}))


def test_a_request_is_read_to_its_end_and_approved_with_a_comment(own_server, waiting, tool):
    terminal = Terminal(own_server)
    terminal.until(rf"> tool:{tool}")
    terminal.type("\r")
    terminal.until(waiting["request"])
    terminal.until(r"space: go on")
    terminal.type("a")
    terminal.until(r"read it to its end first")
    for _ in range(8):
        terminal.type(" ")
    terminal.until(waiting["digest"])
    terminal.type("a")
    terminal.until(r"approve exactly this, once")
    terminal.type("go ahead\r")
    terminal.until(r"on record: approve")
    request = own_server.operator.call("GET", f"/v1/oversight/requests/{waiting['request']}")
    assert (request["state"], request["comment"], request["how"]) == ("approved", "go ahead", "local_socket")
    terminal.until(r"nothing waits")
    terminal.type("q")
    assert terminal.ended() == 0
    assert terminal.seen.endswith("\x1b[?25h\x1b[?1049l"), "the terminal is as it was"


def test_leaving_decides_nothing_and_what_an_agent_wrote_moves_nothing(own_server, waiting, tool):
    terminal = Terminal(own_server)
    terminal.until(rf"> tool:{tool}")
    terminal.type("\r")
    shown = terminal.until(r"bob\\u\{1b\}\[2J")
    assert shown
    terminal.type("d")
    terminal.until(r"deny \(Enter")
    terminal.type("\x1b")
    terminal.until(r"space: go on|a: approve")
    terminal.type("\x03")
    assert terminal.ended() == 0
    assert own_server.operator.call("GET", f"/v1/oversight/requests/{waiting['request']}")["state"] == "pending"
