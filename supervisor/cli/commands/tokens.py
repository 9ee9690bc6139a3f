"""The commands `audit` and the group `token`. `audit` and `token list` read the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Literal

import click

from ....actors.access import Role
from ...text import documents
from ..command import LazyGroup, command
from ..display import screen
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import DURATION, json_option, limit_option
from ..session import current

TOKEN_COMMANDS: Final = dict.fromkeys(("add", "list", "remove"), "commands.tokens")


@click.group(
    "token",
    cls=LazyGroup,
    homes=TOKEN_COMMANDS,
    prefix="token_",
    short_help="Make, list and remove tokens for the web process.",
)
def token() -> None:
    """Tokens for the web process. The store keeps a hash of each; its text is shown once, when it is made."""


@command("add", short_help="Make a token and print it.")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default=str(Role.READ),
    show_default=True,
    help="What it may do. Each role may do what those before it may.",
)
@click.option(
    "--tasks",
    multiple=True,
    metavar="PATTERN",
    help="Only for tasks with such names; may be given several times.  [default: all]",
)
@click.option(
    "--expires", type=DURATION, metavar="TIME", help="Time for which it is valid.  [default: for ever]"
)
@json_option("Print the token and its facts as a JSON object.")
def token_add(
    name: str,
    role: Literal["read", "run", "admin"],
    tasks: Sequence[str],
    expires: float | None,
    as_json: bool,
) -> None:
    """Make a token and print it. NAME tells tokens apart, and says in the audit who did something."""
    with current().runtime() as runtime:
        text = runtime.add_token(name, role=role, tasks=list(tasks) or "*", expires=expires)
        found = next((each for each in runtime.tokens() if each.name == name), None)
    if as_json:
        screen.json({"token": text, **(documents.token(found) if found is not None else {})})
    else:
        screen.line(text)


@command("list", short_help="List tokens.")
@json_option("Print a JSON array of tokens.")
def token_list(as_json: bool) -> None:
    """List the tokens of the home, by time of creation, those that have expired included."""
    with current().reader() as reader:
        found = reader.tokens()
    if as_json:
        screen.json([documents.token(each) for each in found])
    elif found:
        from ..display import token_table

        screen.show(token_table.tokens(found, screen.console().width, time.time()))
    else:
        screen.note(f"no tokens in {current().home.path}")


@command("remove", short_help="Remove a token.")
@click.argument("name")
def token_remove(name: str) -> None:
    """Remove the token with this name or id. It is refused from the next request on, and its sessions as well."""
    with current().runtime() as runtime:
        if not runtime.remove_token(name):
            raise CliError(
                ExitCode.NOT_FOUND,
                f"there is no token with the name or id {name!r}; see `understudy token list`",
            )


@command("audit", short_help="Show what was changed or refused over HTTP.")
@limit_option("entries", 100)
@json_option("Print a JSON array of entries.")
def audit(limit: int, as_json: bool) -> None:
    """Show what was changed or refused over HTTP and with tokens, newest first: who did it, with which token.

    The last 10,000 entries are kept.
    """
    with current().reader() as reader:
        found = [entry for _, entry in reader.audit(limit or 1 << 31)]
    if as_json:
        screen.json([documents.audit_entry(each) for each in found])
    elif found:
        from ..display import token_table

        screen.show(token_table.audit(found, screen.console().width))
    else:
        screen.note(f"no entries in {current().home.path}")
