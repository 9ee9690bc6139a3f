"""Tasks in a store, as the supervisor would have written them."""

from __future__ import annotations

import os
from typing import Any

from understudy.actors.state import TERMINAL, State
from understudy.storage.tables import actor_rows
from understudy.storage.tables.moves import Moves
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, actor_sort, idempotency_key, live_key, ready_sort

#: Creation time of the first task, in seconds since the epoch.
EPOCH = 1_700_000_000.0


def new_id(at: float) -> bytes:
    """A UUIDv7 of this time."""
    raw = int(at * 1000).to_bytes(6, "big") + os.urandom(10)
    return raw[:6] + bytes([0x70 | raw[6] & 0x0F, raw[7], 0x80 | raw[8] & 0x3F]) + raw[9:]


def put_new(store: Any, record: Record) -> None:
    """Write a new task's record, and what it adds to the index and the counters."""
    store.put(Table.TASKS, record.id, record.pack())
    moves = Moves()
    moves.take_in(record)
    moves.write(store)


def add_task(
    store: Any,
    state: State = State.QUEUED,
    at: float = EPOCH,
    name: str = "etl",
    key: str | None = None,
    stream: bytes | None = None,
) -> Record:
    """Write a task with all rows that belong to its state; returns its record."""
    id = new_id(at)
    record = Record(id, name, at, stream or id, key=key)
    record.state = state
    if state is State.IDLE:
        record.actor = ""
    if state in TERMINAL:
        record.ended = at + 1
        store.put(Table.RESULTS, id, b"result")
    else:
        place = {State.RUNNING: (Lane.RUNNING, ready_sort(0)), State.IDLE: (Lane.IDLE, 0)}
        store.put(Table.LIVE, live_key(*place.get(state, (Lane.SYNC, ready_sort(0))), id), b"")
    if key is not None:
        store.put(Table.KEYS, idempotency_key(key), id)
    put_new(store, record)
    store.put(Table.ARGS, id, b"args")
    store.put(Table.CHECKPOINTS, id, b"checkpoint")
    return record


def add_actor(
    store: Any,
    name: str = "",
    class_name: str = "m:Account",
    at: float = EPOCH,
    state: State = State.IDLE,
    sort: int | None = None,
) -> Record:
    """Write an actor with all rows that belong to its state; returns its record."""
    id = new_id(at)
    record = Record(id, class_name, at, id)
    record.state = state
    record.actor = name
    if state not in TERMINAL:
        lane = Lane.RUNNING if state is State.RUNNING else Lane.IDLE
        sort = actor_sort(class_name) if sort is None else sort
        store.put(Table.LIVE, live_key(lane, sort, id), b"")
        if name:
            store.put(Table.ACTORS, actor_rows.name_key(class_name, name), id)
    put_new(store, record)
    return record
