"""The check of the rows of events: whether they agree with each other, their runs and the tasks that listen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ..actors.ids import id_text
from ..actors.state import TERMINAL
from .shared_view import Snapshot
from .tables import event_rows
from .tables.event_rows import EVENT, GIVEN_ID, LISTEN, NAME, STREAM, UNMATCHED, EventRow
from .tables.record import Record
from .tables.schema import ID_BYTES, Table

Records = Callable[[bytes], Record | None]
"""Looks up a task: None if it is missing or unreadable."""

_LISTEN_KEY_BYTES: Final = 1 + ID_BYTES + event_rows.LISTEN_BYTES


class EventCheck:
    """Checks one row after the other."""

    def __init__(self, snapshot: Snapshot, record: Records, exists: Callable[[bytes], bool]) -> None:
        self._snapshot = snapshot
        self._record = record
        self._exists = exists

    def problems(self, key: bytes, row: bytes) -> Iterable[str]:
        """What is wrong with this row, one line for each problem."""
        kind = key[:1]
        if kind == EVENT and len(key) == 1 + ID_BYTES:
            yield from self._event(key, row)
        elif kind == LISTEN and len(key) == _LISTEN_KEY_BYTES:
            yield from self._listen(key, row)
        elif kind == GIVEN_ID or (kind in (NAME, STREAM, UNMATCHED) and len(key) > ID_BYTES):
            yield from self._index_row(key, row)
        else:
            yield f"row {key.hex()} of events is malformed"

    def _event(self, key: bytes, row: bytes) -> Iterable[str]:
        uid = event_rows.uid_of(key)
        try:
            event = EventRow.unpack(row)
        except ValueError as error:
            yield f"event {uid.hex()}: {error}"
            return
        wanted = [event_rows.name_key(event.name, uid)]
        if event.stream != uid:
            wanted.append(event_rows.stream_key(event.stream, uid))
        if event.id != id_text(uid):
            wanted.append(event_rows.given_key(event.id))
        for each in wanted:
            if self._snapshot.get(Table.EVENTS, each) is None:
                yield f"event {uid.hex()} lacks its row {each.hex()}"
        for _, run in event.runs:
            # A run that is not there has been pruned.
            record = self._record(run)
            if record is not None and record.unique is not None:
                continue  # It may have been there: see the handlers that are unique tasks.
            if record is not None and (record.trigger or {}).get("event_id") != event.id:
                yield f"event {uid.hex()} has the run {run.hex()}, which was triggered by {record.trigger}"

    def _index_row(self, key: bytes, row: bytes) -> Iterable[str]:
        """A row that leads to an event by its id, its name, its stream, or because nothing handled it."""
        kind = key[:1]
        uid = row if kind == GIVEN_ID else event_rows.uid_of(key)
        packed = self._snapshot.get(Table.EVENTS, event_rows.event_key(uid))
        if packed is None:
            yield f"row {key.hex()} of events leads to the event {uid.hex()}, which does not exist"
            return
        try:
            event = EventRow.unpack(packed)
        except ValueError:
            return  # `_event` says so
        right = {
            GIVEN_ID: lambda: event_rows.given_key(event.id),
            NAME: lambda: event_rows.name_key(event.name, uid),
            STREAM: lambda: event_rows.stream_key(event.stream, uid),
            UNMATCHED: lambda: event_rows.unmatched_key(uid),
        }[kind]()
        if key != right:
            yield f"row {key.hex()} of events leads to the event {uid.hex()}, whose row is {right.hex()}"
        elif kind == UNMATCHED and event.runs:
            yield f"event {uid.hex()} is listed as one that nothing handled, and has runs"

    def _listen(self, key: bytes, row: bytes) -> Iterable[str]:
        task = event_rows.listener_of(key)
        try:
            pattern, condition = event_rows.unpack_listen(row)
        except ValueError as error:
            yield f"row {key.hex()} of events: {error}"
            return
        if event_rows.listen_key(task, pattern, condition) != key:
            yield f"task {task.hex()} listens to {pattern!r} in the row of something else"
        record = self._record(task)
        if not self._exists(task):
            yield f"task {task.hex()} listens to {pattern!r} and does not exist"
        elif record is not None and record.state in TERMINAL:
            yield f"task {task.hex()} listens to {pattern!r} and has ended"
