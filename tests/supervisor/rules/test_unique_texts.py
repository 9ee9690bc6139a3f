"""The keys that arguments make: equal for equal calls, and different for all others."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors import values
from understudy.actors.task import parameters
from understudy.supervisor.rules.unique_texts import KEY_CHARACTERS, key_of


def function(a: Any, b: Any = 1, *more: Any, c: Any = 2, **rest: Any) -> None: ...


ROWS = parameters.pack(inspect.signature(function))


def key(*args: Any, by: tuple[str, ...] | None = None, **kwargs: Any) -> str:
    packed = values.pack([args, kwargs]) if args or kwargs else None
    return key_of(packed, ROWS, by)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (key("x", 2), key(a="x", b=2)),
        (key("x", 2), key("x", b=2)),
        (key({1, 2, 3}), key({3, 2, 1})),
        (key(frozenset(map(str, range(50)))), key(frozenset(map(str, reversed(range(50)))))),
        (key([{"a", "b"}, {("c", "d"), "e"}]), key([{"b", "a"}, {"e", ("c", "d")}])),
        (key({"x": 1, "y": 2}), key({"y": 2, "x": 1})),
        (key((1, 2)), key([1, 2])),
        (key("x", z=1, y=2), key("x", y=2, z=1)),
        (key("x", 5, by=("a",)), key("x", 6, by=("a",))),
        (key("x", by=()), key("y", by=())),
    ],
)
def test_equal_calls(one: str, other: str):
    assert one == other


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (key("1"), key(1)),
        (key(1), key(1.0)),
        (key(1), key(True)),
        (key(None), key()),
        (key("x"), key("x", 1)),
        (key("x", 1, 2), key("x", 1, [2])),
        (key("x", 1, 2), key("x", 1, more=2)),
        (key("x", c=1), key("x", 1)),
        (key("…"), key()),
        (key(b"x"), key("x")),
        (key(b"x"), key(b"y")),
        (key({1: "x"}), key({2: "x"})),
        (key({(1, 2): "x"}), key({(1, 3): "x"})),
        (key({1, 2}), key([1, 2])),
        (key(datetime(2030, 1, 1, tzinfo=UTC)), key(datetime(2030, 1, 2, tzinfo=UTC))),
        (key(Decimal("1.0")), key(Decimal("1.00"))),
        (key("x" * 1000 + "a"), key("x" * 1000 + "b")),
        (key("x", 1, by=("a", "b")), key("x", 2, by=("a", "b"))),
        (key("x", by=("a", "b")), key("x", 1, by=("a", "b"))),
    ],
)
def test_different_calls(one: str, other: str):
    assert one != other


def test_how_keys_look():
    assert key("acme", by=("a",)) == '"acme"'
    assert key("acme", 7, by=("a", "b")) == '["acme", 7]'
    assert key("acme", by=("a", "b")) == '["acme", …]'
    assert key("acme") == '["acme", …, …]'
    assert key("acme", 1, 2, 3, d=4) == '["acme", 1, …, *2, *3, d=4]'
    assert key(by=()) == ""
    assert key_of(None, [], None) == ""
    assert key_of(values.pack([[1], {"x": 2}]), None, None) == "[*1, x=2]"
    assert len(key("x" * 100_000)) == KEY_CHARACTERS + 1 + 32


def test_bytes_that_are_no_arguments_are_one_key_each():
    assert key_of(b"\xc1", ROWS, None) != key_of(b"\xc1\xc1", ROWS, None)
    assert key_of(values.pack(5), ROWS, None) != key_of(values.pack(6), ROWS, ("a",))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text("ab…,[]\"'\\", max_size=3)
    | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
)


@given(PLAIN, PLAIN, PLAIN, PLAIN)
def test_keys_are_equal_if_the_encoded_values_are(a: Any, b: Any, other_a: Any, other_b: Any):
    same = values.unpack(values.pack([a, b])) == values.unpack(values.pack([other_a, other_b]))
    typed = repr([a, b]) == repr([other_a, other_b])
    keys = key(a, b) == key(other_a, other_b)
    if typed:
        assert keys
    if not same:
        assert not keys
