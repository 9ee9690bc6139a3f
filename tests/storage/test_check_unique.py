"""What the check says of the texts of unique tasks that do not agree with their tasks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from understudy.actors.state import State
from understudy.storage.check_actors import ActorCheck
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.unique_rows import UNIQUE, UniqueRow, row_key, unique_text, until_key

TASK, OTHER = bytes(15) + b"\1", bytes(15) + b"\2"
TEXT = unique_text("jobs:f", "a")
WINDOW = UniqueRow(TEXT, TASK, 5.0, 65.0)


def record(id: bytes = TASK, text: str | None = TEXT, *, ended: bool = False) -> Record:
    found = Record(id, "jobs:f", 5.0, id)
    if text is not None:
        found.unique = text
    if ended:
        found.state, found.ended = State.COMPLETED, 6.0
    return found


def check(rows: Mapping[bytes, bytes], *records: Record) -> list[str]:
    stored = MemoryRows()
    for key, row in rows.items():
        stored._set(Table.ACTORS, key, row)
    known = {each.id: each for each in records}
    with MemoryView(stored).read() as snapshot:
        actors = ActorCheck(snapshot, known.get, known.__contains__)
        return [line for key, row in snapshot.rows(Table.ACTORS) for line in actors.problems(key, row)]


def whole(row: UniqueRow) -> dict[bytes, bytes]:
    own, *until = row.keys
    return {own: row.pack(), **dict.fromkeys(until, b"")}


def test_sound_ones():
    assert check(whole(UniqueRow(TEXT, TASK, 5.0)), record()) == []
    assert check(whole(WINDOW)) == []
    assert check(whole(WINDOW), record(ended=True)) == []
    assert check({row_key(TEXT): WINDOW.pack()}, record()) == []
    waiting = UniqueRow(TEXT, TASK, 5.0, None, OTHER)
    assert check(whole(waiting), record(), record(OTHER)) == []
    assert check(whole(WINDOW._replace(behind=OTHER)), record()) == []


@pytest.mark.parametrize(
    ("rows", "records", "problem"),
    [
        (whole(UniqueRow(TEXT, TASK, 5.0)), (), "which has ended"),
        (whole(UniqueRow(TEXT, TASK, 5.0)), (record(ended=True),), "which has ended"),
        (whole(WINDOW), (record(text=None),), "whose text is None"),
        (whole(WINDOW), (record(text="jobs:f\0b"),), "whose text is"),
        ({row_key(TEXT): WINDOW.pack()}, (record(ended=True),), "kept for ever"),
        ({row_key(TEXT): WINDOW.pack()}, (), "kept for ever"),
        (whole(UniqueRow(TEXT, TASK, 5.0, None, OTHER)), (record(),), "would never begin"),
        ({row_key("jobs:f\0b"): WINDOW.pack()}, (), "another unique text"),
        ({until_key(65.0, row_key(TEXT)): b""}, (), "does not exist"),
        ({**whole(WINDOW), until_key(7.0, row_key(TEXT)): b""}, (), "does not have the time"),
        ({row_key(TEXT): b"\xc1"}, (), "is damaged"),
        ({UNIQUE + b"\x02": b""}, (), "is malformed"),
        ({UNIQUE: b""}, (), "is malformed"),
    ],
)
def test_what_does_not_agree(rows: dict[bytes, bytes], records: tuple[Record, ...], problem: str):
    (line,) = check(rows, *records)
    assert problem in line
