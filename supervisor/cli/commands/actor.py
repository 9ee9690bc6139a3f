"""The commands of the group `actor`: class actors from the shell.

`ls`, `show`, `state` and `dead` read the store; the others need a supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from ....actors import values
from ....actors.errors import AskTimeout, InvalidValue, RemoteError
from ....actors.ids import id_text
from ....actors.refs.letter import Letter
from ....actors.task.handles import TaskRecord
from ....storage.actor_reader import ActorName
from ....storage.reader import Reader
from ...client.views import DeadLetter, attributes_of, dead_letter, view
from ...text import escape, value_json
from .. import lookup
from ..command import LazyGroup, command
from ..display import screen, task_text, units
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import ACTOR, DURATION, JSON, KEYWORD, METHOD, json_option
from ..session import current
from .tasks import absence, arguments_of, note_absence, note_code, waits_for, with_ids

if TYPE_CHECKING:
    from ....actors.refs.ref import ActorRef
    from ....storage.tables.record import Record
    from ...client.runtime import Runtime

#: Each command of the group and its module, relative to `understudy.supervisor.cli`.
COMMANDS: Final = dict.fromkeys(
    ("ls", "show", "call", "tell", "state", "dead", "redrive", "stop"), "commands.actor"
)

#: So that `-5` is read as a number and not as an option.
_NUMBERS: Final = {"ignore_unknown_options": True}


@click.group(
    "actor", cls=LazyGroup, homes=COMMANDS, prefix="actor_", short_help="List and call class actors."
)
def actor() -> None:
    """List class actors, call them, and see to the messages that they could not handle.

    A REF is "Class/name", "module:Class/name" or the id of an actor. An id may be cut short to any beginning or end
    that is unique. `understudy cancel`, `ps`, `logs` and `show` take the ids of actors, too.
    """


def _limit_option(what: str) -> Callable[[Any], Any]:
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(min=0),
        default=50,
        show_default=True,
        metavar="N",
        help=f"Show at most N {what}; 0 for all.",
    )


def _ref_argument() -> Callable[[Any], Any]:
    return click.argument("ref", type=ACTOR, metavar="REF")


def _key_option() -> Callable[[Any], Any]:
    return click.option(
        "--key", metavar="TEXT", help="A message under a key that the actor has had is not handled again."
    )


# --- reading ---


@command("ls", short_help="List the actors that are alive.")
@click.argument("cls", metavar="[CLASS]", required=False)
@click.option("--prefix", default="", metavar="TEXT", help="Only actors whose names start with this.")
@_limit_option("actors")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids only, one on each line.")
@json_option("Print a JSON array of actors.")
def actor_ls(cls: str | None, prefix: str, limit: int, quiet: bool, as_json: bool) -> None:
    """List the actors that are alive: of this class or of all, the oldest first, or by name with --prefix.

    CLASS is its full name, as module:Class, or its short one.
    """
    if quiet and as_json:
        raise click.UsageError("--quiet prints ids; it does not go with --json")
    with current().reader() as reader:
        classes = None if cls is None else lookup.actor_classes(reader, cls) or [cls]
        names = reader.actors(classes, prefix=prefix, limit=limit + 1 if limit else None)
        more = bool(limit) and len(names) > limit
        names = names[: limit or None]
        if quiet:
            for each in names:
                screen.line(id_text(each.id))
        elif as_json:
            screen.json([task_text.document(record) for record in _records(reader, names)])
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
@_ref_argument()
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
        }
        screen.json({**task_text.document(seen), **more, **extra})
        return
    from ..display import actor_table, task_table

    now = time.time()
    facts = [
        ("durable", "no" if record.volatile else "yes"),
        ("attributes", _size_of(state)),
        *(("reminder", actor_table.reminder(*each, now)) for each in reminders),
        ("dead letters", f"{dead:,}; see `understudy actor dead`" if dead else "none"),
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
@_ref_argument()
@click.option(
    "--storage",
    is_flag=False,
    flag_value="",
    metavar="[PREFIX]",
    help="The rows of its storage instead, or those whose keys start with PREFIX. Give it after REF.",
)
@_limit_option("rows of storage")
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
@_ref_argument()
@click.option("-q", "--quiet", is_flag=True, help="Print the ids only, one on each line.")
@json_option("Print a JSON array of dead letters.")
def actor_dead(ref: str, quiet: bool, as_json: bool) -> None:
    """List the messages that an actor could not handle, oldest first, with their errors.

    `understudy actor redrive` sends them again. --json also has the tracebacks.
    """
    if quiet and as_json:
        raise click.UsageError("--quiet prints ids; it does not go with --json")
    with current().reader() as reader:
        letters = _dead(reader, lookup.find_actor(reader, ref).id)
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


def _dead(reader: Reader, id: bytes) -> list[DeadLetter]:
    return [dead_letter(dead, row) for dead, row in reader.dead_letters(id)]


# --- acting ---


@command("call", short_help="Call a method of an actor.", context_settings=_NUMBERS)
@_ref_argument()
@click.argument("method", type=METHOD, metavar="METHOD")
@click.argument("args", type=JSON, nargs=-1, metavar="[JSON]...")
@click.option(
    "--kw",
    "kwargs",
    type=KEYWORD,
    multiple=True,
    metavar="NAME=JSON",
    help="A keyword argument; may be given several times.",
)
@_key_option()
@click.option("--timeout", type=DURATION, help="Limit of the wait. The message is handled nevertheless.")
@json_option("Print the value on one line.")
def actor_call(
    ref: str,
    method: str,
    args: tuple[Any, ...],
    kwargs: Sequence[tuple[str, Any]],
    key: str | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Call a method of an actor and print what it returns as JSON.

    Each JSON is one positional argument; "-" reads it from standard input. Text needs quotes inside the shell's:
    understudy actor call Account/ada rename '"Ada"'. The actor must be alive: Runtime.actor starts one.
    """
    with _reached(ref, key, timeout) as (there, note), values.foreign_allowed():
        answer = there.submit(method, *args, **dict(kwargs))
        note()
        value = answer.get()
    screen.value(value, as_json=as_json)


