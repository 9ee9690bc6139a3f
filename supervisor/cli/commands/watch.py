"""The command `watch`: what a task or a stream publishes, prints and becomes, as it happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from ....actors.events.entry import WatchEntry
from ....actors.ids import id_text
from ....actors.state import State
from ...client.watch import Watch
from ...text import documents, escape, units, value_json
from .. import lookup
from ..command import command
from ..display import screen
from ..exit_codes import ExitCode
from ..params import id_argument, json_option
from ..session import current

if TYPE_CHECKING:
    from ....storage.reader import Reader

#: The exit code for each final state.
_CODES: Final = {
    State.COMPLETED: ExitCode.OK,
    State.FAILED: ExitCode.TASK_FAILED,
    State.TIMED_OUT: ExitCode.TASK_TIMED_OUT,
    State.CANCELLED: ExitCode.TASK_CANCELLED,
}


@command("watch", short_help="Follow what a task or a stream publishes.")
@id_argument()
@click.option("--stream", is_flag=True, help="Watch the whole stream of ID, until you press Ctrl-C.")
@click.option("--after", metavar="CURSOR", help="Go on behind this entry; --json prints the cursor of each.")
@json_option("Print a JSON object for each entry.")
def watch(id: str, stream: bool, after: str | None, as_json: bool) -> int | None:
    """Print what a task publishes and prints, its attempts and its end, from the beginning and as it comes.

    It reads the store, also while no supervisor runs, and exits with the state of the task. ID is the id of a task;
    with --stream also that of a stream or an event.
    """
    with current().reader() as reader:
        with _open(reader, id, stream, after) as entries:
            for entry in entries:
                if as_json:
                    screen.json(documents.entry(entry))
                else:
                    _print(entry)
                if entry.kind == "end" and not stream:
                    return _CODES[State(str(entry.name))]
        if stream or after is None:
            return None
        record = reader.record(lookup.find(reader, id).id)
        return None if record is None else _CODES.get(record.state)


def _open(reader: Reader, id: str, stream: bool, after: str | None) -> Watch:
    if not stream:
        return Watch(reader, None, id_text(lookup.find(reader, id).id), after)
    event = reader.event(id)
    found = lookup.find(reader, id).stream if event is None else event.stream
    return Watch(reader, id_text(found), None, after)


def _print(entry: WatchEntry) -> None:
    if entry.kind == "snapshot":
        return  # `status` and `streams show` draw it
    first, *rest = escape.lines(_text_of(entry)) or [""]
    attempt = f" #{entry.attempt}" if entry.attempt > 1 else ""
    head = f"{units.clock(entry.time, time.time())}  {escape.one_line(_head_of(entry))}{attempt}  "
    screen.line(head + first)
    for line in rest:
        screen.line(" " * len(head) + line)


def _head_of(entry: WatchEntry) -> str:
    return f"{entry.kind if entry.kind in ('attempt', 'end', 'notice') else entry.name or ''}"


def _text_of(entry: WatchEntry) -> str:
    if entry.kind == "item":
        return value_json.dumps(entry.value)
    if entry.kind == "log":
        return entry.text or ""
    if entry.kind == "notice":
        parts = [
            f"{count:,} {what}" for count, what in ((entry.items, "items"), (entry.lines, "lines")) if count
        ]
        return f"{' and '.join(parts)} were removed before they were read"
    return f"{entry.name}" if entry.error is None else f"{entry.name}: {entry.error}"
