"""Rows as users see them."""

from __future__ import annotations

import msgpack
import pytest

from understudy.actors import values
from understudy.actors.errors import (
    ErrorInfo,
    InvalidValue,
    Poisoned,
    TaskCancelled,
    TaskEnded,
    TaskFailed,
    TaskTimedOut,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.refs.letter import Kind, Letter, Op
from understudy.actors.state import TERMINAL, State
from understudy.actors.task.handles import Progress
from understudy.storage.tables.actor_rows import DeadLetterRow
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, pool_sort
from understudy.supervisor.client.views import attributes_of, dead_letter, ended_error, value_of, view

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROW = ("KeyError", "gone", "Traceback …", {"pid": 7})


def test_a_fresh_record():
    id = new_id()
    seen = view(Record(id, "task", 5.0, id))
    assert (seen.id, seen.stream_id, seen.task, seen.state) == (
        id_text(id),
        id_text(id),
        "task",
        State.QUEUED,
    )
    assert (seen.attempt, seen.interruptions, seen.mailbox_depth, seen.options) == (1, 0, 0, {})
    assert seen.origin_run is seen.started is seen.error is seen.progress is seen.checkpoint_time is None


def test_every_field_of_a_full_record():
    id, stream, origin, old = (new_id() for _ in range(4))
    record = Record(id, "task", 1.0, stream, origin, {"priority": 3}, "key", 9.0, old)
    record.state, record.attempt, record.interruptions, record.pid = State.RUNNING, 3, 2, 77
    record.started, record.ended, record.cancel, record.closed = 2.0, 3.0, True, True
    record.tries, record.tree, record.unique = 4, "shop/a", "jobs:f\0k"
    record.trace = TRACE
    record.pool = "gpu"
    record.steps = 2, 30
    record.kind, record.trigger = "event", {"event_id": "e/1", "event": "order.paid"}
    record.error, record.progress, record.checkpoint = ROW, (1.0, 4.0, "a quarter"), (2.5, 100)
    # As it comes back from disk.
    seen = view(Record.unpack(id, record.pack()), 5)
    assert seen.as_dict() == {
        "id": id_text(id),
        "stream_id": id_text(stream),
        "task": "task",
        "state": "running",
        "attempt": 3,
        "interruptions": 2,
        "created": 1.0,
        "origin_run": id_text(origin),
        "started": 2.0,
        "ended": 3.0,
        "worker_pid": 77,
        "error": {"type": "KeyError", "message": "gone", "traceback": "Traceback …", "details": {"pid": 7}},
        "progress": {"done": 1.0, "total": 4.0, "note": "a quarter"},
        "next_attempt": 9.0,
        "checkpoint_time": 2.5,
        "checkpoint_size": 100,
        "mailbox_depth": 5,
        "key": "key",
        "retry_of": id_text(old),
        "cancel_requested": True,
        "actor": None,
        "closed": True,
        "options": {"priority": 3},
        "tries": 4,
        "waits_for": None,
        "metadata": {},
        "kind": "event",
        "trigger": {
            "event_id": "e/1",
            "event": "order.paid",
            "schedule": None,
            "scheduled_at": None,
            "method": None,
            "path": None,
            "delivery": None,
        },
        "tree": "shop/a",
        "unique_key": "k",
        "trace": TRACE,
        "pool": "gpu",
        "steps": 2,
        "steps_size": 30,
    }
    assert seen.progress == Progress(1.0, 4.0, "a quarter")
    assert seen.error == ErrorInfo(*ROW)


def test_values():
    assert value_of(new_id(), "completed", None, None) is None
    assert value_of(new_id(), State.COMPLETED, values.pack({"a": 1}), None) == {"a": 1}


@pytest.mark.parametrize(
    ("state", "error", "kind", "says"),
    [
        (State.FAILED, ROW, TaskFailed, "failed: KeyError: gone"),
        (State.FAILED, None, TaskFailed, "failed"),
        (State.FAILED, ("Poisoned", "it died 3 times", "", {}), Poisoned, "it died 3 times"),
        (State.TIMED_OUT, ("Timeout", "took too long", "", {}), TaskTimedOut, "timed out: took too long"),
        (State.TIMED_OUT, None, TaskTimedOut, "timed out"),
        (State.CANCELLED, ROW, TaskCancelled, "was cancelled"),
    ],
)
def test_every_other_end_raises(state: State, error: object, kind: type[TaskEnded], says: str):
    id = new_id()
    with pytest.raises(kind, match=says) as caught:
        value_of(id, str(state), None, error)
    assert type(caught.value) is kind
    assert caught.value.id == id_text(id)
    assert caught.value.error == (None if error is None else ErrorInfo(*error))  # type: ignore[misc]


def test_there_is_an_error_for_every_terminal_state():
    for state in TERMINAL - {State.COMPLETED}:
        assert isinstance(ended_error("id", state, None), TaskEnded)


@pytest.mark.parametrize(
    ("op", "path", "payload", "message"),
    [
        (Op.MESSAGE, None, {"n": 1}, {"n": 1}),
        (Op.MESSAGE, None, None, None),
        (Op.CALL, "deposit", ([5], {"times": 2}), {"method": "deposit", "args": [5], "kwargs": {"times": 2}}),
        (Op.CALL, "deposit", None, {"method": "deposit", "args": [], "kwargs": {}}),
        (Op.GET, "balance", None, {"get": "balance"}),
        (Op.SET, "balance", 3, {"set": "balance", "value": 3}),
    ],
)
def test_a_dead_letter_shows_what_was_sent(op: Op, path: str | None, payload: object, message: object):
    packed = None if payload is None else values.pack(payload, "payload")
    letter = Letter(Kind.TELL, 0, new_id(), None, op, path, packed).pack()
    id = new_id()
    seen = dead_letter(id, DeadLetterRow(5.0, letter, ("ValueError", "no", "Traceback …")))
    assert (seen.id, seen.time, seen.message) == (id_text(id), 5.0, message)
    assert seen.error == ErrorInfo("ValueError", "no", "Traceback …")


def test_attributes_are_read_with_their_version():
    assert attributes_of(msgpack.packb((2, values.pack({"n": 1}, "state")))) == (2, {"n": 1})
    for damaged in (b"", b"\xc1", msgpack.packb(7), msgpack.packb((1, 2, 3)), msgpack.packb((1, b"\xc1"))):
        with pytest.raises(InvalidValue):
            attributes_of(damaged)


@pytest.mark.parametrize(
    ("place", "waits_for"),
    [
        ((Lane.SYNC, 100), "slot"),
        ((Lane.POOL, pool_sort("gpu", Lane.SYNC) + 100), "slot"),
        ((Lane.POOL, pool_sort("gpu", Lane.ALONE) + 200), "worker"),
        ((Lane.NO_POOL, 7), "pool"),
        ((Lane.RUNNING, 0), None),
    ],
)
def test_what_a_task_of_a_pool_waits_for(place: tuple[int, int], waits_for: str | None):
    record = Record(id := new_id(), "task", 5.0, id)
    record.place, record.pool = place, "gpu"
    assert view(record).waits_for == waits_for
