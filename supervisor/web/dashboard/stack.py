"""Where the code of a running task is."""

from __future__ import annotations

from typing import Final

from ....actors.errors import StackUnavailable
from .page import Asked, Page

PATIENCE: Final = 8.0
"""Seconds that the page waits. A worker that is held up takes about one, a signal as long as three."""


def page(asked: Asked) -> Page:
    """The stack of a task as it is now. The page stands still: it is a picture of one moment."""
    record = asked.runtime.status(asked.path["id"])
    stack, why = None, ""
    try:
        stack = asked.runtime.stack(record.id, timeout=PATIENCE)
    except StackUnavailable as error:
        why = str(error)
    return Page(
        "stack.html",
        f"Stack of {record.task}",
        {"task": record, "stack": stack, "why": why},
        still=True,
    )
