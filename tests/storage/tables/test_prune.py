from __future__ import annotations

from typing import Any

import pytest

from desk import Desk, expire
from memory_store import MemoryStore
from tasks import EPOCH, add_task
from understudy.actors.state import State
from understudy.storage.store import Store
from understudy.storage.tables import prune as module
from understudy.storage.tables.prune import expiry_rows, forget, prune
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table, expiry_ids, expiry_key, idempotency_key, log_key, mail_key

BY_TASK = (
    Table.TASKS,
    Table.ARGS,
    Table.RESULTS,
    Table.CHECKPOINTS,
    Table.LOGS,
    Table.MAIL,
    Table.KEYS,
    Table.EXPIRY,
)


@pytest.fixture(params=[Store, MemoryStore])
def desk(request: pytest.FixtureRequest, open_desk: Any) -> Desk:
    return open_desk(request.param)


def add_ended(desk: Desk, at: float, keep: float | None, key: str | None = None) -> Record:
    record = add_task(desk.store, State.COMPLETED, at, key=key)
    for seq in range(3):
        desk.store.put(Table.LOGS, log_key(record.id, seq), b"log")
        desk.store.put(Table.MAIL, mail_key(record.id, seq), b"mail")
    expire(desk.store, record, keep)
    return record


def left(desk: Desk) -> dict[Table, int]:
    return {table: desk.store.count(table) for table in BY_TASK if desk.store.count(table)}


def test_a_task_is_forgotten_with_everything_of_it_once_it_is_due(desk: Desk):
    add_ended(desk, EPOCH, keep=60, key="nightly")
    desk.flush()
    assert prune(desk.store, EPOCH + 60.9) == 0  # it ended a second after it was made
    assert prune(desk.store, EPOCH + 61) == 1
    desk.flush()
    assert left(desk) == {}
    assert prune(desk.store, EPOCH + 61) == 0


def test_others_are_left_alone(desk: Desk):
    due = [add_ended(desk, EPOCH + number, keep=10) for number in range(3)]
    add_ended(desk, EPOCH, keep=1000)
    add_ended(desk, EPOCH, keep=None)
    live = add_task(desk.store, State.RUNNING)
    desk.flush()
    assert prune(desk.store, EPOCH + 100) == len(due)
    desk.flush()
    assert left(desk)[Table.TASKS] == 3
    assert left(desk)[Table.LOGS] == left(desk)[Table.MAIL] == 6
    assert left(desk)[Table.EXPIRY] == 1
    assert desk.store.get(Table.TASKS, live.id)


def test_what_is_deleted_already_is_not_counted_again(desk: Desk):
    for number in range(5):
        add_ended(desk, EPOCH + number, keep=0)
    desk.flush()
    assert prune(desk.store, EPOCH + 100, limit=3) == 3
    assert prune(desk.store, EPOCH + 100, limit=3) == 0
    desk.flush()
    assert prune(desk.store, EPOCH + 100, limit=3) == 2
    desk.flush()
    assert left(desk) == {}


def test_one_call_deletes_a_bounded_number_of_rows(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 10)
    for number in range(5):
        add_ended(desk, EPOCH + number, keep=0)
    desk.flush()
    assert prune(desk.store, EPOCH + 100) == 1
    desk.flush()
    assert left(desk)[Table.TASKS] == 4


def test_rows_on_their_way_to_disk_go_too(desk: Desk):
    record = add_ended(desk, EPOCH, keep=0)
    desk.flush()
    desk.store.put(Table.LOGS, log_key(record.id, 10), b"in flight")
    desk.store.seal()
    desk.store.put(Table.LOGS, log_key(record.id, 11), b"open")
    other = log_key(b"\1" * 16, 1)
    desk.store.put(Table.LOGS, other, b"of another task")
    assert prune(desk.store, EPOCH + 100) == 1
    desk.flush()
    assert desk.store.scan(Table.LOGS) == [(other, b"of another task")]


