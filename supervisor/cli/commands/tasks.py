"""The commands `ps`, `show`, `result` and `checkpoint`, which read tasks from the store.

They need no supervisor, except that `result --wait` does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click

from ....actors.errors import NotRunning, SupervisorLost
from ....actors.ids import id_bytes
from ....actors.state import State
from ....actors.task.handles import TaskRecord
from ....storage.file.names import store_file
from ....storage.query import Term, Value, parse
from ....storage.reader import Reader
from ....storage.tables.record import Record
from ...client.outcomes import attempts
from ...client.views import ended_error, step_info, view
from ...text import documents, escape, units, value_json
from ...wire.error_codec import info_of
from .. import lookup
from ..command import command
from ..display import screen, task_text
from ..end_wait import await_end
from ..exit_codes import ExitCode
from ..failures import CliError
from ..params import DURATION, STATE, id_argument, json_option, limit_option, metadata_option, quiet_option
from ..session import current

#: Tasks read from one snapshot of the store.
PAGE: Final = 1_000

#: Steps that `show` lists.
STEPS: Final = 100

#: Least columns for which `ps` shows whole ids.
WIDE = 120


@command("ps")
@click.argument("query", required=False, default="", metavar="[QUERY]")
@click.option(
    "-s",
    "--state",
    "states",
    type=STATE,
    multiple=True,
    metavar="STATE",
    help=f"Only tasks in this state ({', '.join(State)}); may be given several times.",
)
@click.option("--task", metavar="NAME", help="Only tasks of this name, as module:function.")
@click.option("--stream", metavar="ID", help="Only tasks in the same stream as this task.")
@metadata_option("Only tasks with this metadata; may be given several times.")
@click.option(
    "--older", type=DURATION, metavar="AGE", help="Only tasks created longer ago than this: 10m, 2h, 1d."
)
@click.option("--newer", type=DURATION, metavar="AGE", help="Only tasks created more recently than this.")
@limit_option("tasks")
@click.option("--watch", is_flag=True, help="Show the list and update it until q or Ctrl-C.")
@click.option(
    "--interval", type=DURATION, default="1s", show_default=True, help="Time between two updates of --watch."
)
@quiet_option()
@json_option("Print a JSON array of tasks; with --watch one on each line.")
def ps(
    query: str,
    states: Sequence[str],
    task: str | None,
    stream: str | None,
    metadata: dict[str, str] | None,
    older: float | None,
    newer: float | None,
    limit: int,
    watch: bool,
    interval: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """List tasks, newest first.

    A query is one argument: understudy ps "state:failed task:etl* newer:1d 'connection reset'"

    To cancel some of them: understudy cancel $(understudy ps -q --task app:etl)
    """
    if quiet and (watch or as_json):
        raise click.UsageError("--quiet prints ids once; it goes with neither --watch nor --json")
    with current().reader() as reader:
        terms = list(parse(query))
        if states:
            terms.append(Term("state", (), 1, states=frozenset(map(State, states))))
        if task is not None:
            terms.append(Term("task", (Value(task, 1, quoted=True),), 1))
        if stream is not None:
            terms.append(Term("stream", (), 1, ids=(_stream(reader, stream),)))

        def fits(record: Record) -> bool:
            # A name in a query may lack its module.
            return (task is None or record.name == task) and (
                not metadata or metadata.items() <= (record.metadata or {}).items()
            )

        def look() -> tuple[list[TaskRecord], bool]:
            now = time.time()
            times = [
                Term(field, (), 1, at=now - age)
                for field, age in (("older", older), ("newer", newer))
                if age is not None
            ]
            found = _found(reader, [*terms, *times], limit + 1 if limit else None, fits)
            return [view(record) for record in found[: limit or None]], bool(limit) and len(found) > limit

        if watch:
            from .live import watch_tasks

            watch_tasks(look, interval, as_json=as_json)
            return
        found, more = look()
        if as_json:
            screen.json([documents.task(record) for record in found])
            return
        if quiet:
            for record in found:
                screen.line(record.id)
        elif not found:
            screen.note(
                f"no tasks in {current().home.path}"
                if not any([query, states, task, stream, metadata, older, newer])
                else "no such tasks"
            )
        else:
            show_tasks(found)
            note_absence([record.state for record in found])
            note_code(reader, found)
        if more:
            screen.note(f"… and more: these are the newest {limit}, see --limit")


def _found(
    reader: Reader, terms: Sequence[Term], limit: int | None, also: Callable[[Record], bool]
) -> list[Record]:
    """At most `limit` tasks, page by page: no read of the store takes long."""
    found: list[Record] = []
    before: bytes | None = None
    while limit is None or len(found) < limit:
        most = PAGE if limit is None else min(PAGE, limit - len(found))
        page = reader.search(terms, limit=most, before=before, also=also)
        found += page.records
        before = page.last
        if before is None:
            break
    return found


def note_absence(states: Iterable[State]) -> None:
    """Say so if no supervisor is there, although the store says that tasks run."""
    home = current().home
    if State.RUNNING in states and home.server() is None:
        # Only a supervisor writes this file.
        last = units.local(os.stat(store_file(home.path)).st_mtime)
        screen.note(
            f"no supervisor is running; states are as of {last}. The next one runs the tasks again that were running"
        )


def note_code(reader: Reader, found: Iterable[TaskRecord]) -> None:
    """Say so if actors among these have messages and wait for code, which only the supervisor knows."""
    idle = (record for record in found if record.state is State.IDLE)
    classes = {record.task for record in idle if reader.mailbox_depth(id_bytes(record.id))}
    if not classes or (tree := _tree()) is None:
        return
    for name in sorted(classes & tree["waits_for_code"].keys()):
        why = task_text.waits(*absence(tree, name))
        screen.note(f"actors of {escape.one_line(name)} wait for {why}")


def show_tasks(found: Sequence[TaskRecord]) -> None:
    """Show the table in the terminal's width."""
    from ..display import task_table

    width = screen.console().width
    screen.show(task_table.tasks(with_ids(found, width), width, time.time()))


