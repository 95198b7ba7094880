"""What can go wrong, one class for each family of codes.

The server answers a failed request with a problem (RFC 9457) that carries a stable `code` such as `metering.budget_exceeded`; the page
`docs/errors/<code>.md` says what to do. The part before the dot is the family and chooses the class; a few codes that programs branch
on have a class of their own.
"""

from __future__ import annotations

import json
from typing import Any


class CretoError(Exception):
    """Every failure of this package."""

    code: str = "sdk.error"
    hint: str | None = None

    def __init__(self, detail: str, *, code: str | None = None, hint: str | None = None) -> None:
        """Says what happened (`detail`), under which stable `code`, and what to do (`hint`)."""
        self.detail = detail
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint
        super().__init__(f"{detail} [{self.code}]" + (f"; hint: {self.hint}" if self.hint else ""))


class ConfigurationError(CretoError):
    """The client does not know where the server is, or was given options that contradict each other."""

    code = "sdk.configuration"


class TransportError(CretoError):
    """The request may or may not have reached the server: there was no complete answer."""

    code = "sdk.transport"


class ConnectError(TransportError):
    """There was no connection: the request did not reach the server."""

    code = "sdk.connect"


class ProtocolError(CretoError):
    """The server's answer is not what this version understands."""

    code = "sdk.protocol"


class RunLost(CretoError):
    """The stream of a run ended before the run was reported finished."""

    code = "sdk.run_lost"


class InDoubt(CretoError):
    """The function ran, and its outcome could not be recorded. Do not call it again: a human resolves the action.

    `result` is what the function returned, `admission` the action that is in doubt.
    """

    code = "sdk.in_doubt"

    def __init__(self, error: CretoError, *, admission: str, result: Any) -> None:
        """Keeps what the function returned, because it did run; `error` is why that could not be recorded."""
        detail = f"the function ran, and its outcome could not be recorded: {error.detail}"
        super().__init__(detail, hint=f"do not repeat it; a human resolves action `{admission}`")
        self.admission = admission
        self.result = result


class NoAnswer(CretoError):
    """Nobody answered a question: `state` is `timed_out`, `cancelled`, `superseded` or `denied`."""

    code = "sdk.no_answer"

    def __init__(self, state: str, *, request: str, comment: str | None) -> None:
        """How the question ended, and what was said about it."""
        words = {"timed_out": "nobody answered in time"}.get(state, f"the question is {state.replace('_', ' ')}")
        super().__init__(words + (f": {comment}" if comment else ""), hint=f"the question is request `{request}`")
        self.state = state
        self.request = request


class ProblemError(CretoError):
    """The server refused or failed, and said why. `status` is the HTTP status."""

    def __init__(self, detail: str, *, code: str, hint: str | None = None, status: int) -> None:
        """What the problem document said."""
        super().__init__(detail, code=code, hint=hint)
        self.status = status


class ProgramError(ProblemError):
    """`app.*`: the server program around the products: starting runs, sessions, the local socket."""


class GateError(ProblemError):
    """`gate.*`: the action was not admitted."""


class ApprovalDenied(GateError):
    """A human said no. `detail` names who, and their comment."""


class ApprovalTimeout(GateError):
    """Nobody decided in time."""


class AlreadyDone(GateError):
    """This very call of this run was admitted before, by a process whose place this one took. It does not run again: it is done, or failed,
    or a human says what became of it.
    """


class AuthorizationError(ProblemError):
    """`authz.*`: policy or the delegation chain's grant says no."""


class MeteringError(ProblemError):
    """`metering.*`."""


class BudgetExceeded(MeteringError):
    """A budget on the delegation chain has no room."""


class QuotaExceeded(MeteringError):
    """A quota on the chain has no room: wait for its next window, or ask for less."""


class OversightError(ProblemError):
    """`oversight.*`: a request to a human, or its decision, is refused."""


class IdentityError(ProblemError):
    """`nhi.*`: an identity, credential or delegation chain is refused."""


class RequestError(ProblemError):
    """`http.*`: refused before any product saw it: no credential, not this role, a malformed body."""


class RuntimeFault(ProblemError):
    """`runtime.*`: a sandbox could not do what was asked."""


class MessagingError(ProblemError):
    """`messaging.*`."""


class MemoryFault(ProblemError):
    """`memory.*`."""


class StorageError(ProblemError):
    """`storage.*`."""


class AuditError(ProblemError):
    """`audit.*`: the log cannot be read, or does not verify."""


class CryptoError(ProblemError):
    """`crypto.*`."""


class ServiceError(ProblemError):
    """`db.*`, `consensus.*`, and families newer than this package: the server itself could not."""


FAMILIES: dict[str, type[ProblemError]] = {
    "app": ProgramError,
    "audit": AuditError,
    "authz": AuthorizationError,
    "consensus": ServiceError,
    "crypto": CryptoError,
    "db": ServiceError,
    "gate": GateError,
    "http": RequestError,
    "memory": MemoryFault,
    "messaging": MessagingError,
    "metering": MeteringError,
    "nhi": IdentityError,
    "outbound": ServiceError,
    "oversight": OversightError,
    "runtime": RuntimeFault,
    "storage": StorageError,
    "webhook": ServiceError,
}
"""The class of each family of codes."""

SPECIFIC: dict[str, type[ProblemError]] = {
    "gate.attempt_used": AlreadyDone,
    "gate.denied_by_human": ApprovalDenied,
    "gate.not_decided": ApprovalTimeout,
    "metering.budget_exceeded": BudgetExceeded,
    "metering.quota_exceeded": QuotaExceeded,
}
"""Codes with a class of their own."""


def from_code(detail: str, *, code: str, hint: str | None, status: int) -> ProblemError:
    """The exception of a code."""
    family = code.partition(".")[0]
    kind = SPECIFIC.get(code) or FAMILIES.get(family, ServiceError)
    return kind(detail, code=code, hint=hint, status=status)


def from_answer(status: int, body: bytes) -> CretoError:
    """The exception of an HTTP answer outside 2xx. An answer that is no problem document did not come from the server's API."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("code"), str):
        hint = problem.get("hint")
        detail = str(problem.get("detail") or problem.get("title") or problem["code"])
        return from_code(detail, code=problem["code"], hint=hint if isinstance(hint, str) else None, status=status)
    excerpt = body[:200].decode("utf-8", "replace").strip()
    return ProtocolError(f"HTTP {status} without a problem document: {excerpt!r}", hint="is the URL a creto server's?")
