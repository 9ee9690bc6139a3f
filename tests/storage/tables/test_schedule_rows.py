from __future__ import annotations

from typing import Any

import msgpack
import pytest

from understudy.actors.ids import new_id
from understudy.storage.tables import schedule_rows
from understudy.storage.tables.schedule_rows import Entry, ScheduleRow, Span


def row(**fields: Any) -> ScheduleRow:
    return ScheduleRow("a", "jobs:report", {"every": 5.0}, 1.0, 2.0, **fields)


def test_a_row_is_what_differs_from_the_defaults():
    full = row(
        next=10.0, begin=11.0, args=b"x", options={"timeout": 7}, declared=True, last=5, runs=3, counted=2,
        spans=(Span(1.0, 2.0, "paused"),), active=((new_id(), True),),
    )  # fmt: skip
    assert ScheduleRow.unpack("a", full.pack()) == full
    assert msgpack.unpackb(row().pack()).keys() == {"task", "definition", "created", "anchor"}
    assert (full.due, row(next=10.0, begin=11.0, paused=5.0).due) == (11.0, None)
    assert [row().state, row(paused=1.0).state, row(paused=1.0, orphaned=1.0).state, row(ended=1.0).state] == [
        "active", "paused", "orphaned", "ended",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"task": 7},
        {"next": "soon"},
        {"active": [[b"short", True]]},
        {"spans": [[1]]},
        {"unknown": 1},
        {"runs": None},
    ],
)
def test_what_is_no_row_is_refused(changes: dict[str, Any]):
    packed = msgpack.packb({**msgpack.unpackb(row().pack()), **changes})
    with pytest.raises(ValueError, match="not a schedule"):
        ScheduleRow.unpack("a", packed)
    for damaged in (b"", b"\xc1", b"\x90", packed[:-1]):
        with pytest.raises(ValueError, match="not a schedule"):
            ScheduleRow.unpack("a", damaged)


def test_keys_sort_by_time_and_by_key():
    keys = [
        schedule_rows.due_key(due, key) for due, key in ((0.5, "b"), (1.0, "a"), (1.0, "b"), (300.0, "a"))
    ]
    assert keys == sorted(keys)
    assert [schedule_rows.timed(key) for key in keys][1] == (1.0, "a")
    start, stop = schedule_rows.due_range(1.0)
    assert [start <= key < stop for key in keys] == [True, True, True, False]
    start, stop = schedule_rows.ended_range(1.0)
    ended = [schedule_rows.ended_key(at, "a") for at in (0.5, 1.0)]
    assert [start <= key < stop for key in ended] == [True, False]
    start, stop = schedule_rows.all_rows("a")
    assert not start <= schedule_rows.row_key("a") < stop
    assert start <= schedule_rows.row_key("a/1") < stop
    assert schedule_rows.key_of(schedule_rows.row_key("ü")) == "ü"
    # The history of one key has none of another.
    start, stop = schedule_rows.history_of("a", before=3)
    assert [start <= schedule_rows.entry_key("a", number) < stop for number in (1, 2, 3)] == [
        True,
        True,
        False,
    ]
    assert not start <= schedule_rows.entry_key("a/1", 1) < stop
    assert schedule_rows.entry_of(schedule_rows.entry_key("a", 7)) == ("a", 7)
    assert len(schedule_rows.entry_key("k" * 400, 1)) < 511


def test_an_entry_is_a_run_or_a_skip():
    for entry in (Entry(1.0, 2.0, new_id(), None, "run"), Entry(1.0, 2.0, None, "overlap")):
        assert Entry.unpack(entry.pack()) == entry
    for wrong in (Entry(1.0, 2.0, None, None), Entry(1.0, 2.0, b"x", None), Entry("x", 2.0, None, "y")):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not an entry"):
            Entry.unpack(wrong.pack())
