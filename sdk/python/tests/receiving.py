"""Whoever is told by webhooks, and a server that may reach it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Server


class Receiver(ThreadingHTTPServer):
    """Whoever is told: keeps what came, answers 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received, self.arrived = [], threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"

    def take(self):
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.received, 30), "nothing was sent"
            return self.received.pop(0)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with self.server.arrived:
            self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.server.arrived.notify_all()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture
def server(binary, tmp_path, receiver):
    """A server whose owner named the receiver."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "config.toml").write_text(f'outbound_allow = ["127.0.0.1:{receiver.server_port}"]\n')
    server = Server(binary, data)
    yield server
    server.stop()
