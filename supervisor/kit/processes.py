"""Kills of workers and supervisors, and the wait for a condition. They work with both kinds of runtimes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from ...actors.checks import check_seconds
from ...actors.clock import SYSTEM
from ...actors.errors import InvalidOption, NoRuntime
from ...actors.ids import id_text
from ...actors.refs.async_ref import AsyncActorRef
from ...actors.refs.ref import ActorRef
from ...actors.task import current_runtime
from ...actors.task.handles import IdLike, TaskInfo, id_of
from ..client.runtime import Runtime
from ..linux.processes import wait_for_end
from .inline_runtime import InlineRuntime

T = TypeVar("T")

#: Seconds between two looks at a condition.
LOOK: Final = 0.005
#: Seconds that a killed process may take to be gone.
END_WITHIN: Final = 10.0


def kill_worker(of: TaskInfo[Any] | ActorRef[Any] | AsyncActorRef[Any] | IdLike) -> None:
    """Kill the worker that runs a task, or has an actor in memory, by SIGKILL. Returns when it is dead.

    `of` is a handle, a reference, or an id, which needs a `with Runtime` around it. LookupError if no worker has it. A
    task that was waiting goes on from its last checkpoint; see docs/RELIABILITY.md for the others on that worker.
    """
    ref = of.sync if isinstance(of, AsyncActorRef) else of
    key = id_text(ref.id_bytes if isinstance(ref, ActorRef) else id_of(ref))
    owner: object
    if isinstance(ref, ActorRef):
        owner = ref._port()
    else:
        owner = ref._runtime() if isinstance(ref, TaskInfo) else current_runtime.runtime()
    if not isinstance(owner, Runtime):
        raise InvalidOption(f"kill_worker needs a task or an actor of a Runtime, not of {owner!r:.100}")
    if isinstance(owner, InlineRuntime):
        owner.kill_worker(key)
        return
    pid = owner.status(key).worker_pid
    if pid is None:
        raise LookupError(f"no worker has task {key}: wait until it runs")
    _kill(pid)


def kill_supervisor(rt: Runtime) -> None:
    """Kill the supervisor of a runtime by SIGKILL. Its workers end with it. Returns when it is dead.

    A runtime that has started its supervisor starts another one by itself. With an `InlineRuntime` this is its `crash`.
    """
    if isinstance(rt, InlineRuntime):
        rt.crash()
    else:
        _kill(rt.supervisor_pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for_end(pid, END_WITHIN)


def wait_until(condition: Callable[[], T], timeout: float = 10.0) -> T:
    """Wait until `condition()` is true; returns its value. TimeoutError after `timeout` seconds.

    Inside `with InlineRuntime()` it is that runtime's time which passes.
    """
    limit = check_seconds("timeout", timeout)
    inline = _inline_here()
    if inline is not None:
        return inline.wait_until(condition, limit)
    deadline = SYSTEM.monotonic() + limit
    pause = threading.Event()
    while not (value := condition()):
        if SYSTEM.monotonic() >= deadline:
            raise TimeoutError(f"the condition has not become true within {limit:g} s")
        pause.wait(LOOK)
    return value


def _inline_here() -> InlineRuntime | None:
    try:
        runtime: object = current_runtime.runtime()
    except NoRuntime:
        return None
    return runtime if isinstance(runtime, InlineRuntime) else None
