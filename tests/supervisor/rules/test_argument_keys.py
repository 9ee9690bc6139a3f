"""The keys that arguments make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from understudy.actors import values
from understudy.actors.task.parameters import pack
from understudy.supervisor.rules.argument_keys import DEFAULT, KEY_CHARACTERS, key_of, places_of


def fetch(host: str, path: str = "/", *more: str, depth: int = 1) -> None: ...


def key(names: tuple[str, ...], *args: Any, **kwargs: Any) -> str:
    import inspect

    packed = values.pack([args, kwargs]) if args or kwargs else None
    return key_of(packed, places_of(names, pack(inspect.signature(fetch))))


@pytest.mark.parametrize(
    ("names", "args", "kwargs", "expected"),
    [
        (("host",), ("a",), {}, "a"),
        (("host",), (), {"host": "a"}, "a"),
        (("path",), ("a",), {}, DEFAULT),
        (("path",), ("a", "/x"), {}, "/x"),
        (("depth",), ("a", "/", "m", "n"), {"depth": 7}, "7"),
        (("host",), (7,), {}, "7"),
        (("host",), ([1, {"b": 2, "a": None}],), {}, '[1, {"a": null, "b": 2}]'),
        (("host", "path"), ("a", "b"), {}, '["a", "b"]'),
        (("host", "depth"), ("a",), {}, f'["a", "{DEFAULT}"]'),
    ],
)
def test_the_key_is_the_text_of_the_values(names: Any, args: Any, kwargs: Any, expected: str):
    assert key(names, *args, **kwargs) == expected


def test_a_call_by_place_and_one_by_name_have_the_same_key():
    assert key(("host", "path"), "a", "b") == key(("path", "host")[::-1], host="a", path="b")


def test_values_of_other_types_are_told_apart():
    one, other = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    assert key(("host",), one) == key(("host",), one) != key(("host",), other)


def test_long_values_are_told_apart():
    long = "x" * 10_000
    assert key(("host",), long) != key(("host",), long + "y")
    assert len(key(("host",), long)) < KEY_CHARACTERS + 20


@pytest.mark.parametrize("damaged", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x01"])
def test_damaged_arguments_have_a_key_as_well(damaged: bytes):
    assert key_of(damaged, (("host", 0),)) == DEFAULT


def test_without_parameters_only_names_count():
    assert key_of(values.pack([["a"], {"host": "b"}]), places_of(("host",), None)) == "b"
