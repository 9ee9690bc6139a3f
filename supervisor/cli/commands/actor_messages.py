"""The commands of `understudy actor` that send something to an actor: `call`, `tell`, `redrive` and `stop`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from ....actors import values
from ....actors.errors import AskTimeout, RemoteError
from ....actors.ids import id_text
from ...text import escape
from .. import lookup
from ..command import command
from ..display import screen, task_text
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import DURATION, JSON, KEYWORD, METHOD, json_option
from ..session import current
from .actor import dead_letters, ref_argument
from .tasks import absence

if TYPE_CHECKING:
    from ....actors.refs.ref import ActorRef
    from ....storage.tables.record import Record
    from ...client.runtime import Runtime

#: So that `-5` is read as a number and not as an option.
_NUMBERS: Final = {"ignore_unknown_options": True}


def _key_option() -> Callable[[Any], Any]:
    return click.option(
        "--key", metavar="TEXT", help="A message under a key that the actor has had is not handled again."
    )


@command("call", short_help="Call a method of an actor.", context_settings=_NUMBERS)
@ref_argument()
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
@ref_argument()
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
@ref_argument()
@click.argument("id", metavar="[ID]", required=False)
@json_option("Print the number as a JSON object.")
def actor_redrive(ref: str, id: str | None, as_json: bool) -> None:
    """Send the dead letters of an actor again: all, or the one with this ID.

    A beginning or an end of the id is enough.
    """
    with current().reader() as reader, current().runtime() as runtime:
        record = lookup.find_actor(reader, ref)
        dead = None if id is None else lookup.find_dead_letter(dead_letters(reader, record.id), id)
        count = runtime.redrive(id_text(record.id), dead)
    said = f"{count:,} message{'' if count == 1 else 's'} sent again" if count else "it has no dead letters"
    screen.answer(said, {"redriven": count}, as_json=as_json)


@command("stop", short_help="Stop an actor.")
@ref_argument()
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
