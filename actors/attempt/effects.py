"""`Effects`: what messages of an actor do beside changing its attributes. They take effect with a commit, or never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..refs.port import Post

#: (time, period, letter) of a reminder that is set; None for all of them removes it.
ReminderRow = tuple[float | None, float | None, bytes | None]


class Effects:
    """Those of one message, or of several that one commit will hold."""

    __slots__ = ("asked", "dead", "posts", "reminders", "replies", "rows", "seen", "size")

    def __init__(self) -> None:
        #: Rows of storage by key; None removes one.
        self.rows: dict[str, bytes | None] = {}
        #: (receiver or uid, letter, message or event, which of these it is), in order.
        self.posts: list[tuple[bytes, bytes, Post]] = []
        #: Reminders by name.
        self.reminders: dict[str, ReminderRow] = {}
        #: Asks that have been made: what others have done for them stands.
        self.asked = 0
        #: Ids of those that were answered.
        self.seen: list[bytes] = []
        #: (letter id, reply, whether the message has changed anything).
        self.replies: list[tuple[bytes, bytes, bool]] = []
        #: (letter, error fields).
        self.dead: list[tuple[bytes, Sequence[object]]] = []
        #: Bytes of all of it, approximately.
        self.size = 0

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
        self.asked += later.asked
        self.seen += later.seen
        self.replies += later.replies
        self.dead += later.dead
        self.size += later.size
