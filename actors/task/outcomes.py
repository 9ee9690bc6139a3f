"""What has become of tasks: their attempts, the causes of failures, and what has ended in a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from ..errors import ErrorInfo
from ..state import State


@dataclass(frozen=True, slots=True)
class TaskAttempt:
    """One run of a task's code. Times are seconds since the epoch."""

    attempt: int
    """Its number, from 1. An attempt that was interrupted runs again under the same number."""
    state: str
    """How it ended: "failed", "timed_out", "interrupted", or the task's final state; "running" if it has not."""
    started: float | None
    ended: float | None
    worker_pid: int | None
    """None if the task ran only once and has ended."""
    error: ErrorInfo | None

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return {
            "attempt": self.attempt,
            "state": self.state,
            "started": self.started,
            "ended": self.ended,
            "worker_pid": self.worker_pid,
            "error": None if self.error is None else asdict(self.error),
        }


@dataclass(frozen=True, slots=True)
class TaskAttempts(Sequence[TaskAttempt]):
    """The runs of a task, oldest first."""

    runs: tuple[TaskAttempt, ...]
    dropped: int
    """How many older ones are not kept."""

    @overload
    def __getitem__(self, at: int) -> TaskAttempt: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[TaskAttempt, ...]: ...
    def __getitem__(self, at: int | slice) -> TaskAttempt | tuple[TaskAttempt, ...]:
        return self.runs[at]

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Tasks that have failed or timed out for one cause."""

    fingerprint: str
    """Equal for equal causes: task, type, frame and message."""
    task: str
    type: str
    frame: str
    """The innermost frame of the traceback, as "folder/file.py in function"; empty if there is none."""
    message: str
    """The first line of the message, with `#` for each number."""
    count: int
    """How many tasks failed so in the window."""
    first: float
    """When the first and the last of them ended, in seconds since the epoch."""
    last: float
    tasks: tuple[str, ...]
    """The ids of the last ones, newest first."""

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return {name: getattr(self, name) for name in ErrorGroup.__slots__} | {"tasks": list(self.tasks)}


@dataclass(frozen=True, slots=True)
class ErrorGroups(Sequence[ErrorGroup]):
    """The causes of failures in a window, the most frequent first."""

    groups: tuple[ErrorGroup, ...]
    total: int
    """How many causes there are; more than `groups` if a limit left some out."""
    stopped: bool
    """Whether the answer stopped because it had taken 50 ms: it counts failures from `looked_back_to` on."""
    looked_back_to: float
    """The beginning of the window, in seconds since the epoch."""

    @overload
    def __getitem__(self, at: int) -> ErrorGroup: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[ErrorGroup, ...]: ...
    def __getitem__(self, at: int | slice) -> ErrorGroup | tuple[ErrorGroup, ...]:
        return self.groups[at]

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, slots=True)
class Times:
    """How long attempts took, in seconds, at most 5 % off. None if there were none."""

    count: int = 0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class TaskStats:
    """What has ended in a window."""

    since: float
    """The beginning of the window, in seconds since the epoch."""
    seconds: float
    """Its length until now."""
    ended: dict[State, int]
    """How many tasks have ended, by their final state. Zeros are left out."""
    retried: int
    """How many attempts have failed or timed out and were to be retried."""
    throughput: float
    """Tasks that have ended in each second."""
    wait: Times
    """Of the attempts that ended in the window: from the time at which they could begin until they began."""
    run: Times
    """Of the same attempts: from their beginning to their end."""
    tasks: Mapping[str, TaskStats] = field(default_factory=dict)
    """The same for each name of tasks."""

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return {
            "since": self.since,
            "seconds": self.seconds,
            "ended": {str(state): number for state, number in self.ended.items()},
            "retried": self.retried,
            "throughput": self.throughput,
            "wait": asdict(self.wait),
            "run": asdict(self.run),
            "tasks": {name: each.as_dict() for name, each in self.tasks.items()},
        }
