#!/usr/bin/env python3
"""A researcher agent, as it runs inside a sandbox: six steps, each of which must go as the sandbox's rules say.

It needs only the standard library. Everything it reaches goes through the sandbox's proxy ($HTTP_PROXY); http://creto.internal is the
server, which knows it as the run's agent without any credential. Each step prints one line; a step that does not go as it must prints why
and ends the program with 1.

    creto run --agent researcher --mount "$PWD/examples" -- \\
        python3 "$PWD/examples/agents/researcher.py" --dataset "$PWD/examples/dataset"

A step is left out when what it needs is not given, unless --all demands every one.
"""

import argparse
import csv
import http.client
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import uuid
from decimal import Decimal, InvalidOperation
from pathlib import Path

SERVER = "http://creto.internal"
GATEWAY_ERROR = "x-creto-error"
"""The header by which the sandbox's gateway tells its own refusals from a server's."""
ANSWER_SECS_MAX = 30
HUMAN_SECS_MAX = 660
"""Longest wait for a human: the server gives up after ten minutes."""
EVENTS_MAX = 1000
"""Most usage events before a ceiling that does not hold is called that."""
SHOWN_CHARS_MAX = 120


class Unexpected(Exception):
    """A step did not go as it must."""


class Answer:
    """What came back for a request."""

    def __init__(self, response):
        """Reads it to the end, or to its first MiB."""
        self.status = response.status
        self.refused_by = response.getheader(GATEWAY_ERROR)
        self.body = response.read(1 << 20)

    def text(self):
        """The body as text."""
        return self.body.decode("utf-8", "replace").strip()

    def json(self):
        """The body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unexpected(
                f"HTTP {self.status} is not JSON: {shown(self.text())}"
            ) from None


def shown(text):
    """One line of text from outside, short enough to print and without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SHOWN_CHARS_MAX else line[: SHOWN_CHARS_MAX - 1] + "…"


