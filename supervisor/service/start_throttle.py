"""StartThrottle: back-pressure for clients that start quick tasks faster than these end.

While a queue has more than 8,192 ready tasks, a client is not read after it starts 100 or more quick tasks at once.
Otherwise a million starts would be accepted within seconds. Nearly all these tasks would be written to disk as
queued, dropped from memory and read back before they run, which costs as much as running them.

The client loses nothing: its tasks could not have ended earlier. It is read again when the queues are short, when
fewer than 100 tasks end within 25 ms (other tasks hold all slots), or after one second. The time limit exists because
its next request may have nothing to do with the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .client_link import ClientLink

#: Seconds between two checks of progress, and tasks that must have ended between them.
LOOK: Final = 0.025
MOVED: Final = 100
#: Longest time in seconds that a client is held.
LONGEST: Final = 1.0
#: Least number of quick tasks in one START for which its client is held.
MANY: Final = 100


class StartThrottle:
    """Holds clients, and lets them go on."""

    def __init__(self, is_crowded: Callable[[], bool], ended: Callable[[], int]) -> None:
        """`is_crowded` tells whether a queue is too long; `ended` gives the number of tasks ended so far."""
        self._loop = asyncio.get_running_loop()
        self._is_crowded = is_crowded
        self._ended = ended
        #: Held clients, with the loop's time until which they are held.
        self._held: dict[ClientLink, float] = {}
        self._look: asyncio.TimerHandle | None = None
        self._ended_then = 0

    def joined(self, client: ClientLink, count: int) -> None:
        """A client has started `count` quick tasks in one request; hold it if the queue is too long."""
        if count >= MANY and self._is_crowded():
            client.hold(True)
            self._held[client] = self._loop.time() + LONGEST
            if self._look is None:
                self._look_later()

    def left(self, client: ClientLink) -> None:
        """A client has disconnected."""
        self._held.pop(client, None)

    def settle(self) -> None:
        """Let all clients go on if the queue is short again. Called in every turn of the loop."""
        if self._held and not self._is_crowded():
            self._let_go(list(self._held))

    def stop(self) -> None:
        """Let all clients go on."""
        self._let_go(list(self._held))
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_later(self) -> None:
        self._ended_then = self._ended()
        self._look = self._loop.call_later(LOOK, self._look_at_line)

    def _look_at_line(self) -> None:
        self._look = None
        now, moves = self._loop.time(), self._ended() - self._ended_then >= MOVED
        self._let_go([client for client, until in self._held.items() if not moves or until <= now])
        if self._held and self._look is None:
            self._look_later()

    def _let_go(self, clients: list[ClientLink]) -> None:
        for client in clients:
            # Other clients may disconnect meanwhile, and this one may be held again by its next request.
            if self._held.pop(client, None) is not None:
                client.hold(False)
