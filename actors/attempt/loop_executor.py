"""`LoopExecutor`: the threads in which an event loop makes the blocking calls of many tasks.

asyncio's own executor has a few threads for the whole loop: some tasks that block them, or that have ended and left
their calls behind, would hold up the name look-ups and `to_thread` calls of all others. Here each task has that
many threads, and all tasks together have as many as they need. A thread that has had no call for IDLE seconds ends.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from .actor import TaskActor, running_actor
from .helper_threads import as_helper, helpers_of, start_outside

#: Threads that the calls of one task may take at the same time: as many as asyncio gives to a whole loop.
EACH: Final = min(32, (os.cpu_count() or 1) + 4)
#: Seconds after which a thread without a call ends.
IDLE: Final = 10.0

Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Share:
    """What one task has in the executor, or what all calls of no task have. It exists while it has a thread."""

    __slots__ = ("calls", "owner", "threads")

    def __init__(self, owner: TaskActor | None) -> None:
        self.owner = owner
        self.threads = 0
        self.calls: deque[Call] = deque()


#: Where an idle thread gets the share that it serves next; None ends it.
_Inlet = queue.SimpleQueue[_Share | None]


class LoopExecutor(ThreadPoolExecutor):
    """For `loop.set_default_executor`. Calls of no task share the threads of one.

    It is a ThreadPoolExecutor because asyncio takes nothing else, and uses nothing of it: a ThreadPoolExecutor keeps
    a call for which no thread can be started, and keeps all threads that it ever had.
    """

    def __init__(self) -> None:
        super().__init__(1)
        #: Guards the fields below and those of the shares.
        self._sharing = threading.Lock()
        self._shares: dict[TaskActor | None, _Share] = {}
        self._all: set[threading.Thread] = set()
        #: Of the threads without a share; the last one is the next to get one, so that the others can end.
        self._idle: list[_Inlet] = []
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`. Raises RuntimeError if the task has no thread yet and none can be started."""
        owner = running_actor()
        if owner is not None:
            helpers_of(owner)
        call: Call = (Future(), fn, args, kwargs)
        with self._sharing:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            share = self._shares.get(owner)
            if share is None:
                share = self._shares[owner] = _Share(owner)
            share.calls.append(call)
            if share.threads == EACH:
                return call[0]
            share.threads += 1
            inlet = self._idle.pop() if self._idle else None
        if inlet is not None:
            inlet.put(share)
            return call[0]
        thread = threading.Thread(target=self._serve, args=(share,), name="understudy-call", daemon=True)
        with self._sharing:
            self._all.add(thread)
        try:
            start_outside(thread)
        except Exception as error:
            if call in self._stranded(thread, share, error):
                raise
        return call[0]

    def _stranded(self, thread: threading.Thread, share: _Share, error: Exception) -> Collection[Call]:
        """This thread could not be started. Returns the calls that no other thread will make; they fail."""
        with self._sharing:
            self._all.discard(thread)
            share.threads -= 1
            if share.threads:
                return ()
            del self._shares[share.owner]
            calls = share.calls
        for future, *_ in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        return calls

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`."""
        with self._sharing:
            self._closed = True
            idle, self._idle = self._idle, []
            calls = (
                [call for share in self._shares.values() for call in share.calls] if cancel_futures else []
            )
            threads = list(self._all)
        for inlet in idle:
            inlet.put(None)
        for future, *_ in calls:
            future.cancel()
        if wait:
            for thread in threads:
                thread.join()

    def _serve(self, first: _Share) -> None:
        """Serve one share after another."""
        share: _Share | None = first
        del first
        inlet: _Inlet = queue.SimpleQueue()
        try:
            while share is not None:
                if share.owner is None:
                    self._make_calls(share)
                else:
                    as_helper(share.owner, self._make_calls, share)
                # Nothing of a task is kept while the thread waits.
                share = None
                share = self._next_share(inlet)
        finally:
            with self._sharing:
                self._all.discard(threading.current_thread())

    def _next_share(self, inlet: _Inlet) -> _Share | None:
        with self._sharing:
            if self._closed:
                return None
            self._idle.append(inlet)
        try:
            return inlet.get(timeout=IDLE)
        except queue.Empty:
            with self._sharing:
                if inlet in self._idle:
                    self._idle.remove(inlet)
                    return None
            return inlet.get()  # A share came just now.

    def _make_calls(self, share: _Share) -> None:
        """Make the calls of one task until none is left."""
        while True:
            with self._sharing:
                if not share.calls:
                    share.threads -= 1
                    if not share.threads:
                        del self._shares[share.owner]
                    return
                future, fn, args, kwargs = share.calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - as the base class has it: the caller gets it
                future.set_exception(error)
            else:
                future.set_result(value)
            # Nothing of the call is kept while the thread waits.
            del future, fn, args, kwargs
