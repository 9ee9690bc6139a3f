"""`Effects`: what messages of an actor do beside changing its attributes. They take effect with a commit, or never."""

from __future__ import annotations

from collections.abc import Sequence

from ..refs.letter import asked_id
from ..refs.port import PostKind

#: (time, period, letter) of a reminder that is set; None for all of them removes it.
ReminderRow = tuple[float | None, float | None, bytes | None]


Post = tuple[bytes, bytes, PostKind]
"""(receiver, uid of an event, or stream of an item; letter, message, event or item; which of these it is)."""


class Effects:
    """Those of one message, or of several that one commit will hold."""

    __slots__ = ("asked", "dead", "posts", "reminders", "replies", "rows", "seen", "size")

    def __init__(self) -> None:
        #: Rows of storage by key; None removes one.
        self.rows: dict[str, bytes | None] = {}
        #: What is sent, in order.
        self.posts: list[Post] = []
        #: Reminders by name.
        self.reminders: dict[str, ReminderRow] = {}
        #: Asks that have been made, by what they want: what others have done for them stands.
        self.asked: dict[bytes, int] = {}
        #: Ids of those that were answered.
        self.seen: list[bytes] = []
        #: (letter id, reply, whether the message has changed anything).
        self.replies: list[tuple[bytes, bytes, bool]] = []
        #: (letter, error fields).
        self.dead: list[tuple[bytes, Sequence[object]]] = []
        #: Bytes of all of it, approximately.
        self.size = 0

    def next_ask_id(self, handled: bytes, what: bytes) -> bytes:
        """The id for the next ask that wants this. `handled` is the id of the message."""
        ordinal = self.asked.get(what, 0)
        self.asked[what] = ordinal + 1
        return asked_id(handled, what, ordinal)

    @property
    def change_something(self) -> bool:
        """Whether something has to be on disk."""
        return bool(self.rows or self.posts or self.reminders or self.asked or self.dead)

    def __bool__(self) -> bool:
        return bool(self.replies or self.seen) or self.change_something

    def absorb(self, later: Effects) -> None:
        """Take in those of the next message."""
        self.rows.update(later.rows)
        self.posts += later.posts
        self.reminders.update(later.reminders)
        self.asked.update(later.asked)
        self.seen += later.seen
        self.replies += later.replies
        self.dead += later.dead
        self.size += later.size
