"""Turns: class actors take turns on workers, and have what a turn did committed.

A turn is an attempt at the actor's task. What it did comes as one report, before the report of its end, and both go to
disk in one commit. An answer leaves after it. A turn without such a report has not happened: its letters are still in
the box, and the state on disk is that of before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ...actors.attempt.host import Ending
from ...actors.errors import (
    ActivationFailed,
    ActorDeadError,
    ErrorInfo,
    MailboxFull,
    Poisoned,
    TaskNotFound,
    UnderstudyError,
)
from ...actors.ids import id_bytes, id_text
from ...actors.refs.letter import KEPT, Kind, flags_of, id_of_letter, kind_of
from ...actors.refs.port import PostKind
from ...actors.refs.remote_error import pack_error
from ...actors.state import Event, State
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
from ..settings import Settings
from ..tasks.attempt import Seat
from ..tasks.commit_loop import CommitLoop
from ..tasks.events import Events
from ..tasks.letter_box import LetterBox
from ..tasks.live_actor import TURN_MESSAGES, LiveActor
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from .letters import Answer, ErrorFields, Letters
from .residency import Residency
from .room_waits import RoomWaits

log = logging.getLogger("understudy")

#: What a turn is to do; see `Assignment.turn`.
WORK: Final = 0
PASSIVATE: Final = 1
#: The value of a REST whose object is gone from the worker.
PASSIVE: Final = b"passive"

#: Stands for the id of a letter where deaths are counted: the object was being built.
ACTIVATION: Final = b""

#: Seconds before the next turn of an actor whose turn could not do its work: at first, and at most.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 60.0


class Turns:
    """The turns of all live actors."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        letters: Letters,
        events: Events,
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
        self._settings = settings
        #: Asks for a turn of the event loop, in which changes are carried out.
        self._turn = turn
        self._room_waits = RoomWaits()
        self._residency = Residency(settings.active_actors, self._put_to_rest)
        letters.on_ready = self._ready

    def stop(self) -> None:
        """Put no actor to rest any more."""
        self._residency.stop()

    # --- turns ---

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

    def _ready(self, actor: LiveActor) -> None:
        """It has something to do: it gets a turn, if it has none and does not pause."""
        if actor.record.state is State.IDLE and actor.timer is None:
            actor.wake()
            self._table.queues.turns[actor.lane].push(actor)
            self._turn()

    def prepare(self, actor: LiveActor, seat: Seat) -> None:
        """Its turn is about to be handed to this worker."""
        resident = actor.seat is seat
        if not resident:
            self._put_away(actor)
            actor.generation += 1
        state = None
        if not resident and actor.durable:
            state = self._store.get(Table.ACTORS, state_key(actor.id))
        what = PASSIVATE if actor.passivate and not actor.box.count else WORK
        letters = min(actor.most, actor.box.count)
        actor.turn = (actor.generation, resident, state, letters, what, actor.record.letter_tries)
        actor.suspect = actor.box.first if letters == 1 else 0
        actor.refused = None
        actor.stopping = []
        self._room_waits.end(actor.id)
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

    def give(self, actor: LiveActor) -> None:
        """Give the letters of a turn that was just handed out."""
        assert actor.attempt is not None
        assert actor.turn is not None
        letters = actor.box.head(actor.turn[3])
        if letters:
            actor.attempt.seat.channel.give(actor.id, actor.box.first, letters)

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
        letters = self._checked(actor, posts)
        if letters is None:
            return
        emitted = self._emit(actor, posts)
        box = actor.box
        stored = box.stored >= box.first
        gone = {id_of_letter(letter): letter for letter in box.acknowledge(acked) if letter}
        if gone:
            self._count_tries(actor, 0)
            self._made_room(actor)
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

    def _checked(self, actor: LiveActor, posts: Any) -> list[tuple[LiveActor, bytes]] | None:
        """The letters that a turn sends. None if a mailbox is full: then the turn counts for nothing."""
        try:
            return self.letters.checked(actor, posts)
        except MailboxFull as error:
            log.info("a turn of actor %s waits: %s", actor.label, error)
            actor.refused = id_bytes(error.id)
            return None

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

    def _leave_turn(self, actor: LiveActor) -> None:
        """Its turn is over. What its method was given aside and has not answered waits for the next one."""
        if actor.rest():
            self._table.touch(actor)
        if actor.aside:
            self.letters.put_back(actor, [letter for letter in actor.aside.values() if letter])
            actor.aside = {}

    def _idle(self, actor: LiveActor) -> None:
        """It has nothing to do. It may be let go of."""
        if actor.seat is not None:
            self._residency.at_rest(actor)
        else:
            self._table.writes.loaded(actor)

    def _again(self, actor: LiveActor) -> None:
        """The turn has not happened: it gets another one."""
        self._leave_turn(actor)
        # It may be suspected of the death of its worker now, or cleared.
        actor.options, actor.lane = self._table.declared.options_of(actor.record)
        if actor.lane is Lane.CODE:
            self._table.on_absent()
        self._ready(actor)

    def _careful(self, actor: LiveActor) -> None:
        """Give each of the letters of this turn a turn of its own, so that one does not stop the others."""
        given = actor.most if actor.turn is None else actor.turn[3]
        actor.careful_until = max(actor.careful_until, actor.box.first + given - 1)
        actor.most = 1

    def _pause(self, actor: LiveActor, seconds: float | None = None) -> None:
        """It gets its next turn after a while."""
        self._leave_turn(actor)
        if seconds is None:
            seconds = min(FIRST_PAUSE * 2.0**actor.failures, LONGEST_PAUSE)
            actor.failures += 1
        actor.timer = self._loop.call_later(seconds, self._go_on, actor)

    def _await_room(self, actor: LiveActor, mailbox: bytes) -> None:
        """Its letters did not fit into a mailbox: it tries again when there may be room.

        If that actor waits in the same way for this one, neither would go on. Then the message has failed.
        """
        self._put_away(actor)
        is_known = actor.turn is not None and actor.turn[3] == 1
        self._careful(actor)
        circle = self._room_waits.begin(actor.id, mailbox) if is_known else []
        if not circle:
            self._pause(actor)
            return
        names = [each.label for id in circle if (each := self.letters.receiver(id)) is not None]
        full = MailboxFull(
            "the mailboxes of these actors are full, and the first message of each sends to the next one: "
            f"{' -> '.join([*names, actor.label])}. Raise mailbox_messages / mailbox_bytes, or send less",
            id_text(mailbox),
        )
        self._fail_head(actor, ("MailboxFull", str(full), "", []), full)
        self._again(actor)

    def _made_room(self, actor: LiveActor) -> None:
        """There is room in its mailbox: the first one that waits for it tries again."""
        waits = self._room_waits.made_room(actor.id)
        sender = None if waits is None else self._table.tasks.get(waits)
        if isinstance(sender, LiveActor) and sender.timer is not None:
            sender.timer.cancel()
            self._go_on(sender)

    def _count_tries(self, actor: LiveActor, tries: int) -> None:
        """How often the first letter of its box was tried."""
        if actor.record.letter_tries != tries:
            actor.record.letter_tries = tries
            self._table.touch(actor)

    def _go_on(self, actor: LiveActor) -> None:
        actor.timer = None
        if actor.record.ended is None and actor.record.state is State.IDLE:
            self._ready(actor)

    def _activation_failed(self, actor: LiveActor, error: ErrorRow | None) -> None:
        """It could not be built: what was asked is answered with that, what was told waits for the next try."""
        kind, message = (error[0], error[1]) if error is not None else ("", "")
        actor.record.error = error
        self._table.touch(actor)
        self._put_away(actor)
        info = None if error is None else ErrorInfo(*error)
        failed = ActivationFailed(
            f"actor {actor.label} cannot be built: {kind}: {message}", id_text(actor.id), info
        )
        self._refuse_asks(actor, failed)
        self._pause(actor)

    def _refuse_asks(self, actor: LiveActor, error: UnderstudyError) -> None:
        box = actor.box
        refused = box.take_back_asks()
        if refused:
            self._made_room(actor)
            actor.last_batch = self._store.batch.number
            self.letters.answer_once_written(actor, [(id_of_letter(letter), error) for letter in refused])

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
            return
        actor.passivate = True
        self._ready(actor)

    # --- ends ---

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
            elif kind_of(letter) is Kind.TELL and actor.durable:
                self.letters.bury_at(id, letter, ("ActorDeadError", "it had stopped", "", []))
        if record.actor:
            for name in self._table.declared.all_names(record.name):
                key = name_key(name, record.actor)
                if self._store.get(Table.ACTORS, key) == id:
                    self._commits.delete(Table.ACTORS, key)
        self.letters.reminders.clear(id)
        self._room_waits.end(id)
        self._made_room(actor)
        self._table.end(actor, event, error=error, value=value)
        actor.last_batch = self._store.batch.number
        self.letters.answer_once_written(actor, answers)

    def interrupted(self, actor: LiveActor, *, timed_out: bool, error: ErrorRow | None = None) -> None:
        """It has lost its worker in the middle of a turn. `error`: why, if nothing is known of other tasks' guilt."""
        if actor.record.cancel:
            self._end(actor, Event.CANCEL)
        elif not actor.durable:
            self._end(
                actor, Event.FAIL, error or ("WorkerDied", "its worker died, and its state with it", "", {})
            )
        else:
            self._residency.leave(actor)
            limit = actor.options.timeout or 0.0
            if timed_out and _was_building(actor):
                late = f"its activation took longer than {limit:g} s"
                self._activation_failed(actor, ("TimeoutError", late, "", {}))
                return
            if timed_out and _knows_culprit(actor):
                self._fail_head(actor, ("TimeoutError", f"its method took longer than {limit:g} s", "", []))
            else:
                self._careful(actor)
            self._again(actor)

    def crashed(self, actor: LiveActor, error: ErrorRow, crashes: int) -> None:
        """Its turn is to blame for the death of its worker, or for too much memory."""
        if actor.record.cancel or not actor.durable:
            self.interrupted(actor, timed_out=False, error=error)
            return
        self._residency.leave(actor)
        if _was_building(actor):
            if not crashes or crashes >= self._settings.max_crashes:
                self._activation_failed(actor, error)
                return
            # It may have died of something else: what was asked is not refused for that.
        elif _knows_culprit(actor):
            if not crashes:
                # It was killed for what it has done itself: that would be so each time.
                self._fail_head(actor, error)
            elif crashes >= self._settings.max_crashes:
                self._poisoned(actor, error, crashes)
        self._careful(actor)
        self._again(actor)

    def suspects(self, actor: LiveActor) -> bool:
        """Whether one letter, or its activation, can be blamed for the death of its worker. Only such deaths count."""
        record = actor.record
        id: bytes | None
        if _was_building(actor):
            id = ACTIVATION
        elif _knows_culprit(actor):
            letters = actor.box.head(1)
            id = id_of_letter(letters[0]) if letters and letters[0] else None
        else:
            return False
        if record.deaths_under != id:
            record.deaths_under, record.crashes, record.deaths = id, 0, None
        self._table.touch(actor)
        return True

    def _poisoned(self, actor: LiveActor, error: ErrorRow, crashes: int) -> None:
        message = f"{crashes} workers died under this message; the last time: {error[1]}"
        poisoned = Poisoned(message, id_text(actor.id))
        self._fail_head(actor, ("Poisoned", message, "", []), poisoned, bury_asks=True)
        self._clear(actor)

    def _clear(self, actor: LiveActor) -> None:
        """No message of it is suspected of anything."""
        record = actor.record
        if record.crashes or record.alone:
            record.deaths_under, record.crashes, record.deaths, record.alone = None, 0, None, False
            actor.options, actor.lane = self._table.declared.options_of(record)
            self._table.touch(actor)

    def _fail_head(
        self,
        actor: LiveActor,
        error: ErrorFields,
        answer: UnderstudyError | None = None,
        *,
        bury_asks: bool = False,
    ) -> None:
        """The first message has failed for good."""
        box = actor.box
        self._count_tries(actor, 0)
        self._made_room(actor)
        for letter in box.acknowledge(box.first):
            if not letter:
                continue
            if bury_asks or kind_of(letter) not in (Kind.ASK, Kind.STOP):
                self.letters.bury(actor, letter, error)
            actor.last_batch = self._store.batch.number
            if kind_of(letter) in (Kind.ASK, Kind.STOP):
                failed: Answer = answer or pack_error(error)
                if isinstance(failed, bytes):
                    self.letters.keep(actor, id_of_letter(letter), failed, letter)
                self.letters.answer_once_written(actor, [(id_of_letter(letter), failed)])

    def seat_died(self, seat: Seat) -> None:
        """A worker is dead: the actors that were at rest there are passive now, or dead as well."""
        for actor in self._residency.of(seat):
            self._residency.leave(actor)
            if not actor.durable:
                self._end(
                    actor, Event.FAIL, ("WorkerDied", "its worker has ended, and its state with it", "", {})
                )
            elif actor.record.state is State.IDLE and actor.timer is None:
                self._idle(actor)

    # --- reading ---

    def residents(self, seat: Seat) -> list[LiveActor]:
        """The actors that this worker has in memory, at rest or at work."""
        return self._residency.of(seat)

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
        letters = self._checked(actor, posts)
        if letters is None:
            return
        self._emit(actor, posts)
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


def _was_building(actor: LiveActor) -> bool:
    """Whether its object was being built when its worker died."""
    return actor.attempt is not None and actor.attempt.building


def _knows_culprit(actor: LiveActor) -> bool:
    """Whether the first letter in the box is the one that was handled last in the turn under way."""
    return actor.suspect == actor.box.first
