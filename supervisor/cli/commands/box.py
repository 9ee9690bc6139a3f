"""The commands `box run` and `box sizes`: containers from the shell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from ....actors.box.conf import BoxConf
from ....actors.box.sizes import ALIASES, SIZES
from ....actors.errors import ErrorInfo
from ....actors.ids import id_bytes
from ....actors.state import State
from ....storage.reader import LogLine, Reader
from ...client.views import ended_error
from ...text import escape
from ...wire.error_codec import info_of
from .. import lookup
from ..command import LazyGroup, command
from ..display import screen
from ..exit_codes import ExitCode
from ..params import DURATION, SIZE, json_option, metadata_option
from ..session import current
from .logs import lines_of

#: Each command of the group and its module, relative to `understudy.supervisor.cli`.
COMMANDS: Final = {"run": "commands.box", "sizes": "commands.box"}

_MB: Final = 1024 * 1024


@click.group("box", cls=LazyGroup, homes=COMMANDS, prefix="box_", short_help="Run containers as tasks.")
def box() -> None:
    """Run containers as tasks, which are queued, watched, cancelled and logged like all tasks."""


@command(
    "run", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)  # `-h` may be the command's
@click.argument("image", metavar="IMAGE")
@click.argument("cmd", metavar="[CMD]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--size", default="small", show_default=True, metavar="NAME", help="See `understudy box sizes`."
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an environment variable; NAME alone passes on its current value.",
)
@click.option(
    "--mount",
    multiple=True,
    metavar="HERE:THERE[:rw]",
    help="Mount a path of this machine, read-only without :rw.",
)
@click.option(
    "--network",
    type=click.Choice(["none", "internet"]),
    default="none",
    show_default=True,
    help="Network access.",
)
@click.option("--timeout", type=DURATION, help="Limit of its run time.  [default: the size's]")
@click.option("--memory", type=SIZE, help="Limit of its memory.  [default: the size's]")
@click.option("--writable", is_flag=True, help="Make its root writable and use the image's own user.")
@click.option(
    "--output", multiple=True, metavar="PATH", help="Copy this path of the container to the home at its end."
)
@click.option(
    "--pull",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    show_default=True,
    help="When to fetch the image.",
)
@click.option("--retry", type=click.IntRange(min=0), metavar="N", help="Retry up to N times, 1 s apart.")
@click.option("--grace", type=DURATION, help="Time between SIGTERM and SIGKILL.  [default: 10s]")
@click.option("--key", metavar="TEXT", help="A later start with the same key returns the first one's task.")
@metadata_option("Keep this with the task, for `ps --meta`; may be given several times.")
@click.option("--detach", is_flag=True, help="Print the task's id and do not wait for it.")
def box_run(
    image: str,
    cmd: Sequence[str],
    env: Sequence[str],
    mount: Sequence[str],
    output: Sequence[str],
    memory: int | None,
    retry: int | None,
    grace: float | None,
    key: str | None,
    metadata: dict[str, str] | None,
    detach: bool,
    **fields: Any,
) -> int:
    """Run a container, print its output and exit with its exit code.

    Options may come before or after IMAGE. Put `--` before a CMD that has options of the same names. Ctrl-C
    cancels the task; a second Ctrl-C leaves it running.
    """
    from ....actors.box import api as boxes

    conf = BoxConf(
        image=image,
        cmd=list(cmd) or None,
        env=dict(_variables(env)),
        mounts=dict(_mounts(mount)),
        outputs=list(output),
        memory=None if memory is None else max(memory // _MB, 1),
        **fields,
    )
    options = {"retry": retry, "grace": grace, "key": key, "metadata": metadata}
    session = current()
    with session.runtime() as runtime:
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        info = boxes.start(conf, runtime=runtime, **given)
        if detach:
            screen.line(info.id)
            return ExitCode.OK
        with session.reader() as reader:
            task = id_bytes(info.id)
            try:
                for lines in lines_of(reader, task, follow=True):
                    _print(lines)
            except KeyboardInterrupt:
                screen.note(f"\ncancelling task {info.id}; press Ctrl-C again to leave it running")
                runtime.cancel(info.id)
                runtime.wait(info.id)
            return _exit_code(reader, task, info.id)


def _print(lines: Sequence[LogLine]) -> None:
    for _, level, text in lines:
        stream = sys.stdout if level == "stdout" else sys.stderr
        # Unchanged for a program; escaped for a terminal, so that a container cannot control it.
        stream.write(f"{escape.one_line(text) if stream.isatty() else text}\n")
        stream.flush()


def _exit_code(reader: Reader, task: bytes, id: str) -> int:
    record = lookup.ended(reader, task)
    if record.state is State.COMPLETED:
        return ExitCode.OK
    error: ErrorInfo | None = info_of(record.error)
    code = None if error is None else error.details.get("exit_code")
    if record.state is State.FAILED and isinstance(code, int) and code:
        return code
    raise ended_error(id, record.state, error)


def _variables(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in os.environ:
                raise click.BadParameter(f"--env {name}: this variable is not set here; write NAME=VALUE")
            value = os.environ[name]
        yield name, value


def _mounts(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        here, _, rest = text.partition(":")
        there, _, mode = rest.partition(":")
        if not there or mode not in {"", "ro", "rw"}:
            raise click.BadParameter(f"--mount takes HERE:THERE, or HERE:THERE:rw, not {text!r}")
        yield there, f"{os.path.abspath(here)}:{mode or 'ro'}"


@command("sizes")
@json_option("Print a JSON object: name to limits.")
def box_sizes(as_json: bool) -> None:
    """Show the limits of each container size."""
    if as_json:
        screen.json({name: size._asdict() for name, size in SIZES.items()})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in ("SIZE", "ALSO", "MEMORY", "CPU", "/tmp", "/data", "TIMEOUT"):  # noqa: S108 - the container's
        table.add_column(head, justify="left" if head in {"SIZE", "ALSO"} else "right", no_wrap=True)
    also = {name: alias for alias, name in ALIASES.items()}
    for name, size in SIZES.items():
        figures = (f"{size.memory:,} MB", f"{size.cpu}%", f"{size.tmp:,} MB", f"{size.data:,} MB")
        table.add_row(name, also.get(name, ""), *figures, f"{size.timeout:,.0f} s")
    screen.show(table)
