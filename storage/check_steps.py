"""The check of the rows of steps: whether they are sound, and as many as the records say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..actors.errors import InvalidValue
from ..actors.refs.letter import id_of_letter
from ..actors.step_label import unpack_label
from .shared_view import Snapshot
from .tables.actor_rows import dead_range, letters_of, unpack_dead
from .tables.record import Record
from .tables.schema import ID_BYTES, Table
from .tables.task_step_rows import label_in, steps_of, unpack_step

Records = Callable[[bytes], Record | None]
"""Looks up a task: None if it is missing or unreadable."""


class StepCheck:
    """Checks one row after the other, in the order of their keys. `end` comes behind the last one."""

    def __init__(self, snapshot: Snapshot, record: Records) -> None:
        self._snapshot = snapshot
        self._record = record
        #: The task whose rows come now, how many came, and the bytes of their values.
        self._owner = b""
        self._count = self._size = 0
        #: Of an actor, the ids of its letters; None until the first one is looked for.
        self._letters: set[bytes] | None = None

    def without_rows(self, record: Record) -> Iterable[str]:
        """What is wrong with a record that says that there are steps."""
        if record.steps is not None and not any(self._snapshot.rows(Table.ACTORS, *steps_of(record.id))):
            yield f"task {record.id.hex()} keeps {record.steps[0]:,} steps, but has no rows of any"

    def problems(self, key: bytes, row: bytes, owner: bytes) -> Iterable[str]:
        """What is wrong with this row. ValueError if it is damaged."""
        if owner != self._owner:
            yield from self.end()
            self._owner, self._letters = owner, None
        self._count += 1
        record = self._record(owner)
        label = label_in(key)
        if record is not None and record.actor is not None:
            letter, label = label[:ID_BYTES], label[ID_BYTES:]
            if not record.terminal and letter not in self._letters_of(owner):
                yield f"step {key.hex()} of actors is for a message that is handled, so nothing would remove it"
        unpack_label(label)
        self._size += len(unpack_step(row).value)

    def end(self) -> Iterable[str]:
        """Whether the rows of the last task are as many as its record says."""
        record = self._record(self._owner) if self._owner else None
        if record is not None and record.steps != (self._count, self._size):
            count, size = record.steps or (0, 0)
            yield (
                f"task {self._owner.hex()} has {self._count:,} steps of {self._size:,} bytes, but its record says "
                f"{count:,} of {size:,}"
            )
        self._owner = b""
        self._count = self._size = 0

    def _letters_of(self, owner: bytes) -> set[bytes]:
        """The letters of an actor that it may handle still, or again."""
        if self._letters is None:
            letters = [letter for _, letter in self._snapshot.rows(Table.ACTORS, *letters_of(owner))]
            for _, row in self._snapshot.rows(Table.ACTORS, *dead_range(owner)):
                try:
                    letters.append(unpack_dead(row).letter)
                except ValueError:
                    continue  # reported by itself
            self._letters = set()
            for letter in letters:
                try:
                    self._letters.add(id_of_letter(letter))
                except InvalidValue:
                    continue  # the worker says so when it is handled
        return self._letters
