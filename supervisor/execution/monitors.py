"""Monitors: tasks and actors that get one message when another one has ended, in the commit of that end.

A monitor is a row, and an entry in memory. It goes with the end of either. The commit of the end of who is watched also
puts the message into the mailbox. So there is one message, whatever dies.

The message comes into a full mailbox, too: nobody could send it again. A task monitors at most as many others as its
mailbox holds messages, so that is bounded. It comes into a closed mailbox as well; `receive` gives None after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sized
from typing import Final, NamedTuple

from ...actors import values
from ...actors.errors import InvalidOption, InvalidValue, NotInTask, UnderstudyError
from ...actors.ids import id_bytes, id_text, new_id
from ...actors.refs.letter import Kind, Letter
from ...storage.tables.monitor_rows import all_monitors, monitor_in, monitor_key
from ...storage.tables.record import Record
from ...storage.tables.schema import Table, mail_key
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_table import TaskTable
from .letters import Letters

log = logging.getLogger("understudy")

#: Characters of an error's message that go into the message of a monitor.
MESSAGE_LIMIT: Final = 1_000

#: How each of these messages begins: a map of three, whose first key is "$down", and 36 bytes of text.
_HEAD: Final = b"\x83\xa5$down\xd9\x24"
_ID_END: Final = len(_HEAD) + 36


class Monitors:
    """Those of all tasks and actors."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        mailboxes: Mailboxes,
        letters: Letters,
        settings: Settings,
    ) -> None:
        self._commits = commits
        self._table = table
        self._mailboxes = mailboxes
        self._letters = letters
        self._most = settings.mailbox_messages
        #: By who is told: those that it monitors. By who is watched: those that are told.
        self._watched: dict[bytes, dict[bytes, None]] = {}
        self._watchers: dict[bytes, dict[bytes, None]] = {}
        #: By who was told: the number in its mailbox of each message that it may not have dealt with.
        self._told: dict[bytes, dict[bytes, int]] = {}
        #: Those whose mailboxes were searched for messages that an earlier supervisor has put there.
        self._searched: set[bytes] = set()
        mailboxes.is_expecting = self._watched.__contains__
        self._load()

    def _load(self) -> None:
        for key, _ in self._commits.scan(Table.ACTORS, *all_monitors()):
            try:
                self._add(*monitor_in(key))
            except ValueError:
                log.exception("a monitor is damaged")
        self._watch_ends()

    def monitor(self, watcher: bytes, watched: bytes) -> None:
        """Send one message when this task ends, or now if it has ended. Nothing if the same was asked before.

        After an earlier message was dealt with, the same call sends another one. Raises TaskNotFound, NotInTask for a
        watcher that has ended, InvalidOption for itself and for too many.
        """
        task = self._table.find(watcher)
        if task is None:
            self._table.known(watcher)
            raise NotInTask(f"task {id_text(watcher)} has ended and gets no messages")
        if watcher == watched:
            raise InvalidOption("a task cannot monitor itself: it would be told after its end")
        record = self._table.known(watched)
        if record.ended is not None:
            message = down(record)
            if not self._is_there(task, watched, message):
                self._deliver(task, watched, message)
        elif watched not in self._watched.get(watcher, ()):
            self._check_number(self._watched.get(watcher, ()), watcher, "monitors")
            self._check_number(self._watchers.get(watched, ()), watched, "is monitored by")
            self._commits.put(Table.ACTORS, monitor_key(watcher, watched), b"")
            self._add(watcher, watched)
        self._watch_ends()
        # The task's side has opened a closed mailbox for the message.
        self._mailboxes.close_if_given(task)

    def demonitor(self, watcher: bytes, watched: bytes) -> bool:
        """Send no such message; whether one was to come."""
        if watched not in self._watched.get(watcher, ()):
            return False
        self._remove(watcher, watched)
        self._watch_ends()
        task = self._table.find(watcher)
        if task is not None:
            self._mailboxes.close_if_given(task)
        return True

    def _check_number(self, there: Sized, id: bytes, what: str) -> None:
        if len(there) >= self._most:
            raise InvalidOption(
                f"task {id_text(id)} {what} {len(there):,} others, and that is as many as its mailbox takes messages. "
                "Wait for many tasks with gather or as_completed, or raise mailbox_messages"
            )

    # --- ends ---

    def _watch_ends(self) -> None:
        """Hear of ends while one of them matters."""
        self._table.ends.follow_all(self._ended, bool(self._watchers or self._told))

    def _ended(self, task: LiveTask, _event: object, _error: object) -> None:
        id = task.id
        for watched in tuple(self._watched.get(id, ())):
            self._remove(id, watched)
        self._told.pop(id, None)
        self._searched.discard(id)
        watchers = tuple(self._watchers.get(id, ()))
        if watchers:
            message = down(task.record)
            for watcher in watchers:
                self._remove(watcher, id)
                self._tell(watcher, id, message)
        self._watch_ends()

    def _tell(self, watcher: bytes, watched: bytes, message: bytes) -> None:
        try:
            task = self._table.find(watcher)
        except UnderstudyError:
            log.exception("task %s is not told of the end of %s", id_text(watcher), id_text(watched))
            return
        if task is not None:
            self._deliver(task, watched, message)

    def _deliver(self, task: LiveTask, watched: bytes, message: bytes) -> None:
        """Put a message into a mailbox, be it full or closed."""
        if isinstance(task, LiveActor):
            self._letters.post(task, Letter(Kind.TELL, 0, new_id(), None, payload=message).pack())
        else:
            self._mailboxes.deliver(task, message)
        box = self._box_of(task)
        told = self._told.setdefault(task.id, {})
        if len(told) >= self._most:
            told = self._told[task.id] = {each: at for each, at in told.items() if at >= box.first}
        told[watched] = box.last

    # --- rows ---

    def _add(self, watcher: bytes, watched: bytes) -> None:
        self._watched.setdefault(watcher, {})[watched] = None
        self._watchers.setdefault(watched, {})[watcher] = None

    def _remove(self, watcher: bytes, watched: bytes) -> None:
        self._commits.delete(Table.ACTORS, monitor_key(watcher, watched))
        for entries, key, other in (
            (self._watched, watcher, watched),
            (self._watchers, watched, watcher),
        ):
            del entries[key][other]
            if not entries[key]:
                del entries[key]

    # --- messages that were not dealt with ---

    def _is_there(self, task: LiveTask, watched: bytes, message: bytes) -> bool:
        """Whether this message is in the mailbox and was not acknowledged: then it will be received, or was."""
        box = self._box_of(task)
        if task.id not in self._searched:
            self._searched.add(task.id)
            for number in range(box.first, box.last + 1):
                if (about := _about(box.message(number))) is not None:
                    self._told.setdefault(task.id, {})[about] = number
        number = self._told.get(task.id, {}).get(watched, 0)
        # The numbers of a mailbox may begin anew after it was empty.
        return box.first <= number <= box.last and box.message(number) == message

    def _box_of(self, task: LiveTask) -> _Box:
        if isinstance(task, LiveActor):
            box = task.box
            return _Box(box.first, box.last, lambda number: _payload(box.letter(number)))
        mailbox, id = self._mailboxes.mailbox_of(task), task.id
        return _Box(
            mailbox.first, mailbox.last, lambda number: self._commits.get(Table.MAIL, mail_key(id, number))
        )


class _Box(NamedTuple):
    """What is not acknowledged in a mailbox: the first and the last number, and the message with a number."""

    first: int
    last: int
    message: Callable[[int], bytes | None]


def _payload(letter: bytes | None) -> bytes | None:
    return Letter.unpack(letter).payload if letter else None


def _about(message: bytes | None) -> bytes | None:
    """The task of whose end a message tells; None if it is another message."""
    if message is None or not message.startswith(_HEAD):
        return None
    try:
        return id_bytes(message[len(_HEAD) : _ID_END].decode())
    except (InvalidValue, UnicodeDecodeError):
        return None


def down(record: Record) -> bytes:
    """The message that tells of this end."""
    error = record.error
    return values.pack(
        {
            "$down": id_text(record.id),
            "state": str(record.state),
            "error": None if error is None else {"type": error[0], "message": error[1][:MESSAGE_LIMIT]},
        },
        "message",
    )
