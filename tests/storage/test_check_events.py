from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_task, new_id, put_new
from understudy.actors.ids import id_text
from understudy.actors.state import State
from understudy.storage.check import check
from understudy.storage.tables import event_rows
from understudy.storage.tables.event_rows import EventRow
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table

PLAIN, GIVEN, LONE = (new_id(EPOCH + at) for at in range(3))
RUN = new_id(EPOCH + 5)


def put(store: Any, uid: bytes, id: str | None = None, stream: bytes | None = None, *runs: bytes) -> None:
    """An event as the supervisor writes it."""
    row = EventRow(
        id or id_text(uid),
        "order.paid",
        EPOCH,
        stream or uid,
        None,
        1,
        b"v",
        tuple(("h", run) for run in runs),
    )
    rows = event_rows.rows_of(uid, row)
    if runs:
        del rows[event_rows.unmatched_key(uid)]
    for key in rows:
        store.put(Table.EVENTS, key, row.pack() if key == event_rows.event_key(uid) else b"")
    if id is not None:
        store.put(Table.EVENTS, event_rows.given_key(id), uid)


@pytest.fixture
def problems(home: Path, open_desk) -> Callable[[Callable[[Any, bytes], object]], list[str]]:
    """The problems of a store with three events, a run and a task that listens, after a change of it."""

    def problems(damage: Callable[[Any, bytes], object]) -> list[str]:
        desk = open_desk()
        store = desk.store
        run = Record(RUN, "h", EPOCH, PLAIN)
        run.kind, run.trigger = "event", {"event_id": id_text(PLAIN), "event": "order.paid"}
        run.state, run.ended = State.COMPLETED, EPOCH + 6
        put_new(store, run)
        put(store, PLAIN, None, None, RUN, new_id(EPOCH))  # the other run has been pruned
        put(store, GIVEN, "stripe/1", PLAIN)
        put(store, LONE)
        listener = add_task(store, State.QUEUED)
        key = event_rows.listen_key(listener.id, "order.*", (("id", 7),))
        store.put(Table.EVENTS, key, event_rows.pack_listen("order.*", (("id", 7),)))
        desk.flush()
        damage(store, key)
        store.close(10)
        return check(home).problems

    return problems


def test_sound_rows_are_sound(problems):
    assert problems(lambda store, listen: None) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s, _: s.put(Table.EVENTS, event_rows.event_key(LONE), b"?"), "not an event"),
        (lambda s, _: s.delete(Table.EVENTS, event_rows.event_key(LONE)), "which does not exist"),
        (lambda s, _: s.delete(Table.EVENTS, event_rows.name_key("order.paid", LONE)), "lacks its row 03"),
        (lambda s, _: s.delete(Table.EVENTS, event_rows.given_key("stripe/1")), "lacks its row 02"),
        (lambda s, _: s.delete(Table.EVENTS, event_rows.stream_key(PLAIN, GIVEN)), "lacks its row 05"),
        (lambda s, _: s.put(Table.EVENTS, event_rows.name_key("order", LONE), b""), "whose row is"),
        (lambda s, _: s.put(Table.EVENTS, event_rows.stream_key(LONE, PLAIN), b""), "whose row is"),
        (lambda s, _: s.put(Table.EVENTS, event_rows.given_key("other"), GIVEN), "whose row is"),
        (lambda s, _: s.put(Table.EVENTS, event_rows.given_key("other"), b"x"), "which does not exist"),
        (lambda s, _: s.put(Table.EVENTS, event_rows.unmatched_key(PLAIN), b""), "and has runs"),
        (lambda s, _: put(s, LONE, None, None, RUN), "which was triggered by"),
        (lambda s, _: s.put(Table.EVENTS, b"\x63", b""), "is malformed"),
        (lambda s, _: s.put(Table.EVENTS, b"\x03x", b""), "is malformed"),
        (lambda s, listen: s.put(Table.EVENTS, listen, b"?"), "not a listen"),
        (lambda s, listen: s.put(Table.EVENTS, listen, event_rows.pack_listen("*", ())), "of something else"),
        (
            lambda s, _: s.put(
                Table.EVENTS, event_rows.listen_key(LONE, "*", ()), event_rows.pack_listen("*", ())
            ),
            "and does not exist",
        ),
        (
            lambda s, _: s.put(
                Table.EVENTS, event_rows.listen_key(RUN, "*", ()), event_rows.pack_listen("*", ())
            ),
            "and has ended",
        ),
    ],
)
def test_what_does_not_agree_is_found(problems, damage: Callable[[Any, bytes], object], said: str):
    found = problems(damage)
    assert found
    assert any(said in line for line in found), found
