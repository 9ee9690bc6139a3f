"""`TaskStack`: where the code of a running task is just now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Role = Literal["task", "loop", "maybe", "other"]
"""What a thread has to do with the task: its code runs there ("task"); it is the event loop of the async task ("loop");
the code of the task runs in one of several such threads ("maybe"); the code of another task or library runs there."""


@dataclass(frozen=True, slots=True)
class StackFrame:
    """A call that has not returned."""

    file: str
    line: int
    """0 if it is not known."""
    function: str
    source: str = ""
    """The text of the line; empty if the worker could not be asked for it."""

    def __str__(self) -> str:
        text = f'  File "{self.file}", line {self.line or "?"}, in {self.function}'
        return f"{text}\n    {self.source}" if self.source else text


@dataclass(frozen=True, slots=True)
class ThreadStack:
    """The calls of one thread, or of one chain of coroutines that await each other."""

    name: str
    """That of the thread; "coroutine" for a chain of coroutines, whose last one awaits something."""
    role: Role
    task: str | None
    """The id of the task whose code runs there, as far as it is known."""
    frames: tuple[StackFrame, ...]
    """The call made last comes last, as in a traceback."""
    dropped: int = 0
    """Outer calls that were left out because there are too many."""

    def __str__(self) -> str:
        left_out = [f"  … {self.dropped:,} outer calls"] if self.dropped else []
        return "\n".join([*left_out, *map(str, self.frames)]) or "  no Python code"


@dataclass(frozen=True, slots=True)
class TaskStack:
    """The stack of a running task, and what the other threads of its worker do."""

    id: str
    task: str
    """The name of the task."""
    worker_pid: int
    time: float
    """When it was taken, in seconds since the epoch."""
    by: Literal["worker", "signal"]
    """Who took it: the worker's interpreter, or a signal because the interpreter did not answer. Then a C call held it
    up, most likely the last call of the task."""
    note: str
    """What a reader should know; empty if there is nothing."""
    threads: tuple[ThreadStack, ...]
    """The task's own comes first."""

    @property
    def frames(self) -> tuple[StackFrame, ...]:
        """The task's own calls; empty if it is not known which thread is the task's."""
        return self.threads[0].frames if self.threads and self.threads[0].role == "task" else ()

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        own = [each for each in self.threads if each.role != "other"]
        shown = [f"{each.name} (most recent call last):\n{each}" for each in own]
        return "\n".join([*shown, *([f"({self.note})"] if self.note else [])])
