"""The arguments of a call as JSON that a human can approve, and back.

INVARIANT: encoding is injective: two calls that Python could tell apart have different JSON, so an approval of one is never an approval of
the other. What is run is decoded from the JSON that was approved, so nothing the caller changes meanwhile can reach it.

Plain JSON stays itself. What JSON has no exact form for is tagged by an object with one name:

    {"$int": "9007199254740993"}     beyond ±2⁵³, which not every JSON reader keeps
    {"$float": "1.0"}                whole or large floats, which RFC 8785 writes as integers
    {"$decimal": "1.50"}  {"$bytes": "<base64>"}  {"$datetime": "<ISO 8601>"}  {"$tuple": [...]}

A name of a caller's own mapping that begins with `$` gets a second `$`.
"""

from __future__ import annotations

import base64
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from .errors import ProtocolError

INTEGER_MAX = 2**53
"""Largest integer the server takes as a JSON number."""
INTEGER_BITS_MAX = 8192
"""Widest integer; Python itself stops reading decimal digits soon after."""
DEPTH_MAX = 24
"""Deepest nesting; the server refuses more than 32 levels of the whole request."""


class _Refused(TypeError):
    """Internal: carries the path to the value as it unwinds."""


def _no_form(value: Any, why: str) -> _Refused:
    return _Refused(f"{type(value).__qualname__}, {why}")


def encode(value: Any, depth: int = 0) -> Any:
    """The JSON of one value.

    Types are matched exactly: a subclass may compare, print or mutate in ways its JSON does not show. Raises `TypeError` for everything
    that has no exact form.
    """
    if depth > DEPTH_MAX:
        raise _no_form(value, f"nested more than {DEPTH_MAX} levels deep or containing itself")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value)
    if kind is int:
        return _integer(value)
    if kind is float:
        return _float(value)
    if kind is Decimal:
        return {"$decimal": str(value)}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if kind is datetime:
        return {"$datetime": value.isoformat()}
    if kind is list:
        return [encode(item, depth + 1) for item in value]
    if kind is tuple:
        return {"$tuple": [encode(item, depth + 1) for item in value]}
    if kind is dict:
        return _mapping(value, depth)
    raise _no_form(value, "which cannot be shown to an approver exactly; pass plain values")


def _text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _no_form(value, "with a lone surrogate, which is no text") from None
    return value


def _integer(value: int) -> Any:
    if value.bit_length() > INTEGER_BITS_MAX:
        raise _no_form(value, f"of more than {INTEGER_BITS_MAX} bits")
    return value if abs(value) <= INTEGER_MAX else {"$int": str(value)}


def _float(value: float) -> Any:
    if not math.isfinite(value):
        raise _no_form(value, f"{value!r} has no JSON form")
    return {"$float": repr(value)} if value.is_integer() else value


def _mapping(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    encoded = {}
    for name, item in list(value.items()):
        if type(name) is not str:
            raise _no_form(name, "as a name in a mapping; use text")
        encoded["$" + name if name.startswith("$") else _text(name)] = encode(item, depth + 1)
    return encoded


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$int": int,
    "$float": float,
    "$decimal": Decimal,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$datetime": datetime.fromisoformat,
    "$tuple": lambda items: tuple(decode(item) for item in items),
}


def decode(value: Any) -> Any:
    """The value of its JSON: always new objects."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, item),) = value.items()
            if name in _DECODERS:
                return _DECODERS[name](item)
        return {name[1:] if name.startswith("$") else name: decode(item) for name, item in value.items()}
    return value


@dataclass(frozen=True)
class Arguments:
    """All arguments of one call, by the names of the function's parameters, defaults included.

    `*args` is a list and `**kwargs` a mapping under their own names, so that `f(1, 2)` and `f(2, 1)` are different calls.
    """

    json: dict[str, Any]
    """What is approved."""

    @classmethod
    def capture(cls, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Binds a call. Raises `TypeError` when it does not fit the signature, or a value has no exact JSON form."""
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        captured = {}
        for name, value in bound.arguments.items():
            try:
                variadic = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
                captured[name] = encode(list(value) if variadic else value)
            except _Refused as refused:
                raise TypeError(f"argument `{name}` holds a {refused}") from None
        return cls(captured)

    @classmethod
    def approved(cls, signature: inspect.Signature, json: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call as a human changed them. Raises `ProtocolError` where they do not fit the function."""
        try:
            if unknown := set(json) - set(signature.parameters):
                raise TypeError(f"there is no parameter `{min(unknown)}`")
            args, kwargs = cls(json).restore(signature)
            signature.bind(*args, **kwargs)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ProtocolError(f"the approved arguments do not fit the function: {error}") from error
        return args, kwargs

    def call(self, function: Callable[..., Any], signature: inspect.Signature) -> Any:
        """Calls with exactly these arguments."""
        args, kwargs = self.restore(signature)
        return function(*args, **kwargs)

    def restore(self, signature: inspect.Signature) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments, decoded."""
        bound = inspect.BoundArguments(signature, {})
        for name, value in self.json.items():
            restored = decode(value)
            variadic = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            bound.arguments[name] = tuple(restored) if variadic else restored
        return bound.args, bound.kwargs
