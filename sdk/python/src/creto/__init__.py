"""Client of creto: approvals bound to exact arguments, usage, and governed runs for AI agents.

Start at `Client` (or `AsyncClient`) and `require_approval`. Every failure is a `CretoError` with a stable `.code`.
"""

from . import meter
from ._arguments import Arguments
from ._async_client import AsyncClient
from ._client import Client
from ._flows import usage_event
from ._model import Granted, OversightRequest, Pending, Settled, TrackedEvent, UsageReceipt
from ._own_key import OwnKey
from ._questions import Answer
from ._runs import AsyncRun, Finished, Output, Run, Started
from .approval import require_approval
from .errors import (
    AlreadyDone,
    ApprovalDenied,
    ApprovalTimeout,
    AuditError,
    AuthorizationError,
    BudgetExceeded,
    ConfigurationError,
    ConnectError,
    CretoError,
    CryptoError,
    GateError,
    IdentityError,
    InDoubt,
    MemoryFault,
    MessagingError,
    MeteringError,
    NoAnswer,
    OversightError,
    ProblemError,
    ProgramError,
    ProtocolError,
    QuotaExceeded,
    RequestError,
    RunLost,
    RuntimeFault,
    ServiceError,
    StorageError,
    TransportError,
)
from .human import human_as_tool
from .workflow import Workflow, resume

__all__ = [
    "AlreadyDone",
    "Answer",
    "ApprovalDenied",
    "ApprovalTimeout",
    "Arguments",
    "AsyncClient",
    "AsyncRun",
    "AuditError",
    "AuthorizationError",
    "BudgetExceeded",
    "Client",
    "ConfigurationError",
    "ConnectError",
    "CretoError",
    "CryptoError",
    "Finished",
    "GateError",
    "Granted",
    "IdentityError",
    "InDoubt",
    "MemoryFault",
    "MessagingError",
    "MeteringError",
    "NoAnswer",
    "Output",
    "OversightError",
    "OversightRequest",
    "OwnKey",
    "Pending",
    "ProblemError",
    "ProgramError",
    "ProtocolError",
    "QuotaExceeded",
    "RequestError",
    "Run",
    "RunLost",
    "RuntimeFault",
    "ServiceError",
    "Settled",
    "Started",
    "StorageError",
    "TrackedEvent",
    "TransportError",
    "UsageReceipt",
    "Workflow",
    "human_as_tool",
    "meter",
    "require_approval",
    "resume",
    "usage_event",
]
