"""`TurnFailures`: turns that have not done their work. Which letter is to blame, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from ...actors.errors import ActivationFailed, ErrorInfo, MailboxFull, Poisoned, UnderstudyError
from ...actors.ids import id_text
from ...actors.refs.letter import Kind, id_of_letter, kind_of
from ...actors.refs.remote_error import pack_error
from ...actors.state import Event
from ..rules.verdict import ErrorRow
from ..tasks.letter_box import Room
from ..tasks.live_actor import LiveActor
from .actor_states import ActorStates
from .letters import Answer, ErrorFields

#: Stands for the id of a letter where deaths are counted: the object was being built.
ACTIVATION: Final = b""
#: Seconds until a read-only answer is tried again for whose letters there was no room, if no room is made before.
HELD_PAUSE: Final = 1.0


class TurnFailures(ActorStates):
    """What follows from them."""

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

    def _end_steps(self, actor: LiveActor, letter_ids: Collection[bytes]) -> None:
        """These letters were handled for good: their steps go with the same commit."""
        if actor.steps is not None and actor.steps.drop(actor.record, letter_ids):
            if actor.record.steps is None:
                actor.steps = None
            self._table.touch(actor)

    # --- the letter to blame ---

    def _careful(self, actor: LiveActor) -> None:
        """Give each of the letters of this turn a turn of its own, so that one does not stop the others."""
        given = actor.most if actor.turn is None else len(actor.turn[3])
        actor.careful_until = max(actor.careful_until, actor.box.first + given - 1)
        actor.most = 1

    def _count_tries(self, actor: LiveActor, tries: int) -> None:
        """How often the first letter of its box was tried."""
        if actor.record.letter_tries != tries:
            actor.record.letter_tries = tries
            self._table.touch(actor)

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
            else:
                self._end_steps(actor, [id_of_letter(letter)])
            actor.last_batch = self._store.batch.number
            if kind_of(letter) in (Kind.ASK, Kind.STOP):
                failed: Answer = answer or pack_error(error)
                if isinstance(failed, bytes):
                    self.letters.keep(actor, id_of_letter(letter), failed, letter)
                self.letters.answer_once_written(actor, [(id_of_letter(letter), failed)])

    # --- a full mailbox ---

    def _await_room(self, actor: LiveActor, room: Room) -> None:
        """Its letters did not fit into a mailbox: it tries again when there may be room.

        If there would never be, because what that actor waits for waits for this one, the message has failed.
        """
        self._put_away(actor)
        is_known = actor.turn is not None and len(actor.turn[3]) == 1
        self._careful(actor)
        full = self._wait_for_room(actor, actor.id, room) if is_known else None
        if full is None:
            self._pause(actor)
            return
        self.waits.rooms.end(actor.id)
        self._fail_head(actor, ("MailboxFull", str(full), "", []), full)
        self._again(actor)

    def _wait_for_room(self, actor: LiveActor, method: bytes, room: Room) -> MailboxFull | None:
        """A method of an actor waits for room; the error if there would never be any."""
        self.waits.rooms.begin(method, room)
        way = self.waits.way(room.mailbox, method)
        if way is None:
            return None
        return MailboxFull(
            "each of these actors would wait for the next one for ever, for an answer or for room in its full mailbox: "
            f"{' -> '.join(self.labels([actor.id, *way]))}. Raise mailbox_messages / mailbox_bytes, or send less",
            id_text(room.mailbox),
        )

    def _hold(self, actor: LiveActor, letter_id: bytes, room: Room, again: Callable[[], None]) -> None:
        """What a read-only method sends did not fit: its answer waits until `again` is called, when there may be room.

        The method that waits meanwhile goes on. If there would never be room, the read-only one has failed.
        """
        letter = actor.aside[letter_id] or actor.box.take_back(letter_id)
        # It is answered here or in another turn, and keeps no place in the mailbox.
        actor.aside[letter_id] = letter
        full = self._wait_for_room(actor, letter_id, room)
        if full is None:
            self._held[letter_id] = self._loop.call_later(HELD_PAUSE, again), again
            return
        self.waits.rooms.end(letter_id)
        del actor.aside[letter_id]
        self.letters.answer_once_written(actor, [(letter_id, full)])

    # --- an object that cannot be built ---

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
            self._end_steps(actor, list(map(id_of_letter, refused)))
            self._made_room(actor)
            actor.last_batch = self._store.batch.number
            self.letters.answer_once_written(actor, [(id_of_letter(letter), error) for letter in refused])


def _was_building(actor: LiveActor) -> bool:
    """Whether its object was being built when its worker died."""
    return actor.attempt is not None and actor.attempt.building


def _knows_culprit(actor: LiveActor) -> bool:
    """Whether the first letter in the box is the one that was handled last in the turn under way."""
    return actor.suspect == actor.box.first
