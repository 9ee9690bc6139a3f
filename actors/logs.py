"""Catching what a task prints and logs, and giving it to the task that did."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO

from .actor import on_stage


class TaskStream(io.TextIOBase):
    """A stand-in for sys.stdout or sys.stderr: text from a task's code goes to the task's log, the rest through."""

    def __init__(self, level: str, beyond: TextIO) -> None:
        super().__init__()
        self._level = level
        self._beyond = beyond

    def write(self, text: str, /) -> int:
        actor = on_stage.get(None)
        if actor is None:
            return self._beyond.write(text)
        actor.write(self._level, str(text))
        return len(text)

    def flush(self) -> None:
        if on_stage.get(None) is None:
            self._beyond.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._beyond.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property here, an attribute there
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # as above
        return "backslashreplace"


class TaskLogHandler(logging.Handler):
    """A handler for the root logger: records made by a task's code go to the task's log."""

    def __init__(self, beyond: logging.Handler) -> None:
        super().__init__()
        self._beyond = beyond
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        actor = on_stage.get(None)
        if actor is None:
            self._beyond.emit(record)
            return
        try:
            actor.host.log(actor, record.levelname.lower(), self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: a broken record must not break the program
            self.handleError(record)


def capture() -> None:
    """From now on, route this process's stdout, stderr and root logger to the tasks that write to them."""
    fallback = logging.StreamHandler(sys.stderr)
    fallback.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(TaskLogHandler(fallback))
    if root.level == logging.WARNING:
        # Python's default; a task's own info() lines are worth keeping.
        root.setLevel(logging.INFO)
    sys.stdout = TaskStream("stdout", sys.stdout)
    sys.stderr = TaskStream("stderr", sys.stderr)
