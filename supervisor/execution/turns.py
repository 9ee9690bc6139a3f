"""Turns: class actors take turns on workers, and have what a turn did committed.

A turn is an attempt at the actor's task. What it did comes as one report, before the report of its end, and both go to
disk in one commit. An answer leaves after it. A turn without such a report has not happened: its letters are still in
the box, and the state on disk is that of before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ...actors.attempt.host import Ending
from ...actors.errors import (
    TaskNotFound,
    UnderstudyError,
)
from ...actors.ids import id_text
from ...actors.refs.letter import KEPT, Kind, flags_of, id_of_letter, kind_of
from ...actors.refs.port import PostKind
from ...actors.state import Event
from ...storage.tables.actor_rows import (
    name_key,
    reminder_key,
    reminder_name,
    reminders_of,
    state_key,
    storage_key,
    storage_range,
    storage_text,
)
from ...storage.tables.record import Record
from ...storage.tables.schema import VOLATILE_SORTS, Lane, Table, live_id, live_key
from ..rules.report_checks import check_aside, check_read, check_turn, event_fields
from ..rules.verdict import ErrorRow
from ..settings import MIB
from ..tasks.attempt import Seat
from ..tasks.letter_box import LetterBox
from ..tasks.live_actor import TURN_MESSAGES, LiveActor
from ..wire.checks import checked_id
from .room_waits import NoRoom
from .turn_failures import TurnFailures

log = logging.getLogger("understudy")

#: What a turn is to do; see `Assignment.turn`.
WORK: Final = 0
PASSIVATE: Final = 1
#: The value of a REST whose object is gone from the worker.
PASSIVE: Final = b"passive"
#: Bytes of letters from which on a turn is given no more of them.
TURN_BYTES: Final = 8 * MIB


class Turns(TurnFailures):
    """The turns of all live actors."""

    def start(self, record: Record, args: bytes | None) -> LiveActor:
        """Take in a new actor, and have it built."""
        declared = self._table.declared
        options, lane = declared.options_of(record)
        rules = declared.rules_of(record.name)
        if not rules.durable:
            record.volatile = True
        box = LetterBox(self._store, record.id, durable=rules.durable)
        actor = LiveActor(record, options, lane, rules, box)
        actor.args = args
        if args is not None:
            self._commits.put(Table.ARGS, record.id, args)
        if record.actor:
            self._commits.put(Table.ACTORS, name_key(record.name, record.actor), record.id)
        self._table.take_in_actor(actor)
        self._ready(actor)
        return actor

    def prepare(self, actors: Sequence[LiveActor], seat: Seat) -> None:
        """Their turns are about to be handed to this worker."""
        keys = [state_key(actor.id) for actor in actors if actor.seat is not seat and actor.durable]
        states = self._store.get_many(Table.ACTORS, keys) if keys else {}
        for actor in actors:
            resident = actor.seat is seat
            state = None
            if not resident:
                self._put_away(actor)
                actor.generation += 1
                state = states.get(state_key(actor.id)) if actor.durable else None
            what = PASSIVATE if actor.passivate and not actor.box.count else WORK
            letters = _some(actor.box.head(actor.most))
            tries = actor.record.letter_tries
            actor.turn = actor.generation, resident, state, letters, what, tries, actor.box.first
            actor.suspect = actor.box.first if len(letters) == 1 else 0
            actor.refused = None
            actor.stopping = []
            self.waits.rooms.end(actor.id)
            self._residency.at_work(actor, seat)

    def took_back(self, actor: LiveActor) -> None:
        """Its turn had not begun: as if it had not been handed out."""
        assert actor.turn is not None
        if not actor.turn[1]:
            # Its object was not built there.
            self._residency.leave(actor)
        if actor.record.cancel:
            self._end(actor, Event.CANCEL)
            return
        actor.take_back()
        self._table.queues.push(actor)
        self._turn()

    def commit(
        self,
        seat: Any,
        id: bytes,
        acked: Any,
        state: Any,
        rows: Any,
        posts: Any,
        reminders: Any,
        replies: Any,
        dead: Any,
        seen: Any,
    ) -> None:
        """What a turn has done: all of it goes into one commit."""
        check_turn(acked, state, rows, posts, reminders, replies, dead, seen, self._settings.value_limit)
        actor = seat.tasks.get(id)
        if not isinstance(actor, LiveActor):
            return
        done = partial(self._commit, actor, acked, state, rows, posts, reminders, replies, dead, seen)
        if actor.stopping or actor.box.has_stop(acked):
            # That it has stopped must not be on disk before its end is. If no end comes, the turn has not happened.
            actor.stopping.append(done)
        else:
            done()

    def _commit(
        self,
        actor: LiveActor,
        acked: int,
        state: bytes | None,
        rows: Any,
        posts: Any,
        reminders: Any,
        replies: Any,
        dead: Any,
        seen: Any,
    ) -> None:
        if actor.refused is not None:
            return
        id = actor.id
        # Before anything is changed: keys and names may be invalid, and mailboxes full.
        changes = {storage_key(id, key): value for part in rows for key, value in part}
        for name, *_ in reminders:
            reminder_key(id, name)
        try:
            letters = self.letters.checked(actor, posts)
        except NoRoom as error:
            # The turn counts for nothing.
            log.info("a turn of actor %s waits: %s", actor.label, error)
            actor.refused = error.room
            return
        emitted = self._emit(actor, posts) | self._publish(actor, posts)
        box = actor.box
        stored = box.stored >= box.first
        gone = {id_of_letter(letter): letter for letter in box.acknowledge(acked) if letter}
        if gone:
            self._count_tries(actor, 0)
            self._made_room(actor)
            if actor.steps is not None:
                # A dead letter may be sent again, and then goes on behind its steps.
                self._end_steps(actor, gone.keys() - {id_of_letter(letter) for letter, _ in dead})
        wrote = bool(letters) or emitted
        if actor.durable:
            wrote |= stored or state is not None or bool(changes or reminders or dead)
            if state is not None:
                self._commits.put(Table.ACTORS, state_key(id), state)
            for key, value in changes.items():
                self._store.batch.put(Table.ACTORS, key, value)
            for name, due, every, letter in reminders:
                self.letters.reminders.set(id, name, due, every, letter)
            if reminders:
                self.letters.set_alarm()
            for letter_id, reply, changed in replies:
                if changed:
                    wrote = True
                    self.letters.keep(actor, letter_id, reply, gone.get(letter_id))
        elif any(kind_of(letter) == Kind.STOP for letter in gone.values()):
            wrote = True  # The answer says that it has stopped. The end of its record is in the same commit.
        for letter, fields in dead:
            self.letters.bury(actor, letter, fields)
        for target, letter in letters:
            self.letters.take_in(target, letter)
        if wrote:
            self.letters.write_seen()
            actor.last_batch = self._store.batch.number
        self.letters.forget_answers(seen)
        self.letters.answer_once_written(actor, [(letter_id, reply) for letter_id, reply, _ in replies])

    def _emit(self, actor: LiveActor, posts: Any) -> bool:
        """Emit the events among what a turn sends; whether there are any.

        The method has returned: an event that is refused now is left out.
        """
        found = False
        for part in posts:
            for uid, value, kind in part:
                if kind != PostKind.EVENT:
                    continue
                found, fields = True, event_fields(value)
                try:
                    self._events.emit([(uid, *fields)])
                except UnderstudyError as error:
                    log.warning("an event of actor %s is left out: %s", actor.label, error)
        return found

    def _publish(self, actor: LiveActor, posts: Any) -> bool:
        """Publish the items among what a turn sends; whether there are any."""
        found = False
        for part in posts:
            for stream, body, kind in part:
                if kind == PostKind.ITEM:
                    found = True
                    self._items.publish(actor, stream, (body,))
        return found

    # --- the end of a turn ---

    def done(
        self, actor: LiveActor, how: Ending, value: bytes | None, error: ErrorRow | None, delay: float | None
    ) -> None:
        """A turn is over; it is on no worker any more."""
        stopping, actor.stopping = actor.stopping, []
        if how is Ending.VALUE:
            for commit in stopping:
                commit()
        refused, actor.refused = actor.refused, None
        if actor.record.cancel:
            self._end(actor, Event.CANCEL, error)
        elif refused is not None:
            self._await_room(actor, refused)
        elif how is Ending.REST:
            self._rest(actor, value)
        elif how is Ending.VALUE:
            self._end(actor, Event.COMPLETE, None, value)
        elif how is Ending.RETRY_LATER:
            self._count_tries(actor, actor.record.letter_tries + 1)
            self._pause(actor, delay)
        elif how is Ending.INTERRUPTED:
            self._again(actor)
        elif how in (Ending.ABSENT, Ending.UNDECLARED):
            self._put_away(actor)
            self._again(actor)
        elif actor.durable:
            self._activation_failed(actor, error)
        else:
            self._end(actor, Event.FAIL, error)

    def _rest(self, actor: LiveActor, value: bytes | None) -> None:
        actor.failures = 0
        if actor.record.error is not None:
            # It could not be built, and now it is.
            actor.record.error = None
            self._table.touch(actor)
        if actor.box.first > actor.careful_until and actor.most != TURN_MESSAGES:
            actor.most = TURN_MESSAGES
            self._clear(actor)
        wants_rest = value == PASSIVE
        was_passivated = actor.turn is not None and actor.turn[4] == PASSIVATE
        self._leave_turn(actor)
        if was_passivated:
            actor.passivate = False
            self._residency.leave(actor)
        elif wants_rest:
            actor.passivate = True
        if actor.box.count or actor.passivate:
            self._ready(actor)
        else:
            self._idle(actor)

    # --- what its code asks for meanwhile ---

    def read(
        self, seat: Any, request: Any, id: Any, what: Any, key: Any, after: Any, limit: Any, reverse: Any
    ) -> None:
        """Rows of an actor for its code."""
        check_read(request, what, key, after, limit, reverse)
        actor = seat.tasks.get(id)
        if not isinstance(actor, LiveActor):
            over = TaskNotFound(f"this turn of actor {id_text(checked_id(id))} is over", id_text(id))
            seat.channel.refuse(request, over)
        elif what == "row":
            seat.channel.answer(request, self._store.get(Table.ACTORS, storage_key(id, key)))
        else:
            start, stop = storage_range(id, key) if what == "rows" else reminders_of(id)
            name_of = storage_text if what == "rows" else reminder_name
            if after is not None and what == "rows":
                bound = storage_key(id, after)
                start, stop = (start, min(stop, bound)) if reverse else (max(start, bound + b"\0"), stop)
            found = self._store.look(Table.ACTORS, start, stop, limit=limit, reverse=reverse)
            seat.channel.answer(request, [(name_of(row), value) for row, value in found])

    def answered_aside(self, seat: Any, id: Any, letter_id: Any, reply: Any, posts: Any) -> None:
        """A read-only letter was answered while another method waits. What it sends is in the same commit."""
        check_aside(letter_id, reply, posts, self._settings.value_limit)
        actor = seat.tasks.get(id)
        # What a refused turn has done counts for nothing, and so do the letters of this one.
        if not isinstance(actor, LiveActor) or actor.refused is not None:
            return
        if letter_id not in actor.aside:
            return
        self._answer_aside(actor, letter_id, reply, posts)

    def _answer_aside(self, actor: LiveActor, letter_id: bytes, reply: bytes, posts: Any) -> None:
        self._held.pop(letter_id, None)
        self.waits.rooms.end(letter_id)
        try:
            letters = self.letters.checked(actor, posts)
        except NoRoom as error:
            again = partial(self._answer_held, actor, letter_id, reply, posts)
            self._hold(actor, letter_id, error.room, again)
            return
        self._emit(actor, posts)
        self._publish(actor, posts)
        letter = actor.aside.pop(letter_id) or actor.box.take_back(letter_id)
        assert letter is not None, "a letter that was given aside is here until it is answered"
        sends = any(posts)
        if actor.durable and (sends or flags_of(letter) & KEPT):
            self.letters.keep(actor, letter_id, reply, letter)
            actor.last_batch = self._store.batch.number
        for target, sent in letters:
            self.letters.take_in(target, sent)
        if sends:
            actor.last_batch = self._store.batch.number
        self.letters.answer_once_written(actor, [(letter_id, reply)])

    def _answer_held(self, actor: LiveActor, letter_id: bytes, reply: bytes, posts: Any) -> None:
        """There may be room for what a read-only method sends."""
        with self._table.one(actor):
            self._answer_aside(actor, letter_id, reply, posts)
        self._turn()

    # --- the start of the supervisor ---

    def recover(self) -> None:
        """At boot: find the actors that have letters, and those that have died with their workers."""
        # An earlier release has given them the sort 1.
        for first, stop in ((1, live_key(Lane.IDLE, 2, b"")), (VOLATILE_SORTS, bytes((Lane.IDLE + 1,)))):
            for key, _ in self._commits.scan(Table.LIVE, live_key(Lane.IDLE, first, b""), stop):
                actor = self.letters.receiver(live_id(key))
                if actor is not None:
                    self._end(
                        actor, Event.FAIL, ("WorkerDied", "its state ended with its supervisor", "", {})
                    )


def _some(letters: list[bytes]) -> list[bytes]:
    """The first of these, as many as one turn is given."""
    while len(letters) > 1 and sum(map(len, letters)) > TURN_BYTES:
        letters = letters[: len(letters) // 2]
    return letters
