"""The way of `cancel --where` and `retry --where`: what a query finds, the question, the bulk, and its end."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from ...actors.errors import TaskNotFound
from ...actors.task.bulk_info import BulkAction, BulkInfo
from ..text import documents, escape, units
from .display import screen, task_text
from .exit_codes import ExitCode
from .failures import CliError
from .session import current

if TYPE_CHECKING:
    from ...actors.task.handles import TaskRecord
    from ..client.bulk_calls import BulkPlan
    from ..client.runtime import Runtime

#: Above so many tasks their number has to be typed.
TYPED: Final = 100
#: Tasks that a dry run shows.
SAMPLE: Final = 10
#: Seconds between two looks at how far it is.
LOOK_EVERY: Final = 0.25

#: By action: what was done to those that it has changed, and the key of their number in JSON.
_DONE: Final = {"cancel": ("cancelled or asked to stop", "cancelled"), "retry": ("retried", "retried")}


def run(
    action: BulkAction,
    query: str,
    *,
    dry_run: bool,
    yes: bool,
    expect: int | None,
    no_wait: bool,
    as_json: bool,
    from_scratch: bool = False,
) -> ExitCode:
    """Cancel or retry the tasks that fit the query, once they are counted and that is confirmed."""
    with ExitStack() as stack:
        if dry_run:
            stack.enter_context(current().reader())  # so that a home that does not exist is refused
            runtime = stack.enter_context(closing(current().offline()))
        else:
            runtime = stack.enter_context(current().runtime())
        plan = runtime.plan_bulk(action, query)
        found = len(plan)
        if expect not in (None, found):
            raise CliError(ExitCode.FAILED, f"{tasks(found)} fit, not {expect:,}. Nothing was changed")
        if dry_run:
            _tell_dry(runtime, plan, as_json=as_json)
            return ExitCode.OK
        if not found:
            screen.answer(f"there is no task to {action}", _document(action, 0), as_json=as_json)
            return ExitCode.OK
        if not yes and expect is None:
            _confirm(action, found)
        info = runtime.start_plan(plan, from_scratch=from_scratch)
        if no_wait:
            screen.answer(info.id, {"found": found, "bulk": documents.bulk(info)}, as_json=as_json)
            return ExitCode.OK
        return _tell_end(wait(runtime, info.id), as_json=as_json)


def tasks(count: int) -> str:
    """So many tasks, in words."""
    return "1 task" if count == 1 else f"{count:,} tasks"


def _document(action: BulkAction, found: int, changed: int = 0) -> dict[str, Any]:
    return {"found": found, _DONE[action][1]: changed}


def _tell_dry(runtime: Runtime, plan: BulkPlan, *, as_json: bool) -> None:
    found = len(plan)
    sample = _records(runtime, plan)
    if as_json:
        screen.json({**_document(plan.action, found), "sample": [documents.task(each) for each in sample]})
        return
    screen.line(f"would {plan.action} {tasks(found)}" if found else f"there is no task to {plan.action}")
    if sample:
        from .display import task_table

        rows = [(task_text.short_id(each.id), each) for each in sample]
        screen.show(task_table.tasks(rows, screen.console().width, time.time()))
    if found > len(sample):
        screen.line(f"… and {found - len(sample):,} more")


def _records(runtime: Runtime, plan: BulkPlan) -> list[TaskRecord]:
    found = []
    for id in plan.first(SAMPLE):
        with suppress(TaskNotFound):  # pruned since
            found.append(runtime.status(id))
    return found


def _confirm(action: BulkAction, found: int) -> None:
    """Ask on the terminal; above 100 tasks have their number typed. CliError if nobody can be asked, or says no."""
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise CliError(
            ExitCode.USAGE,
            f"would {action} {tasks(found)}, and there is no terminal to ask on: give --yes, or --expect {found} to do "
            "it only if they are still so many. Nothing was changed",
        )
    if found <= TYPED:
        click.confirm(f"{action} {tasks(found)}?", abort=True, err=True)
        return
    typed = click.prompt(
        f"{action} {tasks(found)}? Type their number", err=True, default="", show_default=False
    )
    if typed.replace(",", "").strip() != str(found):
        raise CliError(ExitCode.USAGE, f"{escape.one_line(typed)!r:.40} is not {found}. Nothing was changed")


def wait(runtime: Runtime, id: str) -> BulkInfo:
    """Wait until a bulk has ended. On a terminal, the last line of stderr shows how far it is.

    Ctrl-C ends the wait, and not the bulk; it says so.
    """
    try:
        if not sys.stderr.isatty():
            return runtime.wait_bulk(id)
        while True:
            try:
                return runtime.wait_bulk(id, LOOK_EVERY)
            except TimeoutError:
                screen.status(progress(runtime.bulk(id), time.time()))
    except KeyboardInterrupt:
        screen.status("")
        screen.note(f"it goes on: understudy bulk show {id}, or stop it: understudy bulk cancel {id}")
        raise
    finally:
        screen.status("")


def progress(info: BulkInfo, now: float) -> str:
    """How far it is, on one line."""
    share = f"{100 * info.done // info.total} %" if info.total else "100 %"
    return f"{info.done:,} of {tasks(info.total)}, {share}, {units.duration(now - info.created)}"


def _tell_end(info: BulkInfo, *, as_json: bool) -> ExitCode:
    if as_json:
        document = {**_document(info.action, info.total, info.changed), "bulk": documents.bulk(info)}
        screen.json(document)
    else:
        screen.line(f"{tasks(info.changed)} {_DONE[info.action][0]}")
    return remarks(info)


def remarks(info: BulkInfo) -> ExitCode:
    """Say what else became of the tasks; the exit code, which is FAILED if some were refused or not reached."""
    for outcome in ("had ended", "gone", "retried before"):
        if count := info.outcomes.get(outcome):
            screen.note(f"{count:,} {outcome}")
    if refused := info.outcomes.get("refused"):
        screen.note(f"{refused:,} refused, the last one because: {escape.one_line(info.problem)}")
    if info.state != "completed":
        why = f": {escape.one_line(info.problem)}" if info.state == "failed" else ""
        screen.note(f"bulk {info.id} {_ENDED[info.state]} after {info.done:,} of {info.total:,}{why}")
    return ExitCode.FAILED if refused or info.state != "completed" else ExitCode.OK


_ENDED: Final = {"cancelled": "was cancelled", "failed": "has failed"}
