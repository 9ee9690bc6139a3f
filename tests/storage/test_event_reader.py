from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.errors import EventNotFound, StoreCorrupt
from understudy.actors.ids import id_text
from understudy.storage.event_reader import MOST_NAMES
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


def times(rows: Iterable[EventRow]) -> list[float]:
    return [row.time for row in rows]


def test_by_id(reader: Reader):
    found = reader.event("stripe/1")
    assert found is not None
    assert (found.name, found.time) == ("order.paid", 50.0)
    assert times([row for at in (10.0, 50.0) if (row := reader.event(id_text(uid(at))))]) == [10.0, 50.0]
    for unknown in ("", "stripe/3", "ä", "x" * 300, id_text(uid(11.0))):
        assert reader.event(unknown) is None


def test_by_name_and_pattern(reader: Reader):
    assert times(reader.events("order.paid").rows) == [50.0, 30.0, 10.0]
    assert times(reader.events("order.paid", limit=2).rows) == [50.0, 30.0]
    assert times(reader.events("order.paid", before="stripe/1").rows) == [30.0, 10.0]
    assert times(reader.events("order.*", unmatched=True).rows) == [30.0, 20.0, 10.0]
    assert times(reader.events("*.paid", unmatched=True, limit=None).rows) == [40.0, 30.0, 10.0]
    assert times(reader.events("order.**", before=id_text(uid(60.5))).rows) == [60.0, 50.0, 30.0, 20.0, 10.0]
    assert reader.events("nothing").rows == []


def test_a_page_says_where_the_next_one_begins(reader: Reader):
    page = reader.events("order.*", limit=2)
    assert (times(page.rows), page.last, page.stopped) == ([50.0, 30.0], uid(30.0), False)
    assert page.last is not None
    page = reader.events("order.*", limit=2, before=id_text(page.last))
    assert times(page.rows) == [20.0, 10.0]
    assert reader.events("order.*", limit=9).last is None
    with pytest.raises(EventNotFound, match="stripe/9"):
        reader.events(before="stripe/9")


def test_a_page_stops_when_its_time_is_over(open_desk: Callable[[], Any], home: Path):
    desk = open_desk()
    for at in range(300):
        put(desk.store, 100.0 + at, "tick" if at else "first")
    assert desk.store.close(10) is None
    with Reader(home) as reader:
        page = reader.events("first", unmatched=True, seconds=0.0)
        assert (page.rows, page.stopped) == ([], True)
        pages = 1
        while page.last is not None:
            page = reader.events("first", unmatched=True, seconds=0.0, before=id_text(page.last))
            pages += 1
        assert times(page.rows) == [100.0]
        assert pages > 2


def test_the_events_of_more_names_than_are_read_side_by_side(open_desk: Callable[[], Any], home: Path):
    desk = open_desk()
    for at in range(MOST_NAMES + 1):
        put(desk.store, 100.0 + at, f"many.n{at}")
    put(desk.store, 50.0, "many.n3.deep")
    assert desk.store.close(10) is None
    with Reader(home) as reader:
        assert len(reader.events("many.*", limit=None, seconds=None).rows) == MOST_NAMES + 1
        assert times(reader.events("many.*.deep", seconds=None).rows) == [50.0]
        assert times(reader.events("many.n2.**", seconds=None).rows) == [102.0]


def test_of_a_stream(reader: Reader):
    assert times(reader.stream_events(STREAM)) == [50.0, 60.0]
    assert times(reader.stream_events(STREAM, 1)) == [50.0]
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