def test_a_key_that_a_later_task_took_over_stays(desk: Desk):
    add_ended(desk, EPOCH, keep=0, key="nightly")
    later = add_task(desk.store, State.QUEUED, EPOCH + 5, key="nightly")
    desk.flush()
    prune(desk.store, EPOCH + 100)
    desk.flush()
    assert desk.store.get(Table.KEYS, idempotency_key("nightly")) == later.id


def test_a_row_of_many_is_worked_off_in_steps(desk: Desk):
    ended = [add_ended(desk, EPOCH, keep=None) for _ in range(250)]
    rows = expiry_rows(EPOCH, sorted(record.id for record in ended))
    assert [len(expiry_ids(*row)) for row in rows.items()] == [100, 100, 50]
    desk.store.batch.merge(Table.EXPIRY, rows, 0)
    desk.flush()
    assert prune(desk.store, EPOCH + 1, limit=130) == 130
    assert prune(desk.store, EPOCH + 1, limit=130) == 50  # what lay in the third row, which is whole
    desk.flush()
    assert desk.store.count(Table.TASKS) == 70
    assert prune(desk.store, EPOCH + 1, limit=130) == 70
    desk.flush()
    assert left(desk) == {}


def test_tasks_with_many_rows_are_forgotten_a_few_at_a_time(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    ended = [add_ended(desk, EPOCH, keep=None) for _ in range(3)]
    desk.store.batch.merge(Table.EXPIRY, expiry_rows(EPOCH, [record.id for record in ended]), 0)
    for count in (1, 1, 1, 0):
        desk.flush()
        assert prune(desk.store, EPOCH + 1) == count
    assert left(desk) == {}


def test_an_expiry_row_never_costs_a_task_that_has_not_ended(desk: Desk):
    record = add_task(desk.store, State.RUNNING)
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH, record.id), b"")
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH, b"\1" * 16), b"")  # and one without a task is just removed
    desk.flush()
    assert prune(desk.store, EPOCH + 100) == 1
    desk.flush()
    assert desk.store.get(Table.TASKS, record.id)
    assert desk.store.count(Table.EXPIRY) == 0


def test_a_damaged_record_can_be_forgotten(desk: Desk):
    desk.store.put(Table.TASKS, b"\1" * 16, b"damaged")
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH, b"\1" * 16), b"")
    desk.flush()
    assert prune(desk.store, EPOCH + 100) == 1
    desk.flush()
    assert left(desk) == {}


def test_damaged_rows_cost_no_other_task_and_do_not_stop_the_pruning(desk: Desk):
    alive = add_task(desk.store, State.RUNNING)
    desk.store.put(Table.LOGS, log_key(alive.id, 0), b"log")
    damaged = add_ended(desk, EPOCH, keep=None)
    damaged.key = ""
    desk.store.put(Table.TASKS, damaged.id, damaged.pack())
    # Half an id, with which the id of another task begins; a key without an id; a task whose key cannot be.
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH, b"\1" * 16), alive.id[:5])
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH + 1, b""), b"")
    desk.store.put(Table.EXPIRY, expiry_key(EPOCH + 2, damaged.id), b"")
    last = add_ended(desk, EPOCH + 3, keep=1)
    desk.flush()
    while prune(desk.store, EPOCH + 100):
        desk.flush()
    desk.flush()
    assert desk.store.get(Table.TASKS, last.id) is None
    assert desk.store.get(Table.TASKS, damaged.id) is None
    assert desk.store.get(Table.LOGS, log_key(alive.id, 0)) == b"log"
    assert left(desk)[Table.TASKS] == 1
    assert Table.EXPIRY not in left(desk)


def test_forgetting_one_task(desk: Desk):
    record = add_ended(desk, EPOCH, keep=None, key="nightly")
    other = add_ended(desk, EPOCH + 1, keep=None)
    desk.flush()
    forget(desk.store, record)
    desk.flush()
    assert left(desk)[Table.TASKS] == 1
    assert desk.store.get(Table.TASKS, other.id)
    assert Table.KEYS not in left(desk)
