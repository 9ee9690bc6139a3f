"""The inbox of a task's actor: Pykka's inbox on one side, the task's own `receive` on the other.

Pykka's loop takes one envelope out of it, PERFORM. The rest are messages for the task, which takes them with
`receive`. Any thread may put; only the actor takes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pykka._envelope import Envelope

PERFORM: Final[Envelope[Any]] = Envelope("perform")
"""The first envelope of every actor loop: it runs the task's code. All actors share it."""

#: Guards changes of every mailbox's `rings`, and the making of its deque. One lock serves all.
_changing: Final = threading.Lock()

Message = tuple[int, bytes]
"""A message in a mailbox: its number there, counted from 1, and its encoded value."""


class Mailbox:
    """An inbox that starts with PERFORM."""

    __slots__ = ("_ordered", "closed", "messages", "rings")

    def __init__(self) -> None:
        self._ordered = False
        #: Messages that are not taken yet, oldest first. The deque is made for the first one: an empty deque
        #: takes ten times the memory of all the rest, and most tasks never get a message.
        self.messages: deque[Message] | tuple[()] = ()
        #: Whether no more messages will come.
        self.closed = False
        #: Called on every change, one for each wait. Each must be safe to call from any thread.
        self.rings: tuple[Callable[[], object], ...] = ()

    def put(self, envelope: Envelope[Any], /) -> None:
        """Take in one message; Pykka's interface."""
        self.put_all((envelope.message,))

    def put_all(self, messages: Iterable[Message]) -> None:
        """Take in messages, in their order."""
        box = self.messages
        (self._first_box() if isinstance(box, tuple) else box).extend(messages)
        self.wake()

    def _first_box(self) -> deque[Message]:
        with _changing:
            if isinstance(self.messages, tuple):
                self.messages = deque()
            return self.messages

    def get(self) -> Envelope[Any]:
        """The next envelope for Pykka's loop. Never blocks: the actor stops when the task's code ends."""
        if not self._ordered:
            self._ordered = True
            return PERFORM
        assert not isinstance(self.messages, tuple)
        return Envelope(self.messages.popleft())

    def empty(self) -> bool:
        """Whether Pykka's loop has nothing left to take."""
        return self._ordered and not self.messages

    def close(self) -> None:
        """Accept no more messages. The task's `receive` gives None after the messages already here."""
        self.closed = True
        self.wake()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The task asks for a message that comes into a closed mailbox, too; the host closes it again after that one.

        If the call fails, it is closed as before.
        """
        closed, self.closed = self.closed, False
        try:
            yield
        except BaseException:
            if closed:
                self.close()
            raise

    def wake(self) -> None:
        """Make a waiting actor check its condition again."""
        for ring in self.rings:
            ring()

    def listen(self, ring: Callable[[], object]) -> None:
        """Call `ring` on every change from now on."""
        with _changing:
            self.rings = (*self.rings, ring)

    def unlisten(self, ring: Callable[[], object]) -> None:
        """Stop calling `ring`."""
        with _changing:
            rings = list(self.rings)
            rings.remove(ring)
            self.rings = tuple(rings)
