"""The commands `prune`, `backup`, `compact` and `check`, which maintain the store."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ....actors.errors import NotRunning
from ....storage.backup import backup as write_backup
from ....storage.backup import compact_offline
from ....storage.file.names import store_file
from ....storage.tables.schema import Table
from ...text import escape, units
from ..command import command
from ..display import screen
from ..exit_codes import ExitCode
from ..params import json_option
from ..session import current


@command("prune")
@click.option(
    "--all", "everything", is_flag=True, help="Remove ended tasks of any age, except those kept for ever."
)
@json_option('Print {"removed": N}.')
def prune(everything: bool, as_json: bool) -> None:
    """Remove ended tasks that have been kept for their time.

    The supervisor itself does this once a minute. A task's option "keep" sets the time that it is kept.
    """
    with current().runtime() as runtime:
        removed = runtime.prune(all=everything)
    screen.answer(f"removed {_count(removed, 'task')}", {"removed": removed}, as_json=as_json)


@command("backup", short_help="Write a copy of the store to a new folder.")
@click.argument("dest", type=click.Path(path_type=Path))
@json_option('Print {"path": PATH, "bytes": N}.')
def backup(dest: Path, as_json: bool) -> None:
    """Write a consistent copy of the store to the new folder DEST, which can be used as a home.

    This works with and without a running supervisor.
    """
    with current().reader():
        written = write_backup(current().home.path, dest)
    text = f"wrote {units.size(written)} to {escape.one_line(dest)}"
    screen.answer(text, {"path": str(dest.absolute()), "bytes": written}, as_json=as_json)


@command("compact", short_help="Free the space of removed tasks.")
@json_option('Print {"before": N, "after": N}, the bytes of the store.')
def compact(as_json: bool) -> None:
    """Return the space of removed tasks to the file system.

    This works with and without a running supervisor.
    """
    with current().reader():
        before, after = _compact()
    text = f"{units.size(before)} before, {units.size(after)} now"
    screen.answer(text, {"before": before, "after": after}, as_json=as_json)


def _compact() -> tuple[int, int]:
    home = current().home
    try:
        with current().runtime() as runtime:
            before = store_file(home.path).stat().st_size
            runtime.compact()
            return before, store_file(home.path).stat().st_size
    except NotRunning:
        # The lock keeps a supervisor from starting meanwhile. It fails if one has started.
        with home.lock():
            return compact_offline(home.path)


@command("check")
@json_option('Print {"sound": BOOL, "problems": […], "rows": {table: N}}.')
def check(as_json: bool) -> int:
    """Check every page and row of the store for damage.

    This changes nothing and works with and without a running supervisor. The exit code tells whether it found
    problems.
    """
    from ....storage.check import check as look

    with current().reader():
        report = look(current().home.path, _tell if sys.stderr.isatty() else None)
    screen.status("")
    code = ExitCode.OK if report.sound else ExitCode.PROBLEMS_FOUND
    if as_json:
        rows = {str(table): count for table, count in report.counts.items()}
        screen.json({"sound": report.sound, "problems": report.problems, "rows": rows})
        return code
    for problem in report.problems:
        screen.line(escape.one_line(problem))
    if report.sound:
        screen.line(
            f"sound: {_count(report.counts.get(Table.TASKS, 0), 'task')}, {_count(sum(report.counts.values()), 'row')}"
        )
    else:
        found = _count(len(report.problems), "problem")
        screen.note(
            f"Error: {found} found. Keep a copy of the folder, then restore a backup (made with `understudy backup`)"
        )
    return code


def _tell(done: int, total: int) -> None:
    screen.status(f"{done:,} of {total:,} rows")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
