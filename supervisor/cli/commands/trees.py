"""The command `tree`, which shows processes and supervision trees, and the commands of that group."""

from __future__ import annotations

import time
from typing import Final

import click

from ....actors.errors import TreeNotFound
from ....actors.state import State
from ...client.tree_views import statuses
from ...text import documents
from ..command import LazyGroup, command
from ..display import screen
from ..params import json_option
from ..session import current
from .live import SAMPLE, Stage
from .tasks import note_absence

TREE_COMMANDS: Final = dict.fromkeys(("show", "restart", "stop"), "commands.trees")


@click.group(
    "tree",
    cls=LazyGroup,
    homes=TREE_COMMANDS,
    prefix="tree_",
    default="show",
    invoke_without_command=True,
    short_help="Show live processes and supervision trees; restart and stop these.",
)
@json_option("Print the processes and the trees as JSON.")
@click.pass_context
def tree(context: click.Context, as_json: bool) -> None:
    """Show the live processes with their tasks, and the supervision trees with their children.

    PATH names a tree, as "shop", or a child, as "shop/workers/w1": "understudy tree shop" shows this tree alone.
    """
    if context.invoked_subcommand is not None:
        return
    from ..display import process_tree, supervision_tree

    with current().reader() as reader, current().runtime() as runtime:
        live, gauges, progress = Stage(runtime, reader).look(sample=SAMPLE)
        trees = runtime.trees()
    if as_json:
        found = process_tree.document(live, gauges, progress)
        screen.json({**found, "trees": [documents.tree(each) for each in trees]})
        return
    screen.show(process_tree.tree(live, gauges, progress, time.time()))
    for each in trees:
        screen.show(supervision_tree.tree(each, time.time()))


@command("show", short_help="Show a supervision tree or a child.")
@click.argument("path", metavar="PATH")
@json_option("Print the state as JSON.")
def tree_show(path: str, as_json: bool) -> None:
    """Show a supervision tree or a child, with all that is in it. It reads the store.

    "show" may be left out, unless the tree has the name of a command.
    """
    with current().reader() as reader:
        nodes = reader.tree_nodes(path)
    if not nodes or nodes[0].path != path:
        raise TreeNotFound(f"there is no tree or child {path!r:.200}", path)
    (status,) = statuses(nodes)
    if _wants_json(as_json):
        screen.json(documents.tree(status))
        return
    from ..display import supervision_tree

    screen.show(supervision_tree.tree(status, time.time()))
    if any(node.row.alive for node in nodes):
        note_absence([State.RUNNING])


@command("restart", short_help="Restart a supervision tree or a child.")
@click.argument("path", metavar="PATH")
@json_option("Print the state as JSON.")
def tree_restart(path: str, as_json: bool) -> None:
    """Restart a supervision tree or a child: what runs is stopped first, and goes on with its next attempt."""
    _act(path, "restart", as_json)


@command("stop", short_help="Stop a supervision tree or a child.")
@click.argument("path", metavar="PATH")
@json_option("Print the state as JSON.")
def tree_stop(path: str, as_json: bool) -> None:
    """Stop a supervision tree or a child. It stays stopped until it is restarted."""
    _act(path, "stop", as_json)


def _act(path: str, what: str, as_json: bool) -> None:
    top, _, rest = path.partition("/")
    with current().runtime() as runtime:
        found = runtime.tree_of(top)
        if not rest:
            (found.restart if what == "restart" else found.stop)()
        elif what == "restart":
            found.restart_child(path)
        else:
            found.terminate_child(path)
        status = found.child(path) if rest else found.status()
    screen.answer(status.state, documents.tree(status), as_json=_wants_json(as_json))


def _wants_json(as_json: bool) -> bool:
    """Whether --json is given, behind the command or before it."""
    group = click.get_current_context().parent
    return as_json or bool(group is not None and group.params.get("as_json"))
