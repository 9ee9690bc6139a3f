"""The commands of the group `schedules`. `list`, `show` and `next` read the store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import click

from ....actors.schedules.definition import MOST_TIMES
from ...client.schedule_calls import STATES, history_of, info_of, next_times, row_of
from ...text import documents, units
from ..command import LazyGroup, command
from ..display import screen
from ..params import MOMENT, check_quiet, json_option, limit_option, quiet_option
from ..session import current

SCHEDULE_COMMANDS: Final = dict.fromkeys(
    ("list", "show", "next", "pause", "resume", "cancel", "run", "backfill"), "commands.schedules"
)

#: Occurrences that `show` prints.
SHOWN: Final = 10


@click.group(
    "schedules",
    cls=LazyGroup,
    homes=SCHEDULE_COMMANDS,
    prefix="schedules_",
    short_help="List, pause, run and backfill schedules.",
)
def schedules() -> None:
    """Look at schedules and change them. KEY is the key of a schedule: for one that code declares, the task's name."""


@command("list", short_help="List schedules.")
@click.option("--state", type=click.Choice(STATES), help="Only schedules in this state.")
@limit_option("schedules", 100)
@click.option("--after", metavar="KEY", help="Only those whose keys sort behind this one.")
@quiet_option("keys")
@json_option("Print a JSON array of schedules.")
def schedules_list(state: str | None, limit: int, after: str | None, quiet: bool, as_json: bool) -> None:
    """List schedules, sorted by key."""
    check_quiet(quiet, as_json, "keys")
    with current().reader() as reader:
        rows = reader.schedules(state=state, limit=limit + 1 if limit else None, after=after)
    found = [info_of(row) for row in rows[: limit or None]]
    if quiet:
        for each in found:
            screen.line(each.key)
    elif as_json:
        screen.json([documents.schedule(each) for each in found])
    elif found:
        from ..display import schedule_table

        screen.show(schedule_table.schedules(found, screen.console().width, time.time()))
    else:
        screen.note(f"no such schedules in {current().home.path}")
    if limit and len(rows) > limit:
        screen.note(f"… and more: see --limit and --after {found[-1].key}")


@command("show", short_help="Show a schedule and its last occurrences.")
@click.argument("key", metavar="KEY")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    default=SHOWN,
    show_default=True,
    metavar="N",
    help="Show the last N occurrences; 0 for all that are kept.",
)
@json_option()
def schedules_show(key: str, limit: int, as_json: bool) -> None:
    """Show a schedule with its last occurrences, newest first: each with its run, or why it was skipped."""
    with current().reader() as reader:
        info = info_of(row_of(reader, key))
        history = history_of(reader, key, limit or None)
    if as_json:
        screen.json({**documents.schedule(info), "history": [documents.occurrence(each) for each in history]})
        return
    from ..display import schedule_table

    screen.show(schedule_table.sheet(info, time.time()))
    if history:
        screen.show(schedule_table.history(history))


@command("next", short_help="Show the next times of a schedule.")
@click.argument("key", metavar="KEY")
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, MOST_TIMES),
    default=SHOWN,
    show_default=True,
    metavar="N",
    help="Show the next N times.",
)
@json_option("Print a JSON array of times.")
def schedules_next(key: str, count: int, as_json: bool) -> None:
    """Show the next times of a schedule, in its time zone; of a paused one, those that it would have."""
    with current().reader() as reader:
        row = row_of(reader, key)
    times = next_times(row, count, time.time())
    if as_json:
        screen.json([units.iso(each) for each in times])
        return
    from ....actors.schedules import cron

    zone = cron.zone(row.definition.get("tz") or "UTC")
    for each in times:
        screen.line(datetime.fromtimestamp(each, UTC).astimezone(zone).isoformat(" "))
    if not times:
        screen.note(f"schedule {key} has ended")


@command("pause", short_help="Pause a schedule.")
@click.argument("key", metavar="KEY")
@json_option("Print the schedule as JSON.")
def schedules_pause(key: str, as_json: bool) -> None:
    """Pause a schedule. A pause stays until `resume`, also over deploys."""
    _act("pause_schedule", key, as_json)


@command("resume", short_help="Resume a paused schedule.")
@click.argument("key", metavar="KEY")
@json_option("Print the schedule as JSON.")
def schedules_resume(key: str, as_json: bool) -> None:
    """Resume a paused schedule. What fell into the pause does not run: see `backfill`."""
    _act("resume_schedule", key, as_json)


@command("cancel", short_help="End a schedule.")
@click.argument("key", metavar="KEY")
@json_option("Print the schedule as JSON.")
def schedules_cancel(key: str, as_json: bool) -> None:
    """End a schedule that a program has made, or one that the code does not declare any more. Its runs go on."""
    _act("cancel_schedule", key, as_json)


def _act(method: str, key: str, as_json: bool) -> None:
    with current().runtime() as runtime:
        getattr(runtime, method)(key)
        info = runtime.schedule_info(key)
    screen.answer(info.state, documents.schedule(info), as_json=as_json)


@command("run", short_help="Start a run of a schedule now.")
@click.argument("key", metavar="KEY")
@json_option("Print the id of the run as JSON.")
def schedules_run(key: str, as_json: bool) -> None:
    """Start a run of a schedule now, also of a paused one, and print its id."""
    with current().runtime() as runtime:
        run = runtime.run_schedule(key)
    screen.answer(run, {"id": run}, as_json=as_json)


@command("backfill", short_help="Run past occurrences that have no run.")
@click.argument("key", metavar="KEY")
@click.argument("start", type=MOMENT)
@click.argument("end", type=MOMENT, required=False)
@json_option("Print the ids of the runs as a JSON array.")
def schedules_backfill(key: str, start: float, end: float | None, as_json: bool) -> None:
    """Start a run for each occurrence from START to END that has none in the history, and print the ids.

    END is now if it is left out. The runs begin one after the other, unless they may overlap.
    """
    with current().runtime() as runtime:
        runs = runtime.backfill(key, start, time.time() if end is None else end)
    if not runs and not as_json:
        screen.note("no occurrence without a run lies there")
    screen.answer("\n".join(runs), runs, as_json=as_json)