def request(method, url, body=None, secs_max=ANSWER_SECS_MAX):
    """One HTTP request by the sandbox's proxy. `urllib` would pass it by for loopback addresses; here nothing may."""
    target = urllib.parse.urlsplit(url)
    if target.scheme != "http" or not target.hostname:
        raise Unexpected(f"`{url}` is not an http:// URL")
    proxy = urllib.parse.urlsplit(os.environ.get("HTTP_PROXY", ""))
    path = urllib.parse.urlunsplit(("", "", target.path or "/", target.query, ""))
    via, asked = (
        (proxy, f"http://{target.netloc}{path}") if proxy.hostname else (target, path)
    )
    connection = http.client.HTTPConnection(
        via.hostname, via.port or 80, timeout=secs_max
    )
    headers = {"host": target.netloc, "connection": "close"}
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        connection.request(
            method, asked, json.dumps(body) if body is not None else None, headers
        )
        return Answer(connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        raise Unexpected(f"{method} {url}: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


def read_dataset(place):
    """Reads every CSV file of a folder, or one file, and sums up what it says."""
    files = sorted(place.glob("*.csv")) if place.is_dir() else [place]
    rows, total, stations = 0, Decimal(0), {}
    for file in files:
        with file.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                rain = Decimal(row["rain_mm"])
                rows, total = rows + 1, total + rain
                stations[row["station"]] = (
                    stations.get(row["station"], Decimal(0)) + rain
                )
    if not rows:
        raise Unexpected(f"`{place}` holds no rows")
    wettest = max(stations, key=lambda name: (stations[name], name))
    return f"{rows} rows, {len(stations)} stations, mean {total / rows:.1f} mm, wettest {wettest} with {stations[wettest]} mm"


def call_allowed(url):
    """An allowed host answers."""
    answer = request("GET", url)
    if answer.refused_by or not 200 <= answer.status < 300:
        raise Unexpected(
            f"{url} should have answered: HTTP {answer.status}: {shown(answer.text())}"
        )
    return f"{url} answered {answer.status}: {shown(answer.text())}"


def call_refused(url):
    """A host nobody allowed is refused, with the flag or policy line that would allow it."""
    answer = request("GET", url)
    if answer.status != 403 or answer.refused_by != "runtime.egress_denied":
        raise Unexpected(
            f"{url} should have been refused: HTTP {answer.status}: {shown(answer.text())}"
        )
    _, found, hint = answer.text().partition("to allow it: ")
    if not found:
        raise Unexpected(
            f"the refusal of {url} does not say what would allow it: {shown(answer.text())}"
        )
    return f"{url} was refused; to allow it: {shown(hint)}"


def call_after_asking(url):
    """A host that policy asks a human about: the connection waits, and goes on once it is approved."""
    print(f"ask      waiting for a human to decide about {url}", flush=True)
    answer = request("GET", url, secs_max=HUMAN_SECS_MAX)
    if answer.refused_by or not 200 <= answer.status < 300:
        raise Unexpected(
            f"{url} should have been approved: HTTP {answer.status}: {shown(answer.text())}"
        )
    return f"{url} was approved and answered {answer.status}: {shown(answer.text())}"


def spend(code, tokens):
    """Spends until the ceiling on the delegation chain says stop, and it must."""
    whoami = request("GET", f"{SERVER}/v1/whoami").json()
    root = whoami["chain"][0].rpartition("/")[2]
    spent = Decimal(0)
    for events in range(EVENTS_MAX):
        event = {
            "transaction_id": str(uuid.uuid4()),
            "external_subscription_id": root,
            "code": code,
            "properties": {"quantity": str(tokens)},
        }
        answer = request("POST", f"{SERVER}/v1/metering/events", event)
        said = answer.json()
        if answer.status == 200:
            spent += Decimal(said["cost"])
        elif said.get("code") == "metering.budget_exceeded" and events:
            return f"{events} events of {tokens} {code} for {spent}, then: {shown(said['detail'])}"
        else:
            raise Unexpected(
                f"event {events + 1}: HTTP {answer.status}: {shown(answer.text())}"
            )
    raise Unexpected(f"no ceiling stopped {EVENTS_MAX} events worth {spent}")


def send_report(creto, to, text):
    """Sends a report end to end encrypted: the keys stay in this sandbox, the server sees only ciphertext."""
    command = [creto, "msg", "send", "--to", to, "-"]
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            capture_output=True,
            timeout=ANSWER_SECS_MAX * 2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unexpected(f"`{' '.join(command)}`: {error}") from None
    if done.returncode != 0:
        raise Unexpected(
            f"`{' '.join(command)}` exited with {done.returncode}: {shown(done.stderr.decode('utf-8', 'replace'))}"
        )
    said = shown(done.stdout.decode("utf-8", "replace"))
    return f"{len(text.encode())} bytes to {to}, encrypted" + (
        f": {said}" if said else ""
    )


def options():
    """Flags, else the environment (`DEMO_…`: a run's caller cannot set `CRETO_…`)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])

    def take(name, what):
        parser.add_argument(
            f"--{name}",
            default=os.environ.get(f"DEMO_{name.upper()}"),
            help=f"{what} [env: DEMO_{name.upper()}]",
        )

    take("dataset", "a CSV file, or a folder of them")
    take("allowed", "a URL that may be reached")
    take("refused", "a URL that may not")
    take("ask", "a URL that a human is asked about")
    take("code", "the metric to spend on, such as demo.tokens")
    take("to", "the agent that gets the report, such as planner")
    parser.add_argument(
        "--tokens",
        type=int,
        default=1000,
        help="quantity of one usage event [default: 1000]",
    )
    parser.add_argument(
        "--creto",
        default=os.environ.get("DEMO_CRETO"),
        help="the creto program inside [env: DEMO_CRETO; default: on PATH]",
    )
    parser.add_argument(
        "--all", action="store_true", help="fail when a step is left out"
    )
    return parser.parse_args()


def main():
    """Every step in order."""
    given = options()
    creto = given.creto or shutil.which("creto") or "creto"
    findings = ["report of the rainfall"]
    steps = [
        ("dataset", given.dataset, lambda: read_dataset(Path(given.dataset))),
        ("allowed", given.allowed, lambda: call_allowed(given.allowed)),
        ("refused", given.refused, lambda: call_refused(given.refused)),
        ("ask", given.ask, lambda: call_after_asking(given.ask)),
        ("spend", given.code, lambda: spend(given.code, given.tokens)),
        (
            "report",
            given.to,
            lambda: send_report(creto, given.to, "\n".join(findings) + "\n"),
        ),
    ]
    print(
        f"agent    {os.environ.get('CRETO_AGENT_ID', 'outside a sandbox')}", flush=True
    )
    for name, wanted, step in steps:
        if not wanted:
            if given.all:
                print(f"{name:<8} MISSING: nothing says with what to do it", flush=True)
                return 1
            continue
        try:
            said = step()
        except (Unexpected, OSError, LookupError, InvalidOperation) as problem:
            print(f"{name:<8} FAILED: {problem}", flush=True)
            return 1
        findings.append(f"{name}: {said}")
        print(f"{name:<8} {said}", flush=True)
    print("done     every step went as it must", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
