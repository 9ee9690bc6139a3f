from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from checkout import ROOT
from understudy.actors import values
from understudy.actors.errors import InvalidValue
from understudy.actors.refs.async_ref import AsyncActorRef
from understudy.actors.refs.ref import ActorRef
from understudy.actors.task.handles import TaskInfo
from understudy.supervisor.text import value_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ([True, 1, 1.5, "x"], '[true, 1, 1.5, "x"]'),
        (datetime(2030, 1, 31, 8, tzinfo=UTC), '"2030-01-31T08:00:00+00:00"'),
        (date(2030, 1, 31), '"2030-01-31"'),
        (timedelta(minutes=1.5), "90.0"),
        (Decimal("1.50"), '"1.50"'),
        (TaskInfo(bytes(range(16)), bytes(16), "t"), '"00010203-0405-0607-0809-0a0b0c0d0e0f"'),
        (ActorRef(bytes(range(16)), "bank:Account", "ada"), '"bank:Account/ada"'),
        ([ActorRef(bytes(range(16)), "bank:Account")], '["00010203-0405-0607-0809-0a0b0c0d0e0f"]'),
        (AsyncActorRef(ActorRef(bytes(range(16)), "bank:Account", "ada")), '"bank:Account/ada"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({3, 1, 2}, "[1, 2, 3]"),
        (frozenset({"b", "a"}), '["a", "b"]'),
        ((1, (2,)), "[1, [2]]"),
        (b"ab", '{"$bytes": "YWI="}'),
        ([float("nan"), float("inf"), float("-inf")], '["NaN", "Infinity", "-Infinity"]'),
        ({1: "a", None: "b", (1, 2): "c"}, '{"1": "a", "null": "b", "[1, 2]": "c"}'),
        ({1: "a", "1": "b"}, '[[1, "a"], ["1", "b"]]'),
        (2**80, str(2**80)),
        ("\x1b[2J\u202eé", '"\\u001b[2J\\u202eé"'),
    ],
)
def test_every_value_has_a_rendering(value: Any, text: str):
    assert value_json.dumps(value) == text
    assert json.loads(value_json.dumps(value, indent=True)) == json.loads(text)


@pytest.mark.parametrize("indent", [False, True])
def test_the_deepest_value_that_can_be_stored(indent: bool):
    value: Any = 1
    for level in range(values.DEPTH_LIMIT - 10):
        value = [value] if level % 2 else {"x": value}
    stored = values.pack(value)
    assert json.loads(value_json.dumps(value_json.unpack(stored), indent=indent)) == value


def test_references_are_shown_without_their_code(monkeypatch: pytest.MonkeyPatch):
    """The command line does not import what makes references."""
    ref = ActorRef(bytes(range(16)), "bank:Account", "ada")
    stored = values.pack([ref, AsyncActorRef(ref)])
    for kind in (ActorRef, AsyncActorRef):
        monkeypatch.delitem(values._by_type, kind)
    monkeypatch.delitem(values._by_name, "understudy.ActorRef")
    assert value_json.dumps(value_json.unpack(stored)) == '["bank:Account/ada", "bank:Account/ada"]'


def test_types_that_only_the_app_knows_are_shown_by_name():
    @dataclass(frozen=True)
    class Point:
        x: int

    # What the app's process would have written.
    values.register(Point, "tests.point", lambda point: {"x": point.x}, lambda value: Point(**value))
    stored = values.pack([Point(1), {"in": {Point(2)}}])
    del values._by_type[Point], values._by_name["tests.point"]
    shown = value_json.plain(value_json.unpack(stored))
    assert shown == [
        {"$type": "tests.point", "value": {"x": 1}},
        {"in": [{"$type": "tests.point", "value": {"x": 2}}]},
    ]
    assert "tests.point" not in values._by_name, "nothing is registered in order to show it"


def test_bytes_that_are_no_value_are_an_error():
    with pytest.raises(InvalidValue):
        value_json.unpack(b"\xc1")


def test_no_row_is_none():
    assert value_json.unpack(None) is None


def test_the_documented_table_is_the_code():
    assert value_json.as_table() in (ROOT / "docs/cli.md").read_text(encoding="utf-8")
