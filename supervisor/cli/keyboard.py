"""`Keyboard`: keys that are read while a page is shown on a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from types import TracebackType
from typing import Any, Final, Self

#: The keys that leave a page.
LEAVE: Final = frozenset(b"qQ")


class Keyboard:
    """Waits for a time or for a key that leaves. Ctrl-C raises KeyboardInterrupt, as always.

    Keys count only if stdin and stdout are a terminal and this process is in its foreground. Then they come without
    Enter and are not shown, until the `with` block ends.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._modes: list[Any] = []

    def __enter__(self) -> Self:
        if _in_foreground():
            self._fd = sys.stdin.fileno()
            self._modes = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if self._modes:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._modes)

    def left_within(self, seconds: float) -> bool:
        """Wait; True at once when such a key is pressed, False after this time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._fd is None:
                time.sleep(left)
            elif select.select([self._fd], [], [], left)[0]:
                keys = os.read(self._fd, 1024)
                if LEAVE.intersection(keys):
                    return True
                if not keys:
                    self._fd = None  # the terminal is gone
        return False


def _in_foreground() -> bool:
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return True  # a terminal without job control
