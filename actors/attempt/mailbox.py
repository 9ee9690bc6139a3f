"""The inbox of a task's actor: Pykka's inbox on one side, the task's own `receive` on the other.

Pykka's loop takes one envelope out of it, the order to perform; everything after that is mail for the task, which
takes it when it wants to. Any thread may put; only the actor itself takes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from pykka._envelope import Envelope

PERFORM: Final[Envelope[Any]] = Envelope("perform")
"""What the actor loop's first `get` gives: one envelope shared by all actors, since it says the same to each."""

#: Guards the change of any mailbox's `rings`, and the making of its deque: too short to be worth a lock for each.
_changing: Final = threading.Lock()

Letter = tuple[int, bytes]
"""A message as it lies in the mailbox: its number in that mailbox, counted from 1, and its encoded value."""


class Mailbox:
    """An inbox that starts with the order to perform."""

    __slots__ = ("_ordered", "closed", "letters", "rings")

    def __init__(self) -> None:
        self._ordered = False
        #: Letters that arrived and were not taken, oldest first. A deque from the first one on: an empty one takes ten
        #: times the memory of all the rest, and most tasks never get a letter.
        self.letters: deque[Letter] | tuple[()] = ()
        #: No more letters will come.
        self.closed = False
        #: Called on every change while somebody waits; each must be safe to call from any thread.
        self.rings: tuple[Callable[[], object], ...] = ()

    def put(self, envelope: Envelope[Any], /) -> None:
        """Take in a letter, in Pykka's way."""
        self.put_all((envelope.message,))

    def put_all(self, letters: Iterable[Letter]) -> None:
        """Take in letters, in their order."""
        box = self.letters
        (self._first_box() if isinstance(box, tuple) else box).extend(letters)
        self.wake()

    def _first_box(self) -> deque[Letter]:
        with _changing:
            if isinstance(self.letters, tuple):
                self.letters = deque()
            return self.letters

    def get(self) -> Envelope[Any]:
        """The next envelope for Pykka's loop. Never blocks: after the performance the actor has stopped."""
        if not self._ordered:
            self._ordered = True
            return PERFORM
        assert not isinstance(self.letters, tuple)
        return Envelope(self.letters.popleft())

    def empty(self) -> bool:
        """Whether Pykka's loop has nothing left to clear away."""
        return self._ordered and not self.letters

    def close(self) -> None:
        """No more letters: the task's `receive` gives None once it has taken what is there."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Let a waiting actor look again."""
        for ring in self.rings:
            ring()

    def listen(self, ring: Callable[[], object]) -> None:
        """Call `ring` on every change from now on."""
        with _changing:
            self.rings = (*self.rings, ring)

    def unlisten(self, ring: Callable[[], object]) -> None:
        """Leave `ring` alone again."""
        with _changing:
            rings = list(self.rings)
            rings.remove(ring)
            self.rings = tuple(rings)
