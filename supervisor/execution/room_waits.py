"""`RoomWaits`: which actors wait until there is room in the mailbox of which others.

A message whose letters do not fit into a mailbox waits, and the messages behind it. If that mailbox's actor waits in
the same way for this one, neither would ever go on. Ids only; no actor is touched here.
"""

from __future__ import annotations


class RoomWaits:
    """Each actor waits for one mailbox at most."""

    def __init__(self) -> None:
        self._mailbox_of: dict[bytes, bytes] = {}
        #: By mailbox: those that wait, in the order in which they began.
        self._waiting: dict[bytes, dict[bytes, None]] = {}

    def begin(self, actor: bytes, mailbox: bytes) -> list[bytes]:
        """An actor waits for room in the mailbox of another one.

        Returns the circle that this closes, from this actor on; empty if it closes none.
        """
        self.end(actor)
        self._mailbox_of[actor] = mailbox
        self._waiting.setdefault(mailbox, {})[actor] = None
        circle = [actor]
        while (mailbox := self._mailbox_of.get(circle[-1], b"")) != actor:
            if not mailbox or mailbox in circle:
                return []
            circle.append(mailbox)
        return circle

    def end(self, actor: bytes) -> None:
        """It does not wait any more."""
        mailbox = self._mailbox_of.pop(actor, None)
        if mailbox is not None:
            waiting = self._waiting[mailbox]
            del waiting[actor]
            if not waiting:
                del self._waiting[mailbox]

    def made_room(self, mailbox: bytes) -> bytes | None:
        """There is room in this mailbox: none of those that waited for it does. The first of them."""
        waiting = self._waiting.pop(mailbox, None)
        if waiting is None:
            return None
        for actor in waiting:
            del self._mailbox_of[actor]
        return next(iter(waiting))
