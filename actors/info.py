"""What callers hold of a task: `TaskInfo`, a handle, and `TaskRecord`, what is known of it at one moment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ErrorInfo
from .state import TERMINAL, State

if TYPE_CHECKING:
    from .ambient import RuntimeLike


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task says it is."""

    done: float
    total: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is known of a task. Times are seconds since the epoch."""

    id: str
    stream_id: str
    task: str
    state: State
    attempt: int
    """Number of the current (or last, or next) attempt, from 1."""
    interruptions: int
    """How often the runtime took it off its worker; these cost no attempt."""
    created: float
    origin_run: str | None = None
    started: float | None = None
    """When the last attempt started."""
    ended: float | None = None
    worker_pid: int | None = None
    error: ErrorInfo | None = None
    """Why the last attempt that did not complete did not."""
    progress: Progress | None = None
    next_attempt: float | None = None
    """Earliest time of the next attempt, for a delayed task or one that waits for a retry."""
    checkpoint_time: float | None = None
    checkpoint_size: int | None = None
    mailbox_depth: int = 0
    """Messages that wait to be acknowledged."""
    key: str | None = None
    retry_of: str | None = None
    """The ended task that this one tries again."""
    cancel_requested: bool = False
    closed: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """What the caller changed of the task's declared options."""

    @property
    def ended_already(self) -> bool:
        """Whether the state is terminal."""
        return self.state in TERMINAL

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return {**asdict(self), "state": str(self.state)}


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A handle on a started task. The short cuts go through the runtime that started it."""

    id: str
    """UUIDv7."""
    stream_id: str
    task: str
    origin_run: str | None = None
    """Id of the run or task that started it."""
    runtime: RuntimeLike | None = field(default=None, repr=False, compare=False)

    def _runtime(self) -> RuntimeLike:
        from .ambient import runtime

        return runtime() if self.runtime is None else self.runtime

    def status(self) -> TaskRecord:
        """What is known of it now."""
        return self._runtime().status(self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for its end; its value, or TaskFailed, TaskTimedOut, TaskCancelled, TimeoutError."""
        return self._runtime().result(self.id, timeout=timeout)

    def wait(self, timeout: float | None = None) -> TaskRecord:
        """Wait for its end, whatever it is; TimeoutError when `timeout` seconds run out."""
        return self._runtime().wait(self.id, timeout=timeout)

    def send(self, message: Any) -> None:
        """Put a message into its mailbox; returns once it is on disk."""
        self._runtime().send(self.id, message)

    def close(self) -> None:
        """Let its mailbox take no more messages."""
        self._runtime().close(self.id)

    def cancel(self) -> bool:
        """Cancel it; True if it had not ended."""
        return self._runtime().cancel(self.id)

    def restore(self) -> Any:
        """Its last checkpoint, or None."""
        return self._runtime().restore(self.id)
