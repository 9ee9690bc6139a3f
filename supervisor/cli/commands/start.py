"""The commands `start` and `run`, which start tasks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ....actors.errors import NotRunning, UnderstudyError
from ....actors.ids import id_bytes, id_text
from ....actors.task.options import CONFLICTS
from ...text import documents
from .. import lookup
from ..command import command
from ..display import screen
from ..end_wait import await_end
from ..params import DURATION, DURATION_OR_NONE, JSON, MOMENT, json_option, metadata_option
from ..session import Session, current
from .tasks import print_end

if TYPE_CHECKING:
    from ....actors.task.handles import TaskInfo
    from ...client.runtime import Runtime

#: So that `-5` is read as a number and not as an option.
_NUMBERS = {"ignore_unknown_options": True}


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options that `start` and `run` share."""
    for option in reversed(
        (
            click.argument("task", metavar="TASK"),
            click.argument("args", type=JSON, nargs=-1, metavar="[JSON]..."),
            click.option("--kwargs", type=JSON, help="Keyword arguments, as a JSON object."),
            click.option(
                "--key", metavar="TEXT", help="A later start with the same key returns the first one's task."
            ),
            click.option(
                "--on-ended",
                type=click.Choice(["return", "start"]),
                help="If the task of --key has ended: return it, or start a new one.  [default: return]",
            ),
            click.option(
                "--unique-key", metavar="TEXT", help="The key of a unique task, in place of its arguments."
            ),
            click.option(
                "--on-conflict",
                type=click.Choice(CONFLICTS),
                help="If another task has the key of a unique one: return it, fail, or replace its arguments.",
            ),
            click.option("--delay", type=DURATION, help="Begin after this delay: 90, 10m, 2h, 1d."),
            click.option("--at", type=MOMENT, help="Begin at this time or later: 2030-01-31T08:00."),
            click.option(
                "--timeout", type=DURATION_OR_NONE, help='Time limit of an attempt; "none" for no limit.'
            ),
            click.option(
                "--retry",
                type=click.IntRange(min=0),
                metavar="N",
                help="Retry up to N times, 1 s apart, instead of the task's own policy.",
            ),
            click.option(
                "--priority",
                type=click.IntRange(-100, 100),
                metavar="N",
                help="From -100 to 100; higher runs first.",
            ),
            click.option("--stream", metavar="ID", help="Put the task into the same stream as this task."),
            metadata_option("Keep this with the task, for `ps --meta`; may be given several times."),
            click.option(
                "--limit-key", metavar="TEXT", help="The key of the task's limit, in place of its arguments."
            ),
            click.option("--pool", metavar="NAME", help="Run the task on the workers of this pool."),
            click.option("--isolate", is_flag=True, help="Run the task in a worker process of its own."),
        )
    ):
        command = option(command)
    return command


@command("start", context_settings=_NUMBERS)
@launch_options
@json_option("Print the task's id, name and stream as JSON.")
def start(as_json: bool, **launch: Any) -> None:
    """Start a task and print its id. Of a unique task it may be that of one that is there.

    TASK is its name, as module:function. Each JSON is one positional argument; "-" reads it from standard
    input. Text needs quotes inside the shell's: understudy start app:etl '"data.csv"' 3
    """
    with current().runtime() as runtime:
        info = _launch(current(), runtime, **launch)
    screen.answer(info.id, documents.started(info), as_json=as_json)


@command("run", context_settings=_NUMBERS)
@launch_options
@click.option("--wait-timeout", type=DURATION, help="Limit of the wait. The task continues after it.")
@json_option("Print the value on one line.")
def run(wait_timeout: float | None, as_json: bool, **launch: Any) -> None:
    """Start a task, wait for it and print its value as JSON.

    The exit code tells how the task ended. A terminal shows the task's progress meanwhile. Ctrl-C cancels the
    task; a second Ctrl-C leaves it running.
    """
    session = current()
    with session.runtime() as runtime, session.reader() as reader:
        info = _launch(session, runtime, **launch)
        try:
            await_end(runtime, reader, info.id, wait_timeout)
        except KeyboardInterrupt:
            screen.note(f"\ncancelling task {info.id}; press Ctrl-C again to leave it running")
            runtime.cancel(info.id)
            runtime.wait(info.id)
        except NotRunning:
            raise
        except TimeoutError:
            raise TimeoutError(
                f"task {info.id} has not ended within {wait_timeout:g} s; it continues. "
                f"Wait for it with `understudy result --wait {info.id}`"
            ) from None
        print_end(reader, id_bytes(info.id), as_json=as_json)


def _launch(
    session: Session,
    runtime: Runtime,
    task: str,
    args: tuple[Any, ...],
    kwargs: Any,
    stream: str | None,
    **given: Any,
) -> TaskInfo[Any]:
    from ....actors.task.declaration import Task

    if kwargs is not None and not isinstance(kwargs, dict):
        raise click.BadParameter("--kwargs takes a JSON object, such as '{\"limit\": 3}'")
    if stream is not None:
        with session.reader() as reader:
            given["stream_id"] = id_text(lookup.find(reader, stream).stream)
    changes = {name: value for name, value in given.items() if value is not None and value is not False}
    if changes.get("timeout") == math.inf:
        changes["timeout"] = None
    declared = Task.named(task)
    try:
        return runtime.start(declared.options(**changes) if changes else declared, *args, **(kwargs or {}))
    except UnderstudyError:
        raise
    except TypeError as error:
        raise click.UsageError(f"the arguments do not fit {error}") from error
