"""ActorReader: the part of `Reader` that reads the rows of class actors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from ..actors.errors import StoreCorrupt
from .shared_view import Reading, Snapshot
from .tables import actor_rows
from .tables.actor_rows import DeadLetterRow, Range, ReminderRow
from .tables.schema import ID_BYTES, Table, after_prefix

T = TypeVar("T")


class NamedActor(NamedTuple):
    """An actor that is alive and has a name."""

    class_name: str
    name: str
    id: bytes


class ActorReader:
    """Reads of class actors. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def _read(self) -> Reading:
        raise NotImplementedError

    def actor_id(self, class_name: str, name: str) -> bytes | None:
        """The id of the actor that has this name in its class; None if no actor that is alive has it."""
        key = actor_rows.name_key(class_name, name)
        with self._read() as snapshot:
            id = snapshot.get(Table.ACTORS, key)
            return None if id is None else _named(key, id).id

    def actors(
        self,
        class_name: str | None = None,
        prefix: str = "",
        limit: int | None = 100,
        after: tuple[str, str] | None = None,
    ) -> list[NamedActor]:
        """At most `limit` actors that have a name, of this class or of all, sorted by class, then by name.

        `prefix` is the beginning of their names. `after` is the class and name of the last one of the page before.
        """
        found: list[NamedActor] = []
        with self._read() as snapshot:
            behind = b"" if after is None else actor_rows.name_key(*after) + b"\0"
            classes = _classes(snapshot, after and after[0]) if class_name is None else iter((class_name,))
            for one in classes:
                start, stop = actor_rows.names_range(one, prefix)
                for key, id in snapshot.rows(Table.ACTORS, max(start, behind), stop):
                    if limit is not None and len(found) >= limit:
                        return found
                    found.append(_named(key, id))
        return found

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

    def dead_letters(self, id: bytes, limit: int | None = 100) -> list[tuple[bytes, DeadLetterRow]]:
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


def _classes(snapshot: Snapshot, first: str | None) -> Iterator[str]:
    """The classes that have named actors, sorted, from this one on. It reads one row for each class."""
    start, stop = actor_rows.NAME, after_prefix(actor_rows.NAME)
    if first is not None:
        start = actor_rows.names_range(first)[0]
    while row := next(snapshot.rows(Table.ACTORS, start, stop), None):
        class_name = _named(*row).class_name
        yield class_name
        _, start = actor_rows.names_range(class_name)


def _named(key: bytes, id: bytes) -> NamedActor:
    try:
        class_name, name = actor_rows.name_parts(key)
        if actor_rows.name_key(class_name, name) != key or len(id) != ID_BYTES:
            raise ValueError(f"its id has {len(id)} bytes")
        return NamedActor(class_name, name, id)
    except ValueError as error:
        raise _corrupt(key, error) from error


def _corrupt(key: bytes, error: ValueError) -> StoreCorrupt:
    return StoreCorrupt(
        f"the row {key.hex()} of the table actors is damaged: {error}; run `understudy check`"
    )
