"""The command `limits`: what limits do just now, and their numbers."""

from __future__ import annotations

from typing import Any, Final

import click

from ....actors.task.limit import Rate
from ...text import documents, escape
from ..command import command
from ..display import screen
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import json_option
from ..session import current

#: What --concurrency and --rate take for "no limit".
NONE: Final = "none"


@command("limits", short_help="Show what limits do, and set their numbers.")
@click.argument("name", required=False)
@click.option("--concurrency", metavar="N", help='Attempts at once, or "none".')
@click.option("--rate", metavar="RATE", help='Attempts that may begin in a time, such as "10/s", or "none".')
@click.option("--reset", is_flag=True, help="Go back to the numbers that the app declares.")
@json_option("Print a JSON array of limits.")
def limits(name: str | None, concurrency: str | None, rate: str | None, reset: bool, as_json: bool) -> None:
    """Show the limits: how many places are used, and how many tasks wait. A limit with keys has a line for each key in
    use.

    With a NAME and --concurrency or --rate, set numbers of this limit, until they are set again or reset.
    """
    changes = concurrency is not None or rate is not None
    if (changes or reset) and name is None:
        raise click.UsageError("give the NAME of the limit whose numbers are to be set")
    if changes and reset:
        raise click.UsageError("--reset goes without --concurrency and --rate")
    with current().runtime() as rt:
        if name is not None and (changes or reset):
            numbers: dict[str, Any] = {}
            if concurrency is not None:
                numbers["concurrency"] = None if concurrency == NONE else _whole(concurrency)
            if rate is not None:
                numbers["rate"] = None if rate == NONE else Rate.of(rate)
            rt.set_limit(name, **numbers)
        found = [info for info in rt.limits() if name in (None, info.name)]
    if name is not None and not found:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"no task has the limit {escape.one_line(name)!r:.80}; `understudy limits` lists them",
        )
    if as_json:
        screen.json([documents.limit(info) for info in found])
    elif found:
        from ..display import limit_table

        screen.show(limit_table.limits(found, screen.console().width))
    else:
        screen.note("no task has a limit")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f'--concurrency takes a whole number or "none", not {text!r}') from None
