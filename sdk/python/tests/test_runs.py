"""The lines of a run's stream."""

import asyncio
import http.server
import threading

import pytest

from creto import AsyncClient, Client, Finished, Output, ProtocolError, RunLost, RuntimeFault, Started
from creto._runs import parse_event, run_body


def test_each_event_is_read():
    started = parse_event('{"event":"started","run":"run_1","agent":"spiffe://a","hops":["spiffe://h","spiffe://a"]}')
    assert started == Started("run_1", "spiffe://a", ("spiffe://h", "spiffe://a"))
    assert parse_event('{"event":"stderr","data":"AP8="}') == Output("stderr", b"\x00\xff")
    finished = parse_event(
        '{"event":"finished","exit_code":7,"end":{"kind":"code","value":7},"cost":"0.01","duration_ms":5,"warm":true,'
        '"reached":[{"host":"a:1"}],"requests":[],"audit":{"from":1,"to":2,"size":3},"new":"field"}'
    )
    assert isinstance(finished, Finished) and not finished.ok
    assert (finished.exit_code, finished.end, finished.cost, finished.warm, finished.audit["to"]) == (7, "code", "0.01", True, 2)
    assert finished.raw["new"] == "field"


def test_an_event_of_a_newer_server_is_passed_over():
    assert parse_event('{"event":"checkpointed","at":1}') is None


def test_a_failure_in_the_stream_is_raised_by_its_code():
    with pytest.raises(RuntimeFault, match="sandbox is gone"):
        parse_event('{"event":"failed","code":"runtime.sandbox_lost","detail":"the sandbox is gone"}')


@pytest.mark.parametrize("line", ["{", "[]", "1", "{}", '{"event":"stdout"}', '{"event":"stdout","data":"%"}', '{"event":"started"}'])
def test_a_damaged_line_is_named(line):
    with pytest.raises(ProtocolError):
        parse_event(line)


def test_a_command_is_a_list_of_words():
    assert run_body(["echo", "hi"], {"budget": "1", "agent": None}) == {"argv": ["echo", "hi"], "budget": "1"}
    for bad in ["echo hi", [], ["echo", 1], b"echo"]:
        with pytest.raises(TypeError):
            run_body(bad, {})


@pytest.fixture
def half_a_server():
    """A server that ends the stream of a run as if all had been said."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            body = b'{"event":"started","run":"run_1","agent":"spiffe://a","hops":[]}\n\n{"event":"stdout","data":"aGk="}\n'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_stream_that_ends_without_an_end_is_a_lost_run(half_a_server):
    with Client(half_a_server) as client, client.run(["true"]) as run, pytest.raises(RunLost, match=r"before the run.*v1/runs/run_1"):
        list(run)

    async def main():
        async with AsyncClient(half_a_server) as client, await client.run(["true"]) as run:
            return [event async for event in run]

    with pytest.raises(RunLost):
        asyncio.run(main())
    with Client(half_a_server) as client, client.run(["true"]) as run, pytest.raises(RunLost):
        run.wait()
