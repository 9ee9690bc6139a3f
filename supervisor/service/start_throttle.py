"""Short tasks that are started faster than they end: the ones that are in come first.

A million of them at once would otherwise be taken in within seconds, and nearly all of them be written to disk as
queued, let go of and read back before they run, which costs as much as running them does. So who starts many tasks at
once that are known to be quick, while a crowd of tasks stands in line, is not read any further until the line is short
again. It costs him nothing: his tasks could not have ended any sooner. Should the line not move, because all places are
taken by others, he is read again after a moment; and should it move without becoming short, after a second, for what he
asks next may have nothing to do with the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .client_link import ClientLink

#: Seconds between two looks at whether the line moves, and tasks that must have ended between them.
LOOK: Final = 0.025
MOVED: Final = 100
#: Seconds after which nobody is held up any longer.
LONGEST: Final = 1.0
#: Tasks that are started at once by those who are held up.
MANY: Final = 100


class StartThrottle:
    """Clients that are held up."""

    def __init__(self, is_crowded: Callable[[], bool], ended: Callable[[], int]) -> None:
        """`is_crowded` says whether the line is long, `ended` how many tasks have ended so far."""
        self._loop = asyncio.get_running_loop()
        self._is_crowded = is_crowded
        self._ended = ended
        #: By the loop's time until which they are.
        self._held: dict[ClientLink, float] = {}
        self._look: asyncio.TimerHandle | None = None
        self._ended_then = 0

    def joined(self, client: ClientLink, count: int) -> None:
        """A client has started so many tasks at once that are known to be quick."""
        if count >= MANY and self._is_crowded():
            client.hold(True)
            self._held[client] = self._loop.time() + LONGEST
            if self._look is None:
                self._look_later()

    def left(self, client: ClientLink) -> None:
        """A client has gone."""
        self._held.pop(client, None)

    def settle(self) -> None:
        """Let them go on if the line is short again; asked in every turn of the loop."""
        if self._held and not self._is_crowded():
            self._let_go(list(self._held))

    def stop(self) -> None:
        """Hold nobody any more."""
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
            # Another one may have hung up meanwhile; and this one may be held up anew by what it asks now.
            if self._held.pop(client, None) is not None:
                client.hold(False)