def with_ids(found: Sequence[TaskRecord], width: int) -> list[tuple[str, TaskRecord]]:
    """Records with whole ids from WIDE columns on, else with the ends of the ids."""
    return [(record.id if width >= WIDE else task_text.short_id(record.id), record) for record in found]


def _stream(reader: Reader, text: str) -> bytes:
    """A stream's id, which is the id of its first task. This task may have been pruned."""
    try:
        return lookup.find(reader, text).stream
    except CliError:
        if len(text.replace("-", "")) == 32:
            return id_bytes(text)
        raise


@command("show", short_help="Show all data of a task.")
@id_argument()
@json_option()
def show(id: str, as_json: bool) -> None:
    """Show all data of a task, with its arguments, its result, its attempts and its steps."""
    with current().reader() as reader:
        record = lookup.find(reader, id)
        seen = view(record, reader.mailbox_depth(record.id))
        extra = arguments_of(reader, record.id, seen.state)
        earlier = attempts(reader, record)
        ties = reader.ties(record.id)
        kept = reader.steps(record.id, STEPS, of_actor=record.actor is not None) if record.steps else []
    needs, why = waits_for(seen)
    if as_json:
        told = {
            "attempts": [documents.attempt(run) for run in earlier],
            "attempts_dropped": earlier.dropped,
            **task_text.ties_document(seen, record.linked, ties),
            "known_steps": [documents.step(step_info(step)) for step in kept],
        }
        screen.json({**documents.task(seen), "waits_for": needs, **told, **extra})
        return
    from ..display import task_table

    more = task_text.ties(seen, record.linked, ties)
    screen.show(task_table.sheet(seen, extra, time.time(), needs, why, more=more))
    if len(earlier) > 1 or earlier.dropped:
        screen.line()
        screen.show(task_table.attempts(earlier, screen.console().width))
        if earlier.dropped:
            screen.line(f"and {earlier.dropped:,} before, which are not kept")
    if kept:
        screen.line()
        screen.show(task_table.steps([step_info(step) for step in kept], screen.console().width))
        if seen.steps > len(kept):
            screen.line(f"and {seen.steps - len(kept):,} before")
    note_absence([seen.state])


