"""StallWatch: disconnects a client that reads nothing while something waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from typing import Final

#: Looks within the time, all of which must find that nothing was taken. One look alone would take a pause of this
#: process, in which nothing is seen of a client that reads, for one of the client.
LOOKS: Final = 5


class StallWatch:
    """Of one connection. It runs from `begin` to `end`."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._unsent = 0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """There is more than the client has taken."""
        self.end()
        self._unsent, self._looks = self._left(), 0
        self._wait()

    def end(self) -> None:
        """The client has read, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._looks += 1
        if self._left() < self._unsent:
            self.begin()  # one that reads slowly is no reader that stands still
        elif self._looks < LOOKS:
            self._wait()
        else:
            self._transport.abort()

    def _left(self) -> int:
        """Bytes that the client has not taken: ours, and those that the kernel keeps for it, which are megabytes."""
        left = self._transport.get_write_buffer_size()
        try:
            queued = fcntl.ioctl(
                self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4)
            )
        except OSError:
            return left
        return left + int.from_bytes(queued, sys.byteorder)
