"""`resume(run_id)`: a workflow that another process may take over.

    with creto.resume("invoice-42"):
        answer = contact_human("which account?")
        pay(answer, Decimal("10.50"))

Each guarded call and each question inside has a name: what is asked, and how often it was asked before in this run. A process that takes
over runs the same program under the same run; it finds the questions that were answered and the approvals that were given, and the server
refuses what was already done. So nothing is asked twice and nothing runs twice, however often the program is started.

A call that another process has already made is `AlreadyDone`: whether its result is kept is up to the program.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ._questions import Name

RUN_BYTES_MAX = 64
"""Longest name of a run, in bytes."""


class Workflow:
    """A run under its name, and what was asked in it so far."""

    def __init__(self, run_id: str) -> None:
        """`run_id` is what a process that takes over must say too."""
        if not run_id or len(run_id.encode()) > RUN_BYTES_MAX or not run_id.isprintable():
            raise ValueError(f"a run's name has 1 to {RUN_BYTES_MAX} printable bytes")
        self.run_id = run_id
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def name(self, kind: str, asked: Any) -> Name:
        """The name of the next call that asks this: the digest of what is asked, and the ordinal among equals."""
        text = json.dumps([kind, asked], sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(f"{self.run_id}\0{text}".encode()).hexdigest()[:40]
        with self._lock:
            ordinal = self._asked[digest]
            self._asked[digest] += 1
        return Name(self.run_id, f"{digest}-{ordinal}")


_current: ContextVar[Workflow | None] = ContextVar("creto_workflow", default=None)


@contextlib.contextmanager
def resume(run_id: str) -> Iterator[Workflow]:
    """Begins a run, or goes on with one that another process began under this name. Works around `async` code too."""
    workflow = Workflow(run_id)
    before = _current.set(workflow)
    try:
        yield workflow
    finally:
        _current.reset(before)


def current() -> Workflow | None:
    """The run this code is in."""
    return _current.get()


def name_of(kind: str, asked: Any) -> Name:
    """The name of the next such call in the current run; outside of runs one that nobody else has."""
    workflow = _current.get()
    return Name.new() if workflow is None else workflow.name(kind, asked)
