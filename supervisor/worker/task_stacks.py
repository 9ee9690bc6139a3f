"""Task stacks: what the interpreter of a worker says of where the code of a task is.

It is the interpreter itself that looks, so no other Python code runs meanwhile. Threads are looked at as they are;
an async task that awaits something is on no thread, but its coroutines await each other.
"""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Any

from ...actors.attempt.actor import TaskActor
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.attempt.host import printable
from ..channel.stack_dump import PLUMBING
from ..rules.stacks import NAME, OTHERS, OWN_CALLS, SOURCE, Call, Row, is_plumbing, own_code, row

#: Coroutines of one chain that are looked at.
CHAIN = 1_000


def stack_of(actor: TaskActor, actors: Iterable[TaskActor]) -> list[Row]:
    """The rows of a task, and of the other threads that run code of tasks or of libraries; see rules/stacks.py.

    `actors` are all tasks of the worker.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    tasks = {each.own_thread: each.id for each in actors if not isinstance(each, AsyncTaskActor)}
    chain: Sequence[tuple[str, int, str]] | None = None
    if isinstance(actor, AsyncTaskActor):
        chain = _chain(actor)
    # These keep the variables of all code alive: they are let go of at once.
    calls = {ident: _calls(frame) for ident, frame in sys._current_frames().items()}
    calls.pop(threading.get_ident(), None)
    if chain is not None:
        rows = [row("coroutine", "task", actor.id, _with_source(own_code(_bare(chain), PLUMBING)))]
    else:
        own = calls.pop(actor.own_thread, [])
        name = names.get(actor.own_thread, "")
        rows = [row(_named(name), "task", actor.id, _with_source(own_code(_bare(own), PLUMBING)))]
    for ident, of in calls.items():
        code = own_code(_bare(of), PLUMBING)
        if len(rows) <= OTHERS and any(not is_plumbing(call, PLUMBING) for call in code):
            rows.append(row(_named(names.get(ident, "")), "other", tasks.get(ident), _with_source(code)))
    return rows


def _named(name: str) -> str:
    return printable(name, NAME) or "a thread"


def _calls(frame: FrameType | None) -> list[tuple[str, int, str]]:
    """The calls of a thread, the one made last comes last."""
    calls = []
    while frame is not None:
        calls.append(_call(frame))
        frame = frame.f_back
    return calls[::-1]


def _call(frame: FrameType) -> tuple[str, int, str]:
    code = frame.f_code
    return code.co_filename, frame.f_lineno or 0, getattr(code, "co_qualname", code.co_name)


def _chain(actor: AsyncTaskActor) -> list[tuple[str, int, str]] | None:
    """The coroutines of an async task, of which each awaits the next. None while one of them is running."""
    coroutine = actor._coroutine
    awaited: Any = None if coroutine is None else coroutine.get_coro()
    calls: list[tuple[str, int, str]] = []
    for _ in range(CHAIN):
        frame, running, awaits = _suspended(awaited)
        if running:
            return None
        if frame is None:
            break
        calls.append(_call(frame))
        awaited = awaits
    return calls or None


def _suspended(awaited: Any) -> tuple[FrameType | None, bool, Any]:
    """(frame, whether it is running, what it awaits) of a coroutine or generator; nothing for anything else."""
    for kind in ("cr", "gi", "ag"):
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is not None:
            waits = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
            return frame, getattr(awaited, f"{kind}_running"), getattr(awaited, waits)
    return None, False, None


def _bare(calls: Sequence[tuple[str, int, str]]) -> list[Call]:
    return [(printable(file, NAME), line, printable(name, NAME), "") for file, line, name in calls]


def _with_source(calls: Sequence[Call]) -> list[Call]:
    """The calls that are shown, with the text of their lines."""
    shown = calls[-OWN_CALLS:]
    return [*calls[: -len(shown) or None], *map(_sourced, shown)] if shown else []


def _sourced(call: Call) -> Call:
    file, line, name, _ = call
    return file, line, name, printable(linecache.getline(file, line).strip(), SOURCE)
