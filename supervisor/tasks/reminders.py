"""`Reminders`: letters that actors have asked to get at a time.

Each is two rows that change in one commit: the reminder by actor and name, and an index row by its time. They are on
disk only; memory has the earliest time.
"""

from __future__ import annotations

import logging
import math
from typing import Final, NamedTuple

from ...actors.ids import new_id
from ...actors.refs.letter import HEAD
from ...storage.store import Store
from ...storage.tables.actor_rows import (
    due_after,
    due_key,
    due_range,
    pack_reminder,
    reminder_at,
    reminder_key,
    reminder_name,
    reminder_of_due_key,
    reminders_of,
    unpack_reminder,
)
from ...storage.tables.schema import Table

log = logging.getLogger("understudy")


#: Reminders that one actor may have.
MOST: Final = 1_000


class Due(NamedTuple):
    """A reminder whose time has come."""

    actor: bytes
    letter: bytes
    #: Whether it comes again.
    repeated: bool


class Reminders:
    """All reminders of a home."""

    def __init__(self, store: Store) -> None:
        self._store = store
        first = store.scan(Table.ACTORS, *due_range(math.inf), limit=1)
        #: The time of the first one in seconds since the epoch, or an earlier one; None if there are none.
        self.first: float | None = reminder_of_due_key(first[0][0])[0] if first else None

    def set(
        self, actor: bytes, name: str, due: float | None, every: float | None, letter: bytes | None
    ) -> None:
        """Set an actor's reminder of this name, or remove it if `due` is None."""
        key = reminder_key(actor, name)
        old = self._store.get(Table.ACTORS, key)
        if old is not None:
            self._store.delete(Table.ACTORS, due_key(unpack_reminder(old)[0], actor, name))
        if due is None or letter is None:
            self._store.delete(Table.ACTORS, key)
            return
        self._put(actor, name, due, every, letter)

    def _put(self, actor: bytes, name: str, due: float, every: float | None, letter: bytes) -> None:
        self._store.put(Table.ACTORS, reminder_key(actor, name), pack_reminder(due, every, letter))
        self._store.put(Table.ACTORS, due_key(due, actor, name), b"")
        if self.first is None or due < self.first:
            self.first = due

    def clear(self, actor: bytes) -> None:
        """Remove all reminders of an actor."""
        for key, _ in self._store.look(Table.ACTORS, *reminders_of(actor), limit=MOST):
            self.set(actor, reminder_name(key), None, None, None)

    def take_due(self, now: float, most: int) -> list[Due]:
        """The letters of reminders that are due, at most `most`. Repeated ones are set anew, the others are removed.

        The caller posts the letters into the same batch.
        """
        store = self._store
        found = [key for key, _ in store.look(Table.ACTORS, *due_range(now), limit=most + 1)]
        # One more than are taken: it is the first one that is left.
        left = found[most:] or [key for key, _ in store.look(Table.ACTORS, *due_after(now), limit=1)]
        self.first = reminder_of_due_key(left[0])[0] if left else None
        keys = {index: reminder_at(index) for index in found[:most]}
        rows = store.get_many(Table.ACTORS, keys.values())
        due: list[Due] = []
        for index, key in keys.items():
            row = rows.get(key)
            store.delete(Table.ACTORS, index)
            if row is None:
                log.error("a reminder's time without the reminder is removed: %s", index.hex())
                continue
            at, actor, name = reminder_of_due_key(index)
            _, every, letter = unpack_reminder(row)
            again = next_due(at, every, now)
            if again is None:
                store.delete(Table.ACTORS, key)
            else:
                self._put(actor, name, again, every, letter)
            due.append(Due(actor, with_new_id(letter), every is not None))
        return due


def next_due(due: float, every: float | None, now: float) -> float | None:
    """When a reminder comes again; None if it does not. Periods that were missed count once."""
    return None if every is None else due + every * max(1, math.floor((now - due) / every) + 1)


def with_new_id(letter: bytes) -> bytes:
    """The letter under an id of its own: each time it comes it is another message."""
    kind, flags, _, sender = HEAD.unpack_from(letter)
    return HEAD.pack(kind, flags, new_id(), sender) + letter[HEAD.size :]
