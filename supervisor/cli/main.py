"""`understudy`: puts the commands together, and turns whatever happens into an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import click
from click.shell_completion import shell_complete

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
    "ps": "commands.tasks",
    "show": "commands.tasks",
    "logs": "commands.logs",
    "result": "commands.tasks",
    "checkpoint": "commands.tasks",
    "send": "commands.control",
    "close": "commands.control",
    "cancel": "commands.control",
    "retry": "commands.control",
    "tree": "commands.live",
    "top": "commands.live",
    "stop": "commands.control",
    "prune": "commands.store",
    "backup": "commands.store",
    "compact": "commands.store",
    "check": "commands.store",
}

PROGRAM: Final = "understudy"
#: The variable by which a shell asks for completion, as click documents it.
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

    A supervisor serves a home folder ("understudy serve APP"); the other commands talk to it, or only read the
    folder, which works without a supervisor, too. Wherever an ID is asked for, the beginning of one will do.
    """


def main() -> NoReturn:
    """The installed command."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = _hang_up()
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Carry out one command line; its exit code."""
    session = Session()
    for stream in (sys.stdout, sys.stderr):
        # Where the locale has no such character, a question of encoding must not end the command.
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
    except Exception as error:  # noqa: BLE001 - the last line of defence; every kind of error has its words
        if session.debug:
            traceback.print_exc()
        print(text_of(error), file=sys.stderr)
        return code_of(error)
    return code if isinstance(code, int) else ExitCode.OK


def _dispatch(args: Sequence[str], session: Session) -> object:
    """What the command returns. Not by click's `main`, which has exit codes of its own, for a broken pipe, say."""
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(cli, {"obj": session}, PROGRAM, COMPLETION, instruction)
    with cli.make_context(PROGRAM, list(args), obj=session) as context:
        return cli.invoke(context)


def _hang_up() -> int:
    """Nobody reads on: keep the interpreter's last flush from complaining."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return ExitCode.BROKEN_PIPE
