"""The clock: what time it is, and how a thread waits.

Everything that reads the time or waits takes it from one `Clock`, which it is given. `SYSTEM` is the real one. The test
kit has a virtual one, whose time passes only when a test says so.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from .ids import new_id

T = TypeVar("T")

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = "/proc/self/ns/time"


class Wakeup(Protocol):
    """The wakeup of one waiting thread."""

    def ring(self) -> None:
        """End the wait, or the next one. Any thread may call it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next ring; False when `timeout` seconds run out."""


class Clock(Protocol):
    """A source of time. Any thread may call any method."""

    @property
    def can_be_set(self) -> bool:
        """Whether `time` may jump, so that a wait for a time has to look at it again."""

    @property
    def origin(self) -> str:
        """Names the instant from which `monotonic` counts: two clocks that give the same count from the same instant.

        Empty if that is not known.
        """

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds from a point in the past; it never goes back."""

    def new_id(self) -> bytes:
        """A new id, which says that it was made at this clock's time. Ids made in turn sort in that order."""

    def wakeup(self) -> Wakeup:
        """A new wakeup for the calling thread."""

    def wait(self, future: Future[Any], seconds: float | None) -> bool:
        """Wait for the future; False if it is not done in time."""


class SystemClock:
    """The time of this machine."""

    can_be_set = True
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    new_id = staticmethod(new_id)

    @property
    def origin(self) -> str:
        """See `Clock`. A machine counts from its start, and a time namespace may add to that."""
        return _origin()

    @staticmethod
    def wakeup() -> Wakeup:
        """See `Clock`."""
        return ThreadWakeup()

    @staticmethod
    def wait(future: Future[Any], seconds: float | None) -> bool:
        """See `Clock`."""
        try:
            # As the base class does it: a future of a user would turn the result into a value.
            Future.exception(future, seconds)
        except TimeoutError:
            return future.done()
        except CancelledError:
            pass
        return True


@functools.cache
def _origin() -> str:
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
    with suppress(OSError):
        return f"{boot} {os.readlink(_NAMESPACE)}"
    return boot


class ThreadWakeup:
    """Any thread may ring; one thread waits. A ring before the wait ends the next wait at once.

    It is only a lock. An Event can wake several threads, which is not needed here. For that it has a
    condition with a queue of waiters, which takes 1.5 KB for each of the thousands of tasks that may wait in
    a worker.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """End the wait, or the next one."""
        try:
            self._lock.release()
        except RuntimeError:
            # An earlier ring has not been consumed yet.
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next ring; False when `timeout` seconds run out."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))


SYSTEM: Final[Clock] = SystemClock()


_PENDING: Final = "PENDING"
_FINISHED: Final = "FINISHED"
_CANCELLED: Final = ("CANCELLED", "CANCELLED_AND_NOTIFIED")


class TimedFuture(Future[T]):
    """A future of which others know by what clock to wait for it.

    Its condition is made for the first thread that waits or calls back. Making one takes longer than all the rest of a
    future, and most answers are there before anybody asks for them.
    """

    _made: threading.Condition | None = None
    _state = _PENDING
    _result: T | None = None
    _exception: BaseException | None = None
    # Changed only under the condition, and made with it.
    _waiters: Any = ()
    _done_callbacks: Any = ()

    def __init__(self, clock: Clock = SYSTEM) -> None:
        # Not that of the base class, which makes a condition.
        #: Deleted by the one thread that ends it.
        self._open = True
        self.clock = clock

    def hurry(self) -> None:
        """Somebody waits for it now. Called before the wait."""

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # an attribute of the base class
        made = self._made
        if made is None:
            fields = self.__dict__
            fields.setdefault("_waiters", [])
            fields.setdefault("_done_callbacks", [])
            made = fields.setdefault("_made", threading.Condition())
        return made

    def done(self) -> bool:
        """See `concurrent.futures.Future`."""
        state = self._state
        return state == _FINISHED or state in _CANCELLED

    def cancel(self) -> bool:
        """See `concurrent.futures.Future`."""
        if self._state != _PENDING:
            return self._state in _CANCELLED
        return self._end(_CANCELLED[0], None, None)

    def set_result(self, result: T) -> None:
        """See `concurrent.futures.Future`."""
        if not self._end(_FINISHED, result, None):
            raise InvalidStateError(f"{self._state}: {self!r}")

    def set_exception(self, exception: BaseException | None) -> None:
        """See `concurrent.futures.Future`."""
        if not self._end(_FINISHED, None, exception):
            raise InvalidStateError(f"{self._state}: {self!r}")

    def _end(self, state: str, result: T | None, exception: BaseException | None) -> bool:
        """End it; False if another thread has."""
        try:
            del self._open
        except AttributeError:
            return False
        self._result, self._exception = result, exception
        self._state = state
        # A condition that is made from now on belongs to a thread that sees the state.
        condition = self._made
        if condition is not None:
            with condition:
                if state == _FINISHED:
                    for waiter in self._waiters:
                        (waiter.add_exception if exception is not None else waiter.add_result)(self)
                condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # not in the type stubs
        return True

    def result(self, timeout: float | None = None) -> T:
        """See `concurrent.futures.Future`."""
        if self._state == _FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value]  # it is set
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See `concurrent.futures.Future`."""
        return self._exception if self._state == _FINISHED else super().exception(timeout)


def clock_of(future: Future[Any]) -> Clock:
    """The clock by which to wait for a future; the system's for one of another library."""
    return getattr(future, "clock", SYSTEM)
