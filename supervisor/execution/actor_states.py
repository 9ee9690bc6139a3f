"""`ActorStates`: where actors stand between their turns. They are ready, pause, have nothing to do, or have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from ...actors.errors import ActorDeadError
from ...actors.ids import id_text
from ...actors.refs.letter import Kind, id_of_letter, kind_of
from ...actors.state import Event, State
from ...storage.tables.actor_rows import name_key
from ...storage.tables.schema import Table
from ..rules.verdict import ErrorRow
from ..settings import Settings
from ..tasks.attempt import Seat
from ..tasks.commit_loop import CommitLoop
from ..tasks.events import Events
from ..tasks.letter_box import Room
from ..tasks.live_actor import LiveActor
from ..tasks.pool_lanes import ABSENT
from ..tasks.stream_items import StreamItems
from ..tasks.task_table import TaskTable
from .letters import Answer, Letters
from .residency import Residency
from .waits import Waits

#: Seconds before the next turn of an actor whose turn could not do its work: at first, and at most.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 60.0


class ActorStates:
    """Those of all live actors."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        letters: Letters,
        events: Events,
        items: StreamItems,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._store = commits.store
        self._table = table
        #: What is sent to actors.
        self.letters = letters
        self._events = events
        self._items = items
        self._settings = settings
        #: Asks for a turn of the event loop, in which changes are carried out.
        self._turn = turn
        #: The methods that wait, for answers and for room.
        self.waits = Waits(self._is_beside, self._fits)
        #: By read-only letter: its answer, which waits for room for what it sends, to be tried again.
        self._held: dict[bytes, tuple[asyncio.Handle, Callable[[], None]]] = {}
        self._residency = Residency(settings.active_actors, settings.isolated, self._put_to_rest)
        letters.on_ready = self._ready

    def stop(self) -> None:
        """Put no actor to rest any more, and try nothing again."""
        self._residency.stop()
        for timer, _ in self._held.values():
            timer.cancel()

    # --- ready ---

    def _ready(self, actor: LiveActor) -> None:
        """It has something to do: it gets a turn, if it has none and does not pause."""
        if actor.record.state is State.IDLE and actor.timer is None:
            actor.wake()
            self._table.queues.turns[actor.lane].push(actor)
            self._turn()

    def _again(self, actor: LiveActor) -> None:
        """The turn has not happened: it gets another one."""
        self._leave_turn(actor)
        # It may be suspected of the death of its worker now, or cleared.
        actor.options, actor.lane = self._table.declared.options_of(actor.record)
        if actor.lane in ABSENT:
            self._table.on_absent()
        self._ready(actor)

    def _pause(self, actor: LiveActor, seconds: float | None = None) -> None:
        """It gets its next turn after a while."""
        self._leave_turn(actor)
        if seconds is None:
            seconds = min(FIRST_PAUSE * 2.0**actor.failures, LONGEST_PAUSE)
            actor.failures += 1
        actor.timer = self._loop.call_later(seconds, self._go_on, actor)

    def _go_on(self, actor: LiveActor) -> None:
        actor.timer = None
        if actor.record.ended is None and actor.record.state is State.IDLE:
            self._ready(actor)

    def _made_room(self, actor: LiveActor) -> None:
        """There is room in its mailbox: the first one that waits for it tries again."""
        method = self.waits.rooms.first(actor.id)
        if method is None:
            return
        if method in self._held:
            timer, again = self._held[method]
            timer.cancel()
            self._held[method] = self._loop.call_soon(again), again
        sender = self._table.tasks.get(method)
        if isinstance(sender, LiveActor) and sender.timer is not None:
            sender.timer.cancel()
            self._go_on(sender)

    def _fits(self, room: Room) -> bool:
        """Whether there is room. Who waits for a task's mailbox waits for no actor."""
        actor = self._table.tasks.get(room.mailbox)
        return not isinstance(actor, LiveActor) or self.letters.fits(actor, room.letters, room.size)

    def _is_beside(self, actor_id: bytes, letter_id: bytes) -> bool:
        """Whether a method of this actor answers this letter beside another method."""
        actor = self._table.tasks.get(actor_id)
        return isinstance(actor, LiveActor) and letter_id in actor.aside

    def labels(self, ids: Iterable[bytes]) -> list[str]:
        """The names of actors, for people."""
        return [each.label for id in ids if isinstance(each := self._table.tasks.get(id), LiveActor)]

    # --- at rest ---

    def _leave_turn(self, actor: LiveActor) -> None:
        """Its turn is over. What its method was given aside and has not answered waits for the next one."""
        if actor.rest():
            self._table.touch(actor)
        if actor.aside:
            self._drop_held(actor)
            self.letters.put_back(actor, [letter for letter in actor.aside.values() if letter])
            actor.aside = {}

    def _drop_held(self, actor: LiveActor) -> None:
        """No read-only answer of its turn waits for room any more."""
        for letter_id in actor.aside:
            if (held := self._held.pop(letter_id, None)) is not None:
                held[0].cancel()
            self.waits.rooms.end(letter_id)

    def _idle(self, actor: LiveActor) -> None:
        """It has nothing to do. It may be let go of."""
        if actor.seat is not None and actor.seat.alone and not actor.options.alone:
            # It was alone because a worker had died under it. That is over, and so is its process.
            self._put_away(actor)
        if actor.seat is not None:
            self._residency.at_rest(actor)
        else:
            self._table.writes.loaded(actor)

    def _put_away(self, actor: LiveActor) -> None:
        """The object that its worker has must not be used again."""
        seat = actor.seat
        if seat is not None:
            seat.channel.forget_actors([actor.id])
            self._residency.leave(actor)

    def _put_to_rest(self, actor: LiveActor) -> None:
        """It was idle for long: run what its class does about it, or just let go of the object."""
        if not actor.rules.on_passivate:
            self._put_away(actor)
            self._idle(actor)
            # The worker is told, and ends if it was there for this actor alone.
            self._turn()
            return
        actor.passivate = True
        self._ready(actor)

    def build_anew(self, actor: LiveActor) -> None:
        """Let its next message build the object anew."""
        if actor.seat is None:
            return
        if actor.attempt is None:
            self._put_to_rest(actor)
        else:
            actor.passivate = True

    def residents(self, seat: Seat) -> list[LiveActor]:
        """The actors that this worker has in memory, at rest or at work."""
        return list(seat.residents)

    # --- ended ---

    def cancel(self, actor: LiveActor) -> None:
        """End an actor that is at rest."""
        self._end(actor, Event.CANCEL)

    def _end(
        self, actor: LiveActor, event: Event, error: ErrorRow | None = None, value: bytes | None = None
    ) -> None:
        """It has stopped: those who wait for answers are told, its name is free."""
        id, record = actor.id, actor.record
        self._table.queues.turns[actor.lane].discard(actor)
        self._put_away(actor)
        box = actor.box
        dead = ActorDeadError(f"actor {actor.label} has stopped", id_text(id))
        told = [letter for letter in (*box.acknowledge(box.last), *actor.aside.values()) if letter]
        answers: list[tuple[bytes, Answer]] = []
        for letter in told:
            if kind_of(letter) in (Kind.ASK, Kind.STOP):
                answers.append((id_of_letter(letter), dead))
            elif kind_of(letter) == Kind.TELL and actor.durable:
                self.letters.bury_at(id, letter, ("ActorDeadError", "it had stopped", "", []))
        if record.actor:
            for name in self._table.declared.all_names(record.name):
                key = name_key(name, record.actor)
                if self._store.get(Table.ACTORS, key) == id:
                    self._commits.delete(Table.ACTORS, key)
        self.letters.reminders.clear(id)
        self._drop_held(actor)
        self.waits.rooms.end(id)
        self._made_room(actor)
        self._table.end(actor, event, error=error, value=value)
        actor.last_batch = self._store.batch.number
        self.letters.answer_once_written(actor, answers)

    def seat_died(self, seat: Seat) -> None:
        """A worker is dead: the actors that were at rest there are passive now, or dead as well."""
        for actor in list(seat.residents):
            self._residency.leave(actor)
            if not actor.durable:
                self._end(
                    actor, Event.FAIL, ("WorkerDied", "its worker has ended, and its state with it", "", {})
                )
            elif actor.record.state is State.IDLE and actor.timer is None:
                self._idle(actor)
