"""The group `actor`, class actors from the shell, and its commands `ls`, `show`, `state` and `dead`.

These read the store. The others are in `actor_messages.py` and need a supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from ....actors.errors import InvalidValue
from ....actors.ids import id_text
from ....actors.refs.letter import Letter
from ....actors.task.handles import TaskRecord
from ....storage.actor_reader import ActorName
from ....storage.reader import Reader
from ...client.views import DeadLetter, attributes_of, dead_letter, view
from ...text import documents, units, value_json
from .. import lookup
from ..command import LazyGroup, command
from ..display import screen, task_text
from ..params import ACTOR, check_quiet, json_option, limit_option, quiet_option
from ..session import current
from .tasks import arguments_of, note_absence, note_code, waits_for, with_ids

if TYPE_CHECKING:
    pass

#: Each command of the group and its module, relative to `understudy.supervisor.cli`.
COMMANDS: Final = {
    **dict.fromkeys(("ls", "show"), "commands.actor"),
    **dict.fromkeys(("call", "tell"), "commands.actor_messages"),
    **dict.fromkeys(("state", "dead"), "commands.actor"),
    **dict.fromkeys(("redrive", "stop"), "commands.actor_messages"),
}


@click.group(
    "actor", cls=LazyGroup, homes=COMMANDS, prefix="actor_", short_help="List and call class actors."
)
def actor() -> None:
    """List class actors, call them, and see to the messages that they could not handle.

    A REF is "Class/name", "module:Class/name" or the id of an actor. An id may be cut short to any beginning or end
    that is unique. `understudy cancel`, `ps`, `logs` and `show` take the ids of actors, too.
    """


def ref_argument() -> Callable[[Any], Any]:
    return click.argument("ref", type=ACTOR, metavar="REF")


@command("ls", short_help="List the actors that are alive.")
@click.argument("cls", metavar="[CLASS]", required=False)
@click.option("--prefix", default="", metavar="TEXT", help="Only actors whose names start with this.")
@limit_option("actors")
@quiet_option()
@json_option("Print a JSON array of actors.")
def actor_ls(cls: str | None, prefix: str, limit: int, quiet: bool, as_json: bool) -> None:
    """List the actors that are alive: of this class or of all, the oldest first, or by name with --prefix.

    CLASS is its full name, as module:Class, or its short one.
    """
    check_quiet(quiet, as_json)
    with current().reader() as reader:
        classes = None if cls is None else lookup.actor_classes(reader, cls) or [cls]
        names = reader.actors(classes, prefix=prefix, limit=limit + 1 if limit else None)
        more = bool(limit) and len(names) > limit
        names = names[: limit or None]
        if quiet:
            for each in names:
                screen.line(id_text(each.id))
        elif as_json:
            screen.json([documents.task(record) for record in _records(reader, names)])
        elif names:
            from ..display import actor_table

            width = screen.console().width
            records = list(_records(reader, names))
            screen.show(actor_table.actors(with_ids(records, width), width, time.time()))
            note_absence([record.state for record in records])
            note_code(reader, records)
        else:
            screen.note(_none_there(cls, prefix))
    if more:
        screen.note(f"… and more: these are the first {limit}, see --limit")


def _records(reader: Reader, names: Sequence[ActorName]) -> Iterator[TaskRecord]:
    for each in names:
        record = reader.record(each.id)
        if record is not None:  # it may have been pruned since
            yield view(record, reader.mailbox_depth(each.id))


def _none_there(cls: str | None, prefix: str) -> str:
    if cls is None and not prefix:
        return f"no actors in {current().home.path}"
    if cls is None or ":" in cls:
        return "no such actors"
    return "no such actors; of a class without named actors give the full name, as module:Class"


@command("show", short_help="Show all data of an actor.")
@ref_argument()
@json_option()
def actor_show(ref: str, as_json: bool) -> None:
    """Show all data of an actor: its mailbox, reminders, dead letters and arguments.

    `understudy actor state` prints its attributes.
    """
    with current().reader() as reader:
        record = lookup.find_actor(reader, ref)
        seen = view(record, reader.mailbox_depth(record.id))
        state = reader.state(record.id)
        reminders = [
            (name, row.due, row.every, _method_of(row.letter)) for name, row in reader.reminders(record.id)
        ]
        dead = len(reader.dead_letters(record.id))
        extra = arguments_of(reader, record.id, seen.state)
        ties = reader.ties(record.id)
    needs, why = waits_for(seen)
    if as_json:
        more = {
            "waits_for": needs,
            "durable": not record.volatile,
            "state_size": None if state is None else len(state),
            "reminders": [
                {"name": name, "due": units.iso(due), "every": every, "method": method}
                for name, due, every, method in reminders
            ],
            "dead_letters": dead,
            **task_text.ties_document(seen, record.linked, ties),
        }
        screen.json({**documents.task(seen), **more, **extra})
        return
    from ..display import actor_table, task_table

    now = time.time()
    facts = [
        ("durable", "no" if record.volatile else "yes"),
        ("attributes", _size_of(state)),
        *(("reminder", actor_table.reminder(*each, now)) for each in reminders),
        ("dead letters", f"{dead:,}; see `understudy actor dead`" if dead else "none"),
        *task_text.ties(seen, record.linked, ties),
    ]
    screen.show(task_table.sheet(seen, extra, now, needs, why, more=facts))
    note_absence([seen.state])


def _size_of(state: bytes | None) -> str:
    return "none on disk" if state is None else units.size(len(state))


def _method_of(letter: bytes) -> str | None:
    try:
        return Letter.unpack(letter).path
    except InvalidValue:
        return None


@command("state", short_help="Print an actor's attributes or storage.")
@ref_argument()
@click.option(
    "--storage",
    is_flag=False,
    flag_value="",
    metavar="[PREFIX]",
    help="The rows of its storage instead, or those whose keys start with PREFIX. Give it after REF.",
)
@limit_option("rows of storage")
@json_option("Print the attributes on one line, or a JSON object for each row of storage, one on each line.")
def actor_state(ref: str, storage: str | None, limit: int, as_json: bool) -> None:
    """Print the attributes of an actor as JSON, as of its last commit; null if nothing of it is on disk."""
    with current().reader() as reader:
        record = lookup.find_actor(reader, ref)
        if storage is not None:
            _show_storage(reader, record.id, storage, limit, as_json)
            return
        state = reader.state(record.id)
    if state is None:
        screen.note(
            "it is not durable: its attributes are only in the memory of its worker"
            if record.volatile
            else "it has no attributes on disk yet: its first message builds it, or `understudy logs` says why not"
        )
    screen.value(None if state is None else attributes_of(state)[1], as_json=as_json)


def _show_storage(reader: Reader, id: bytes, prefix: str, limit: int, as_json: bool) -> None:
    rows = _storage(reader, id, prefix, limit + 1 if limit else None)
    shown: list[tuple[str, Any]] = []
    more = False
    for number, (key, packed) in enumerate(rows):
        if limit and number == limit:
            more = True
        elif as_json:
            screen.json({"key": key, "value": value_json.unpack(packed)})
        else:
            shown.append((key, value_json.unpack(packed)))
    if shown:
        from ..display import actor_table

        screen.show(actor_table.storage(shown, screen.console().width))
    elif not as_json:
        screen.note("no such rows in its storage" if prefix else "its storage is empty")
    if more:
        screen.note(f"… and more: these are the first {limit}, see --limit")


#: Rows of storage that are read at once.
_PAGE: Final = 1_000


def _storage(reader: Reader, id: bytes, prefix: str, limit: int | None) -> Iterator[tuple[str, bytes]]:
    after = None
    while limit is None or limit > 0:
        page = reader.storage_rows(id, prefix, _PAGE if limit is None else min(limit, _PAGE), after)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]
        limit = None if limit is None else limit - len(page)


@command("dead", short_help="List the messages that an actor could not handle.")
@ref_argument()
@quiet_option()
@json_option("Print a JSON array of dead letters.")
def actor_dead(ref: str, quiet: bool, as_json: bool) -> None:
    """List the messages that an actor could not handle, oldest first, with their errors.

    `understudy actor redrive` sends them again. --json also has the tracebacks.
    """
    check_quiet(quiet, as_json)
    with current().reader() as reader:
        letters = dead_letters(reader, lookup.find_actor(reader, ref).id)
    if as_json:
        screen.json([{**asdict(letter), "time": units.iso(letter.time)} for letter in letters])
    elif quiet:
        for letter in letters:
            screen.line(letter.id)
    elif letters:
        from ..display import actor_table

        rows = [(task_text.short_id(each.id), each.time, each.message, each.error) for each in letters]
        screen.show(actor_table.dead_letters(rows, screen.console().width, time.time()))
    else:
        screen.note("it has no dead letters")


def dead_letters(reader: Reader, id: bytes) -> list[DeadLetter]:
    return [dead_letter(dead, row) for dead, row in reader.dead_letters(id)]
