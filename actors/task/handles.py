"""The handle on a task, `TaskInfo`, and the snapshot of a task, `TaskRecord`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from uuid import UUID

from ..errors import ErrorInfo, InvalidOption, InvalidValue, TaskNotFound
from ..ids import id_bytes, id_text
from ..state import TERMINAL, State
from ..values import register, unpack_foreign
from .trigger import Kind, Trigger

if TYPE_CHECKING:
    from .current_runtime import RuntimeLike


R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress that a task reports."""

    done: float
    total: float | None = None
    note: str = ""


class StoredArguments:
    """The arguments of a task, decoded when they are first asked for, and perhaps read from the store only then."""

    __slots__ = ("_packed",)

    def __init__(self, packed: Callable[[], bytes | None] | bytes | None = None) -> None:
        self._packed = packed

    def packed(self) -> bytes | None:
        """Encoded; None for none."""
        if callable(self._packed):
            self._packed = self._packed()
        return self._packed

    def value(self) -> tuple[list[Any], dict[str, Any]]:
        """(positional ones, keyword ones). A value of a type that is not registered here is a `values.Foreign`."""
        packed = self.packed()
        if packed is None:
            return [], {}
        args, kwargs = unpack_foreign(packed)
        return args, kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredArguments, (self.packed(),)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A snapshot of a task. Times are seconds since the epoch."""

    id: str
    stream_id: str
    task: str
    state: State
    attempt: int
    """Number of the current (or last, or next) attempt, from 1."""
    interruptions: int
    """How often the runtime interrupted it; an interruption costs no attempt."""
    created: float
    origin_run: str | None = None
    started: float | None = None
    """When the last attempt started."""
    ended: float | None = None
    worker_pid: int | None = None
    error: ErrorInfo | None = None
    """The error of the last attempt that did not complete."""
    progress: Progress | None = None
    next_attempt: float | None = None
    """Earliest time of the next attempt, if the task is delayed or waits for a retry."""
    checkpoint_time: float | None = None
    checkpoint_size: int | None = None
    mailbox_depth: int = 0
    """Messages that are not acknowledged yet. If the task has ended without completing, a retry gets them."""
    key: str | None = None
    retry_of: str | None = None
    """Id of the ended task that this one tries again."""
    tries: int = 1
    """The most attempts that its retry policy allows. Known when it has run for 0.1 s, is retried or has an error."""
    waits_for: str | None = None
    """What a queued task waits for: "slot", "worker" (one of its own), "limit" (a place there), "time" (see
    `next_attempt`), "tree" (its supervision tree), "pool" (the supervisor that serves the home does not have it) or
    "code" (the app that serves the home does not declare the task, or cannot be imported for now). None if it is not
    queued."""
    cancel_requested: bool = False
    closed: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """The options in which the start differs from the declaration."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The metadata that the start has given."""
    actor: str | None = None
    """Of a class actor, its name within its class; empty if it has none. None: it is a task of another kind."""
    kind: Kind = "task"
    """"task" if it was started; a run is a "call", or was made by an "event", a "schedule" or an "http" request."""
    trigger: Trigger | None = None
    """What has triggered a run; None for a task that was started or called."""
    tree: str | None = None
    """Of a child of a supervision tree, its path there."""
    unique_key: str | None = None
    """The key by which it is unique, as its arguments or its start have made it. None: it is not unique."""
    trace: str | None = None
    """The trace context of its start, as a W3C traceparent; None if it was started in no trace."""
    pool: str | None = None
    """The pool whose workers run it; None for the workers of all tasks without a pool."""
    steps: int = 0
    """How many steps it keeps; of an actor, those of the messages that it has not handled."""
    steps_size: int = 0
    """Bytes of their values."""
    arguments: StoredArguments = field(default_factory=StoredArguments, repr=False, compare=False)

    @property
    def args(self) -> list[Any]:
        """The positional arguments, as plain data and registered types. Of a record from `list`, read when used."""
        return self.arguments.value()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; see `args`."""
        return self.arguments.value()[1]

    @property
    def ended_already(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        fields = {**asdict(replace(self, arguments=StoredArguments())), "state": str(self.state)}
        del fields["arguments"]
        return fields


class TaskInfo(Generic[R_co]):
    """A handle on a started task; frozen. Its methods call the runtime that started the task.

    It is a value: it can be pickled, and be an argument, a message or a result of a task. There it has no runtime of
    its own, and its methods call the ambient one.

    It keeps the ids as bytes and makes a text only when one is read: a program that starts 100,000 tasks
    reads few of the texts.
    """

    __slots__ = ("_existing", "_id", "_origin", "_runtime_or_none", "_stream", "_task")

    def __init__(
        self,
        id: bytes,
        stream: bytes,
        task: str,
        origin: bytes | None = None,
        runtime: RuntimeLike | None = None,
        existing: bool = False,
    ) -> None:
        """Ids have 16 bytes. Without a runtime, the methods call the ambient one."""
        self._id = id
        self._stream = stream
        self._task = task
        self._origin = origin
        self._runtime_or_none = runtime
        self._existing = existing

    @property
    def id_bytes(self) -> bytes:
        """The id as 16 bytes."""
        return self._id

    @property
    def id(self) -> str:
        """UUIDv7."""
        return id_text(self._id)

    @property
    def stream_id(self) -> str:
        """The correlation id, which all tasks started from the same run share."""
        return id_text(self._stream)

    @property
    def task(self) -> str:
        """The task's name."""
        return self._task

    @property
    def origin_run(self) -> str | None:
        """Id of the run or task that started it."""
        return None if self._origin is None else id_text(self._origin)

    @property
    def existing(self) -> bool:
        """Whether the start has made no task, because one was there: with the same key, or the same unique one.

        It is part of the answer to that start: False once the handle was pickled or has been part of a value.
        """
        return self._existing

    def __eq__(self, other: object) -> bool:
        return self._id == other._id if isinstance(other, TaskInfo) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskInfo, _fields(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        origin = "" if self._origin is None else f", origin_run={self.origin_run!r}"
        return f"TaskInfo(id={self.id!r}, stream_id={self.stream_id!r}, task={self._task!r}{origin})"

    def _runtime(self) -> RuntimeLike:
        from .current_runtime import runtime

        return runtime() if self._runtime_or_none is None else self._runtime_or_none

    def status(self) -> TaskRecord:
        """A snapshot of the task."""
        return self._runtime().status(self)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for its value. Raises TaskFailed, TaskTimedOut, TaskCancelled or TimeoutError."""
        return self._runtime().result(self, timeout=timeout)

    def wait(self, timeout: float | None = None) -> TaskRecord:
        """Wait for any final state; TimeoutError when `timeout` seconds run out."""
        return self._runtime().wait(self, timeout=timeout)

    def send(self, message: Any, *, timeout: float | None = None) -> None:
        """Put a message into its mailbox; returns once it is on disk."""
        self._runtime().send(self, message, timeout=timeout)

    def close(self, *, timeout: float | None = None) -> None:
        """Close its mailbox: it accepts no more messages."""
        self._runtime().close_mailbox(self, timeout=timeout)

    def cancel(self, *, timeout: float | None = None) -> bool:
        """Cancel it; True if it had not ended."""
        return self._runtime().cancel(self, timeout=timeout)

    def restore(self) -> Any:
        """Its last checkpoint, or None."""
        return self._runtime().restore(self)


IdLike = str | UUID | TaskInfo[Any]
"""What names a task in a call."""


def id_of(id: IdLike) -> bytes:
    """The 16 bytes of a task's id.

    Raises TaskNotFound for text that is no id, as for an id that no task has; InvalidOption for anything else.
    """
    if isinstance(id, TaskInfo):
        return id.id_bytes
    if not isinstance(id, str | UUID):
        raise InvalidOption(f"a task is named by its id (text or a UUID) or its TaskInfo, not by {id!r:.80}")
    try:
        return id_bytes(id)
    except InvalidValue as error:
        raise TaskNotFound(str(error), str(id)) from error


def _fields(info: TaskInfo[Any]) -> tuple[bytes, bytes, str, bytes | None]:
    return info._id, info._stream, info._task, info._origin


register(TaskInfo, "understudy.TaskInfo", _fields, lambda fields: TaskInfo(*fields))
