"""Starting tasks: what is checked at the door, and what makes asking twice do the same as asking once."""

from __future__ import annotations

import time
from typing import Any

from ..actors.box_conf import BOX, takes_messages
from ..actors.errors import InvalidOption, InvalidValue, TaskNotFound, UnknownTask, ValueTooLarge
from ..actors.ids import id_text, is_task_id
from ..actors.options import Options
from ..actors.task import DELAY_LIMIT, KEY_LIMIT, NAME_LIMIT
from ..storage.record import Record
from ..storage.schema import ID_BYTES, Table, idempotency_key
from .book import Book
from .journal import Journal


class Admission:
    """Turns the rows of a start into tasks: all of them, or none and an error."""

    def __init__(self, journal: Journal, book: Book, value_limit: int) -> None:
        self._journal = journal
        self._book = book
        self._value_limit = value_limit
        newest = journal.scan(Table.TASKS, limit=1, reverse=True)
        #: The largest id ever seen: a larger one cannot be on disk.
        self._newest = newest[0][0] if newest else b""

    def start(self, rows: Any) -> list[bytes] | None:
        """Start all of the rows, or none; the ids where a key led to a task that was there already, else None."""
        now = time.time()
        admitted: dict[bytes, tuple[Record, bytes | None]] = {}
        keys: dict[str, bytes] = {}
        ids: list[bytes] = []
        others = False
        entries = self._book.entries
        for row in rows:
            id, key = row[0], row[4]
            if key is None and is_task_id(id) and id > self._newest and id not in entries:
                # Nearly all of them: see `_already`.
                self._newest = id
                there = None
            else:
                there = id if id in admitted else self._already(id, key, keys)
            ids.append(there or id)
            if there is not None:
                others = others or there != id
                continue
            admitted[id] = (self._checked(row, now), row[2])
            if key is not None:
                keys[key] = id
        for record, args in admitted.values():
            if record.key is not None:
                self._journal.put(Table.KEYS, idempotency_key(record.key), record.id)
            record.closed = record.name == BOX and not takes_messages(args)
            self._book.add(record, args)
        return ids if others else None

    def _already(self, id: bytes, key: str | None, keys: dict[str, bytes]) -> bytes | None:
        """The task that this start has led to before: by its key, or because the client asks a second time."""
        if not is_task_id(id):
            raise InvalidValue("a task's id must be a UUID of version 7")
        if key is not None:
            if key in keys:
                return keys[key]
            if not isinstance(key, str) or len(key.encode()) > KEY_LIMIT:
                raise InvalidOption(f"a key must be text of at most {KEY_LIMIT:,} bytes: {key!r:.80}")
            there = self._journal.get(Table.KEYS, idempotency_key(key))
            if there is not None and self._book.record(there) is not None:
                return there
        if id in self._book.entries:
            return id
        if id > self._newest:
            # Ids grow with time, so this one cannot be on disk: no need to look.
            self._newest = id
            return None
        return id if self._book.record(id) is not None else None

    def _checked(self, row: tuple[Any, ...], now: float) -> Record:
        id, name, args, options, key, due, stream, origin = row
        self._check_declared(name)
        if args is not None:
            self.check_value(args, "the argument list")
        if due is not None and not (isinstance(due, int | float) and 0 <= due <= now + DELAY_LIMIT + 1):
            raise InvalidOption(f"the time of the first attempt must lie within ten years: {due!r:.40}")
        if options is not None:
            Options.unpack(options, self._book.tasks[name][0])
        if type(stream) is not bytes or len(stream) != ID_BYTES or not (origin is None or is_id(origin)):
            raise InvalidValue("stream and origin must be ids of 16 bytes")
        return Record(id, name, now, stream, origin, options, key, due if due is None or due > now else None)

    def _check_declared(self, name: Any) -> None:
        if name not in self._book.tasks:
            known = ", ".join(self._book.app_tasks()[:10]) or "none at all"
            what_to_do = (
                'A task of a script has to stand at its top, outside `if __name__ == "__main__":`, and is known only '
                "to a supervisor that this script has started"
                if str(name).startswith("__main__:")
                else "Start the supervisor with the app that has it"
            )
            raise UnknownTask(
                f"the supervisor's app declares no task {name!r:.{NAME_LIMIT}}; it knows {known}. {what_to_do}",
                str(name),
            )

    def check_value(self, value: Any, what: str) -> None:
        limit = self._value_limit
        if not isinstance(value, bytes):
            raise InvalidValue(f"{what} must be encoded, not {type(value).__name__}")
        if len(value) > limit:
            raise ValueTooLarge(
                f"{what} takes {len(value):,} bytes; the limit of this supervisor is {limit:,}. "
                "Store the data in a file and pass its path, or raise value_limit",
                len(value),
                limit,
            )

    def retry(self, old_id: Any, new_id: Any, *, from_scratch: bool) -> None:
        """Start an ended task again, as a new one with the same arguments and, unless told otherwise, checkpoint."""
        old = self._book.record(checked_id(old_id))
        if old is None:
            raise TaskNotFound(f"no task has the id {id_text(old_id)}", id_text(old_id))
        if old.ended is None:
            raise InvalidOption(
                f"task {id_text(old_id)} is {old.state}: only an ended task can be tried again"
            )
        if not is_task_id(new_id):
            raise InvalidValue("a task's id must be a UUID of version 7")
        if self._book.record(new_id) is not None:
            # The client asks a second time, because the first answer was lost.
            return
        self._check_declared(old.name)
        self._newest = max(self._newest, new_id)
        record = Record(new_id, old.name, time.time(), old.stream, old.origin, old.options, retry_of=old_id)
        state = None if from_scratch else self._journal.get(Table.CHECKPOINTS, old_id)
        if state is not None:
            self._journal.put(Table.CHECKPOINTS, new_id, state)
            record.checkpoint = (time.time(), len(state))
        args = self._journal.get(Table.ARGS, old_id)
        record.closed = record.name == BOX and not takes_messages(args)
        self._book.add(record, args)


def is_id(value: object) -> bool:
    """Whether this has the form of an id."""
    return isinstance(value, bytes) and len(value) == 16


def checked_id(value: Any) -> bytes:
    """The value, if it has the form of an id; else InvalidValue."""
    if not is_id(value):
        raise InvalidValue("an id must have 16 bytes")
    return bytes(value)
