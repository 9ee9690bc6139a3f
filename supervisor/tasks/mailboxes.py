"""The mailboxes: which messages each holds, has given to its task, and has had acknowledged.

A message gets the next number of its mailbox and a row on disk, which stays until it is acknowledged. A running task
is given up to 8,192 messages (4 MiB) ahead of its `receive`; the rest waits on disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import accumulate
from typing import Final

from ...actors.errors import MailboxClosed, MailboxFull
from ...actors.ids import id_text
from ...actors.refs.letter import keyed_id
from ...storage.tables.actor_rows import reply_key, reply_rows
from ...storage.tables.schema import MAIL_KEY_BYTES, Table, after_prefix, mail_keys, mail_seq
from ..settings import MIB, Settings
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .task_table import TaskTable

#: Messages, and bytes of them, that a worker is given ahead of what its task has taken.
AHEAD_MESSAGES: Final = 8192
AHEAD_BYTES: Final = 4 * MIB
#: Seconds for which a message with a key is not sent again.
KEY_KEEP: Final = 86_400.0
#: Acknowledged messages after which their sizes are forgotten.
FORGET_AFTER: Final = 1024


class Overfill(Enum):
    """Whether a mailbox takes more than fits into it."""

    NEVER = auto()
    EMPTY = auto()
    """An empty one does. So what never fits does not wait for ever."""
    ALWAYS = auto()


class MailboxState:
    """One mailbox. Numbers count from 1."""

    __slots__ = ("_base", "_totals", "first", "given", "last", "taken")

    def __init__(self) -> None:
        #: The first number that is not acknowledged, and the last that was given out.
        self.first = 1
        self.last = 0
        #: In the current attempt: the last number given to the worker, and the last one that the task has taken.
        self.given = 0
        self.taken = 0
        #: Bytes of all messages up to a number, from `_base` on: what lies between two numbers is one subtraction.
        self._base = 0
        self._totals = [0]

    @classmethod
    def of(cls, sizes: dict[int, int]) -> MailboxState:
        """A mailbox that holds messages of these sizes, by number."""
        mailbox = cls()
        if sizes:
            mailbox.first = min(sizes)
            mailbox.last = mailbox._base = mailbox.first - 1
            mailbox.add([sizes.get(number, 0) for number in range(mailbox.first, max(sizes) + 1)])
            mailbox.rewind()
        return mailbox

    @property
    def count(self) -> int:
        """Messages that are not acknowledged."""
        return self.last - self.first + 1

    @property
    def bytes(self) -> int:
        """Bytes of them."""
        return self._upto(self.last) - self._upto(self.first - 1)

    @property
    def ahead(self) -> int:
        """Bytes given and not taken."""
        return self._upto(self.given) - self._upto(self.taken)

    def _upto(self, number: int) -> int:
        return self._totals[number - self._base]

    def add(self, sizes: Sequence[int]) -> None:
        """So many more messages, each of so many bytes."""
        self._totals += accumulate(sizes, initial=self._totals.pop())
        self.last += len(sizes)

    def acknowledged(self, last: int) -> None:
        """Messages up to this number are dealt with."""
        self.first = last + 1
        self.taken = max(self.taken, last)
        self.given = max(self.given, last)
        if last - self._base >= FORGET_AFTER and 2 * (last - self._base) >= len(self._totals):
            del self._totals[: last - self._base]
            self._base = last

    def fitting(self) -> int:
        """How many of the messages that were not given yet there is room for, as long as the task takes none."""
        last = min(self.last, self.taken + AHEAD_MESSAGES)
        most = self._upto(self.taken) + AHEAD_BYTES
        if last > self.given and self._upto(last - 1) >= most:
            # Up to the first one that reaches the limit.
            last = self._base + bisect_left(self._totals, most, self.given - self._base)
        return max(0, last - self.given)

    def rewind(self) -> None:
        """A new attempt: everything that is not acknowledged is given again."""
        self.given = self.taken = self.first - 1


class Mailboxes:
    """Every message goes through here."""

    def __init__(self, commits: CommitLoop, table: TaskTable, settings: Settings) -> None:
        self._commits = commits
        self._table = table
        self._most_messages = settings.mailbox_messages
        self._most_bytes = settings.mailbox_bytes
        #: Whether a message is still to come into the mailbox of this task, although it may be closed.
        self.is_expecting: Callable[[bytes], bool] = lambda _: False

    def send(self, messages: Sequence[tuple[bytes, bytes]], *, overfill: Overfill = Overfill.NEVER) -> None:
        """Put (id, value) pairs into mailboxes: all of them, or none and an error.

        Raises TaskNotFound, MailboxClosed, MailboxFull.
        """
        by_task: dict[bytes, list[bytes]] = {}
        for id, value in messages:
            by_task.setdefault(id, []).append(value)
        checked = [(self._open_to(id, values, overfill), values) for id, values in by_task.items()]
        for task, values in checked:
            self._post(task, values)

    def send_once(self, id: bytes, values: Sequence[bytes], key: str) -> None:
        """As `send`, for one task; nothing if messages with this key were sent to it within KEY_KEEP.

        The row that says so is in the commit of the messages, and outlives the task's end.
        """
        letter = keyed_id(id, key)
        if self._commits.get(Table.ACTORS, reply_key(letter)) is not None:
            return
        self.send([(id, value) for value in values])
        expires = self._commits.clock.time() + KEY_KEEP
        for row in reply_rows(letter, id, expires, None).items():
            self._commits.put(Table.ACTORS, *row)

    def _open_to(self, id: bytes, values: list[bytes], overfill: Overfill) -> LiveTask:
        """The task, if its mailbox takes all of these."""
        task = self._table.find(id)
        if task is None:
            state = self._table.known(id).state
            raise MailboxClosed(f"task {id_text(id)} has ended ({state}) and takes no messages", id_text(id))
        if task.rests:
            raise MailboxClosed(f"{id_text(id)} is an actor: send to it with its ref's tell", id_text(id))
        if task.record.closed:
            raise MailboxClosed(task.kind.closed.format(id=id_text(id)), id_text(id))
        mailbox = self.mailbox_of(task)
        takes_any = overfill is Overfill.ALWAYS or (overfill is Overfill.EMPTY and not mailbox.count)
        if not takes_any and (
            mailbox.count + len(values) > self._most_messages
            or mailbox.bytes + sum(map(len, values)) > self._most_bytes
        ):
            raise MailboxFull(
                f"the mailbox of task {id_text(id)} is full: {mailbox.count:,} messages, {mailbox.bytes:,} bytes. "
                "Wait until the task has received some, or raise mailbox_messages / mailbox_bytes",
                id_text(id),
                mailbox.count,
                mailbox.bytes,
            )
        return task

    def mailbox_of(self, task: LiveTask) -> MailboxState:
        """The mailbox of a task, read from disk if rows may be there."""
        if task.mailbox is None:
            rows = self._commits.scan(Table.MAIL, task.id, after_prefix(task.id)) if task.stored else []
            task.mailbox = MailboxState.of({mail_seq(key): len(value) for key, value in rows})
        return task.mailbox

    def _post(self, task: LiveTask, values: list[bytes]) -> None:
        mailbox = self.mailbox_of(task)
        first = mailbox.last + 1
        sizes = list(map(len, values))
        mailbox.add(sizes)
        rows: dict[bytes, bytes | None] = dict(
            zip(mail_keys(task.id, first, mailbox.last), values, strict=True)
        )
        self._commits.store.batch.merge(Table.MAIL, rows, sum(sizes) + MAIL_KEY_BYTES * len(rows))
        if task.attempt is None:
            # It may be in memory for these messages alone; once written, it can be let go.
            self._table.touch(task)
        elif mailbox.given == first - 1:
            self._give(task, mailbox, values[: mailbox.fitting()])

    def deliver(self, task: LiveTask, value: bytes) -> None:
        """Put a message into a mailbox, be it full or closed."""
        self._post(task, [value])
        self.close_if_given(task)

    def open(self, task: LiveTask) -> None:
        """Its attempt has been handed to a worker: give it what is not acknowledged."""
        if task.mailbox is not None or task.stored:
            mailbox = self.mailbox_of(task)
            mailbox.rewind()
            self._feed(task, mailbox)
        self.close_if_given(task)

    def hand_on(self, old: bytes, new: bytes) -> None:
        """Give the messages that an ended task has not acknowledged to the task that retries it, too."""
        rows = dict(self._commits.scan(Table.MAIL, old, after_prefix(old)))
        if (ended := self._table.tasks.get(old)) is not None and (mailbox := ended.mailbox) is not None:
            # Its end is not on disk yet, and so may be its messages.
            rows = self._commits.get_many(Table.MAIL, mail_keys(old, mailbox.first, mailbox.last))
        values = [rows[key] for key in sorted(rows)]
        task = self._table.find(new) if values else None
        if task is not None:
            self._post(task, values)

    def progress(self, task: LiveTask, taken: int, acked: int) -> None:
        """The task has taken messages up to one number and acknowledged up to another."""
        mailbox = task.mailbox
        if mailbox is None:
            return
        mailbox.taken = max(mailbox.taken, min(taken, mailbox.given))
        self.acknowledge(task, acked)
        if task.attempt is not None:
            self._feed(task, mailbox)
            self.close_if_given(task)

    def acknowledge(self, task: LiveTask, acked: int) -> None:
        """Messages up to this number are dealt with: their rows go with the next commit."""
        mailbox = task.mailbox
        if mailbox is None or acked < mailbox.first:
            return
        last = min(acked, mailbox.last)
        self._commits.store.batch.remove(Table.MAIL, mail_keys(task.id, mailbox.first, last))
        mailbox.acknowledged(last)

    def close(self, task: LiveTask) -> None:
        """Take no more messages; the task's `receive` gives None once it has had them all."""
        if not task.record.closed:
            task.record.closed = True
            self._table.touch(task)
            self.close_if_given(task)

    def _feed(self, task: LiveTask, mailbox: MailboxState) -> None:
        fitting = mailbox.fitting()
        if fitting:
            keys = mail_keys(task.id, mailbox.given + 1, mailbox.given + fitting)
            rows = self._commits.get_many(Table.MAIL, keys)
            assert len(rows) == fitting, "a message that is not acknowledged has a row"
            self._give(task, mailbox, [rows[key] for key in keys])

    def _give(self, task: LiveTask, mailbox: MailboxState, values: list[bytes]) -> None:
        """Give it the next messages."""
        if values:
            assert task.attempt is not None
            task.attempt.seat.channel.give(task.id, mailbox.given + 1, values)
            mailbox.given += len(values)

    def close_if_given(self, task: LiveTask) -> None:
        """Tell the worker of the close, if the task has been given all messages and expects no other one."""
        if (
            task.record.closed
            and task.attempt is not None
            and (task.mailbox is None or task.mailbox.given == task.mailbox.last)
            and not self.is_expecting(task.id)
        ):
            task.attempt.seat.channel.close_mailbox(task.id)
