"""StallWatch: disconnects a client that reads nothing while something waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios


class StallWatch:
    """Of one connection. It runs from `begin` to `end`."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """There is more than the client has taken."""
        self.end()
        self._unsent = self._left()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        """The client has read, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        # One that reads slowly is no reader that stands still.
        if self._left() >= self._unsent:
            self._transport.abort()
        else:
            self.begin()

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
