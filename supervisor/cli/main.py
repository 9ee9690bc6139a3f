"""`main`, the entry point of `understudy`: it runs a command and turns every error into an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import click
from click.shell_completion import shell_complete

from ..linux.standard_streams import drop_output, open_missing_streams
from .command import LazyGroup
from .exit_codes import ExitCode
from .failures import code_of, text_of
from .session import Session

#: Each command and the module of this package that holds it.
COMMANDS: Final = {
    "serve": "commands.serve",
    "start": "commands.start",
    "run": "commands.start",
    "box": "commands.box",
    "actor": "commands.actor",
    "events": "commands.events",
    "streams": "commands.events",
    "schedules": "commands.schedules",
    "limits": "commands.limits",
    "pools": "commands.pools",
    "token": "commands.tokens",
    "audit": "commands.tokens",
    "ps": "commands.tasks",
    "stats": "commands.stats",
    "errors": "commands.stats",
    "show": "commands.tasks",
    "stack": "commands.stack",
    "logs": "commands.logs",
    "watch": "commands.watch",
    "result": "commands.tasks",
    "checkpoint": "commands.tasks",
    "send": "commands.control",
    "close": "commands.control",
    "cancel": "commands.control",
    "retry": "commands.control",
    "bulk": "commands.bulk",
    "tree": "commands.trees",
    "top": "commands.live",
    "stop": "commands.control",
    "prune": "commands.store",
    "backup": "commands.store",
    "compact": "commands.store",
    "check": "commands.store",
}

PROGRAM: Final = "understudy"
#: The environment variable by which a shell asks click for completions.
COMPLETION: Final = "_UNDERSTUDY_COMPLETE"


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from ... import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(PROGRAM, cls=LazyGroup, homes=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli() -> None:
    """Durable, long-running tasks on one host.

    "understudy serve APP" runs the supervisor of a home folder. The other commands talk to this supervisor or
    read the folder, and reading works without a supervisor. An ID may be cut
    short to any beginning or end that is unique.
    """


def main() -> NoReturn:
    """The entry point of the installed command."""
    open_missing_streams()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = _hang_up()
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command line; its exit code."""
    session = Session()
    for stream in (sys.stdout, sys.stderr):
        # A character that the locale cannot encode must not end the command.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        code = _dispatch(args, session)
        sys.stdout.flush()
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _hang_up()
    except Exception as error:  # noqa: BLE001 - every error becomes a text and an exit code
        if session.debug:
            traceback.print_exc()
        print(text_of(error), file=sys.stderr)
        return code_of(error)
    return code if isinstance(code, int) else ExitCode.OK


def _dispatch(args: Sequence[str], session: Session) -> object:
    """Run the command; its return value. Click's own `main` is not used, because its exit codes differ."""
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(cli, {"obj": session}, PROGRAM, COMPLETION, instruction)
    with cli.make_context(PROGRAM, list(args), obj=session) as context:
        return cli.invoke(context)


def _hang_up() -> int:
    """The output's reader is gone; returns the exit code."""
    drop_output()
    return ExitCode.BROKEN_PIPE
