"""`ActorRows`: what an actor keeps on disk beside its state, as its methods see it in a turn: storage and reminders.

Reads are answered by the supervisor, from the disk and what is on its way there. What this turn has not sent yet lies
over that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgpack

from .. import values
from ..errors import InvalidOption
from ..ids import new_id
from ..refs.letter import Kind, Letter, Op
from ..refs.reminder import Reminder
from ..refs.storage import Rows
from .effects import ReminderRow

if TYPE_CHECKING:
    from .transactions import Transactions

#: Reminders that an actor may have.
REMINDERS_LIMIT: Final = 1_000
#: The last time at which a reminder can come, in seconds since the epoch: the end of the year 9999.
LATEST: Final = 253_402_300_799.0

_GONE: Final[ReminderRow] = (None, None, None)


class ActorRows:
    """Those of the actor of one turn. Implements `StorageRows`."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Transactions) -> None:
        self._turn = turn

    # --- storage ---

    @property
    def value_limit(self) -> int:
        """See `StorageRows`."""
        return self._turn.value_limit

    def unwritten(self) -> Sequence[dict[str, bytes | None]]:
        """See `StorageRows`."""
        return self._turn.effects.rows, self._turn.settled.rows

    def write(self, key: str, value: bytes | None) -> None:
        """See `StorageRows`."""
        effects = self._turn.effects
        self._turn.grow(effects, len(key) + len(value or b""))
        effects.rows[key] = value

    def read_row(self, key: str) -> bytes | None:
        """See `StorageRows`."""
        turn = self._turn
        row: bytes | None = turn.answer(turn.host.read(turn, "row", key, None, 1, reverse=False))
        return row

    def read_rows(self, prefix: str, after: str | None, limit: int, *, reverse: bool) -> Rows:
        """See `StorageRows`."""
        turn = self._turn
        rows: Rows = turn.answer(turn.host.read(turn, "rows", prefix, after, limit, reverse=reverse))
        return rows

    # --- reminders ---

    def remind(
        self,
        name: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        delay: float | None,
        at: float | None,
        every: float | None,
    ) -> None:
        """Set a reminder. Its letter calls the method."""
        turn = self._turn
        names = self._names()
        if name not in names and len(names) >= REMINDERS_LIMIT:
            raise InvalidOption(
                f"an actor has at most {REMINDERS_LIMIT:,} reminders: forget some, or keep the times in storage and "
                "set a reminder for the first one"
            )
        due = (
            at if at is not None else turn.host.clock.time() + (delay if delay is not None else every or 0.0)
        )
        due, every = min(due, LATEST), None if every is None else min(every, LATEST)
        payload = values.pack([args, kwargs], f"reminder {name!r:.80}", turn.value_limit)
        letter = Letter(
            Kind.REMINDER, 0, new_id(), None, Op.CALL, method, payload, turn.assignment.stream
        ).pack()
        turn.grow(turn.effects, len(letter))
        turn.effects.reminders[name] = due, every, letter
        names.add(name)

    def forget(self, name: str) -> bool:
        """Drop a reminder; whether there was one."""
        turn = self._turn
        if self._reminder_rows().get(name, _GONE) == _GONE:
            return False
        turn.grow(turn.effects, len(name))
        turn.effects.reminders[name] = _GONE
        if turn.resident is not None and turn.resident.reminders is not None:
            turn.resident.reminders.discard(name)
        return True

    def reminders(self) -> dict[str, Reminder]:
        """Those that are set, by name."""
        return {
            name: Reminder.of(due, every, letter)
            for name, (due, every, letter) in sorted(self._reminder_rows().items())
            if due is not None and letter is not None
        }

    def _names(self) -> set[str]:
        """At least the names of those that are set. Some may have come meanwhile, so too many are read anew."""
        resident = self._turn.resident
        assert resident is not None
        if resident.reminders is None or len(resident.reminders) >= REMINDERS_LIMIT:
            resident.reminders = {name for name, row in self._reminder_rows().items() if row != _GONE}
        return resident.reminders

    def _reminder_rows(self) -> dict[str, ReminderRow]:
        """All reminders, and those that are to go."""
        turn = self._turn
        found = turn.answer(turn.host.read(turn, "reminders", "", None, REMINDERS_LIMIT, reverse=False))
        rows: dict[str, ReminderRow] = {name: tuple(msgpack.unpackb(row)) for name, row in found}
        rows.update(turn.settled.reminders)
        rows.update(turn.effects.reminders)
        return rows
