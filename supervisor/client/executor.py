"""Executor: tasks behind the interface of `concurrent.futures`."""

from __future__ import annotations

import _thread
import os
import weakref
from concurrent import futures
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar, overload

from ...actors.errors import InvalidOption, InvalidTask, NoRuntime
from ...actors.task import current_runtime
from ...actors.task.declaration import Task
from ..linux.exit_functions import at_exit
from .runtime import Runtime
from .start_queue import StartQueue, TaskFuture, flush_all
from .start_rows import TaskLike
from .views import result_shape

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a program waits at its exit until what it has submitted is started.
FLUSH_WITHIN: Final = 10.0


class Executor(futures.Executor):
    """Starts tasks without waiting for the disk each time, and gives futures of their values.

    `with Executor(runtime_or_home) as executor:`. The end of the block waits for all futures. A task is on disk soon
    after `submit`, at most one commit later than by `start`. Futures work with `as_completed`, `wait` and asyncio's
    `wrap_future`; their `cancel` cancels the task. Thread-safe; may be used in a forked child.
    """

    def __init__(self, runtime: Runtime | str | os.PathLike[str] | None = None, **settings: Any) -> None:
        """Use a runtime, or make one for a home; `settings` are the arguments of `Runtime` for that.

        The default is the runtime of the task or the `with Runtime` block around it; if there is none, one is made
        for the default home. A runtime that was made here is closed after the last future.
        """
        if runtime is None and not settings:
            runtime = _ambient()
        own = not isinstance(runtime, Runtime)
        if isinstance(runtime, Runtime):
            if settings:
                raise InvalidOption(
                    f"{next(iter(settings))} is for a runtime that the Executor makes for a home"
                )
        else:
            if not (runtime is None or isinstance(runtime, str | os.PathLike)):
                raise InvalidOption(
                    f"Executor takes a Runtime or a home, not {runtime!r:.80}; of an AsyncRuntime pass its `sync`"
                )
            runtime = Runtime(runtime, **settings)
        self._runtime = runtime
        self._queue = runtime._start_queue(runtime.close if own else _nothing)
        # Ends the thread if the program lets go of the executor. The futures are still set.
        self._finalizer = weakref.finalize(self, _let_go, self._queue)
        self._finalizer.atexit = False  # See `_flush_all`.

    @overload  # type: ignore[override]  # It takes tasks only.
    def submit(self, fn: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]: ...
    def submit(self, fn: TaskLike, /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Start a task (or a name, as in `Runtime.start`); returns before it is on disk.

        Waits while 10,000 starts or 16 MiB of arguments are not acknowledged, and for a supervisor. Raises what
        `Runtime.start` raises for a wrong task or arguments; what the supervisor refuses is the future's error.
        RuntimeError after `shutdown`.
        """
        runtime, calls = self._runtime, self._runtime._calls
        deadline = runtime._deadline(None)
        row = calls.row_at_once(fn, args, kwargs)
        if row is None:
            row = runtime._do(calls.row_of(deadline, _checked(fn), args, kwargs), deadline)
        return self._queue.put(row, deadline, result_shape(fn))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; with `wait`, return when all futures are done and the thread has ended.

        With `cancel_futures`, cancel all tasks that have not ended, even those that run.
        """
        self._finalizer.detach()
        self._queue.close()
        if cancel_futures:
            self._queue.cancel_all()
        if wait:
            self._queue.join()


def _checked(fn: object) -> TaskLike:
    if isinstance(fn, Task | str):
        return fn
    raise InvalidTask(
        f"an Executor runs tasks, and {fn!r:.80} is none: put @task above the function, at the top level of "
        "its module (a concurrent.futures.ProcessPoolExecutor runs plain functions, and stores nothing)"
    )


def _nothing() -> None:
    pass


def _let_go(queue: StartQueue) -> None:
    # On another thread, as for a `Runtime`.
    with suppress(RuntimeError):
        _thread.start_new_thread(queue.close, ())


def _ambient() -> Runtime | None:
    try:
        runtime = current_runtime.runtime()
    except NoRuntime:
        return None
    return runtime if isinstance(runtime, Runtime) else None


def _flush_all() -> None:
    """At exit, start what was submitted. This comes before the runtimes are closed, which were imported earlier.

    The program may have let go of the executors, but not of their queues: a queue lives until it has ended.
    """
    flush_all(FLUSH_WITHIN)


at_exit(_flush_all)
