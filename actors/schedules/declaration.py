"""`@cron` and `@every`, which have a task run by a schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from ..errors import InvalidOption, InvalidTask
from ..task import parameters
from ..task.additions import Addition, task_of
from ..task.declaration import Task
from .definition import Definition, Missed, Overlap, check_key

#: Schedules of one task.
MOST: Final = 100

Time = float | datetime


class Declared(NamedTuple):
    """A schedule that the code declares."""

    key: str
    definition: Definition


def cron(
    expression: str,
    /,
    *,
    tz: str | None = None,
    key: str | None = None,
    missed: Missed | None = None,
    missed_within: float | None = None,
    overlap: Overlap | None = None,
    jitter: float | None = None,
    start: Time | None = None,
    end: Time | None = None,
    limit: int | None = None,
    pause_after: int | None = None,
    **options: Any,
) -> Addition:
    """Run this function, or this task, whenever the cron expression is due in the time zone (UTC by default).

    On a function it declares a task with these further options (those of `@task`) and a timeout of 300 s. Above `@task`
    it takes no further ones. The schedule has the task's name as its key; a second one of the same task needs a `key`.
    The function is called without arguments. Raises InvalidOption for an expression that is not valid or never matches
    and for an unknown zone, InvalidTask for a function that needs arguments and for a key that another task has.
    """
    definition = Definition.of(
        cron=_given("cron", expression),
        tz=tz,
        missed=missed,
        missed_within=missed_within,
        overlap=overlap,
        jitter=jitter,
        start=start,
        end=end,
        limit=limit,
        pause_after=pause_after,
    )
    return _decorator(definition, key, options)


def every(
    seconds: float,
    /,
    *,
    key: str | None = None,
    missed: Missed | None = None,
    missed_within: float | None = None,
    overlap: Overlap | None = None,
    jitter: float | None = None,
    start: Time | None = None,
    end: Time | None = None,
    limit: int | None = None,
    pause_after: int | None = None,
    **options: Any,
) -> Addition:
    """Run this function, or this task, every so many seconds, at least 1: counted from `start`, or else from the first
    time that a supervisor has loaded it. See `cron`.
    """
    definition = Definition.of(
        every=_given("every", seconds),
        missed=missed,
        missed_within=missed_within,
        overlap=overlap,
        jitter=jitter,
        start=start,
        end=end,
        limit=limit,
        pause_after=pause_after,
    )
    return _decorator(definition, key, options)


def _given(name: str, value: Any) -> Any:
    if value is None or callable(value):
        raise InvalidOption(f"@{name} takes its argument in parentheses, as @cron('@daily') or @every(300)")
    return value


def _decorator(definition: Definition, key: str | None, options: dict[str, Any]) -> Addition:
    if key is not None:
        check_key(key)

    def schedule(body: Any) -> Any:
        scheduled = task_of(body, options, "@cron or @every")
        _add(scheduled, key, definition)
        return scheduled

    return schedule


def _add(scheduled: Task[..., Any], key: str | None, definition: Definition) -> None:
    if parameters.positional(scheduled._signature)[0] > 0:
        raise InvalidTask(
            f"{scheduled.name} needs arguments, and a schedule that is declared gives none: give its parameters "
            "defaults, or use Runtime.schedule(task, *args)"
        )
    name = check_key(scheduled.name) if key is None else key
    others = [each for each in scheduled.schedules if each.key == name]
    if others and others[0].definition != definition:
        raise InvalidTask(
            f"two schedules have the key {name}: give one of them another, as @cron(…, key='…')"
        )
    owner = _owners.setdefault(name, scheduled)
    if owner is not scheduled and not owner.is_of_same_code(scheduled):
        raise InvalidTask(
            f"two schedules have the key {name}, that of {owner.name} and that of {scheduled.name}: give one of them "
            "another, as @cron(…, key='…')"
        )
    _owners[name] = scheduled
    if not others:
        if len(scheduled.schedules) >= MOST:
            raise InvalidOption(f"{scheduled.name} has {MOST} schedules, and may have no more")
        scheduled.schedules = (*scheduled.schedules, Declared(name, definition))


#: The task that has declared the schedule of this key.
_owners: Final[dict[str, Task[..., Any]]] = {}
