"""The fingerprint of a failure: what failures of one cause have in common. Pure.

It is made of the task's name, the type of the error, the innermost frame of its traceback (file and function, without
the line), and its message without numbers. So an edit elsewhere in the file, another row number or another id leave it
as it is.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final, NamedTuple

BYTES: Final = 8
"""Length of a fingerprint."""

MESSAGE: Final = 500
"""Characters of a message that count."""

_FRAME: Final = re.compile(r'^[ |]*File "([^"\n]*)", line \d+(?:, in ([^\n]*))?', re.MULTILINE)
_TAIL: Final = 20_000  # characters of a traceback in which its last frame is looked for
_NUMBER: Final = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # a UUID
    r"|0[xX][0-9a-fA-F]+"
    r"|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b"  # a hash
    r"|(?:(?<!\w)[-+])?\d+(?:[.,:_]\d+)*(?:[eE][-+]?\d+)?"
)


class Cause(NamedTuple):
    """What failures with one fingerprint have in common."""

    task: str
    type: str
    """The type of the error; the state for a task that ended without one."""
    frame: str
    """The innermost frame, as "folder/file.py in function"; empty if there is no traceback."""
    message: str
    """The first line of the message, with `#` for each number."""

    @property
    def fingerprint(self) -> bytes:
        """Equal for equal causes."""
        return _hashed(self)


@lru_cache(1024)
def cause_of(task: str, type: str, message: str, traceback: str) -> Cause:
    """The cause of a failure. Failures often come in rows of equal ones, so the last causes are kept."""
    line = message.strip().partition("\n")[0][:MESSAGE]
    return Cause(task, type, innermost(traceback), without_numbers(line))


def innermost(traceback: str) -> str:
    """The frame in which the error was raised, without its line; empty if the text has none."""
    frames = list(_FRAME.finditer(traceback, max(0, len(traceback) - _TAIL)))
    if not frames:
        return ""
    last = frames[-1]
    file = "/".join(last[1].split("/")[-2:])
    return f"{file} in {last[2].strip()}" if last[2] else file


def without_numbers(message: str) -> str:
    """The message with `#` for each number, UUID and hash in hexadecimal."""
    return _NUMBER.sub("#", message)


@lru_cache(1024)
def _hashed(cause: Cause) -> bytes:
    data = "\0".join(cause).encode(errors="surrogatepass")
    return hashlib.blake2b(data, digest_size=BYTES).digest()
