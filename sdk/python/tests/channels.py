"""Loopback services for the tests of channels: they keep what came and answer as the real ones do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_SECS = 30


class Service(ThreadingHTTPServer):
    """An HTTP service: `answer(method, path, body, headers)` gives (status, JSON)."""

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.received, self.arrived = answer, [], threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def place(self):
        return f"127.0.0.1:{self.server_port}"

    def until(self, holds, what):
        """Waits until `holds(received)` gives something, and gives it."""
        with self.arrived:
            found = self.arrived.wait_for(lambda: holds(self.received), PATIENCE_SECS)
            assert found, f"waited in vain until {what}: {self.received}"
            return found

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def respond(self):
        length = int(self.headers.get("content-length") or 0)
        text = self.rfile.read(length).decode()
        body = json.loads(text) if text.startswith(("{", "[")) else text
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.server.answer(self.command, self.path, body, headers)
        with self.server.arrived:
            self.server.received.append((self.command, self.path, body, headers))
            self.server.arrived.notify_all()
        out = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        if isinstance(answer, dict) and isinstance(answer.get("result"), list):
            self.send_header("x-total-count", str(len(answer["result"])))  # as the Table API does
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST = do_PATCH = respond

    def log_message(self, *args):
        pass


def payment(name, **more):
    """An action that the default policy asks a human about."""
    body = {"action": "tool.call_with_approval", "resource": f"tool:{name}", "arguments": {"amount": "12.50"}, "wait_secs": 0}
    return {**body, **more}
