from __future__ import annotations

import random
from collections import Counter

import pytest

from tasks import EPOCH, new_id
from understudy.actors.state import State
from understudy.storage.tables.failure_rows import (
    FAILED,
    Failures,
    Part,
    cause,
    cause_key,
    has_failed,
    keys_of,
    number_key,
    pack_cause,
    pack_number,
    share_of,
    task_in,
    task_key,
)
from understudy.storage.tables.record import CODES, Record
from understudy.storage.tables.schema import Table


def failed(ended: float = EPOCH, message: str = "row 1", state: State = State.FAILED) -> Record:
    id = new_id(EPOCH)
    record = Record(id, "etl", EPOCH, id)
    record.state, record.ended = state, ended
    record.error = ("ValueError", message, "", {})
    return record


@pytest.mark.parametrize("state", State)
def test_failures_are_tasks_that_have_failed_or_timed_out(state: State):
    record = failed(state=state)
    is_one = state in (State.FAILED, State.TIMED_OUT)
    assert has_failed(record) == (CODES[state] in FAILED) == is_one
    record.ended = None
    assert not has_failed(record)


def test_a_failure_without_an_error_has_its_state_as_type():
    record = failed(state=State.TIMED_OUT)
    record.error = None
    assert cause(record)[:2] == ("etl", "timed_out")


def test_any_history_of_failures_and_pruning_leaves_what_the_records_say(desk):
    chance = random.Random(7)
    there: dict[bytes, Record] = {}
    for _ in range(40):
        change = Failures()
        for _ in range(chance.randrange(6)):
            record = failed(
                EPOCH + chance.randrange(9_000), chance.choice(["row 1", "row 2", "no", "header"])
            )
            there[record.id] = record
            change.add(record)
        change.write(desk.store)
        if chance.randrange(2):
            desk.flush()
        change = Failures()
        for record in chance.sample(list(there.values()), min(len(there), chance.randrange(5))):
            change.remove(there.pop(record.id))
        change.write(desk.store)
    desk.flush()
    rows = {key: share_of(key, row) for key, row in desk.store.scan(Table.FAILURES)}
    assert rows == Counter(key for record in there.values() for key in keys_of(record))
    change = Failures()
    for record in there.values():
        change.remove(record)
    change.write(desk.store)
    desk.flush()
    assert desk.store.scan(Table.FAILURES) == []


def test_keys_sort_by_time():
    assert task_key(b"f" * 8, 5.0) < task_key(b"f" * 8, 5.001, bytes(16)) < task_key(b"f" * 8, 6.0)
    assert task_in(task_key(b"f" * 8, 5.25, b"i" * 16)) == (5.25, b"i" * 16)
    assert number_key(Part.HOUR, 3_599) < number_key(Part.HOUR, 3_600)
    assert number_key(Part.HOUR, 1e12) > number_key(Part.HOUR, 1e9), "and do not overflow"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x09" + bytes(8), b""),
        (cause_key(bytes(8)), pack_cause(cause(failed()), 1)),
        (cause_key(bytes(8)), b"?"),
        (b"\2short", b""),
        (number_key(Part.HOUR, 1.0), pack_number(1)),
        (number_key(Part.HOUR, 1.0, bytes(8)), b"?"),
    ],
)
def test_damaged_rows_are_refused(key: bytes, value: bytes):
    with pytest.raises(ValueError, match=r"Part|cause|length|number"):
        share_of(key, value)
