"""A task that has one of everything that is kept of a task."""

from __future__ import annotations

from understudy import checkpoint, publish, receive, task


@task
def keeps(value: int) -> int:
    publish("part", value)
    checkpoint({"value": value})
    if receive() is None:
        return value
    raise ValueError(value)
