"""One task: what has happened to it, what it was given and has made, and what can be done with it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from ....actors.errors import InvalidOption, StoreError, UnderstudyError
from ....actors.ids import id_text
from ....actors.state import State
from ....actors.task.declaration import Task
from ....actors.task.handles import TaskRecord
from ....storage.tie_reader import Ties
from ...text import value_json
from .page import ACT, Asked, Done, Page

LINES: Final = 500
"""Lines of log on the page of a task."""

ITEMS: Final = 200
MESSAGES: Final = 50
CHILDREN: Final = 100
STEPS: Final = 100
TIES: Final = 20


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a task's time line: a place in a drawing of 1000 by 18."""

    kind: str
    """"queued", "running", or how an attempt ended."""
    x: float
    width: float
    title: str


def page(asked: Asked) -> Page:
    """The page of a task."""
    runtime, look = asked.runtime, asked.look
    record = runtime.status(asked.path["id"])
    now = time.time()
    attempts = runtime.attempts(record.id)
    children = runtime.search(f"origin:{record.id}", limit=CHILDREN)
    lines, all_lines = _lines(asked, record)
    items = _or_none(lambda: look.items(record.id, ITEMS)) or []
    args, kwargs = _or_none(record.arguments.value) or ([], {})
    linked_to, ties = look.ties(record)
    return Page(
        "task.html",
        f"{record.task.rpartition(':')[2]}",
        {
            "task": record,
            "attempts": attempts,
            "spans": spans(record, list(attempts), now),
            "children": children,
            "lines": lines[-LINES:],
            "all_lines": all_lines,
            "find": asked.text("find"),
            "items": items,
            "args": args,
            "kwargs": kwargs,
            "args_json": _editable(args),
            "kwargs_json": _editable(kwargs),
            "messages": [] if record.actor else _or_none(lambda: look.messages(record.id, MESSAGES)) or [],
            "result": _or_none(lambda: look.result(record.id)),
            "has_result": record.state in (State.COMPLETED, State.CANCELLED),
            "checkpoint": _or_none(lambda: look.checkpoint(record.id)) if record.checkpoint_time else None,
            "steps": (_or_none(lambda: runtime.steps(record.id, limit=STEPS)) or []) if record.steps else [],
            "dead_letters": (_or_none(lambda: runtime.dead_letters(record.id)) or []) if record.actor else [],
            "ties": _ties(linked_to, ties),
            "options": record.options,
            "now": now,
        },
    )


def log(asked: Asked) -> Page:
    """The whole log of a task, with a search."""
    record = asked.runtime.status(asked.path["id"])
    lines, all_lines = _lines(asked, record)
    return Page(
        "log.html",
        f"Log of {record.task}",
        {"task": record, "lines": lines, "all_lines": all_lines, "find": asked.text("find")},
    )


def _lines(asked: Asked, record: TaskRecord) -> tuple[list[Any], int]:
    """The lines of log that contain the text that is looked for, and how many there are of all."""
    found = asked.runtime.logs(record.id)
    text = asked.text("find").casefold()
    return [line for line in found if text in line.text.casefold()], len(found)


def _or_none(read: Any) -> Any:
    """What a read gives; None if the value cannot be decoded, which must not hide the rest of the page."""
    try:
        return read()
    except (UnderstudyError, StoreError):
        return None


def _ties(linked_to: str | None, ties: Ties) -> list[tuple[str, list[str], int]]:
    """The links and monitors of a task: what they are called, the first ids, and how many there are."""
    found = [
        ("Linked to", [] if linked_to is None else [linked_to]),
        ("Linked", list(map(id_text, ties.children))),
        ("Monitors", list(map(id_text, ties.monitors))),
        ("Monitored by", list(map(id_text, ties.watchers))),
    ]
    return [(label, ids[:TIES], len(ids)) for label, ids in found if ids]


def _editable(value: Any) -> str:
    return json.dumps(value_json.plain(value), ensure_ascii=False)


def spans(record: TaskRecord, attempts: list[Any], now: float) -> list[Span]:
    """The time line: waits and attempts in their order, scaled to 1000."""
    end = record.ended or now
    length = max(end - record.created, 1e-6)
    parts: list[tuple[str, float, float, str]] = []
    at = record.created
    for run in attempts:
        if run.started is None:
            continue
        if run.started > at:
            parts.append(("queued", at, run.started, "waits"))
        until = run.ended if run.ended is not None else now
        parts.append((run.state, run.started, until, f"attempt {run.attempt}: {run.state}"))
        at = max(until, at)
    if record.ended is None and record.state is State.QUEUED and now > at:
        parts.append(("queued", at, now, "waits"))
    made = []
    for kind, start, stop, title in parts:
        x = (start - record.created) / length * 1000
        made.append(Span(kind, round(x, 2), round(max((stop - start) / length * 1000, 2), 2), title))
    return made


# --- actions ---


def _there(asked: Asked, say: str, id: str | None = None) -> Done:
    return Done(asked.link(f"/tasks/{id or asked.path['id']}"), say)


def cancel(asked: Asked) -> Done:
    """Cancel it."""
    changed = asked.runtime.cancel(asked.path["id"], timeout=ACT)
    return _there(asked, "Cancel was asked for." if changed else "It had ended already.")


def retry(asked: Asked) -> Done:
    """Start it again: as it was, or with other arguments."""
    id = asked.path["id"]
    if "args" not in asked.form and "kwargs" not in asked.form:
        info = asked.runtime.retry(id, from_scratch=asked.field("from_scratch") == "on", timeout=ACT)
        return _there(asked, "This task retries the one before.", info.id)
    record = asked.runtime.status(id)
    args, kwargs = asked.value("args", "the list of arguments"), asked.value("kwargs", "the named arguments")
    info = started(asked, Task.named(record.task), args, kwargs)
    return _there(asked, "Started with these arguments.", info.id)


def started(asked: Asked, task: Task[..., Any], args: Any, kwargs: Any) -> Any:
    """Start a task with arguments from a form. InvalidOption if they are no list and no object."""
    if args is not None and not isinstance(args, list):
        raise InvalidOption("the arguments are a JSON list, such as [1, 2]")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise InvalidOption('the named arguments are a JSON object, such as {"limit": 3}')
    return asked.runtime.start(task, *(args or []), **(kwargs or {}))


def send(asked: Asked) -> Done:
    """Put a message into its mailbox."""
    asked.runtime.send(asked.path["id"], asked.value("message", "the message"), timeout=ACT)
    return _there(asked, "The message is in its mailbox.")


def close(asked: Asked) -> Done:
    """Close its mailbox."""
    asked.runtime.close_mailbox(asked.path["id"], timeout=ACT)
    return _there(asked, "Its mailbox is closed.")
