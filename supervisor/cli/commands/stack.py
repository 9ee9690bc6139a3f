"""The command `stack`: where the code of a running task is."""

from __future__ import annotations

import click

from ....actors.ids import id_text
from ...text import documents
from .. import lookup
from ..command import command
from ..display import screen, stack_text
from ..params import id_argument, json_option
from ..session import current


@command("stack", short_help="Show where the code of a running task is.")
@id_argument()
@click.option("--all", "everything", is_flag=True, help="Also show what the other threads of its worker do.")
@json_option("Print the stack as a JSON object, with all threads.")
def stack(id: str, everything: bool, as_json: bool) -> None:
    """Show the stack of a running task: the calls that have not returned, the last one at the end.

    It comes also from a task that holds up its worker in a C call, and disturbs nothing. Of an async task it shows the
    coroutines that await each other.
    """
    with current().reader() as reader, current().runtime() as runtime:
        found = runtime.stack(id_text(lookup.find(reader, id).id))
    if as_json:
        screen.json(documents.stack(found))
        return
    for text in stack_text.lines(found, everything=everything):
        screen.line(text)
    if found.note:
        screen.note(f"note: {found.note}")
