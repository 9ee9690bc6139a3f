from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from understudy.actors.ids import new_id
from understudy.storage.memory_store import MemoryStore
from understudy.storage.tables import event_rows
from understudy.storage.tables.event_rows import EventRow, prune_events
from understudy.storage.tables.schema import MAX_KEY_BYTES, Table, id_floor


def event(id: str = "e", name: str = "order.paid", stream: bytes = bytes(16), **fields: object) -> EventRow:
    known = {"time": 5.0, "origin": None, "depth": 1, "packed": b"\xc0", "runs": ()}
    return EventRow(id=id, name=name, stream=stream, **{**known, **fields})  # type: ignore[arg-type]


def test_an_event_comes_back():
    row = event(runs=(("bill", new_id()), ("audit", new_id())), origin=new_id(), depth=64)
    assert EventRow.unpack(row.pack()) == row


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\xc0",
        msgpack.packb([1]),
        msgpack.packb(["e", "n", 5.0, b"s", None, 1, b"", []])[:-1],
        msgpack.packb([7, "n", 5.0, b"s", None, 1, b"", []]),
        msgpack.packb(["e", "n", "5", b"s", None, 1, b"", []]),
        msgpack.packb(["e", "n", 5.0, b"s", None, 1, "", []]),
        msgpack.packb(["e", "n", 5.0, b"s", None, None, b"", []]),
        msgpack.packb(["e", "n", 5.0, b"s", None, 1, b"", [["h", b"short"]]]),
        msgpack.packb(["e", "n", 5.0, b"s", None, 1, b"", 7]),
    ],
)
def test_other_bytes_are_no_event(row: bytes):
    with pytest.raises(ValueError, match="not an event"):
        EventRow.unpack(row)


def test_the_longest_names_and_ids_fit_into_keys():
    uid = new_id()
    assert len(event_rows.name_key("n" * 255, uid)) <= MAX_KEY_BYTES
    assert len(event_rows.given_key("i" * 255)) <= MAX_KEY_BYTES
    assert len(event_rows.stream_key(uid, uid)) <= MAX_KEY_BYTES


def test_names_do_not_run_into_one_another():
    uid = new_id()
    start, stop = event_rows.events_of_name("order")
    assert start <= event_rows.name_key("order", uid) < stop
    for other in ("order.paid", "orders", "orde"):
        assert not start <= event_rows.name_key(other, uid) < stop


def test_events_sort_by_time():
    start, stop = event_rows.events_between(100.0, 200.0)
    key = event_rows.event_key(id_floor(150.0) + bytes(10))
    assert start <= key < stop
    assert not start <= event_rows.event_key(id_floor(200.5) + bytes(10)) < stop
    assert key < event_rows.events_between(0.0)[1]


def test_a_listen_has_one_row_for_each_definition():
    task = new_id()
    one = event_rows.listen_key(task, "a.*", (("x", 1),))
    assert one == event_rows.listen_key(task, "a.*", (("x", 1),))
    others = {
        event_rows.listen_key(task, "a.*", ()),
        event_rows.listen_key(task, "a.*", (("x", 2),)),
        event_rows.listen_key(task, "b.*", (("x", 1),)),
        event_rows.listen_key(new_id(), "a.*", (("x", 1),)),
    }
    assert len(others | {one}) == 5
    assert event_rows.listener_of(one) == task
    row = event_rows.pack_listen("a.*", (("x", None), ("y", 2.5)))
    assert event_rows.unpack_listen(row) == ("a.*", (("x", None), ("y", 2.5)))
    for wrong in (b"", msgpack.packb([1, []]), msgpack.packb(["a", 7]), msgpack.packb(["a", [[1, 2]]])):
        with pytest.raises(ValueError, match="not a listen"):
            event_rows.unpack_listen(wrong)


def written(store: MemoryStore) -> None:
    """Everything is on disk."""
    batch = store.batch
    if store.seal():
        store.committed(batch)


def test_pruning_takes_every_row_of_old_events_and_no_other():
    store = MemoryStore.open(Path("memory"), on_commit=lambda _batch: None)
    old, new = id_floor(100.0) + bytes(10), id_floor(300.0) + bytes(10)
    stream, damaged = new_id(), id_floor(50.0) + bytes(10)
    for uid, row in (
        (old, event("given", stream=stream)),
        (new, event("other")),
        (id_floor(90.0) + bytes(10), event("moved")),
    ):
        store.put(Table.EVENTS, event_rows.event_key(uid), row.pack())
        store.put(Table.EVENTS, event_rows.name_key(row.name, uid), b"")
        store.put(Table.EVENTS, event_rows.unmatched_key(uid), b"")
        store.put(Table.EVENTS, event_rows.given_key(row.id), uid)
        if row.stream == stream:
            store.put(Table.EVENTS, event_rows.stream_key(stream, uid), b"")
    # Another event has this id by now.
    store.put(Table.EVENTS, event_rows.given_key("moved"), new)
    store.put(Table.EVENTS, event_rows.event_key(damaged), b"?")
    store.put(Table.EVENTS, event_rows.listen_key(old, "a", ()), b"x")
    written(store)
    for most, removed in ((1, 1), (100, 2), (100, 0)):
        assert prune_events(store, 200.0, most) == removed
        assert prune_events(store, 200.0, 0) == 0
        written(store)
    left = {key for key, _ in store.scan(Table.EVENTS)}
    assert left == {
        event_rows.event_key(new),
        event_rows.name_key("order.paid", new),
        event_rows.unmatched_key(new),
        event_rows.given_key("other"),
        event_rows.given_key("moved"),
        event_rows.listen_key(old, "a", ()),
    }
