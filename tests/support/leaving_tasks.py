"""Tasks that leave something in their thread, and one that looks around there."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from understudy import receive, task
from understudy.supervisor.worker.thread_state import _event_loop

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


def seen_here() -> dict[str, Any]:
    """The state of the calling thread, as plain data."""
    return {
        "tenant": tenant.get(),
        "third": str(decimal.Decimal(1) / 3),
        "name": threading.current_thread().name,
        "signals": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "processors": sorted(os.sched_getaffinity(0)),
        "traced": getattr(sys.gettrace(), "__name__", None) == "_trace",
        "profiled": getattr(sys.getprofile(), "__name__", None) == "_trace",
        "loop": _event_loop() is not None,
    }


def _trace(*_: Any) -> None:
    return None


def _rename() -> None:
    threading.current_thread().name = "mine"


def _pin() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _set_loop() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    asyncio.set_event_loop(loop)


LEAVE: dict[str, Callable[[], object]] = {
    "trace": lambda: sys.settrace(_trace),
    "profile": lambda: sys.setprofile(_trace),
    "name": _rename,
    "signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM}),
    "processors": _pin,
    "loop": _set_loop,
}
LEAVE_IN_CONTEXT: dict[str, Callable[[], object]] = {
    "variable": lambda: tenant.set("alice"),
    "decimal": lambda: setattr(decimal.getcontext(), "prec", 3),
}


@task
def leave(what: str) -> None:
    {**LEAVE, **LEAVE_IN_CONTEXT}[what]()


@task
def leave_name() -> None:
    _rename()


@task
def name() -> str:
    return threading.current_thread().name


@task
def look() -> dict[str, Any]:
    return seen_here()


@task
def leaves_and_waits() -> Any:
    for change in (*LEAVE.values(), *LEAVE_IN_CONTEXT.values()):
        change()
    return receive()
