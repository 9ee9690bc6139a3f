"""The capture of printed text and log records in a worker: each goes to the log of the task that wrote it.

The app may keep a stream when it is imported, in a handler of `logging` or of another library. So the fork server
puts `TaskStream`s in place before it imports the app.
"""

from __future__ import annotations

import functools
import io
import logging
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

from ..ids import id_text
from .actor import TaskActor, current_actor

#: Set in records that have been written already, so that a second handler does not write them again.
_WRITTEN: Final = "understudy_written"


class _Shared(io.IOBase):
    """A stream of all tasks of the process, in front of the stream `beyond` for text that is no task's.

    It is never a terminal: programs would colour the log.
    """

    def __init__(self, level: str, beyond: TextIO | None) -> None:
        """`beyond` is None in a process without this stream: its text is dropped, as print does."""
        super().__init__()
        self._level = level
        self._beyond = beyond
        self.name = f"<{level}>"

    def flush(self) -> None:
        actor = current_actor.get(None)
        if actor is None:
            if self._beyond is not None:
                self._beyond.flush()
        elif actor.actor_stopped.is_set():
            # Nothing else writes the rest of a line, once the attempt has ended.
            actor.log_partial_lines()

    def close(self) -> None:
        """Do nothing: all tasks share the stream, so none of them may close it."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._beyond is None:
            raise io.UnsupportedOperation("this process has no such stream")
        return self._beyond.fileno()


class TaskStream(_Shared, io.TextIOBase):
    """Replaces sys.stdout or sys.stderr. A task's text goes to its log, other text to `beyond`."""

    encoding: str = "utf-8"
    errors: str | None = "backslashreplace"
    mode = "w"
    line_buffering = True
    write_through = False

    def __init__(self, level: str, beyond: TextIO | None) -> None:
        super().__init__(level, beyond)
        #: For code that writes bytes: `sys.stdout.buffer.write(…)`.
        self.buffer = _TaskBytes(level, beyond)

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        actor = current_actor.get(None)
        if actor is not None:
            actor.write(self._level, text)
        elif self._beyond is not None:
            return self._beyond.write(text)
        return len(text)

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Change the stream beyond. In a task nothing changes: its text needs no encoding, and all tasks share it."""
        change = getattr(self._beyond, "reconfigure", None)
        if current_actor.get(None) is None and change is not None:
            change(
                encoding=encoding,
                errors=errors,
                newline=newline,
                line_buffering=line_buffering,
                write_through=write_through,
            )


class _TaskBytes(_Shared, io.RawIOBase):
    """The same as TaskStream, for bytes."""

    mode = "wb"

    @property
    def raw(self) -> _TaskBytes:
        """This object, which does not buffer."""
        return self

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        actor = current_actor.get(None)
        if actor is not None:
            actor.write(self._level, view.tobytes())
        elif self._beyond is not None:
            _write_bytes(self._beyond, view.tobytes())
        return view.nbytes


def _write_bytes(beyond: TextIO, data: bytes) -> None:
    buffer = getattr(beyond, "buffer", None)
    if buffer is None:
        beyond.write(data.decode("utf-8", "backslashreplace"))
    else:
        beyond.flush()
        buffer.write(data)


class TaskLogHandler(logging.Handler):
    """A handler for the root logger: records made by a task's code go to the task's log."""

    def __init__(self, beyond: logging.Handler) -> None:
        super().__init__()
        self._beyond = beyond
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if _WRITTEN in record.__dict__:
            return
        actor = current_actor.get(None)
        if actor is None:
            self._beyond.handle(record)
        else:
            _log(self, actor, record)


def _log(handler: logging.Handler, actor: TaskActor, record: logging.LogRecord) -> None:
    try:
        actor.host.log(actor, record.levelname.lower(), handler.format(record))
    except Exception:  # noqa: BLE001 - logging's own rule: a broken record must not break the program
        handler.handleError(record)


def stand_in() -> None:
    """Put TaskStreams in the place of this process's stdout and stderr. Calling it again changes nothing."""
    if not isinstance(sys.stdout, TaskStream):
        sys.stdout = TaskStream("stdout", sys.stdout)
    if not isinstance(sys.stderr, TaskStream):
        sys.stderr = TaskStream("stderr", sys.stderr)


def capture() -> None:
    """Route this process's stdout, stderr and log records to the logs of the tasks that write to them.

    Text from outside of tasks goes where it went before. Calling it again changes nothing.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, TaskLogHandler) for handler in root.handlers):
        beyond = _beyond(sys.stderr)
        fallback: logging.Handler = logging.NullHandler() if beyond is None else logging.StreamHandler(beyond)
        fallback.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(TaskLogHandler(fallback))
        if root.level == logging.WARNING:
            # WARNING is Python's default; the info() lines of tasks are worth keeping.
            root.setLevel(logging.INFO)
    stand_in()
    _capture_handlers()


def _capture_handlers() -> None:
    """Have the app's own handlers for stdout and stderr write to a task's log with the record's level, and once."""
    emit = logging.StreamHandler.emit
    if hasattr(emit, "__understudy__"):
        return

    @functools.wraps(emit)
    def emit_for_task(handler: logging.StreamHandler[Any], record: logging.LogRecord) -> None:
        if not isinstance(handler.stream, TaskStream):
            emit(handler, record)
            return
        actor = current_actor.get(None)
        if actor is None:
            emit(handler, record)
        elif _WRITTEN not in record.__dict__:
            _log(handler, actor, record)
        record.__dict__[_WRITTEN] = True

    changed: Any = emit_for_task
    changed.__understudy__ = True  # so that it is found the next time
    kind: Any = logging.StreamHandler
    kind.emit = changed


def write_late(actor: TaskActor, text: str) -> None:
    """Write an entry of a task that has ended to this process's own stderr."""
    beyond = _beyond(sys.stderr)
    if beyond is not None:
        with suppress(OSError, ValueError):
            beyond.write(f"task {actor.task.name} ({id_text(actor.id)}) wrote after its end: {text}\n")
            beyond.flush()


def _beyond(stream: Any) -> TextIO | None:
    """The stream for text that does not come from a task."""
    beyond: TextIO | None = stream._beyond if isinstance(stream, TaskStream) else stream
    return beyond
