"""The interface between an actor and its host (the worker process), and the outcome of an attempt."""

from __future__ import annotations

import os
import traceback
from concurrent.futures import Executor, Future
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..checks import is_number
from ..clock import Clock
from ..errors import (
    BoxError,
    BoxRefused,
    BoxTimedOut,
    Fail,
    RetryLater,
    UnencodableValue,
    UnknownTask,
    ValueTooLarge,
)
from ..task.retry import Retry, leaves
from ..task.trigger import TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..task.current_runtime import RuntimeLike
    from .actor import TaskActor
    from .effects import Effects, Post
    from .resident import Resident
    from .transactions import Transactions
    from .turn import TurnActor

#: Characters of an error's message and of its traceback that are kept.
MESSAGE_LIMIT: Final = 10_000
TRACEBACK_LIMIT: Final = 64_000
#: Characters of the name of an exception class that are kept, and of a text in an error's details.
NAME_LIMIT: Final = 1_000
DETAIL_LIMIT: Final = 64_000
#: Entries of an error's details that are kept.
DETAILS_LIMIT: Final = 1_000

_OWN_CODE: Final = str(Path(__file__).parents[1]) + os.sep
#: The file that calls the methods of actors.
_CALLER: Final = str(Path(__file__).with_name("resident.py"))


class Ending(IntEnum):
    """How an attempt ended, as the actor saw it. The supervisor decides what follows."""

    VALUE = 0
    ERROR = 1
    FAIL = 2
    RETRY_LATER = 3
    INTERRUPTED = 4
    TIMED_OUT = 5
    """The attempt ran a container with its own timeout, and that ran out."""
    UNDECLARED = 6
    """No code ran: the worker's app does not declare the task, or cannot be imported. The error says why."""
    REST = 7
    """A turn of an actor is over. ERROR is an actor that cannot be built, VALUE one that has stopped."""
    ABSENT = 8
    """No code ran: the object that the turn was to use is not in this worker any more."""


ErrorFields = tuple[str, str, str, list[list[str]]] | tuple[str, str, str, list[list[str]], dict[str, Any]]


class Outcome(NamedTuple):
    """An ending with its data, as plain values."""

    ending: Ending
    value: bytes | None = None
    """The encoded return value; None for None."""
    error: ErrorFields | None = None
    """(type, message, traceback, names as `Retry.wants` takes them, details)."""
    delay: float | None = None
    """Seconds that RetryLater asked for."""


class Assignment(NamedTuple):
    """One attempt at a task, as a host gets it. Ids have 16 bytes."""

    id: bytes
    task: str
    attempt: int
    args: bytes | None
    """Encoded [args, kwargs]; None if there are none."""
    stream: bytes
    origin: bytes | None
    ack: str | None
    timeout: float | None
    has_checkpoint: bool
    interruptions: int
    capture_output: bool = False
    turn: tuple[int, bool, bytes | None, Sequence[bytes], int, int, int] | None = None
    """Of a class actor's turn: (number of the activation, whether its object is here, state, messages, 0 or 1 to put it
    to rest, how often the first message was tried, number of the first message). Without an object and a state, it is
    built for the first time."""
    kind: str = TASK
    trigger: dict[str, Any] | None = None
    """Of a run, what has triggered it, as `Trigger.pack` gives it."""
    tree: str | None = None
    """Of a child of a supervision tree, its path there. Its begin is reported."""
    trace: str | None = None
    """The trace context of its start, as a W3C traceparent; None for none."""
    steps: tuple[int, int, Sequence[tuple[bytes, bytes]], bool] | None = None
    """The steps that it keeps: (their number, bytes of their values, [(label, value), …] of the first ones, whether
    these are all). Of an actor, a letter's id stands before each label. None for none."""

    @property
    def actor(self) -> None:
        """See `TracedAttempt`."""
        return None