def waits_for(record: TaskRecord) -> tuple[str | None, str]:
    """What a queued task or an actor with messages waits for, and why; also what the store does not say: a supervisor,
    room on the disk, code of an actor, or a module that cannot be imported."""
    if record.state is not State.QUEUED and not (record.state is State.IDLE and record.mailbox_depth):
        return None, ""
    tree = _tree()
    if tree is None:
        return "supervisor", ""
    if tree["waits_for_room"]:
        return "room", ""
    if record.waits_for == "code" or (record.actor is not None and record.task in tree["waits_for_code"]):
        return absence(tree, record.task)
    if record.waits_for == "pool" or (record.actor is not None and record.task in tree["waits_for_pool"]):
        return "pool", f"{record.pool}; it has {', '.join(tree['pools']) or 'none'}"
    if record.waits_for == "slot" and record.pool is not None:
        return "slot", f"on a worker of pool {record.pool}"
    if record.waits_for == "limit":
        return _at_limit(record.id)
    return record.waits_for, ""


def _at_limit(id: str) -> tuple[str, str]:
    """The limit at which a task waits; a slot if it has been let in since."""
    with current().runtime() as runtime:
        info = runtime.limit_of(id)
    return ("slot", "") if info is None else ("limit", str(info))


def _tree() -> dict[str, Any] | None:
    """What the supervisor says of itself; None if there is none."""
    try:
        with current().runtime() as runtime:
            return runtime.tree()
    except (CliError, NotRunning, SupervisorLost):
        return None


def absence(tree: Mapping[str, Any], name: str) -> tuple[str, str]:
    """What a task of this name waits for, whose code is absent, and why."""
    why = tree["not_imported"].get(name)
    return ("import", why) if why else ("code", "")


def arguments_of(reader: Reader, id: bytes, state: State) -> dict[str, Any]:
    """The arguments of a task and its result, by what they are called."""
    extra: dict[str, Any] = {}
    packed = reader.args(id)
    args, kwargs = ([], {}) if packed is None else value_json.unpack(packed)
    extra["args"] = args
    if kwargs:
        extra["kwargs"] = kwargs
    if state is State.COMPLETED or (state is State.CANCELLED and reader.result(id) is not None):
        extra["result"] = value_json.unpack(reader.result(id))
    return extra


@command("checkpoint")
@id_argument()
@json_option("Print the checkpoint on one line.")
def checkpoint(id: str, as_json: bool) -> None:
    """Print a task's last checkpoint as JSON, or null."""
    with current().reader() as reader:
        packed = reader.checkpoint(lookup.find(reader, id).id)
    screen.value(value_json.unpack(packed), as_json=as_json)


@command("result")
@id_argument()
@click.option("--wait", is_flag=True, help="Wait until the task has ended.")
@click.option("--timeout", type=DURATION, help="Limit of the wait; implies --wait.")
@json_option("Print the result on one line.")
def result(id: str, wait: bool, timeout: float | None, as_json: bool) -> None:
    """Print a task's result as JSON.

    The exit code tells how the task ended. The value that a cancelled task has returned is printed, too. Without
    --wait, a task that has not ended is an error.
    """
    with current().reader() as reader:
        record = lookup.find(reader, id)
        if not record.terminal:
            if not wait and timeout is None:
                raise CliError(
                    ExitCode.NOT_ENDED,
                    f"task {view(record).id} is {record.state}; wait for it with --wait, or see `understudy show`",
                )
            with current().runtime() as runtime:
                await_end(runtime, reader, view(record).id, timeout)
        print_end(reader, record.id, as_json=as_json)


def print_end(reader: Reader, id: bytes, *, as_json: bool = False) -> None:
    """Print an ended task's value. If it did not complete, print its traceback and raise its error.

    A cancelled task may have a value, or an error, of its last attempt.
    """
    record = lookup.ended(reader, id)
    packed = reader.result(id)
    if record.state is State.COMPLETED or (record.state is State.CANCELLED and packed is not None):
        screen.value(value_json.unpack(packed), as_json=as_json)
    if record.state is State.COMPLETED:
        return
    error = info_of(record.error)
    if error is not None and error.traceback:
        screen.note(escape.block(error.traceback))
    elif error is not None and record.state is State.CANCELLED:
        screen.note(f"its last error: {escape.one_line(error)}")
    raise ended_error(view(record).id, record.state, error)
