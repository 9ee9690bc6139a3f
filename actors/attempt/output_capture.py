"""The capture of printed text and log records in a worker: each goes to the log of the task that wrote it."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, TextIO

from .actor import running_actor


class _Shared(io.IOBase):
    """A stream of all tasks of the process, in front of the stream `beyond` for text that is no task's."""

    def __init__(self, level: str, beyond: TextIO) -> None:
        super().__init__()
        self._level = level
        self._beyond = beyond

    def flush(self) -> None:
        if running_actor() is None:
            self._beyond.flush()

    def close(self) -> None:
        """Do nothing: all tasks share the stream, so none of them may close it."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._beyond.fileno()

    def _write(self, text: str) -> int:
        actor = running_actor()
        if actor is None:
            return self._beyond.write(text)
        actor.write(self._level, text)
        return len(text)


class TaskStream(_Shared, io.TextIOBase):
    """Replaces sys.stdout or sys.stderr. A task's text goes to its log, other text to `beyond`."""

    encoding: str = "utf-8"
    errors: str | None = "backslashreplace"

    def __init__(self, level: str, beyond: TextIO) -> None:
        super().__init__(level, beyond)
        #: For code that writes bytes: `sys.stdout.buffer.write(…)`.
        self.buffer = _TaskBytes(level, beyond)

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        return self._write(text)


class _TaskBytes(_Shared, io.RawIOBase):
    """The same as TaskStream, for bytes."""

    def write(self, data: Any, /) -> int:
        self._write(bytes(data).decode("utf-8", "backslashreplace"))
        return memoryview(data).nbytes


class TaskLogHandler(logging.Handler):
    """A handler for the root logger: records made by a task's code go to the task's log."""

    def __init__(self, beyond: logging.Handler) -> None:
        super().__init__()
        self._beyond = beyond
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        actor = running_actor()
        if actor is None:
            self._beyond.handle(record)
            return
        try:
            actor.host.log(actor, record.levelname.lower(), self.format(record))
        except Exception:  # noqa: BLE001 - logging's own rule: a broken record must not break the program
            self.handleError(record)


def capture() -> None:
    """Route this process's stdout, stderr and root logger to the logs of the tasks that write to them.

    Text from outside of tasks goes where it went before. Calling it again changes nothing.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, TaskLogHandler) for handler in root.handlers):
        fallback = logging.StreamHandler(_beyond(sys.stderr))
        fallback.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(TaskLogHandler(fallback))
        if root.level == logging.WARNING:
            # WARNING is Python's default; the info() lines of tasks are worth keeping.
            root.setLevel(logging.INFO)
    if not isinstance(sys.stdout, TaskStream):
        sys.stdout = TaskStream("stdout", sys.stdout)
    if not isinstance(sys.stderr, TaskStream):
        sys.stderr = TaskStream("stderr", sys.stderr)


def _beyond(stream: Any) -> TextIO:
    """The stream for text that does not come from a task."""
    beyond: TextIO = stream._beyond if isinstance(stream, TaskStream) else stream
    return beyond
