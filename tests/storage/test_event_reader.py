from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.errors import StoreCorrupt
from understudy.actors.ids import id_text
from understudy.storage.reader import Reader
from understudy.storage.tables import event_rows
from understudy.storage.tables.event_rows import EventRow
from understudy.storage.tables.schema import Table, id_floor

STREAM = id_floor(1.0) + b"\x70" + bytes(9)


def uid(at: float) -> bytes:
    return id_floor(at) + b"\x70\x00\x80" + bytes(7)


def put(store: Any, at: float, name: str, given: str | None = None, stream: bytes | None = None) -> None:
    key = uid(at)
    row = EventRow(given or id_text(key), name, at, stream or key, None, 1, b"\xc0", ())
    store.put(Table.EVENTS, event_rows.event_key(key), row.pack())
    store.put(Table.EVENTS, event_rows.name_key(name, key), b"")
    if given is not None:
        store.put(Table.EVENTS, event_rows.given_key(given), key)
    else:
        store.put(Table.EVENTS, event_rows.unmatched_key(key), b"")
    if stream is not None:
        store.put(Table.EVENTS, event_rows.stream_key(stream, key), b"")


@pytest.fixture
def reader(open_desk: Callable[[], Any], home: Path):
    desk = open_desk()
    for at, name in ((10.0, "order.paid"), (20.0, "order.lost"), (30.0, "order.paid"), (40.0, "orders.paid")):
        put(desk.store, at, name)
    put(desk.store, 50.0, "order.paid", "stripe/1", STREAM)
    put(desk.store, 60.0, "order.paid.late", "stripe/2", STREAM)
    put(desk.store, 1.0, "begin")
    desk.store.put(Table.EVENTS, event_rows.event_key(uid(99.0)), b"?")
    desk.store.put(Table.EVENTS, event_rows.name_key("damaged", uid(99.0)), b"")
    assert desk.store.close(10) is None
    with Reader(home) as reader:
        yield reader


def times(rows: list[EventRow]) -> list[float]:
    return [row.time for row in rows]


def test_by_id(reader: Reader):
    found = reader.event("stripe/1")
    assert found is not None
    assert (found.name, found.time) == ("order.paid", 50.0)
    assert times([row for at in (10.0, 50.0) if (row := reader.event(id_text(uid(at))))]) == [10.0, 50.0]
    for unknown in ("", "stripe/3", "ä", "x" * 300, id_text(uid(11.0))):
        assert reader.event(unknown) is None


def test_by_name_and_pattern(reader: Reader):
    assert times(reader.events("order.paid")) == [50.0, 30.0, 10.0]
    assert times(reader.events("order.paid", limit=2)) == [50.0, 30.0]
    assert times(reader.events("order.paid", before="stripe/1")) == [30.0, 10.0]
    assert times(reader.events("order.*", unmatched=True)) == [30.0, 20.0, 10.0]
    assert times(reader.events("*.paid", unmatched=True, limit=None)) == [40.0, 30.0, 10.0]
    assert times(reader.events("order.**", before=id_text(uid(60.5)))) == [60.0, 50.0, 30.0, 20.0, 10.0]
    assert reader.events("nothing") == []


def test_of_a_stream(reader: Reader):
    assert times(reader.stream_events(STREAM)) == [50.0, 60.0]
    assert times(reader.stream_events(uid(1.0))) == [1.0]
    assert reader.stream_events(bytes(16)) == []


def test_a_damaged_row_is_named(reader: Reader):
    for read in (
        reader.events,
        lambda: reader.events("damaged"),
        lambda: reader.event(id_text(uid(99.0))),
    ):
        with pytest.raises(StoreCorrupt, match=uid(99.0).hex()):
            read()