@command("tell", short_help="Send a message to an actor.", context_settings=_NUMBERS)
@_ref_argument()
@click.argument("message", type=JSON, metavar="JSON")
@_key_option()
def actor_tell(ref: str, message: Any, key: str | None) -> None:
    """Send a message to on_receive of an actor, without an answer. "-" reads the message from standard input.

    Returns once it is on disk, or was taken in by an actor that is not durable.
    """
    with _reached(ref, key) as (there, note):
        there.tell(message)
        note()


@command("redrive", short_help="Send an actor's dead letters again.")
@_ref_argument()
@click.argument("id", metavar="[ID]", required=False)
@json_option("Print the number as a JSON object.")
def actor_redrive(ref: str, id: str | None, as_json: bool) -> None:
    """Send the dead letters of an actor again: all, or the one with this ID.

    A beginning or an end of the id is enough.
    """
    with current().reader() as reader, current().runtime() as runtime:
        record = lookup.find_actor(reader, ref)
        dead = None if id is None else lookup.find_dead_letter(_dead(reader, record.id), id)
        count = runtime.redrive(id_text(record.id), dead)
    said = f"{count:,} message{'' if count == 1 else 's'} sent again" if count else "it has no dead letters"
    screen.answer(said, {"redriven": count}, as_json=as_json)


@command("stop", short_help="Stop an actor.")
@_ref_argument()
@click.option("--timeout", type=DURATION, help="Limit of the wait for its end. It stops nevertheless.")
@json_option("Print a JSON object.")
def actor_stop(ref: str, timeout: float | None, as_json: bool) -> int:
    """Stop an actor once it has handled what was sent before, and wait for its end.

    Its name is free then. `understudy cancel ID` stops one that hangs.
    """
    with _reached(ref, None, timeout) as (there, note):
        answer = there.stop(block=False)
        note()
        stopped = answer.get()
    name = task_text.name(there.class_name, there.name)
    said = f"{name} {'has stopped' if stopped else 'had stopped already'}"
    screen.answer(said, {"id": there.id, "stopped": stopped}, as_json=as_json)
    return ExitCode.OK if stopped else ExitCode.ENDED


@contextmanager
def _reached(
    ref: str, key: str | None, timeout: float | None = None
) -> Iterator[tuple[ActorRef[Any], Callable[[], None]]]:
    """A reference to the actor that `ref` names, and what says so if a message that was sent waits for its code.

    Errors of its methods are RemoteErrors of no other class.
    """
    from ....actors.refs.ref import ActorRef

    with current().reader() as reader, current().runtime() as runtime:
        record = lookup.find_actor(reader, ref)
        there: ActorRef[Any] = ActorRef(record.id, record.name, record.actor or None, runtime)
        try:
            yield there.options(key=key, timeout=timeout), lambda: _note_wait(runtime, record)
        except RemoteError as error:
            raise RemoteError(str(error.error), error.error) from None
        except AskTimeout:
            name = escape.one_line(task_text.name(record.name, record.actor))
            raise CliError(
                ExitCode.WAIT_TIMED_OUT,
                f"{name} has not answered within {timeout:g} s. The message stays in its mailbox. A call that is to be "
                "handled once, however often it is sent, needs a --key from the first time on",
            ) from None


def _note_wait(runtime: Runtime, record: Record) -> None:
    tree = runtime.tree()
    if record.name in tree["waits_for_code"]:
        name = escape.one_line(task_text.name(record.name, record.actor))
        why = task_text.waits(*absence(tree, record.name))
        screen.note(f"{name} waits for {why}. The message stays in its mailbox")
