"""Mailboxes: what lies in them, what their readers have been given, and what is acknowledged.

A message gets the next number of its mailbox and a row on disk, which stays until it is acknowledged. A running task
is given messages ahead of its `receive`, but only so many: the rest waits on disk, however large the mailbox.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from ...actors.errors import MailboxClosed, MailboxFull, TaskNotFound
from ...actors.ids import id_text
from ...storage.tables.schema import MAIL_KEY_BYTES, Table, after_prefix, mail_keys, mail_seq
from ..settings import MIB, Settings
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .task_table import TaskTable

#: Messages, and bytes of them, that a worker is given ahead of what its task has taken.
AHEAD_MESSAGES: Final = 8192
AHEAD_BYTES: Final = 4 * MIB
#: Acknowledged messages after which their sizes are forgotten.
FORGET_AFTER: Final = 1024


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
        mail = cls()
        if sizes:
            mail.first = min(sizes)
            mail.last = mail._base = mail.first - 1
            mail.add([sizes.get(number, 0) for number in range(mail.first, max(sizes) + 1)])
            mail.rewind()
        return mail

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

    def __init__(self, journal: CommitLoop, book: TaskTable, settings: Settings) -> None:
        self._journal = journal
        self._book = book
        self._most_messages = settings.mailbox_messages
        self._most_bytes = settings.mailbox_bytes

    def send(self, letters: Sequence[tuple[bytes, bytes]]) -> None:
        """Put (id, value) pairs into mailboxes: all of them, or none and an error.

        Raises TaskNotFound, MailboxClosed, MailboxFull.
        """
        by_task: dict[bytes, list[bytes]] = {}
        for id, value in letters:
            by_task.setdefault(id, []).append(value)
        checked = [(self._open_to(id, values), values) for id, values in by_task.items()]
        for entry, values in checked:
            self._post(entry, values)

    def _open_to(self, id: bytes, values: list[bytes]) -> LiveTask:
        """The task, if its mailbox takes all of these."""
        entry = self._book.find(id)
        if entry is None:
            raise self._no_mailbox(id)
        if entry.record.closed:
            raise MailboxClosed(_closed(entry), id_text(id))
        mail = self.mail_of(entry)
        if (
            mail.count + len(values) > self._most_messages
            or mail.bytes + sum(map(len, values)) > self._most_bytes
        ):
            raise MailboxFull(
                f"the mailbox of task {id_text(id)} is full: {mail.count:,} messages, {mail.bytes:,} bytes. "
                "Wait until the task has taken some, or raise mailbox_messages / mailbox_bytes",
                id_text(id),
                mail.count,
                mail.bytes,
            )
        return entry

    def _no_mailbox(self, id: bytes) -> Exception:
        record = self._book.record(id)
        if record is None:
            return TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
        return MailboxClosed(
            f"task {id_text(id)} has ended ({record.state}) and takes no messages", id_text(id)
        )

    def mail_of(self, entry: LiveTask) -> MailboxState:
        """The mailbox of a task, read from disk if rows may be there."""
        if entry.mail is None:
            rows = self._journal.scan(Table.MAIL, entry.id, after_prefix(entry.id)) if entry.stored else []
            entry.mail = MailboxState.of({mail_seq(key): len(value) for key, value in rows})
        return entry.mail

    def _post(self, entry: LiveTask, values: list[bytes]) -> None:
        mail = self.mail_of(entry)
        first = mail.last + 1
        sizes = list(map(len, values))
        mail.add(sizes)
        rows: dict[bytes, bytes | None] = dict(
            zip(mail_keys(entry.id, first, mail.last), values, strict=True)
        )
        self._journal.store.batch.merge(Table.MAIL, rows, sum(sizes) + MAIL_KEY_BYTES * len(rows))
        if entry.attempt is None:
            # It may be in memory for these messages alone; once written, it can be let go.
            self._book.touch(entry)
        elif mail.given == first - 1:
            self._give(entry, mail, values[: mail.fitting()])

    def open(self, entry: LiveTask) -> None:
        """Its attempt has been handed to a worker: give it what is not acknowledged."""
        if entry.mail is None and not entry.stored:
            if entry.record.closed:
                self._close_if_given(entry)
            return
        mail = self.mail_of(entry)
        mail.rewind()
        self._feed(entry, mail)
        self._close_if_given(entry)

    def progress(self, entry: LiveTask, taken: int, acked: int) -> None:
        """The task has taken messages up to one number and acknowledged up to another."""
        mail = entry.mail
        if mail is None:
            return
        mail.taken = max(mail.taken, min(taken, mail.given))
        self.acknowledge(entry, acked)
        if entry.attempt is not None:
            self._feed(entry, mail)
            self._close_if_given(entry)

    def acknowledge(self, entry: LiveTask, acked: int) -> None:
        """Messages up to this number are dealt with: their rows go with the next commit."""
        mail = entry.mail
        if mail is None or acked < mail.first:
            return
        last = min(acked, mail.last)
        self._journal.store.batch.remove(Table.MAIL, mail_keys(entry.id, mail.first, last))
        mail.acknowledged(last)

    def close(self, entry: LiveTask) -> None:
        """Take no more messages; the task's `receive` gives None once it has had them all."""
        if not entry.record.closed:
            entry.record.closed = True
            self._book.touch(entry)
            self._close_if_given(entry)

    def _feed(self, entry: LiveTask, mail: MailboxState) -> None:
        fitting = mail.fitting()
        if fitting:
            keys = mail_keys(entry.id, mail.given + 1, mail.given + fitting)
            rows = self._journal.get_many(Table.MAIL, keys)
            assert len(rows) == fitting, "a message that is not acknowledged has a row"
            self._give(entry, mail, [rows[key] for key in keys])

    def _give(self, entry: LiveTask, mail: MailboxState, values: list[bytes]) -> None:
        """Give it the next messages."""
        if values:
            assert entry.attempt is not None
            entry.attempt.seat.channel.give(entry.id, mail.given + 1, values)
            mail.given += len(values)

    def _close_if_given(self, entry: LiveTask) -> None:
        if (
            entry.record.closed
            and entry.attempt is not None
            and (entry.mail is None or entry.mail.given == entry.mail.last)
        ):
            entry.attempt.seat.channel.close_mailbox(entry.id)


def _closed(entry: LiveTask) -> str:
    """Why a mailbox takes nothing."""
    return entry.kind.closed.format(id=id_text(entry.id))
