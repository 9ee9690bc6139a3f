"""The check of the rows of class actors: what they hold, and whether they agree with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from .check_steps import StepCheck
from .check_ties import TieCheck
from .check_trees import TreeCheck
from .check_unique import UniqueCheck
from .shared_view import Snapshot
from .tables import actor_rows
from .tables.actor_rows import owner_of
from .tables.limit_rows import LIMIT, check_row
from .tables.link_rows import LINK
from .tables.map_rows import KEPT, MAP
from .tables.monitor_rows import MONITOR
from .tables.record import Record
from .tables.schema import EXPIRY_KEY_BYTES, ID_BYTES, Table
from .tables.task_step_rows import STEP
from .tables.tree_rows import NODE
from .tables.unique_rows import UNIQUE

Records = Callable[[bytes], Record | None]
"""Looks up a task: None if it is missing or unreadable."""

#: What reads a row, by the byte behind the id. Each raises ValueError for a damaged row.
_OWN_PARTS: Final[dict[bytes, Callable[[bytes, bytes], object]]] = {
    actor_rows.STATE: lambda key, row: None,
    actor_rows.STORAGE: lambda key, row: actor_rows.storage_text(key),
    actor_rows.REMINDER: lambda key, row: (actor_rows.reminder_name(key), actor_rows.unpack_reminder(row)),
    actor_rows.DEAD: lambda key, row: actor_rows.unpack_dead(row),
}


class ActorCheck:
    """Checks one row after the other, in the order of their keys."""

    def __init__(self, snapshot: Snapshot, record: Records, exists: Callable[[bytes], bool]) -> None:
        self._snapshot = snapshot
        self._record = record
        self._exists = exists
        self._trees = TreeCheck(snapshot, record)
        self._unique = UniqueCheck(snapshot, record)
        self._ties = TieCheck(snapshot, record)
        self._steps = StepCheck(snapshot, record)

    def end(self) -> Iterable[str]:
        """What is known behind the last row only."""
        return self._steps.end()

    def problems(self, key: bytes, row: bytes) -> Iterable[str]:
        """What is wrong with this row, one line for each problem."""
        try:
            yield from self._problems(key, row)
        except ValueError as error:
            yield f"row {key.hex()} of actors is damaged: {error}"

    def _problems(self, key: bytes, row: bytes) -> Iterable[str]:
        kind = key[:1]
        if (owner := owner_of(key)) is not None:
            yield from self._belonging(key, row, owner)
        elif kind == actor_rows.NAME:
            yield from self._name(key, row)
        elif kind == actor_rows.REPLY:
            yield from self._reply(key, row)
        elif kind == actor_rows.DUE:
            yield from self._due(key)
        elif kind == NODE:
            yield from self._trees.problems(key, row)
        elif kind == LIMIT:
            check_row(key, row)
        elif kind == UNIQUE:
            yield from self._unique.problems(key, row)
        elif kind == LINK:
            yield from self._ties.link(key)
        elif kind == MONITOR:
            yield from self._ties.monitor(key)
        elif kind == MAP:
            yield from self._ties.map(key, row)
        elif kind == KEPT:
            yield from self._ties.kept(key, row)
        elif kind != actor_rows.REPLY_EXPIRY or len(key) != 1 + EXPIRY_KEY_BYTES:
            yield f"row {key.hex()} of actors is malformed"

    def _belonging(self, key: bytes, row: bytes, owner: bytes) -> Iterable[str]:
        if not self._exists(owner):
            yield f"row {key.hex()} of actors has no task"
        elif key[1 + ID_BYTES : 2 + ID_BYTES] == STEP and key[:1] == actor_rows.OWN:
            yield from self._steps.problems(key, row, owner)
            return
        elif (record := self._record(owner)) is not None and record.actor is None:
            yield f"row {key.hex()} of actors belongs to task {owner.hex()}, which is no actor"
        if key[:1] == actor_rows.LETTER:
            if len(key) != actor_rows.LETTER_KEY_BYTES:
                yield f"row {key.hex()} of actors is malformed"
            return
        part = key[1 + ID_BYTES : 2 + ID_BYTES]
        if part not in _OWN_PARTS:
            yield f"row {key.hex()} of actors is malformed"
            return
        _OWN_PARTS[part](key, row)
        if part == actor_rows.REMINDER:
            due = actor_rows.due_key(
                actor_rows.unpack_reminder(row).due, owner, actor_rows.reminder_name(key)
            )
            if self._snapshot.get(Table.ACTORS, due) is None:
                yield f"reminder {key.hex()} of actors has no row by its time, so it would never come"

    def _name(self, key: bytes, id: bytes) -> Iterable[str]:
        class_name, name = actor_rows.name_parts(key)
        record = self._record(id)
        if not self._exists(id):
            yield f"the name {class_name}/{name} leads to task {id.hex()}, which does not exist"
        elif record is not None and record.terminal:
            yield f"the name {class_name}/{name} leads to task {id.hex()}, which is {record.state}"
        elif record is not None and (record.name, record.actor) != (class_name, name):
            yield (
                f"the name {class_name}/{name} leads to task {id.hex()}, which is "
                f"{record.name}/{record.actor}"
            )

    def _reply(self, key: bytes, row: bytes) -> Iterable[str]:
        letter = key[1:]
        expires = actor_rows.unpack_reply(row).expires
        if len(letter) != ID_BYTES:
            yield f"row {key.hex()} of actors is malformed"
        elif letter.startswith(actor_rows.KEPT):
            index = actor_rows.reply_expiry_key(expires, letter)
            if self._snapshot.get(Table.ACTORS, index) is None:
                yield f"reply {key.hex()} of actors has no row by its time, so it would be kept for ever"

    def _due(self, key: bytes) -> Iterable[str]:
        _, id, name = actor_rows.reminder_of_due_key(key)
        row = self._snapshot.get(Table.ACTORS, actor_rows.reminder_key(id, name))
        if row is None:
            yield f"row {key.hex()} of actors leads to the reminder {name!r} of {id.hex()}, which does not exist"
        elif actor_rows.due_key(actor_rows.unpack_reminder(row).due, id, name) != key:
            yield f"row {key.hex()} of actors does not have the time of the reminder {name!r} of {id.hex()}"
