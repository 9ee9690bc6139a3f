from __future__ import annotations

from typing import Any

import pytest

from desk import Desk, expire
from tasks import EPOCH, add_task, new_id
from understudy.actors.state import State
from understudy.actors.step_label import call_label
from understudy.storage.memory_store import MemoryStore
from understudy.storage.store import Store
from understudy.storage.tables import actor_rows
from understudy.storage.tables import prune as module
from understudy.storage.tables.prune import expiry_rows, forget, prune, prune_replies
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import (
    Table,
    after_prefix,
    expiry_ids,
    expiry_key,
    idempotency_key,
    log_key,
    mail_key,
)
from understudy.storage.tables.task_step_rows import step_key

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


def add_actor(desk: Desk, name: str = "", rows: int = 2, at: float = EPOCH, keep: float = 60) -> Record:
    """An actor that has ended and left something of every kind."""
    record = add_task(desk.store, State.COMPLETED, at, name="Account")
    record.actor = name
    id, put = record.id, desk.store.put
    put(Table.TASKS, id, record.pack())
    put(Table.ACTORS, actor_rows.state_key(id), b"state")
    for number in range(rows):
        put(Table.ACTORS, actor_rows.storage_key(id, f"entry/{number}"), b"value")
        put(Table.ACTORS, actor_rows.letter_key(id, number), b"letter")
        put(
            Table.ACTORS,
            actor_rows.dead_key(id, new_id(at)),
            actor_rows.pack_dead(at, b"letter", ("", "", "")),
        )
        put(
            Table.ACTORS,
            actor_rows.reminder_key(id, f"{number}"),
            actor_rows.pack_reminder(at, None, b"letter"),
        )
        put(Table.ACTORS, actor_rows.due_key(at, id, f"{number}"), b"")
    if name:
        put(Table.ACTORS, actor_rows.name_key("Account", name), id)
    expire(desk.store, record, keep)
    return record


@pytest.mark.parametrize("on_disk", [True, False])
def test_an_actor_goes_with_all_its_rows(desk: Desk, on_disk: bool):
    add_actor(desk, "ada")
    other = add_actor(desk, "eve", keep=1000)
    desk.flush()
    with_other = desk.store.scan(Table.ACTORS)
    late = add_actor(desk, "bob")
    # The name has a new owner, whose row must stay.
    desk.store.put(Table.ACTORS, actor_rows.name_key("Account", "bob"), other.id)
    if on_disk:
        desk.flush()
        assert prune(desk.store, EPOCH + 61) == 2
    else:
        forget(desk.store, late)
        assert prune(desk.store, EPOCH + 61) == 1
    desk.flush()
    # The name of the first one and 11 rows, of which 5 kinds stand twice.
    assert len(with_other) == 24
    left_over = desk.store.scan(Table.ACTORS)
    assert [key for key, _ in left_over if other.id in key] == [
        key for key, _ in with_other if other.id in key
    ]
    assert len(left_over) == 13
    assert desk.store.get(Table.ACTORS, actor_rows.name_key("Account", "bob")) == other.id


def test_an_actor_with_more_rows_than_a_call_deletes_goes_in_parts(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 30)
    monkeypatch.setattr(module, "_PART", 7)
    add_actor(desk, rows=20, at=EPOCH)
    add_ended(desk, EPOCH + 1, keep=60)
    desk.flush()
    calls = []
    while removed := prune(desk.store, EPOCH + 70):
        calls.append(removed)
        assert len(desk.store.batch) <= 90
        desk.flush()
    assert calls == [1, 1, 2]
    assert (
        desk.store.count(Table.ACTORS) == desk.store.count(Table.TASKS) == desk.store.count(Table.EXPIRY) == 0
    )


def test_a_damaged_actor_goes(desk: Desk):
    record = add_actor(desk)
    desk.store.put(Table.ACTORS, actor_rows.reminder_key(record.id, "0"), b"no reminder")
    desk.store.put(Table.TASKS, record.id, b"no record")
    desk.flush()
    assert prune(desk.store, EPOCH + 61) == 1
    desk.flush()
    assert [key for key, _ in desk.store.scan(Table.ACTORS)] == [actor_rows.due_key(EPOCH, record.id, "0")]


