"""The threads that a task starts belong to it, as its own thread does: helper threads.

Python's threads start in an empty context, where no task runs. So a worker changes four methods of Python's own
classes (see `install`):

- `Thread.start` and `ThreadPoolExecutor.submit` pass the running task on to the thread, or to the piece of
  work. A pool may be shared: each piece of work belongs to the task that submits it.
- `Condition.wait` and `Thread.join` tell when a thread of the task waits for another thread. Futures, queues,
  events and pools of threads all wait by these two.

The task's own thread decides whether the task waits. A helper thread that waits in `receive` or `sleep` gives
nothing away while the own thread works. But the own thread may wait for its helper threads, and they for the
supervisor: then the task waits as a whole, and holds no slot.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

from ..errors import Cancelled, Interrupted, NotInTask
from .actor import TaskActor, current_actor, detach, running_actor


class HelperThreads:
    """The helper threads of one attempt that have work. Any thread may call any method.

    Made with the first of them. That may be on another thread: the event loop of sync tasks' WebSocket connections
    makes blocking calls for them.
    """

    def __init__(self, actor: TaskActor) -> None:
        self._actor = actor
        #: Guards all of this, and the taking of messages by several threads. Reentrant, because the handler
        #: of a signal may interrupt the main thread here.
        self.lock = threading.RLock()
        #: Identifiers of the helper threads that know that the task has been asked to stop.
        self._told: set[int] = set()
        self._working = 0
        #: Of them: in a call of Understudy that waits, and waiting in any way that is seen here.
        self._in_calls = 0
        self._waiting = 0
        self._own_waits = False
        self._parked = False
        self._closed = False

    def begin(self) -> None:
        """A helper thread, or a piece of work, begins."""
        with self.lock:
            self._working += 1
            self._settle()

    def end(self) -> None:
        """It has ended."""
        with self.lock:
            self._told.discard(threading.get_ident())
            self._working -= 1
            self._settle()

    def told_here(self) -> bool:
        """Whether the calling thread knows that the task has been asked to stop."""
        return threading.get_ident() in self._told

    def tell_here(self) -> None:
        """The calling thread knows it from now on."""
        self._told.add(threading.get_ident())

    def wait_begins(self) -> None:
        """A helper thread begins to wait in a call of Understudy."""
        with self.lock:
            self._in_calls += 1
            self._waiting += 1
            self._settle()

    def wait_ends(self) -> None:
        """Its wait has ended."""
        with self.lock:
            self._in_calls -= 1
            self._waiting -= 1
            self._settle()

    @contextmanager
    def waiting_for_thread(self) -> Iterator[None]:
        """The calling thread waits for another thread meanwhile."""
        own = threading.get_ident() == self._actor.own_thread
        self._wait_for_thread(own, 1)
        try:
            yield
        finally:
            self._wait_for_thread(own, -1)

    def _wait_for_thread(self, own: bool, change: int) -> None:
        with self.lock:
            if own:
                self._own_waits = change > 0
            else:
                self._waiting += change
            self._settle()

    def close(self) -> None:
        """The attempt is ending: its helper threads no longer matter."""
        with self.lock:
            self._closed = True
            self._settle()

    def _settle(self) -> None:
        parked = (
            self._own_waits and self._in_calls > 0 and self._waiting == self._working and not self._closed
        )
        if parked != self._parked:
            self._parked = parked
            tell = self._actor.parks if parked else self._actor.goes_on
            tell()


def helpers_of(actor: TaskActor) -> HelperThreads:
    """The helper threads of this attempt."""
    if actor.helpers is None:
        # Atomic, because two threads may come here at once.
        actor.__dict__.setdefault("helpers", HelperThreads(actor))
    assert actor.helpers is not None
    return actor.helpers


def start_outside(thread: threading.Thread) -> None:
    """Start a thread that belongs to no task, whatever task runs here."""
    Context().run(thread.start)


def install() -> None:
    """Make the threads that tasks of this process start belong to them. Calling it again changes nothing."""
    for kind, name, changed in (
        (threading.Thread, "start", _start),
        (threading.Thread, "join", _waits),
        (threading.Condition, "wait", _waits),
        (ThreadPoolExecutor, "submit", _submit),
    ):
        method = getattr(kind, name)
        if not hasattr(method, "__understudy__"):
            replacement = changed(method)
            functools.update_wrapper(replacement, method)
            replacement.__understudy__ = True  # type: ignore[attr-defined]  # so that it is found the next time
            setattr(kind, name, replacement)


def _start(start: Callable[[threading.Thread], None]) -> Callable[..., Any]:
    def start_for_task(thread: threading.Thread) -> None:
        actor = running_actor()
        if actor is None:
            start(thread)
            return
        helpers = helpers_of(actor)
        thread.run = functools.partial(_run_thread, actor, helpers, thread.run)  # type: ignore[method-assign]
        helpers.begin()
        # Python waits until the thread runs. That is no wait of the task.
        context = copy_context()
        context.run(detach)
        try:
            context.run(start, thread)
        except BaseException:
            helpers.end()
            raise

    return start_for_task


def _run_thread(actor: TaskActor, helpers: HelperThreads, run: Callable[[], None]) -> None:
    current_actor.set(actor)  # in the thread's own context, which ends with it
    try:
        run()
    except (Cancelled, Interrupted):
        # The orderly end of a helper thread. The task's own thread gets the same error by itself.
        pass
    except NotInTask:
        if not actor.actor_stopped.is_set():
            raise
    finally:
        helpers.end()


def _submit(submit: Callable[..., Future[Any]]) -> Callable[..., Any]:
    def submit_for_task(
        pool: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        actor = running_actor()
        if actor is None or _runs_elsewhere(pool):
            return submit(pool, fn, *args, **kwargs)
        helpers_of(actor)
        # The pool may live longer than the task, so its threads belong to none.
        return Context().run(submit, pool, functools.partial(as_helper, actor, fn), *args, **kwargs)

    return submit_for_task


def _runs_elsewhere(pool: ThreadPoolExecutor) -> bool:
    """Whether its work is pickled for other interpreters, as Python 3.14 has it."""
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)


def as_helper(actor: TaskActor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function as a piece of work of this task, in a thread that belongs to none."""
    helpers = helpers_of(actor)
    token = current_actor.set(actor)
    helpers.begin()
    try:
        return fn(*args, **kwargs)
    finally:
        helpers.end()
        current_actor.reset(token)


def _waits(wait: Callable[..., Any]) -> Callable[..., Any]:
    def wait_seen(waited_for: Any, timeout: float | None = None) -> Any:
        actor = current_actor.get(None)
        if actor is None or actor.helpers is None:
            return wait(waited_for, timeout)
        with actor.helpers.waiting_for_thread():
            return wait(waited_for, timeout)

    return wait_seen
