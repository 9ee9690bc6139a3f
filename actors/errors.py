"""Every exception that Understudy raises, in one tree.

::

    UnderstudyError
    ├── InvalidTask            (TypeError)    cannot be run as a task; the message says what to change
    ├── InvalidOption          (ValueError)   an option out of its range or of the wrong type
    ├── InvalidQuery           (ValueError)   a search that cannot be understood; has .query and .column
    ├── InvalidValue           (ValueError)   the bytes are not a value of this codec
    │   ├── UnencodableValue   (TypeError)    has .path, the place inside the value
    │   └── ValueTooLarge                     has .size and .limit, in bytes
    ├── NotInTask              (RuntimeError) needs a running task around it
    ├── NestedStep             (RuntimeError) a step was called inside a step; has .step and .outer
    ├── StepsFull                             a task keeps too many steps, or bytes of them; has .id, .steps, .bytes
    ├── NotInline              (RuntimeError) needs processes, which an InlineRuntime has not
    ├── Stalled                (RuntimeError) nothing goes on in an InlineRuntime before its clock is advanced
    ├── NoRuntime              (RuntimeError) needs a task or a `with Runtime` around it
    ├── UnknownTask            (LookupError)  no task of this name in the supervisor's app; has .name
    ├── UnknownPool            (LookupError)  the supervisor has no such pool of workers; has .pool and .pools
    ├── TaskNotFound           (LookupError)  no task with this id; has .id
    ├── StackUnavailable                      the task is not running, or runs no Python code; has .id and .state
    ├── NotUnique                             another task has the key of this unique one; has .id, that of the other
    ├── MailboxClosed                         the receiver has ended, or its mailbox was closed; has .id
    ├── MailboxFull                           has .id, .messages, .bytes
    ├── TaskEnded                             raised by `result` if a task did not complete
    │   ├── TaskFailed                        has .id and .error (an ErrorInfo)
    │   │   └── Poisoned                      its worker died too often while it ran
    │   ├── TaskTimedOut
    │   └── TaskCancelled                     has .value, the value that its code still returned
    ├── ActorDeadError                        the actor has stopped, or never was; Pykka's error, too; has .id
    ├── AskTimeout             (TimeoutError) no answer in time; the message may still be handled; Pykka's Timeout, too
    ├── RemoteError                           a method of an actor has raised; has .error (an ErrorInfo), .traceback
    ├── Deadlock               (RuntimeError) the ask would close a circle of waiting actors; has .circle
    ├── ReadOnly               (RuntimeError) a @read_only method sets an attribute or storage
    ├── EventNotFound          (LookupError)  no event with this id (or it was pruned); has .id
    ├── ScheduleNotFound       (LookupError)  no schedule with this key (or it was pruned); has .key
    ├── TreeNotFound           (LookupError)  no supervision tree or child has this path; has .path
    ├── LimitNotFound          (LookupError)  no task has a limit of this name; has .name
    ├── BulkNotFound           (LookupError)  no cancel or retry of many tasks with this id (or it was pruned); has .id
    ├── TriggerChanged                        the app handles this HTTP request in another way now, or not any more
    ├── EventCycle             (RuntimeError) events follow from one another without end; has .name
    ├── ActivationFailed                      the actor cannot be built, its state is kept; has .id and .error
    ├── Fail                                  raised *by* a task: fail now, no retry
    │   └── BadRequest                        raised *by* a handler of HTTP requests: the caller gets 400
    ├── RetryLater                            raised *by* a task: next attempt after .delay seconds
    ├── HomeError                             the home folder cannot be used; has .home
    │   └── HomeInUse                         another supervisor serves it; has .pid
    ├── AddressUnusable                       the web process cannot listen there; has .address
    ├── NotRunning             (ConnectionError) no supervisor serves the home
    │   └── ConnectTimeout     (TimeoutError) nor did one come in time
    ├── SupervisorLost         (ConnectionError) its connection was lost during a call
    ├── ProtocolError                         bytes on the socket that are not of this protocol
    ├── WebSocketError         (ConnectionError)
    │   ├── WebSocketRefused                  the connection was not made; has .status (HTTP) and .final
    │   └── WebSocketClosed                   it is closed; has .code and .reason
    ├── AppFailed                             the app cannot be loaded; has .remote_traceback
    ├── BoxError                              a container task failed; has .details
    │   ├── BoxFailed                         its command's exit code was not 0
    │   ├── BoxTimedOut                       it ran longer than its timeout
    │   ├── BoxRefused                        the image policy does not allow it; not retried
    │   ├── ImageAbsent        (LookupError)  the image is absent, or cannot be pulled
    │   ├── EngineAbsent       (ConnectionError) no container engine answers
    │   └── EngineError                       the engine refused a request, or failed at it
    └── StoreError                            a failure of the store
        ├── StoreFull                         the disk is full; nothing was written
        ├── StoreForeign                      the file is not an Understudy store
        ├── StoreVersion                      written by another schema version; has .found, .supported
        └── StoreCorrupt                      damaged; has .problems

    Interrupted (BaseException)  the runtime stops the attempt; let it pass
    Cancelled (BaseException)    the task was asked to stop and knows it; let it pass

Each of them keeps its data when it is pickled or copied. `TimeoutError` is Python's own. `IllegalTransition`
in state.py is not part of the tree, because it is a defect of Understudy and should not be caught.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pykka


class UnderstudyError(Exception):
    """The root of every error raised by Understudy."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args`, which loses keyword data. This restores both as they are.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[BaseException], args: tuple[Any, ...], data: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(data)
    return error


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why an attempt did not complete, as data."""

    type: str
    """Name of the exception class, or `WorkerDied`, `MemoryLimit`, `Poisoned`, `Timeout`, `UnknownTask`."""
    message: str
    """One line for people."""
    traceback: str = ""
    """The remote traceback as Python prints it; empty if no Python code raised."""
    details: dict[str, Any] = field(default_factory=dict)
    """Known of `pid`, `exit_code`, `signal`, `limit`, `rss`, `crashes`; for a container, its result map; for a value
    that cannot be kept, `path` or `size` and `limit`."""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class InvalidTask(UnderstudyError, TypeError):
    """This function or class cannot be run as a task."""


class InvalidOption(UnderstudyError, ValueError):
    """An option is out of its range or of the wrong type."""


class InvalidQuery(UnderstudyError, ValueError):
    """A search that cannot be understood. The message shows the place."""

    def __init__(self, message: str, query: str = "", column: int = 1) -> None:
        super().__init__(message)
        self.query = query
        #: Of the first character of the mistake, from 1.
        self.column = column


class InvalidValue(UnderstudyError, ValueError):
    """The bytes are not a value of this codec, or the value breaks one of its rules."""


class UnencodableValue(InvalidValue, TypeError):
    """A part of a value cannot be written as msgpack; `path` says where, e.g. `args[0]['x'][3]`."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ValueTooLarge(InvalidValue):
    """A value takes more bytes than the limit."""

    def __init__(self, message: str, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class NotInTask(UnderstudyError, RuntimeError):
    """Called outside a running task."""


class NestedStep(UnderstudyError, RuntimeError):
    """`step`, the name of a step, was called inside another one, `outer`. Call one after the other in the task."""

    def __init__(self, message: str, step: str = "", outer: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.outer = outer


class StepsFull(UnderstudyError):
    """A task keeps as many steps as it may, or as many bytes. This one is not kept; its function may have run."""

    def __init__(self, message: str, id: str = "", steps: int = 0, bytes: int = 0) -> None:
        super().__init__(message)
        self.id = id
        self.steps = steps
        self.bytes = bytes


class NotInline(UnderstudyError, RuntimeError):
    """An `InlineRuntime` of the test kit cannot do this: it needs processes."""


class Stalled(UnderstudyError, RuntimeError):
    """A call on an `InlineRuntime` of the test kit would wait for ever, because time passes only by its clock.

    Or the code of a task waits for something that the runtime does not know, while nothing else can run.
    """


class NoRuntime(UnderstudyError, RuntimeError):
    """Needs a runtime: call it inside a task or inside a `with Runtime(...)` block."""


class UnknownTask(UnderstudyError, LookupError):
    """The supervisor's app declares no task of this name."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class UnknownPool(UnderstudyError, LookupError):
    """The supervisor has no pool of this name. `pools` are the names of those that it has."""

    def __init__(self, message: str, pool: str = "", pools: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.pool = pool
        self.pools = list(pools)


class TaskNotFound(UnderstudyError, LookupError):
    """No task has this id (or it was pruned)."""

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class StackUnavailable(UnderstudyError):
    """A task has no stack just now: it is not running, or its code runs elsewhere. The message says why."""

    def __init__(self, message: str, id: str = "", state: str = "") -> None:
        super().__init__(message)
        self.id = id
        #: The state of the task, as text.
        self.state = state


class NotUnique(UnderstudyError):
    """A unique task was not started, because another one has its key. `id` is that of the other one."""

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class MailboxClosed(UnderstudyError):
    """The receiver has ended or its mailbox was closed. The message was refused."""

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class MailboxFull(UnderstudyError):
    """The receiver's mailbox is full; the message was refused. Send more slowly, or raise the limit."""

    def __init__(self, message: str, id: str = "", messages: int = 0, bytes: int = 0) -> None:
        super().__init__(message)
        self.id = id
        self.messages = messages
        self.bytes = bytes


class TaskEnded(UnderstudyError):
    """The task ended without completing."""

    def __init__(self, message: str, id: str = "", error: ErrorInfo | None = None) -> None:
        super().__init__(message)
        self.id = id
        self.error = error


class TaskFailed(TaskEnded):
    """The task's last attempt failed; `error` has the type, message and remote traceback."""


class Poisoned(TaskFailed):
    """The task's worker died `max_crashes` times while the task ran. The task is not run again."""


class TaskTimedOut(TaskEnded):
    """The task's last attempt reached its deadline."""


class TaskCancelled(TaskEnded):
    """The task was cancelled; `value` is the value that its code still returned, or None."""

    value: Any = None


class ActorDeadError(UnderstudyError, pykka.ActorDeadError):
    """The actor has stopped or failed, or there never was one: the message was not handled.

    `except pykka.ActorDeadError` catches it, too.
    """

    def __init__(self, message: str = "", id: str = "") -> None:
        super().__init__(message)
        self.id = id


class AskTimeout(UnderstudyError, TimeoutError, pykka.Timeout):
    """No answer came within the time. The message is still in the mailbox, and may have been handled.

    Asking again under the same key (`ref.options(key=…)`) waits for the same answer. `except pykka.Timeout` catches
    it, too.
    """


class RemoteError(UnderstudyError):
    """A method of an actor, or one of its hooks, has raised an error; `error` and `traceback` describe it.

    If the error's own class is imported where the answer arrives, the error raised there is of that class as well.
    """

    error: ErrorInfo = ErrorInfo("", "")

    def __init__(self, message: str, error: ErrorInfo | None = None) -> None:
        super().__init__(message)
        if error is not None:
            self.error = error

    @property
    def traceback(self) -> str:
        """The remote traceback as Python prints it."""
        return self.error.traceback


class Deadlock(UnderstudyError, RuntimeError):
    """This ask would close a circle of actors that wait for each other; `circle` lists them, as "module:Class/name".

    Have one of them `tell`, or ask a method that is `@read_only`.
    """

    def __init__(self, message: str, circle: list[str] | None = None) -> None:
        super().__init__(message)
        self.circle = circle or []


class EventNotFound(UnderstudyError, LookupError):
    """No event has this id (or it was pruned)."""

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class ScheduleNotFound(UnderstudyError, LookupError):
    """No schedule has this key (or it has ended, and was pruned)."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class TreeNotFound(UnderstudyError, LookupError):
    """No supervision tree, or no child of one, has this path."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class LimitNotFound(UnderstudyError, LookupError):
    """No task of the app has a limit of this name."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class BulkNotFound(UnderstudyError, LookupError):
    """No bulk has this id: there never was one, or it was pruned."""

    def __init__(self, message: str, id: str = "") -> None:
        super().__init__(message)
        self.id = id


class TriggerChanged(UnderstudyError):
    """The app that is served now handles this HTTP request in another way, or not any more."""


class EventCycle(UnderstudyError, RuntimeError):
    """This event would be the 65th in a row of which each was emitted by a handler of the one before."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class ReadOnly(UnderstudyError, RuntimeError):
    """A method declared `@read_only` tried to set an attribute of its actor, its storage or a reminder."""


class ActivationFailed(UnderstudyError):
    """The actor cannot be built: its `__init__`, `on_start` or `upgrade` has raised, or its state is from the future.

    Its state and its messages are kept, and activation is tried again later. `error` describes the cause.
    """

    def __init__(self, message: str, id: str = "", error: ErrorInfo | None = None) -> None:
        super().__init__(message)
        self.id = id
        self.error = error


class Fail(UnderstudyError):
    """Raised by a task: fail this task now, whatever its retry policy says."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class BadRequest(Fail):
    """Raised by a handler of HTTP requests, and by `Request.json` and `Request.form`: the caller gets 400 with this
    reason.
    """


class RetryLater(UnderstudyError):
    """Raised by a task: end this attempt and start the next one after `delay` seconds, if retries are left.

    The retry policy's `attempts` counts retries after the first try. With `delay=None` the policy sets the
    delay. InvalidOption if `delay` is not a number of seconds.
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        from .checks import check_seconds  # imports this module

        super().__init__(reason or "retry asked for by the task")
        self.delay: float | None = check_seconds("the delay of RetryLater", delay, optional=True)
        self.reason = reason


class HomeError(UnderstudyError):
    """The home folder cannot be used."""

    def __init__(self, message: str, home: str = "") -> None:
        super().__init__(message)
        self.home = home


class HomeInUse(HomeError):
    """Another supervisor serves this home."""

    def __init__(self, message: str, home: str = "", pid: int = 0) -> None:
        super().__init__(message, home)
        self.pid = pid


class AddressUnusable(UnderstudyError):
    """The web process cannot listen on this address: another program has it, or it is not of this machine."""

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class NotRunning(UnderstudyError, ConnectionError):
    """No supervisor serves this home."""


class ConnectTimeout(NotRunning, TimeoutError):
    """No supervisor served this home within the time that the call had.

    The call had no effect, unless the supervisor went away during it.
    """


class SupervisorLost(UnderstudyError, ConnectionError):
    """The connection to the supervisor was lost during a call. The call may or may not have taken effect."""


class ProtocolError(UnderstudyError):
    """The peer on the socket sent bytes that are not of this protocol."""


class WebSocketError(UnderstudyError, ConnectionError):
    """A WebSocket connection failed."""


class WebSocketRefused(WebSocketError):
    """The connection was not made: nothing answered, TLS failed, or the server does not speak WebSocket.

    `status` is the HTTP status if the server answered with one, else None. `final` is true if another try is
    likely to end the same way.
    """

    def __init__(self, message: str, status: int | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.final = final


class WebSocketClosed(WebSocketError):
    """The connection is closed. `code` and `reason` say why; 1006 means that the peer sent no close frame."""

    def __init__(self, message: str, code: int = 1006, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class AppFailed(UnderstudyError):
    """The app cannot be loaded; `remote_traceback` is the traceback that Python printed."""

    def __init__(self, message: str, remote_traceback: str = "") -> None:
        super().__init__(message)
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n\n{self.remote_traceback}" if self.remote_traceback else message


class BoxError(UnderstudyError):
    """A container task failed; `details` holds the known facts about the container."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}


class BoxFailed(BoxError):
    """The container's exit code was not 0; `details` is the map that would have been the result for 0."""


class BoxTimedOut(BoxError):
    """The container ran longer than its timeout and was stopped; `details` as for BoxFailed."""


class BoxRefused(BoxError):
    """The image policy refuses this image: the image runs a container engine, or needs privileges."""


class ImageAbsent(BoxError, LookupError):
    """The image is not on this machine, and pulling it is not allowed or failed."""


class EngineAbsent(BoxError, ConnectionError):
    """No container engine answers."""


class EngineError(BoxError):
    """The container engine refused a request or failed at it; the message is the engine's own."""


class StoreError(UnderstudyError):
    """The store failed."""


class StoreFull(StoreError):
    """The disk is full. The write was refused; running work and reads go on. Free space and try again."""


class StoreForeign(StoreError):
    """The file exists but is not an Understudy store. It was not changed."""


class StoreVersion(StoreError):
    """The store has a schema version that this release does not know. It was not changed."""

    def __init__(self, message: str, found: object = None, supported: int = 0) -> None:
        super().__init__(message)
        self.found = found
        self.supported = supported


class StoreCorrupt(StoreError):
    """The store is damaged; `problems` lists the defects."""

    def __init__(self, message: str, problems: list[str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or []


class Interrupted(BaseException):
    """The runtime stops this attempt (a drain, a deploy). The task continues later from its checkpoint.

    The task's next `receive`, `checkpoint` or `sleep` raises it. Clean up in `finally` and let it pass. It is
    a BaseException, like asyncio's CancelledError, so that `except Exception` does not catch it.
    """


class Cancelled(BaseException):
    """The task has been asked to stop, by a cancel or by its timeout, and its code goes on all the same.

    A task learns of it once: by the message `{"$cancel": True}`, by TaskCancelled, by a `sleep` that returns
    False, or by a `cancelled()` that returns True. From then on `receive`, `sleep`, `checkpoint` and the calls
    of `ws` raise this, unless they are called with `shield=True`. Clean up in `finally` and let it pass. It is
    a BaseException, like asyncio's CancelledError, so that `except Exception` does not catch it.
    """
