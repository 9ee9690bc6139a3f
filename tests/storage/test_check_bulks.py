"""What the check says of bulks whose rows do not agree."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.ids import new_id
from understudy.storage.check_bulks import BulkCheck
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.tables.bulk_rows import OUTCOMES, PART, Bulk, ends_key, head_key, pack_ends, tasks_key
from understudy.storage.tables.schema import Table

ID = new_id()
IDS = [new_id() for _ in range(PART + 30)]
CANCELLED = OUTCOMES.index("cancelled")


def rows(**changes: Any) -> dict[bytes, bytes]:
    """A bulk of two parts, whose first twenty tasks have been dealt with."""
    bulk = Bulk(ID, "cancel", "task:*", "ada", False, 1.0, total=len(IDS), done=20, state="running")
    bulk.counts[CANCELLED] = 20
    for name, value in changes.items():
        setattr(bulk, name, value)
    return {
        head_key(ID): bulk.pack(),
        tasks_key(ID, 0): b"".join(IDS[:PART]),
        tasks_key(ID, 1): b"".join(IDS[PART:]),
        ends_key(ID, 0): pack_ends([(CANCELLED, None)] * 20),
    }


def problems(there: dict[bytes, bytes]) -> list[str]:
    stored = MemoryRows()
    for key, row in there.items():
        stored._set(Table.META, key, row)
    with MemoryView(stored).read() as snapshot:
        check = BulkCheck(snapshot)
        return [problem for key, row in there.items() for problem in check.problems(key, row)]


def test_a_sound_one():
    assert problems(rows()) == []
    assert problems(rows(ended=5.0, state="cancelled")) == []


@pytest.mark.parametrize(
    "absent", [tasks_key(ID, 0), tasks_key(ID, 1), ends_key(ID, 0)], ids=["first", "second", "ends"]
)
def test_a_part_is_absent(absent: bytes):
    there = rows()
    del there[absent]
    (problem,) = problems(there)
    assert "has 230 tasks, and has dealt with 20; its rows have" in problem
    there = rows(ended=5.0, state="cancelled")
    del there[absent]
    assert problems(there) == [], "its rows are being removed, the head last"


def test_a_part_has_other_tasks_or_outcomes():
    assert len(problems({**rows(), tasks_key(ID, 1): b"".join(IDS[PART:-1])})) == 1
    assert len(problems({**rows(), ends_key(ID, 0): pack_ends([(CANCELLED, None)] * 21)})) == 1


def test_parts_without_a_head():
    there = rows()
    del there[head_key(ID)]
    found = problems(there)
    assert len(found) == 3
    assert all("which is not there: nothing removes it" in problem for problem in found)


@pytest.mark.parametrize(
    "key", [head_key(ID), tasks_key(ID, 0), ends_key(ID, 0)], ids=["head", "tasks", "ends"]
)
def test_damaged_rows(key: bytes):
    assert all("of meta: not" in problem for problem in problems({**rows(), key: b"\xc1"}))


def test_a_part_of_no_number():
    assert "not the key of a part" in problems({**rows(), tasks_key(ID, 0) + b"x": b"".join(IDS)})[0]