class Host(Protocol):
    """The host, as an actor sees it. Every method may be called from any thread and returns at once."""

    home: str
    """The home folder."""
    clock: Clock
    """The time, and how to wait."""
    calls: Executor | None
    """Makes the blocking calls of async tasks; None for threads of this process."""

    def runtime(self) -> RuntimeLike:
        """The runtime of the supervisor whose tasks it hosts."""

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        """The attempt has ended."""

    def parked(self, actor: TaskActor) -> None:
        """The actor waits and needs no slot."""

    def resumed(self, actor: TaskActor) -> None:
        """The actor's wait has ended."""

    def messages_taken(self, actor: TaskActor) -> None:
        """`actor.taken` or `actor.acked` has grown."""

    def checkpoint(
        self,
        actor: TaskActor,
        value: bytes,
        acked: int,
        messages: list[tuple[bytes, bytes]],
        items: list[bytes],
        events: list[Any],
    ) -> Future[Any]:
        """Store the value, acknowledge up to `acked`, deliver the messages, publish, emit: all or nothing.

        `items` are bodies, see `item_body`; `events` is what `emit_many` takes.

        The future is done once all of it is on disk.
        """

    def keep_step(
        self, actor: TaskActor, letter: bytes, label: bytes, name: str, value: bytes
    ) -> Future[Any]:
        """Keep a step, of an actor for this letter. The future is done once it is on disk."""

    def steps(self, actor: TaskActor, label: bytes) -> Future[Any]:
        """([(label, value), …], whether none follow): the steps that it keeps, from this label on."""

    def publish(self, actor: TaskActor, body: bytes) -> bool:
        """Publish an item; see `item_body`. False if the attempt is over."""

    def restore(self, actor: TaskActor) -> Future[Any]:
        """The encoded last checkpoint, or None."""

    def commit(
        self, turn: Transactions, acked: int, state: bytes | None, effects: Effects, *, now: bool
    ) -> None:
        """What a turn has done up to letter number `acked`: all or nothing. `state` is None if it has not changed.

        It goes with the end of the attempt, or `now`.
        """

    def read(
        self, turn: Transactions, what: str, key: str, after: str | None, limit: int, *, reverse: bool
    ) -> Future[Any]:
        """Rows of the actor on disk, and of commits on their way there; see `Report.READ`."""

    def aside(self, turn: Transactions, letter_id: bytes, reply: bytes, posts: list[Post]) -> None:
        """A read-only letter was answered while another method waits, and what it has sent: all or nothing."""

    def watch(self, turn: TurnActor) -> None:
        """Call `turn.takes_long` some milliseconds from now, from any thread, until it returns True."""

    def is_at(self, turn: TurnActor) -> None:
        """The message with the number `turn.at` takes long. Said after the commit of those before it."""

    def suspended(self, turn: TurnActor) -> None:
        """A method on the event loop has not returned for long: read-only messages may be answered meanwhile."""

    def beside(self, run: Callable[[], None]) -> None:
        """Run this on another thread, which has a slot meanwhile. RuntimeError if the system gives no thread."""

    def builds(self, turn: Transactions) -> None:
        """The object of an actor is being built: should the process die now, no message is to blame."""

    def built(self, turn: Transactions) -> None:
        """It is built."""

    def keep(self, turn: Transactions, resident: Resident) -> None:
        """Keep the object of an actor for its next turn."""

    def flush(self) -> None:
        """Send the ends that were reported so far."""

    def progress(self, actor: TaskActor, done: float, total: float | None, note: str) -> None:
        """Note the task's progress; only the last call counts."""

    def ready(self, actor: TaskActor, ready: bool) -> None:
        """Tell the supervision tree of a child that it has begun, or that it is ready."""

    def folder(self, actor: TaskActor) -> Path:
        """The task's own folder for files, which is there when this returns."""

    def log(self, actor: TaskActor, level: str, text: str, at: float | None = None) -> None:
        """Add one entry to the task's log; `at` in seconds since the epoch, by default now.

        After the attempt's end it goes to the worker's own output, with the task's id.
        """


class Undeclared(UnknownTask):
    """This worker's app does not declare the task. The cause is the error of its import, if that failed."""


