"""ActorReader: the part of `Reader` that reads the rows of class actors."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import NamedTuple, TypeVar

from ..actors.errors import StoreCorrupt
from .live_rows import keys_by_age, record_of
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .tables import actor_rows
from .tables.actor_rows import DeadLetterRow, Range, ReminderRow
from .tables.schema import ID_BYTES, Lane, Table, actor_sort, after_prefix, live_id

T = TypeVar("T")


class ActorName(NamedTuple):
    """A living actor."""

    id: bytes
    class_name: str
    name: str | None
    """None for none."""


class ActorReader(SnapshotReader):
    """Reads of class actors. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def actor_id(self, class_name: str, name: str) -> bytes | None:
        """The living actor of this class and name; None if there is none."""
        key = actor_rows.name_key(class_name, name)
        with self._read() as snapshot:
            id = snapshot.get(Table.ACTORS, key)
            return None if id is None else _actor(key, id).id

    def actor_classes(self) -> list[str]:
        """The classes that have a living actor with a name, sorted."""
        with self._read() as snapshot:
            return list(_classes(snapshot))

    def actors(
        self,
        classes: Collection[str] | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorName | None = None,
    ) -> list[ActorName]:
        """At most `limit` living actors of these classes, in the order of their ids, behind `after`.

        With a `prefix` those whose names start with it, in the order of classes and names.
        """
        with self._read() as snapshot:
            found = (
                _named(snapshot, classes, prefix, after)
                if prefix
                else _living(snapshot, classes, b"" if after is None else after.id)
            )
            return list(islice(found, limit))

    def state(self, id: bytes) -> bytes | None:
        """The state of an actor as its worker has packed it; None if it has not committed any."""
        with self._read() as snapshot:
            return snapshot.get(Table.ACTORS, actor_rows.state_key(id))

    def storage_rows(
        self, id: bytes, prefix: str = "", limit: int | None = 100, after: str | None = None
    ) -> list[tuple[str, bytes]]:
        """At most `limit` rows of an actor's storage with encoded values, by key, from behind the key `after` on."""
        start, stop = actor_rows.storage_range(id, prefix)
        if after is not None:
            start = max(start, actor_rows.storage_key(id, after) + b"\0")
        return self._rows((start, stop), limit, lambda key, row: (actor_rows.storage_text(key), row))

    def reminders(self, id: bytes) -> list[tuple[str, ReminderRow]]:
        """The reminders of an actor, by name."""
        return self._rows(
            actor_rows.reminders_of(id),
            None,
            lambda key, row: (actor_rows.reminder_name(key), actor_rows.unpack_reminder(row)),
        )

    def dead_letters(self, id: bytes, limit: int | None = None) -> list[tuple[bytes, DeadLetterRow]]:
        """At most `limit` dead letters of an actor with their ids, oldest first."""
        return self._rows(
            actor_rows.dead_range(id),
            limit,
            lambda key, row: (actor_rows.dead_id(key), actor_rows.unpack_dead(row)),
        )

    def mail_depth(self, id: bytes) -> int:
        """How many letters are in the mailbox of an actor, as far as they are on disk."""
        with self._read() as snapshot:
            return letters_in(snapshot, id)

    def _rows(self, range: Range, limit: int | None, parse: Callable[[bytes, bytes], T]) -> list[T]:
        found: list[T] = []
        with self._read() as snapshot:
            for key, row in snapshot.rows(Table.ACTORS, *range):
                if limit is not None and len(found) >= limit:
                    break
                try:
                    found.append(parse(key, row))
                except ValueError as error:
                    raise _corrupt(key, error) from error
        return found


def letters_in(snapshot: Snapshot, id: bytes) -> int:
    """How many letters are in an actor's mailbox."""
    return sum(1 for _ in snapshot.rows(Table.ACTORS, *actor_rows.letters_of(id)))


def _living(snapshot: Snapshot, classes: Collection[str] | None, after: bytes) -> Iterator[ActorName]:
    """The living actors of these classes with ids above `after`, by id. It reads no more than are taken from it."""
    sorts = None
    if classes is not None:
        sorts = {actor_sort(each, volatile=volatile) for each in classes for volatile in (False, True)}
        sorts |= {0, 1}  # Until their next turn, those that were at rest under an earlier release have these.
    parts = [
        keys_by_age(snapshot, Lane.IDLE, after, sorts=sorts),
        keys_by_age(snapshot, Lane.RUNNING, after, sorts=None if sorts is None else sorts - {0, 1}),
    ]
    for key in heapq.merge(*parts, key=live_id):
        record = record_of(snapshot, key)
        if record.actor is not None and (classes is None or record.name in classes):
            yield ActorName(record.id, record.name, record.actor or None)


def _named(
    snapshot: Snapshot, classes: Collection[str] | None, prefix: str, after: ActorName | None
) -> Iterator[ActorName]:
    """The living actors of these classes whose names start with this text, by class and name."""
    behind = b"" if after is None else actor_rows.name_key(after.class_name, after.name or "") + b"\0"
    for each in _classes(snapshot) if classes is None else sorted(classes):
        start, stop = actor_rows.names_range(each, prefix)
        for row in snapshot.rows(Table.ACTORS, max(start, behind), stop):
            yield _actor(*row)


def _classes(snapshot: Snapshot) -> Iterator[str]:
    """The classes that have named actors, sorted. It reads one row for each class."""
    start, stop = actor_rows.NAME, after_prefix(actor_rows.NAME)
    while row := next(snapshot.rows(Table.ACTORS, start, stop), None):
        class_name = _actor(*row).class_name
        yield class_name
        _, start = actor_rows.names_range(class_name)


def _actor(key: bytes, id: bytes) -> ActorName:
    """The actor of a name's row."""
    try:
        class_name, name = actor_rows.name_parts(key)
        if actor_rows.name_key(class_name, name) != key or len(id) != ID_BYTES:
            raise ValueError(f"its id has {len(id)} bytes")
        return ActorName(id, class_name, name)
    except ValueError as error:
        raise _corrupt(key, error) from error


def _corrupt(key: bytes, error: ValueError) -> StoreCorrupt:
    return StoreCorrupt(
        f"the row {key.hex()} of the table actors is damaged: {error}; run `understudy check`"
    )