NOW = EPOCH + 10_000


def add_reply(desk: Desk, letter: bytes, expires: float) -> bytes:
    for key, value in actor_rows.reply_rows(letter, bytes(16), expires, b"reply").items():
        desk.store.put(Table.ACTORS, key, value)
    return letter


def replies(desk: Desk) -> list[bytes]:
    start = actor_rows.REPLY
    return [key[1:] for key, _ in desk.store.scan(Table.ACTORS, start, after_prefix(start))]


def test_replies_go_when_they_have_expired(desk: Desk):
    kept = [
        add_reply(desk, actor_rows.KEPT + bytes([number]) * 10, NOW + number - 1.5) for number in range(4)
    ]
    old = add_reply(desk, new_id(NOW - 3601), NOW - 1)
    lasting = add_reply(desk, new_id(NOW - 5000), NOW + 1)
    young = add_reply(desk, new_id(NOW - 3599), NOW - 1)  # not looked at before it is an hour old
    desk.flush()
    assert prune_replies(desk.store, NOW, 100) == 3
    desk.flush()
    assert replies(desk) == [lasting, young, *kept[2:]]
    assert old not in replies(desk)
    assert prune_replies(desk.store, NOW + 100, 100) == 4
    desk.flush()
    assert desk.store.count(Table.ACTORS) == 0


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_replies_go_a_few_at_a_time(desk: Desk, most: int):
    for number in range(5):
        add_reply(desk, actor_rows.KEPT + bytes([number]) * 10, NOW - 1)
        add_reply(desk, new_id(NOW - 9000 + number), NOW - 1)
        add_reply(desk, new_id(NOW - 9000 + number), NOW + 1)
    desk.flush()
    steps = []
    while removed := prune_replies(desk.store, NOW, most):
        steps.append(removed)
        assert removed <= most
        if len(steps) % 2:
            desk.flush()  # not after each: deletes that are not on disk count once
    assert sum(steps) == 10
    desk.flush()
    assert desk.store.count(Table.ACTORS) == 5


def test_a_reply_that_was_kept_anew_stays(desk: Desk):
    letter = actor_rows.KEPT + bytes(10)
    add_reply(desk, letter, NOW - 1)
    add_reply(desk, letter, NOW + 1)
    desk.flush()
    assert prune_replies(desk.store, NOW, 100) == 1
    desk.flush()
    assert replies(desk) == [letter]
    assert desk.store.count(Table.ACTORS) == 2


def test_a_damaged_reply_goes(desk: Desk):
    for letter in (new_id(NOW - 4000), add_reply(desk, actor_rows.KEPT + bytes(10), NOW)):
        desk.store.put(Table.ACTORS, actor_rows.reply_key(letter), b"no reply")
    desk.flush()
    assert prune_replies(desk.store, NOW, 100) == 2
    desk.flush()
    assert desk.store.count(Table.ACTORS) == 0


def test_times_between_two_milliseconds_lose_no_reply(desk: Desk):
    add_reply(desk, actor_rows.KEPT + bytes(10), NOW + 0.0009)
    desk.flush()
    assert prune_replies(desk.store, NOW + 0.0001, 100) == 1
    desk.flush()
    assert desk.store.count(Table.ACTORS) == 0


@pytest.mark.parametrize("written", [True, False], ids=["on disk", "pending"])
def test_steps_go_with_their_task(desk: Desk, written: bool):
    record = add_ended(desk, EPOCH, keep=60)
    other = add_task(desk.store, State.QUEUED)
    for number in range(1, 300):
        desk.store.put(Table.ACTORS, step_key(record.id, call_label(b"work", number)), b"row")
    desk.store.put(Table.ACTORS, step_key(other.id, call_label(b"work", 1)), b"row")
    record.steps = 299, 897
    desk.store.put(Table.TASKS, record.id, record.pack())
    if written:
        desk.flush()
    assert prune(desk.store, EPOCH + 61 if written else EPOCH) == (1 if written else 0)
    if not written:
        forget(desk.store, record)
    desk.flush()
    assert [key for key, _ in desk.store.scan(Table.ACTORS)] == [step_key(other.id, call_label(b"work", 1))]
