"""A class actor that has not stopped, as the supervisor holds it in memory.

It is a task that may rest: each turn of it is an attempt. Between turns it is `idle` and has no place in a queue. A
passive actor is not in memory at all.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from ...actors.ids import id_text
from ...actors.state import Event, State, after
from ...actors.task.options import Options
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane, actor_sort, live_key
from ..rules.verdict import ErrorRow
from .catalog import ActorRules, Place
from .letter_box import LetterBox, Room
from .live_task import LiveTask
from .pool_lanes import AnyLane

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable

    from .attempt import Seat

#: Messages of one turn.
TURN_MESSAGES: Final = 64
#: Where an assignment has its turn.
_TURN: Final = 11


@functools.lru_cache(4096)
def _places(class_name: str, volatile: bool) -> tuple[Place, Place]:
    """The places of actors of a class at rest and in a turn."""
    sort = actor_sort(class_name, volatile=volatile)
    return (int(Lane.IDLE), sort), (int(Lane.RUNNING), sort)


class LiveActor(LiveTask):
    """One actor. Its record, and if it is durable its state and letters, are on disk."""

    __slots__ = (
        "aside",
        "box",
        "careful_until",
        "failures",
        "generation",
        "last_batch",
        "most",
        "passivate",
        "refused",
        "rested",
        "resting",
        "rules",
        "seat",
        "stopping",
        "suspect",
        "timer",
        "turn",
    )

    rests = True

    def __init__(
        self, record: Record, options: Options, lane: AnyLane, rules: ActorRules, box: LetterBox
    ) -> None:
        super().__init__(record, options, lane, stored=True)
        self.rules = rules
        self.box = box
        #: The worker that has its object in memory, and the number of this activation.
        self.seat: Seat | None = None
        self.generation = 0
        #: Kept by `Residency`: the event loop's time at which it came to rest, and those that rest there with it.
        self.rested = 0.0
        self.resting: OrderedDict[LiveActor, None] | None = None
        #: What the next turn is told: the last field of its assignment.
        self.turn: tuple[Any, ...] | None = None
        #: The letter to blame if the turn under way takes too long or kills its worker, once that is known; else 0.
        self.suspect = 0
        #: The most messages of the next turn.
        self.most = TURN_MESSAGES
        #: Up to this letter each has a turn of its own: a turn with several did not come to its end.
        self.careful_until = 0
        #: Whether its next turn is to put it to rest, and its object away.
        self.passivate = False
        #: The room that was missing for the letters of the turn under way. The turn then counts for nothing.
        self.refused: Room | None = None
        #: What the turn under way has done from the message on that stops it. It is committed with the end of the turn.
        self.stopping: list[Callable[[], None]] = []
        #: The read-only letters that were given to its waiting method in this turn, by id; None for those that stand in
        #: its mailbox as well.
        self.aside: dict[bytes, bytes | None] = {}
        #: Turns in a row that could not do their work.
        self.failures = 0
        #: Wakes it after such a turn.
        self.timer: asyncio.TimerHandle | None = None
        #: Number of the batch that has its last rows. The batch itself would stay in memory with all its rows.
        self.last_batch = 0

    @property
    def label(self) -> str:
        """Class and name, or class and id, for people."""
        record = self.record
        return f"{record.name}/{record.actor}" if record.actor else f"{record.name} {id_text(record.id)}"

    @property
    def durable(self) -> bool:
        """Whether its state and letters are on disk."""
        return not self.record.volatile

    @property
    def is_bound(self) -> bool:
        """Whether its next turn can only be where its object is: no other worker has its state, or can put it away."""
        return not self.durable or (self.passivate and not self.box.count)

    @property
    def is_passive(self) -> bool:
        """Whether it has nothing to do, and no worker has it in memory."""
        return (
            self.record.state is State.IDLE
            and self.seat is None
            and self.timer is None
            and not self.box.count
            and not self.passivate
        )

    def place(self) -> Place:
        return _places(self.record.name, self.record.volatile)[0]

    def assignment(self) -> tuple[Any, ...]:
        told = super().assignment()
        return (*told[:_TURN], self.turn, *told[_TURN + 1 :])

    def row(self) -> tuple[bytes, bytes | None]:
        """The record as on disk: it runs or it rests. Short turns are not written."""
        record = self.record
        if record.ended is not None or (self.attempt is not None and self.attempt.shown):
            return record.pack(), self.key
        kept = record.state, record.started, record.pid, record.place
        record.state, record.place = State.IDLE, self.place()
        record.pid = None
        row = record.pack()
        key = live_key(*record.place, self.id)
        if key == self.key:
            key = self.key
        record.state, record.started, record.pid, record.place = kept
        return row, key

    # --- transitions ---

    def begin(self, pid: int, now: float) -> None:
        super().begin(pid, now)
        record = self.record
        record.place = place = _places(record.name, record.volatile)[1]
        self.key = live_key(*place, self.id)

    def wake(self) -> None:
        """It has something to do."""
        self.record.state = after(self.record.state, Event.WAKE)

    def rest(self) -> bool:
        """Its turn is over. Whether the disk says that it runs."""
        record = self.record
        record.state = after(record.state, Event.REST)
        record.pid = None
        shown = self.attempt is not None and self.attempt.shown
        self._back_at_rest()
        # After the death of a supervisor it has no attempt, and yet the disk says so.
        return shown or self.key != self.stored_key

    def take_back(self) -> None:
        super().take_back()
        self._back_at_rest()

    def _back_at_rest(self) -> None:
        self._leave_worker()
        self.turn = None
        self.stand()

    def end(self, event: Event, error: ErrorRow | None, value: bytes | None, now: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        super().end(event, error, value, now)
