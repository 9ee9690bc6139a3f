"""Letters: what is sent to actors is delivered, kept, answered and buried here.

A letter that cannot be dealt with is a dead letter: a row of its receiver. The answers to asks are kept under the ids
of their letters until they have arrived. Reminders are letters that come at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from ...actors.errors import MailboxFull, TaskNotFound, UnderstudyError
from ...actors.ids import id_bytes, id_text, new_id
from ...actors.refs.letter import KEPT, READ_ONLY, Kind, Letter, flags_of, id_of_letter
from ...actors.refs.port import PostKind
from ...storage.tables.actor_rows import dead_key, letter_ids, name_key, pack_dead, reply_key, reply_rows
from ...storage.tables.schema import Table
from ..settings import Settings
from ..tasks.alarm import Alarm
from ..tasks.commit_loop import CommitLoop
from ..tasks.letter_box import Room
from ..tasks.live_actor import LiveActor
from ..tasks.mailboxes import Mailboxes, Overfill
from ..tasks.pool_lanes import ABSENT, pool_of
from ..tasks.reminders import Reminders
from ..tasks.task_table import TaskTable
from .room_waits import NoRoom

log = logging.getLogger("understudy")

#: What a turn sends that goes into no mailbox.
_NOT_SENT: Final = (PostKind.EVENT, PostKind.ITEM)

#: Actors with letters that are loaded at once after a start, and reminders that are sent at once.
AT_ONCE: Final = 1_000
#: Queued turns below which more actors with letters are loaded.
FEW: Final = 500
#: Seconds after which an ask that waits is written to disk.
UNWRITTEN: Final = 1.0
#: Answers that have arrived, gathered at most before they are removed.
SEEN_MOST: Final = 1_000

Answer = bytes | UnderstudyError
"""A reply as its actor has packed it, or an error of the supervisor."""
ErrorFields = tuple[Any, ...]
"""(type, message, traceback, …) of an error."""


class Letters:
    """All letters to live actors."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        mailboxes: Mailboxes,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._store = commits.store
        self._table = table
        self._mailboxes = mailboxes
        self._settings = settings
        #: Asks for a turn of the event loop, in which changes are carried out.
        self._turn = turn
        self.reminders = Reminders(self._store)
        self._alarm = Alarm(commits.clock, self._remind)
        #: Where to look for further actors with letters on disk; None if there are none.
        self._unread: bytes | None = None
        #: Actors with an ask that is not on disk, and the timer after which it is written.
        self._unwritten: dict[bytes, LiveActor] = {}
        self._unwritten_timer: asyncio.TimerHandle | None = None
        #: Letter ids of answers that have reached those who asked.
        self._seen: list[bytes] = []
        #: Called when an actor has got a letter.
        self.on_ready: Callable[[LiveActor], None] = lambda _: None
        #: Called with the answer to a letter, once all that it stands for is on disk.
        self.on_answer: Callable[[bytes, Answer], None] = lambda _id, _answer: None

    def stop(self) -> None:
        """Stop the timers."""
        self._alarm.stop()
        if self._unwritten_timer is not None:
            self._unwritten_timer.cancel()

    def recover(self) -> None:
        """At boot: find the actors that have letters, and the first reminder."""
        self._unread = b""
        self.set_alarm()

    # --- finding ---

    def find(self, id: bytes) -> LiveActor | None:
        """The actor with this id; None if it has stopped. Raises TaskNotFound if there is no such actor."""
        task = self._table.find(id)
        if isinstance(task, LiveActor):
            return task
        record = self._table.known(id)
        if record.actor is None:
            raise TaskNotFound(f"{id_text(id)} is a task, not an actor: use `send`", id_text(id))
        return None

    def of_name(self, class_name: str, name: str) -> bytes | None:
        """The id of the live actor with this name; it may have been started under a former name of its class."""
        for each in self._table.declared.all_names(class_name):
            id = self._store.get(Table.ACTORS, name_key(each, name))
            if id is not None:
                return id
        return None

    def receiver(self, id: bytes) -> LiveActor | None:
        """The live actor with this id, or None."""
        try:
            return self.find(id)
        except TaskNotFound:
            return None
        except UnderstudyError:
            # Its record is damaged. The sender goes on all the same.
            log.exception("actor %s is not to be had", id_text(id))
            return None

    def _takes_messages(self, id: bytes) -> bool:
        try:
            task = self._table.find(id)
        except UnderstudyError:
            log.exception("task %s is not to be had", id_text(id))
            return False
        return task is not None and not task.record.closed and not task.rests

    # --- delivering ---

    def check_room(self, actor: LiveActor, letters: Sequence[bytes]) -> None:
        """Raise MailboxFull if these do not fit into the actor's mailbox."""
        if not self.fits(actor, len(letters), sum(map(len, letters))):
            box = actor.box
            raise MailboxFull(
                f"the mailbox of actor {actor.label} is full: {box.count:,} messages, {box.bytes:,} bytes. Wait "
                "until it has dealt with some, or raise mailbox_messages / mailbox_bytes",
                id_text(actor.id),
                box.count,
                box.bytes,
            )

    def fits(self, actor: LiveActor, count: int, size: int) -> bool:
        """Whether so many letters, of so many bytes, go into the actor's mailbox now."""
        box = actor.box
        most, most_bytes = self._settings.mailbox_messages, self._settings.mailbox_bytes
        # What would never fit goes into an empty mailbox.
        return not box.count or (box.count + count <= most and box.bytes + size <= most_bytes)

    def post(self, actor: LiveActor, letter: bytes) -> None:
        """Put a letter into an actor's mailbox, which must have room."""
        box = actor.box
        box.post(letter)
        if actor.durable:
            if box.stored == box.last:
                actor.last_batch = self._store.batch.number
            else:
                self._write_later(actor)
        self.on_ready(actor)

    def was_taken(self, letter: bytes) -> bool:
        """Whether a letter with a key of its sender was taken in before."""
        if not flags_of(letter) & KEPT:
            return False
        return self._store.get(Table.ACTORS, reply_key(id_of_letter(letter))) is not None

    def take_in(self, actor: LiveActor, letter: bytes) -> None:
        """As `post`, and note the key of its sender if it has one. Nothing if it was taken in before."""
        if self.was_taken(letter):
            return
        if flags_of(letter) & KEPT and actor.durable:
            self.keep(actor, id_of_letter(letter), None, letter)
        self.post(actor, letter)

    def needs_room(self, actor: LiveActor, letter: bytes) -> bool:
        """Whether an ask would go into the mailbox now, and not to a method that waits."""
        return len(actor.aside) >= self._settings.mailbox_messages or not _goes_aside(actor, letter)

    def deliver(self, actor: LiveActor, letter: bytes) -> None:
        """Give a letter to a method that waits, if it is read-only and one does; otherwise as `post`."""
        if not self.needs_room(actor, letter):
            self._give_aside(actor, letter)
            # It does not go through the mailbox, in which it would keep its place until the method ends.
            actor.aside[id_of_letter(letter)] = letter
        else:
            self.post(actor, letter)

    def parked(self, actor: LiveActor) -> None:
        """A method of it waits now: the read-only letters in the mailbox need not."""
        for letter in actor.box.reads():
            id = id_of_letter(letter)
            if id not in actor.aside and _goes_aside(actor, letter):
                self._give_aside(actor, letter)
                actor.aside[id] = None

    @staticmethod
    def _give_aside(actor: LiveActor, letter: bytes) -> None:
        assert actor.attempt is not None
        actor.attempt.seat.channel.aside(actor.id, letter)

    def put_back(self, actor: LiveActor, letters: Iterable[bytes]) -> None:
        """Put letters that no method has answered into the mailbox; it is the caller's to see that they get a turn."""
        for letter in letters:
            actor.box.post(letter)
            if actor.durable:
                self._write_later(actor)

    def _write_later(self, actor: LiveActor) -> None:
        self._unwritten[actor.id] = actor
        if self._unwritten_timer is None:
            self._unwritten_timer = self._loop.call_later(UNWRITTEN, self._write_asks)

    def _write_asks(self) -> None:
        """Write the asks that wait for long. They are not lost then, even if their askers have gone."""
        self._unwritten_timer = None
        unwritten, self._unwritten = self._unwritten, {}
        for actor in unwritten.values():
            if actor.record.ended is None and actor.box.stored < actor.box.last:
                actor.box.store_all()
                actor.last_batch = self._store.batch.number
        self._turn()

    def checked(self, sender: LiveActor, posts: Any) -> list[tuple[LiveActor, bytes]]:
        """The letters of a turn with their receivers. Messages for tasks are sent, if all fit.

        Raises NoRoom, and InvalidValue for what is no letter.
        """
        for_actors: dict[bytes, list[bytes]] = {}
        letters: list[tuple[LiveActor, bytes]] = []
        messages: list[tuple[bytes, bytes]] = []
        lost: list[tuple[bytes, bytes]] = []
        for part in posts:
            for target, value, kind in part:
                if kind in _NOT_SENT:
                    continue
                if kind == PostKind.MESSAGE:
                    if self._takes_messages(target):
                        messages.append((target, value))
                    else:
                        told = Letter(Kind.TELL, 0, new_id(), sender.id, payload=value)
                        lost.append((target, told.pack()))
                    continue
                Letter.unpack(value)
                receiver = self.receiver(target)
                if receiver is None:
                    lost.append((target, value))
                else:
                    letters.append((receiver, value))
                    for_actors.setdefault(target, []).append(value)
        for receiver, _ in letters:
            # One whose state is not on disk cannot do its turn again.
            if (values := for_actors.pop(receiver.id, None)) and receiver is not sender and sender.durable:
                room = Room(receiver.id, len(values), sum(map(len, values)))
                if not self.fits(receiver, room.letters, room.size):
                    raise NoRoom(room, f"the mailbox of actor {receiver.label} is full")
        if messages:
            try:
                self._mailboxes.send(messages, overfill=Overfill.EMPTY if sender.durable else Overfill.ALWAYS)
            except MailboxFull as error:
                raise NoRoom(Room(id_bytes(error.id)), str(error)) from error
        for target, letter in lost:
            self._lose(target, letter)
        return letters

    def _lose(self, target: bytes, letter: bytes) -> None:
        """A letter or message has found nobody who takes it."""
        try:
            record = self._table.record(target)
        except UnderstudyError:
            record = None
        if record is None or record.actor is None:
            # Dead letters go with the record of an actor.
            log.warning("a message to %s is lost: it is no task that takes messages", id_text(target))
        elif record.ended is None:
            self.bury_at(
                target, letter, ("MailboxClosed", "it is an actor: send to it with its ref's tell", "", [])
            )
        else:
            self.bury_at(target, letter, ("ActorDeadError", "it has stopped", "", []))

    # --- answers ---

    def keep(self, actor: LiveActor, letter_id: bytes, reply: bytes | None, letter: bytes | None) -> None:
        """Keep a reply for an asker that asks again."""
        keep = actor.rules.reply_keep
        if letter is not None and flags_of(letter) & KEPT:
            keep = Letter.unpack(letter).keep or keep
        expires = self._commits.clock.time() + keep
        for key, row in reply_rows(letter_id, actor.id, expires, reply).items():
            self._commits.put(Table.ACTORS, key, row)

    def forget_answers(self, letter_ids: Sequence[bytes]) -> None:
        """These answers have arrived and need not be kept. They are removed with the next commit of an actor."""
        self._seen += letter_ids
        if len(self._seen) >= SEEN_MOST:
            # Where asks change nothing, no such commit comes.
            self.write_seen()

    def write_seen(self) -> None:
        """Remove the answers that have arrived, with the open batch."""
        if self._seen:
            # Most answers that changed nothing were not kept.
            for key in self._store.get_many(Table.ACTORS, map(reply_key, self._seen)):
                self._commits.delete(Table.ACTORS, key)
            self._seen.clear()

    def answer_once_written(self, actor: LiveActor, answers: list[tuple[bytes, Answer]]) -> None:
        """Send answers once all is on disk that they may stand for."""
        if not answers:
            return
        if self._store.is_pending(actor.last_batch):
            self._store.when_on_disk(actor.last_batch, partial(self._answer, answers))
        else:
            self._answer(answers)

    def _answer(self, answers: list[tuple[bytes, Answer]]) -> None:
        for letter_id, answer in answers:
            self.on_answer(letter_id, answer)

    # --- dead letters ---

    def bury(self, actor: LiveActor, letter: bytes, error: ErrorFields) -> None:
        """An actor could not deal with a letter."""
        log.warning("a message to actor %s has failed: %s: %s", actor.label, error[0], error[1])
        if actor.durable:
            self.bury_at(actor.id, letter, error)

    def bury_at(self, id: bytes, letter: bytes, error: ErrorFields) -> None:
        """Keep a letter as a dead one of the actor with this id."""
        self._commits.put(
            Table.ACTORS, dead_key(id, new_id()), pack_dead(self._commits.clock.time(), letter, error[:3])
        )

    def redrive(self, actor: LiveActor, dead: Sequence[tuple[bytes, bytes]]) -> None:
        """Send dead letters (row key, letter) again."""
        self.check_room(actor, [letter for _, letter in dead])
        for key, letter in dead:
            self._commits.delete(Table.ACTORS, key)
            self.post(actor, letter)

    # --- what waits on disk, and reminders ---

    def read_on(self) -> None:
        """Load more of the actors that have letters on disk, while few are queued."""
        if self._unread is None:
            return
        if self._has_many():
            return
        ids = letter_ids(self._commits.scan, self._unread, AT_ONCE)
        self._table.load_actors(ids)
        for id in ids:
            try:
                actor = self.find(id)
            except UnderstudyError:
                log.exception("letters of %s are not delivered", id.hex())
                continue
            if actor is not None:
                self.on_ready(actor)
        self._unread = ids[-1] if len(ids) == AT_ONCE else None
        if self._unread is not None:
            self._turn()

    def _has_many(self) -> bool:
        """Whether many actors are queued, in each pool that may have some."""
        queued: Counter[str | None] = Counter()
        for lane, queue in self._table.queues.turns.items():
            if lane not in ABSENT:
                # The others are not queued for anything.
                queued[pool_of(lane)] += len(queue)
        return all(queued[pool] >= FEW for pool in self._table.declared.actor_pools)

    def _is_full(self, actor: LiveActor) -> bool:
        """Whether it does not get on: a reminder that comes again waits for its next period then."""
        return actor.box.count >= self._settings.mailbox_messages

    def set_alarm(self) -> None:
        """Wait for the first reminder."""
        if self.reminders.first is not None:
            self._alarm.set(self.reminders.first)

    def clock_was_set(self) -> None:
        """The wall clock was set: reminders come at its times."""
        self._alarm.look()

    def _remind(self) -> None:
        due_now = self.reminders.take_due(self._commits.clock.time(), AT_ONCE)
        self._table.load_actors(due.actor for due in due_now)
        for due in due_now:
            actor = self.receiver(due.actor)
            if actor is not None and not (due.repeated and self._is_full(actor)):
                self.post(actor, due.letter)
        self.set_alarm()
        self._turn()


def _goes_aside(actor: LiveActor, letter: bytes) -> bool:
    """Whether it is read-only, and a method of the actor waits."""
    attempt = actor.attempt
    return attempt is not None and attempt.parked and bool(flags_of(letter) & READ_ONLY)
