"""What the server answers, typed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError


def text(answer: Any, name: str) -> str:
    """A text member of an answer, which this version relies on."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str):
        raise ProtocolError(f"the answer lacks `{name}`", hint="use the version of this package that belongs to the server")
    return value


def optional(answer: Any, name: str) -> str | None:
    """A text member that may be absent or null."""
    return None if answer.get(name) is None else text(answer, name)


@dataclass(frozen=True)
class Granted:
    """The action is admitted: do it now, then report the outcome under `admission`."""

    admission: str
    digest: str
    arguments: dict[str, Any] | None = None
    """The arguments that were approved, where a human changed them: do it with these."""
    again: bool = False
    """The same attempt was admitted before: by a call whose answer was lost, or by a process that died."""


@dataclass(frozen=True)
class Pending:
    """A human has not decided: ask again with the very same action."""

    request: str | None
    digest: str


def admitted(answer: Any) -> Granted | Pending:
    """What asking answered."""
    state = text(answer, "state")
    if state == "granted":
        arguments = answer.get("arguments")
        if arguments is not None and not isinstance(arguments, dict):
            raise ProtocolError("the approved arguments are no mapping")
        return Granted(text(answer, "admission"), text(answer, "digest"), arguments, answer.get("again") is True)
    if state == "pending":
        return Pending(optional(answer, "request"), text(answer, "digest"))
    raise ProtocolError(f"asking answered the unknown state `{state}`")


@dataclass(frozen=True)
class Settled:
    """An action that is over and on record: `leaf` is its entry in the audit log, `cost` a decimal string."""

    admission: str
    leaf: str
    cost: str


@dataclass(frozen=True)
class UsageReceipt:
    """A recorded usage event. `duplicate` says it was recorded before, under the same transaction identifier."""

    transaction_id: str
    cost: str
    duplicate: bool


@dataclass(frozen=True)
class TrackedEvent:
    """What became of one event of a batch: `recorded`, `duplicate` or `refused`, then with the error's code and what to do."""

    transaction_id: str | None
    status: str
    cost: str | None
    code: str | None
    detail: str | None

    @classmethod
    def read(cls, answer: Any) -> TrackedEvent:
        """From the server's JSON."""
        return cls(
            transaction_id=optional(answer, "transaction_id"),
            status=text(answer, "status"),
            cost=optional(answer, "cost"),
            code=optional(answer, "code"),
            detail=optional(answer, "detail"),
        )


@dataclass(frozen=True)
class OversightRequest:
    """A request to a human. `action` is the very document whose digest an approval approves; what an agent wrote in it, and `reason`, is
    untrusted text.
    """

    id: str
    digest: str
    state: str
    action: dict[str, Any]
    reason: str | None
    comment: str | None
    deadline: str
    hidden: tuple[str, ...] = ()
    """Names of arguments that this approver may not see."""
    shown: str | None = None
    """What an approval names beside the digest where something is hidden: the SHA-256 of what was shown, computed here."""
    test: bool = False
    """Whether it was asked in an installation for tests: it binds nobody."""

    @classmethod
    def read(cls, answer: Any) -> OversightRequest:
        """From the server's JSON."""
        return cls(
            id=text(answer, "id"),
            digest=text(answer, "digest"),
            state=text(answer, "state"),
            action=json.loads(text(answer, "action")),
            reason=optional(answer, "reason"),
            comment=optional(answer, "comment"),
            deadline=text(answer, "deadline"),
            hidden=tuple(answer.get("redacted") or ()),
            shown=_shown(answer),
            test=answer.get("test") is True,
        )


def _shown(answer: Any) -> str | None:
    """The digest of the view, where there is one and it is of this very action."""
    view = optional(answer, "view")
    if view is None:
        return None
    read = json.loads(view)
    if read.get("digest") != answer.get("digest") or read.get("action") != json.loads(text(answer, "action")):
        raise ProtocolError("the view of a request is of another action")
    return hashlib.sha256(view.encode()).hexdigest()