def error_outcome(error: BaseException, policy: Retry = Retry()) -> Outcome:  # noqa: B008 - frozen
    """The outcome for an exception from the task's code. Never raises.

    The retry policy decides on another try, except for Fail and for a value that cannot be kept: another try would
    repeat the effects of the task and end in the same way. `policy` is the declared one, whose functions are asked
    here. One of these in a group fails the task. A group of RetryLater only waits for the longest of their delays.
    """
    if isinstance(error, Undeclared):
        cause = error.__cause__
        return Outcome(Ending.UNDECLARED, error=None if cause is None else describe(cause))
    parts = [error] if not isinstance(error, BaseExceptionGroup) else list(leaves(error))
    fields: ErrorFields = describe(error, policy)
    details = next(filter(None, map(_details, parts)), None)
    if details is not None:
        fields = (*fields, details)
    if any(isinstance(part, Fail | BoxRefused | UnencodableValue | ValueTooLarge) for part in parts):
        return Outcome(Ending.FAIL, error=fields)
    if all(isinstance(part, RetryLater) for part in parts):
        # `getattr`, because the class may be a subclass that does not call __init__.
        delays = [delay for part in parts if is_number(delay := getattr(part, "delay", None))]
        return Outcome(Ending.RETRY_LATER, error=fields, delay=max(delays, default=None))
    if all(isinstance(part, BoxTimedOut) for part in parts):
        return Outcome(Ending.TIMED_OUT, error=fields)
    return Outcome(Ending.ERROR, error=fields)


def _details(error: BaseException) -> dict[str, Any]:
    """The data of an error that a record keeps."""
    # `getattr`, because the class may be a subclass that does not call __init__.
    if isinstance(error, UnencodableValue):
        return _plain({"path": getattr(error, "path", "")})
    if isinstance(error, ValueTooLarge):
        return _plain({"size": getattr(error, "size", 0), "limit": getattr(error, "limit", 0)})
    details = getattr(error, "details", None) if isinstance(error, BoxError) else None
    return _plain(details) if isinstance(details, dict) else {}


def _plain(details: dict[Any, Any]) -> dict[str, Any]:
    """The details in the form that the supervisor takes: texts, numbers and maps of texts."""
    return {_text(name): _plain_detail(value) for name, value in islice(details.items(), DETAILS_LIMIT)}


def _plain_detail(value: object) -> Any:
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 1 << 63):
        return value
    if type(value) is dict:
        return {_text(name): _text(text) for name, text in islice(value.items(), DETAILS_LIMIT)}
    return _text(value)


def _text(value: object) -> str:
    try:
        return printable(str(value), DETAIL_LIMIT)
    except BaseException as broken:  # noqa: BLE001 - as in `describe`
        return f"<str() of it raised {type(broken).__name__}>"


def describe(
    error: BaseException,
    policy: Retry = Retry(),  # noqa: B008 - as above
) -> tuple[str, str, str, list[list[str]]]:
    """(type, message, traceback without Understudy's frames, names for the policy). Never raises."""
    names = policy.names_of(error)
    try:
        message = str(error)
    except BaseException as broken:  # noqa: BLE001 - a user's __str__ may raise anything; say that instead
        message = f"<str() of the error raised {type(broken).__name__}>"
    try:
        told = traceback.TracebackException.from_exception(error)
        _leave_out_own_frames(told)
        text = "".join(told.format())
    except BaseException as broken:  # noqa: BLE001 - as above
        text = f"<the traceback cannot be printed: {type(broken).__name__}>"
    return (
        printable(type(error).__qualname__, NAME_LIMIT),
        printable(message, MESSAGE_LIMIT),
        printable(text, TRACEBACK_LIMIT),
        [[printable(name, NAME_LIMIT) for name in one] for one in names],
    )


def _leave_out_own_frames(told: traceback.TracebackException) -> None:
    """Leave them out of the error, its causes and the members of a group, unless it has no others."""
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        part = waiting.pop()
        if part is None:
            continue
        users = [frame for frame in part.stack if not frame.filename.startswith(_OWN_CODE)]
        if users:
            part.stack[:] = users
        elif part.stack and part.stack[-1].filename == _CALLER:
            # It could not even be called, because there is no such method or because of its arguments.
            part.stack = None  # type: ignore[assignment]  # then there is no heading either
        waiting += [part.__cause__, part.__context__, *(part.exceptions or ())]


def printable(text: str, limit: int) -> str:
    """Valid UTF-8 text within the limit. Too long a text loses its middle: a traceback's end matters most."""
    if len(text) > limit:
        half = (limit - 3) // 2
        text = f"{text[:half]}\n…\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
