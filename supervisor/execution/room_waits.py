"""`RoomWaits`: which methods wait until there is room in the mailbox of which actors.

A message whose letters do not fit into a mailbox waits, and so do the messages behind it. Ids only; no actor is touched
here.
"""

from __future__ import annotations

from ..tasks.letter_box import Room


class NoRoom(Exception):
    """Letters do not fit into a mailbox."""

    def __init__(self, room: Room, why: str) -> None:
        super().__init__(why)
        self.room = room


class RoomWaits:
    """Each method waits for one mailbox at most: an actor for its first message, a read-only letter for itself."""

    def __init__(self) -> None:
        self._room_of: dict[bytes, Room] = {}
        #: By mailbox: those that wait, in the order in which they began.
        self._waiting: dict[bytes, dict[bytes, None]] = {}

    def begin(self, method: bytes, room: Room) -> None:
        """A method waits for room."""
        self.end(method)
        self._room_of[method] = room
        self._waiting.setdefault(room.mailbox, {})[method] = None

    def end(self, method: bytes) -> None:
        """It does not wait any more."""
        room = self._room_of.pop(method, None)
        if room is not None:
            waiting = self._waiting[room.mailbox]
            del waiting[method]
            if not waiting:
                del self._waiting[room.mailbox]

    def room_of(self, method: bytes) -> Room | None:
        """What it waits for."""
        return self._room_of.get(method)

    def first(self, mailbox: bytes) -> bytes | None:
        """The one that has waited longest for room in this mailbox."""
        return next(iter(self._waiting.get(mailbox, ())), None)
