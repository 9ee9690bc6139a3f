"""What the check says of schedules whose rows do not agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from understudy.actors.ids import new_id
from understudy.storage.check_schedules import ScheduleCheck
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.tables import schedule_rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schedule_rows import Entry, ScheduleRow
from understudy.storage.tables.schema import Table

Rows = dict[bytes, bytes]
RUN = new_id()


def sound() -> Rows:
    active = ScheduleRow(
        "a",
        "jobs:f",
        {"every": 5.0},
        1.0,
        1.0,
        next=10.0,
        begin=10.0,
        declared=True,
        number=1,
        active=((RUN, False),),
    )
    ended = ScheduleRow("b", "jobs:f", {"at": 5.0}, 1.0, 1.0, ended=7.0)
    return {
        schedule_rows.row_key("a"): active.pack(),
        schedule_rows.row_key("b"): ended.pack(),
        schedule_rows.due_key(10.0, "a"): b"",
        schedule_rows.ended_key(7.0, "b"): b"",
        schedule_rows.declared_key("a"): b"",
        schedule_rows.entry_key("a", 1): Entry(5.0, 5.0, RUN, None).pack(),
        schedule_rows.COUNT: b"1",
    }


def record(id: bytes) -> Record | None:
    if id != RUN:
        return None
    found = Record(RUN, "jobs:f", 5.0, RUN)
    found.kind, found.trigger = "schedule", {"schedule": "a", "scheduled_at": 5.0}
    return found


def problems(rows: Rows) -> list[str]:
    stored = MemoryRows()
    for key, value in rows.items():
        stored._set(Table.SCHEDULES, key, value)
    with MemoryView(stored).read() as snapshot:
        check = ScheduleCheck(snapshot, record)
        return [line for key, row in snapshot.rows(Table.SCHEDULES) for line in check.problems(key, row)]


def drop(key: bytes) -> Callable[[Rows], None]:
    return lambda rows: rows.pop(key) and None


def put(key: bytes, value: bytes = b"") -> Callable[[Rows], None]:
    return lambda rows: rows.__setitem__(key, value)


def test_sound_rows_have_no_problem():
    assert problems(sound()) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop(schedule_rows.due_key(10.0, "a")), "schedule 'a' has no row for its time"),
        (drop(schedule_rows.ended_key(7.0, "b")), "schedule 'b' has no row for its end"),
        (drop(schedule_rows.declared_key("a")), "schedule 'a' has no row for its declaration"),
        (drop(schedule_rows.entry_key("a", 1)), "schedule 'a' lacks the last entry"),
        (put(schedule_rows.due_key(11.0, "a")), "says when 'a' is due, which it is not"),
        (put(schedule_rows.due_key(7.0, "b")), "says when 'b' is due"),
        (put(schedule_rows.due_key(7.0, "c")), "says when 'c' is due"),
        (put(schedule_rows.ended_key(7.0, "a")), "says when 'a' is ended"),
        (put(schedule_rows.declared_key("b")), "says that the code declares what is not declared"),
        (
            put(schedule_rows.entry_key("a", 2), Entry(6.0, 6.0, None, "x").pack()),
            "is not in the history of 'a'",
        ),
        (
            put(schedule_rows.entry_key("a", 1), Entry(6.0, 6.0, RUN, None).pack()),
            "which has not triggered it",
        ),
        (put(schedule_rows.entry_key("a", 1), b"\xc1"), "not an entry of a history"),
        (put(schedule_rows.row_key("b"), b"\xc1"), "not a schedule"),
        (put(schedule_rows.COUNT, b"2"), "2 schedules are counted that have not ended, and there are 1"),
        (put(b"\x07x"), "is of no known kind"),
        (
            put(
                schedule_rows.row_key("b"),
                ScheduleRow("b", "f", {}, 1.0, 1.0, ended=7.0, active=((new_id(), True),)).pack(),
            ),
            "schedule 'b' waits for the end of",
        ),
        (
            put(schedule_rows.row_key("b"), ScheduleRow("b", "f", {}, 1.0, 1.0).pack()),
            "is active but never due",
        ),
    ],
)
def test_damage_is_told(damage: Callable[[Rows], None], said: str):
    rows = sound()
    damage(rows)
    assert any(said in line for line in problems(rows)), problems(rows)
