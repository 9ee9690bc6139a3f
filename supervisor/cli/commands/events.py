"""The commands of the groups `events` and `streams`. All but `emit` and `replay` read the store."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import click

from ....actors.errors import EventNotFound
from ....actors.events.event import EventInfo, EventRecord
from ....actors.events.pattern import check_pattern
from ....actors.events.stream import Stream, StreamInfo
from ....actors.ids import id_bytes, id_text
from ....storage.reader import Reader
from ...client.event_calls import record_of, stream_in, stream_info
from ...text import documents
from .. import lookup
from ..command import LazyGroup, command
from ..display import screen
from ..params import JSON, check_quiet, json_option, limit_option, quiet_option
from ..session import current

#: Each command of a group and its module, relative to `understudy.supervisor.cli`.
EVENT_COMMANDS: Final = dict.fromkeys(("list", "show", "emit", "replay"), "commands.events")
STREAM_COMMANDS: Final = dict.fromkeys(("list", "show"), "commands.events")

#: Tasks of a stream that its row in a list counts.
STATES_COUNTED: Final = 1_000


@click.group(
    "events",
    cls=LazyGroup,
    homes=EVENT_COMMANDS,
    prefix="events_",
    short_help="List, emit and replay events.",
)
def events() -> None:
    """List events, emit them, and run their handlers again."""


@click.group(
    "streams", cls=LazyGroup, homes=STREAM_COMMANDS, prefix="streams_", short_help="List and show streams."
)
def streams() -> None:
    """List streams, and show what has come from one start or one event."""


@command("list", short_help="List events, newest first.")
@click.argument("pattern", required=False)
@click.option("--unmatched", is_flag=True, help="Only events that nothing handled and nobody listened to.")
@limit_option("events")
@quiet_option()
@json_option("Print a JSON array of events.")
def events_list(pattern: str | None, unmatched: bool, limit: int, quiet: bool, as_json: bool) -> None:
    """List events, newest first: all, or those whose names match PATTERN, as order.paid or 'order.*'."""
    check_quiet(quiet, as_json)
    if pattern is not None:
        check_pattern(pattern)
    with current().reader() as reader:
        rows = reader.events(
            pattern, unmatched=unmatched, limit=limit + 1 if limit else None, seconds=None
        ).rows
        more = bool(limit) and len(rows) > limit
        found = [record_of(row) for row in rows[: limit or None]]
        if quiet:
            for each in found:
                screen.line(each.id)
        elif as_json:
            screen.json([documents.event(each) for each in found])
        elif found:
            from ..display import event_table

            states = [_states_of(reader, each) for each in found]
            width = screen.console().width
            screen.show(event_table.events(list(zip(found, states, strict=True)), width, time.time()))
        else:
            screen.note(f"no such events in {current().home.path}")
    if more:
        screen.note(f"… and more: these are the newest {limit}, see --limit")


def _states_of(reader: Reader, event: EventRecord) -> list[str | None]:
    """The states of the runs of an event; None for one that has been pruned."""
    records = [reader.record(id_bytes(run)) for _, run in event.runs]
    return [None if record is None else str(record.state) for record in records]


@command("show", short_help="Show an event and its runs.")
@click.argument("id", metavar="EVENT")
@json_option()
def events_show(id: str, as_json: bool) -> None:
    """Show an event, its data and the runs that handle it. EVENT is its id."""
    with current().reader() as reader:
        row = reader.event(id)
        if row is None:
            raise EventNotFound(f"no event has the id {id!r:.80}; it may have been pruned", id)
        event = record_of(row)
        states = _states_of(reader, event)
    if as_json:
        runs = [
            {**run, "state": state} for run, state in zip(documents.event(event)["runs"], states, strict=True)
        ]
        screen.json({**documents.event(event), "runs": runs})
        return
    from ..display import event_table

    screen.show(event_table.sheet(event, states, time.time()))


@command("emit", short_help="Emit an event.")
@click.argument("name")
@click.argument("data", type=JSON, required=False)
@click.option("--id", metavar="TEXT", help="An event with an id that is known is not stored again.")
@click.option("--stream", metavar="ID", help="Put the event into the stream of this task.")
@json_option("Print the event's id, its stream and its runs as JSON.")
def events_emit(name: str, data: Any, id: str | None, stream: str | None, as_json: bool) -> None:
    """Emit an event with this name and this data, which is JSON, and print its id.

    The event and a run of each of its handlers are on disk then.
    """
    session = current()
    stream_id = None
    with session.runtime() as runtime:
        if stream is not None:
            with session.reader() as reader:
                stream_id = id_text(lookup.find(reader, stream).stream)
        _answer(runtime.emit(name, data, id=id, stream_id=stream_id), as_json)


@command("replay", short_help="Run the handlers of an event again.")
@click.argument("id", metavar="EVENT")
@click.option("--handler", metavar="TASK", help="Only this handler, as module:function.")
@json_option("Print the event's id, its stream and its new runs as JSON.")
def events_replay(id: str, handler: str | None, as_json: bool) -> None:
    """Run the handlers of a stored event again and print the number of runs.

    The handlers are those that the app has now. EVENT is the id of the event.
    """
    with current().runtime() as runtime:
        made = runtime.replay(id, handler)
    if not made.runs:
        screen.note("no handler of the app matches this event")
    _answer(made, as_json)


def _answer(made: EventInfo, as_json: bool) -> None:
    screen.answer(made.id, documents.emitted(made), as_json=as_json)


@command("list", short_help="List streams, those with the newest tasks and events first.")
@limit_option("streams")
@quiet_option()
@json_option("Print a JSON array of streams.")
def streams_list(limit: int, quiet: bool, as_json: bool) -> None:
    """List streams, those with the newest tasks and events first. A task alone is none."""
    check_quiet(quiet, as_json)
    with current().reader() as reader:
        rows = reader.streams(limit + 1 if limit else None, seconds=None).streams
        found = [stream_info(reader, *row) for row in rows[: limit or None]]
        states = [] if quiet else [_states_in(reader, each) for each in found]
    if quiet:
        for each in found:
            screen.line(each.id)
    elif as_json:
        screen.json(
            [{**documents.stream(each), "tasks": counts} for each, counts in zip(found, states, strict=True)]
        )
    elif found:
        from ..display import event_table

        screen.show(
            event_table.streams(list(zip(found, states, strict=True)), screen.console().width, time.time())
        )
    else:
        screen.note(f"no streams in {current().home.path}")
    if limit and len(rows) > limit:
        screen.note(f"… and more: these are the newest {limit}, see --limit")


def _states_in(reader: Reader, stream: StreamInfo) -> dict[str, int]:
    """How many of a stream's tasks are in each state, of the first STATES_COUNTED."""
    records = reader.stream_tasks(id_bytes(stream.id), STATES_COUNTED)
    return dict(Counter(str(record.state) for record in records))


@command("show", short_help="Show the tree of a stream.")
@click.argument("id", metavar="ID")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Show at most N events and N tasks.",
)
@json_option("Print the tree as JSON.")
def streams_show(id: str, limit: int, as_json: bool) -> None:
    """Show the events, runs and tasks of a stream as a tree, with their states and times.

    ID is the id of the stream, of an event, or of a task or run in the stream.
    """
    with current().reader() as reader:
        tree = _stream(reader, id, limit)
    if as_json:
        screen.json(documents.stream_tree(tree))
        return
    from ..display import event_table

    screen.show(event_table.stream(tree, time.time()))
    if tree.more:
        screen.note(f"… and more: these are the oldest {limit}, see --limit")


def _stream(reader: Reader, id: str, limit: int) -> Stream:
    event = reader.event(id)
    return stream_in(reader, lookup.find(reader, id).stream if event is None else event.stream, limit)
