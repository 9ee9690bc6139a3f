"""The commands of the group `bulk`: cancels and retries of many tasks. `list` and `show` read the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

import click

from ....actors.errors import BulkNotFound
from ....actors.ids import id_text
from ....actors.task.bulk_info import BulkOutcome
from ....storage.reader import Reader
from ....storage.tables.bulk_rows import OUTCOMES
from ...client.bulk_calls import info_of
from ...text import documents, escape
from .. import bulk_of_query, lookup
from ..command import LazyGroup, command
from ..display import screen
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import check_quiet, json_option, limit_option, quiet_option
from ..session import current

BULK_COMMANDS: Final = dict.fromkeys(("list", "show", "wait", "cancel"), "commands.bulk")

#: All of them, for `--limit 0`.
_ALL: Final = 1 << 31
#: Outcomes that are read at once.
READ: Final = 10_000


@click.group(
    "bulk",
    cls=LazyGroup,
    homes=BULK_COMMANDS,
    prefix="bulk_",
    short_help="Follow and stop cancels and retries of many tasks.",
)
def bulk() -> None:
    """Look at cancels and retries of many tasks, and stop them.

    "understudy cancel --where QUERY" and "understudy retry --where QUERY" make them. They are kept for 7 days, as tasks
    are.
    """


@command("list", short_help="List cancels and retries of many tasks.")
@limit_option("bulks")
@quiet_option()
@json_option("Print a JSON array of bulks.")
def bulk_list(limit: int, quiet: bool, as_json: bool) -> None:
    """List cancels and retries of many tasks, newest first: how far they are, and who asked for them."""
    check_quiet(quiet, as_json)
    with current().reader() as reader:
        rows = reader.bulks(limit + 1 if limit else _ALL)
    found = [info_of(row) for row in rows[: limit or None]]
    if quiet:
        for each in found:
            screen.line(each.id)
    elif as_json:
        screen.json([documents.bulk(each) for each in found])
    elif found:
        from ..display import bulk_table

        screen.show(bulk_table.bulks(found, screen.console().width, time.time()))
    else:
        screen.note(f"no bulks in {current().home.path}")
    if limit and len(rows) > limit:
        screen.note("… and more: see --limit")


@command("show", short_help="Show what became of each task of a bulk.")
@click.argument("id", metavar="ID")
@click.option(
    "--outcome",
    type=click.Choice(OUTCOMES),
    metavar="OUTCOME",
    help=f"Only tasks with this outcome: {', '.join(OUTCOMES)}.",
)
@limit_option("tasks")
@json_option("Print a JSON object with the outcomes.")
def bulk_show(id: str, outcome: str | None, limit: int, as_json: bool) -> None:
    """Show how far a bulk is, and what became of each of its tasks."""
    with current().reader() as reader:
        key = find(reader, id)
        row = reader.bulk(key)
        if row is None:
            raise _absent(id)
        outcomes = list(islice(outcomes_of(reader, key, outcome), limit + 1 if limit else None))
    info, more = info_of(row), bool(limit) and len(outcomes) > limit
    del outcomes[limit or len(outcomes) :]
    if as_json:
        screen.json({**documents.bulk(info), "of_each": [documents.bulk_outcome(each) for each in outcomes]})
    else:
        from ..display import bulk_table

        screen.show(bulk_table.sheet(info, time.time()))
        if outcomes:
            screen.show(bulk_table.outcomes(outcomes))
    if more:
        screen.note("… and more: see --limit")


@command("wait", short_help="Wait until a bulk has ended.")
@click.argument("id", metavar="ID")
@json_option("Print the bulk as a JSON object.")
def bulk_wait(id: str, as_json: bool) -> int:
    """Wait until a bulk has ended; on a terminal, show how far it is. Ctrl-C ends the wait alone."""
    with current().reader() as reader, current().runtime() as runtime:
        info = bulk_of_query.wait(runtime, id_text(find(reader, id)))
    screen.answer(
        f"{info.action} of {bulk_of_query.tasks(info.total)}: {info.state}",
        documents.bulk(info),
        as_json=as_json,
    )
    return bulk_of_query.remarks(info)


@command("cancel", short_help="Have a bulk touch no further task.")
@click.argument("id", metavar="ID")
def bulk_cancel(id: str) -> int:
    """Have a bulk touch no further task. What it has done stays."""
    with current().reader() as reader, current().runtime() as runtime:
        text = id_text(find(reader, id))
        taken = runtime.cancel_bulk(text)
        info = runtime.bulk(text)
    screen.line(
        f"{text} {'was cancelled' if taken else 'had ended already'}: {info.done:,} of {info.total:,} done"
    )
    return ExitCode.OK if taken else ExitCode.ENDED


def find(reader: Reader, text: str) -> bytes:
    """The bulk that has this id, or whose id begins or ends so. BulkNotFound; CliError if there are several."""
    digits = text.replace("-", "").lower()
    found = [
        row.id
        for row in reader.bulks(_ALL)
        if digits and (row.id.hex().startswith(digits) or row.id.hex().endswith(digits))
    ]
    if not found:
        raise _absent(text)
    if len(found) > 1:
        lines = [
            f"several bulks have an id that starts or ends with {escape.one_line(digits):.80}; give more characters:"
        ]
        raise CliError(
            ExitCode.AMBIGUOUS,
            "\n".join([*lines, *(f"  {id_text(id)}" for id in found[: lookup.CANDIDATES])]),
        )
    return found[0]


def _absent(text: str) -> BulkNotFound:
    return BulkNotFound(
        f"there is no bulk {escape.one_line(text)!r:.80}; `understudy bulk list` lists them", text
    )


def outcomes_of(reader: Reader, id: bytes, outcome: str | None) -> Iterator[BulkOutcome]:
    """What became of its tasks, read in pieces; of those with one outcome, or of all."""
    after = 0
    while rows := reader.bulk_tasks(id, after, READ):
        after += len(rows)
        for task, became, new in rows:
            if outcome in (None, became):
                yield BulkOutcome(id_text(task), became, None if new is None else id_text(new))
