"""Waits: which methods of actors wait for which others, for an answer or for room in a mailbox, so that none closes a
circle.

The methods of an actor run one after the other, so the actor's id stands for the one that runs. A read-only method that
runs beside it is known by its letter. It may wait, too, and the other one does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..tasks.letter_box import Room
from .room_waits import RoomWaits

Asked = tuple[bytes, bytes]
"""An actor, and the read-only letter that was sent to it; an empty one for any other letter."""


class Waits:
    """By the id of the method that waits: the letters for whose answers it waits, and the mailbox."""

    def __init__(self, is_beside: Callable[[bytes, bytes], bool], fits: Callable[[Room], bool]) -> None:
        """`is_beside` says whether an actor has this read-only letter beside another one.

        `fits` says whether there is room now. Then nobody waits for it any longer.
        """
        self._is_beside = is_beside
        self._fits = fits
        self.rooms = RoomWaits()
        self._asked: dict[bytes, dict[bytes, Asked]] = {}
        self._method: dict[bytes, bytes] = {}

    def begin(self, method: bytes, letter_id: bytes, actor: bytes, *, read_only: bool) -> None:
        """A method waits for the answer of this actor to this letter."""
        self._asked.setdefault(method, {})[letter_id] = actor, letter_id if read_only else b""
        self._method[letter_id] = method

    def end(self, letter_id: bytes) -> None:
        """Nobody waits for the answer to this letter any more."""
        method = self._method.pop(letter_id, None)
        if method is not None:
            asked = self._asked[method]
            del asked[letter_id]
            if not asked:
                del self._asked[method]

    def way(self, actor: bytes, method: bytes, *, reads: bool = False) -> list[bytes] | None:
        """The actors from this one on, each of which waits for the next one, up to this method; None if there is none.

        `reads`: what is to come from the first one is the answer to a read-only letter. That waits for no method that
        waits for an answer, only for room.
        """
        way, seen = [actor], {actor}
        if actor == method and not reads:
            return way
        branches = [self._for_room(actor) if reads else self._next(actor)]
        while branches:
            step = next(branches[-1], None)
            if step is None:
                branches.pop()
                way.pop()
            elif step[0] == method:
                return [*way, step[1]]
            elif step[0] not in seen:
                seen.add(step[0])
                way.append(step[1])
                branches.append(self._next(step[0]))
        return None

    def _next(self, method: bytes) -> Iterator[Asked]:
        """The methods for which this one waits, each with its actor."""
        for actor, letter_id in self._asked.get(method, {}).values():
            yield letter_id if letter_id and self._is_beside(actor, letter_id) else actor, actor
        yield from self._for_room(method)

    def _for_room(self, method: bytes) -> Iterator[Asked]:
        room = self.rooms.room_of(method)
        if room is not None and not self._fits(room):
            yield room.mailbox, room.mailbox
