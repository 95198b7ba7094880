"""What an approver is shown of a call, and what runs of it."""

import enum
import inspect
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from creto import ProtocolError
from creto._arguments import DEPTH_MAX, INTEGER_MAX, Arguments, decode, encode


def capture(function, *args, **kwargs):
    return Arguments.capture(inspect.signature(function), args, kwargs)


def pay(to, amount=1, *memo, urgent=False, **extra):
    return to, amount, memo, urgent, extra


VALUES = [
    None,
    True,
    0,
    -1,
    INTEGER_MAX,
    INTEGER_MAX + 1,
    -INTEGER_MAX - 1,
    10**400,
    0.1,
    1.0,
    -0.0,
    1e300,
    "",
    "1",
    "grüße \u202e \x00",
    Decimal("1.50"),
    Decimal("1.5"),
    Decimal("-0"),
    Decimal("NaN"),
    b"",
    b"\x00\xff",
    datetime(2026, 11, 22, 10, 0),
    datetime(2026, 11, 22, 10, 0, 0, 1, tzinfo=timezone.utc),
    datetime(2026, 11, 22, 10, 0, tzinfo=timezone(timedelta(hours=2))),
    [],
    (),
    [1, [2, (3,)]],
    (1, 2),
    [1, 2],
    {},
    {"a": {"b": [1.0, b"x"]}},
    {"$int": "5"},
    {"$$int": "5"},
    {"$decimal": "1"},
    {"$": 1, "$a": 2, "a": 3},
]


def same(a, b):
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_every_value_comes_back_exactly(value):
    assert same(decode(encode(value)), value)


def test_no_two_different_values_look_alike():
    shown = [repr(encode(value)) for value in VALUES]
    assert len(set(shown)) == len(VALUES)


def test_positional_arguments_and_defaults_are_seen():
    assert capture(pay, "mallory", 1000).json == {"to": "mallory", "amount": 1000, "memo": [], "urgent": False, "extra": {}}
    assert capture(pay, "a", 2, "x", "y", urgent=True, ref=7).json == {
        "to": "a",
        "amount": 2,
        "memo": ["x", "y"],
        "urgent": True,
        "extra": {"ref": 7},
    }


def test_the_way_of_passing_does_not_matter_and_the_value_does():
    assert capture(pay, "a", 2).json == capture(pay, amount=2, to="a").json
    assert capture(pay, "a", 2).json != capture(pay, "a", "2").json
    assert capture(pay, "a", 2).json != capture(pay, "a", 2.0).json
    assert capture(pay, "a", 2, (1,)).json != capture(pay, "a", 2, [1]).json


def call(function, captured):
    return captured.call(function, inspect.signature(function))


def test_what_runs_is_what_was_captured():
    def positional(a, /, b, *c, d=4, **e):
        return a, b, c, d, e

    captured = capture(positional, 1, 2, 3, d=5, f=6, a=7)
    assert call(positional, captured) == (1, 2, (3,), 5, {"f": 6, "a": 7})
    assert call(pay, capture(pay, "a")) == ("a", 1, (), False, {})


def test_later_changes_of_the_callers_objects_reach_nothing():
    order = {"to": "alice", "items": [1, 2]}
    captured = capture(pay, order, memo_ref=order)
    order["to"] = "mallory"
    order["items"].append(3)
    to, _, _, _, extra = call(pay, captured)
    assert to == {"to": "alice", "items": [1, 2]} and extra == {"memo_ref": {"to": "alice", "items": [1, 2]}}
    to["to"] = "changed by the function"
    assert call(pay, captured)[0]["to"] == "alice"


class Sneaky(str):
    pass


class Color(enum.IntEnum):
    RED = 1


CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        (Sneaky("x"), "Sneaky"),
        (Color.RED, "Color"),
        ({1, 2}, "set"),
        ([1, {"a": bytearray()}], "bytearray"),
        ({1: 2}, "int"),
        (1j, "complex"),
        (float("nan"), "float"),
        (float("inf"), "float"),
        ("\ud800", "str"),
        ({"\udfff": 1}, "str"),
        (CYCLE, "list"),
        (1 << 9000, "int"),
    ],
    ids=lambda value: None if not isinstance(value, str) else value.encode("unicode_escape").decode(),
)
def test_what_has_no_exact_form_is_refused_with_the_arguments_name(value, named):
    with pytest.raises(TypeError, match=rf"argument `amount` holds a {named}"):
        capture(pay, "a", value)


def test_depth_is_bounded_where_the_server_still_reads_it():
    value = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    assert same(decode(encode(value)), value)
    with pytest.raises(TypeError, match="levels deep"):
        encode([value])


def test_a_call_that_does_not_fit_is_the_callers_own_type_error():
    with pytest.raises(TypeError, match="missing a required argument: 'to'"):
        capture(pay)


def test_approved_arguments_fit_the_function_or_nothing_is_called():
    def pay(to: str, amount: Decimal, *notes: str, urgent: bool = False): ...

    signature = inspect.signature(pay)
    changed = {"to": "bob", "amount": {"$decimal": "5.00"}, "notes": ["a"], "urgent": True}
    assert Arguments.approved(signature, changed) == (("bob", Decimal("5.00"), "a"), {"urgent": True})
    bad = [{"to": "bob"}, {**changed, "iban": "x"}, {**changed, "amount": {"$decimal": "much"}}, {**changed, "notes": 7}]
    for arguments in bad:
        with pytest.raises(ProtocolError, match="do not fit"):
            Arguments.approved(signature, arguments)
