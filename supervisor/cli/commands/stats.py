"""The commands `stats` and `errors`, which read what the store counts. They need no supervisor."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from ...client import outcomes
from ...text import documents
from ..command import command
from ..display import screen
from ..params import DURATION, json_option
from ..session import current


@command("stats", short_help="Count tasks by name and state, or what has ended.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="As NAME; may be given several times.")
@click.option(
    "--window",
    type=DURATION,
    metavar="TIME",
    help="Show what has ended in this time until now: 10m, 1h, 7d. At most 400d.",
)
@json_option("Print a JSON object: a number for each state, by name; with --window what has ended.")
def stats(names: Sequence[str], tasks: Sequence[str], window: float | None, as_json: bool) -> None:
    """Count tasks by name and state, or show what has ended in a window.

    NAME may lack the module and may contain * and ?. With --window there are numbers for each final state, ended tasks
    for each second, and how long attempts have waited and run: the time that half of them, 90 % and 99 % did not
    exceed, at most 5 % off.

    The store keeps these numbers, so a million tasks take no longer than ten.
    """
    wanted = [*names, *tasks] or None
    if window is not None:
        _show_window(window, wanted, as_json=as_json)
        return
    fits = outcomes.names(wanted)
    with current().reader() as reader:
        counts = {name: states for name, states in sorted(reader.counts().items()) if fits(name)}
    if as_json:
        screen.json(documents.counts(counts))
    elif counts:
        from ..display import task_table

        screen.show(task_table.counts(counts, screen.console().width))
    else:
        screen.note("no such tasks" if wanted else f"no tasks in {current().home.path}")


def _show_window(window: float, wanted: Sequence[str] | None, *, as_json: bool) -> None:
    with current().reader() as reader:
        found = outcomes.stats(reader, window, wanted)
    if as_json:
        screen.json(documents.stats(found))
    elif found.tasks:
        from ..display import stats_table

        first, *more = stats_table.window(found, screen.console().width)
        screen.show(first)
        for table in more:
            screen.line()
            screen.show(table)
    else:
        screen.note("nothing has ended in this time")


@command("errors", short_help="Show why tasks have failed, by cause.")
@click.option(
    "--window",
    type=DURATION,
    default="1d",
    show_default=True,
    metavar="TIME",
    help="Only tasks that have failed in this time until now: 10m, 1h, 7d.",
)
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME", help="Only tasks of this name; may contain * and ?."
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1, max=outcomes.MAX_GROUPS),
    default=20,
    show_default=True,
    metavar="N",
    help="Show the N most frequent causes.",
)
@json_option("Print a JSON array of causes.")
def errors(window: float, tasks: Sequence[str], limit: int, as_json: bool) -> None:
    """Show why tasks have failed or timed out, the most frequent cause first.

    Failures have one cause if they agree in the task, the type of the error, the innermost frame of the traceback and
    the message without its numbers.
    """
    with current().reader() as reader:
        found = outcomes.errors(reader, window, tasks or None, limit)
    if as_json:
        screen.json([documents.error_group(group) for group in found])
        return
    if not found:
        screen.note("no task has failed in this time")
    else:
        from ..display import stats_table

        screen.show(stats_table.errors(found, screen.console().width, time.time()))
    if found.total > len(found):
        screen.note(f"… and more: these are {len(found):,} of {found.total:,} causes, see --limit")
    if found.stopped:
        from ...text import units

        screen.note(
            f"failures before {units.local(found.looked_back_to)} are not counted; ask for a shorter --window"
        )
