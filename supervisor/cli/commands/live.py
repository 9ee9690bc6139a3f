"""The command `top`, and the view of `ps --watch`: the supervisor's current state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import click

from ....actors.ids import id_bytes
from ....actors.task.handles import Progress, TaskRecord
from ....storage.reader import Reader
from ...home import pid_namespace
from ...text import documents
from ..command import command
from ..display import screen, task_text
from ..keyboard import Keyboard
from ..params import DURATION, json_option
from ..session import current

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...client.runtime import Runtime
    from ..display.process_usage import ProcessUsage, ProcessUsages

#: Seconds over which one look measures CPU. Below that, the kernel's ticks are too coarse.
SAMPLE: Final = 0.2
#: Screen lines that `ps --watch` reserves for its head.
HEAD: Final = 2


@command("top")
@click.option("--interval", type=DURATION, default="2s", show_default=True, help="Time between two updates.")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after N updates.")
@json_option("Print the tree as JSON at each update, one on each line.")
def top(interval: float, count: int | None, as_json: bool) -> None:
    """Show workers and running tasks, updated until q or Ctrl-C."""
    from ..display import process_tree

    with current().reader() as reader, current().runtime() as runtime, page_view(as_json=as_json) as show:
        stage = Stage(runtime, reader)
        sample = SAMPLE
        for _ in repeated(interval, count):
            live, gauges, progress = stage.look(sample)
            sample = 0.0  # later looks measure the time since the previous one
            if as_json:
                screen.json(process_tree.document(live, gauges, progress))
                continue
            size = screen.console().size
            unended = reader.unended()
            show(
                process_tree.page(
                    live, gauges, progress, unended, stage.rate, (size.width, size.height), time.time()
                )
            )


class Stage:
    """Reads the state of a supervisor and its processes, once for each `look`."""

    def __init__(self, runtime: Runtime, reader: Reader) -> None:
        from ..display.process_usage import ProcessUsages

        self._runtime = runtime
        self._reader = reader
        self._gauges: ProcessUsages = ProcessUsages()
        self._done: dict[int, int] = {}
        self._at = 0.0
        #: Tasks done per second between the last two looks.
        self.rate: float | None = None

    def look(self, sample: float) -> tuple[dict[str, Any], dict[int, ProcessUsage], dict[str, str]]:
        """The tree, the usage of its processes by pid and the progress of its tasks by id."""
        from ..display.process_usage import pids_of

        live = self._runtime.tree()
        # In another PID namespace, its pids mean other processes here.
        visible = live["pid_namespace"] == pid_namespace()
        if sample and visible:
            self._gauges.look(*pids_of(live))
            time.sleep(sample)
            live = self._runtime.tree()
        self._count(live)
        progress: dict[str, str] = {}
        for worker in live["workers"]:
            for task in worker["tasks"]:
                record = self._reader.record(id_bytes(task["id"]))
                if record is not None and record.progress is not None:
                    progress[task["id"]] = task_text.progress(Progress(*record.progress))
        return live, self._gauges.look(*pids_of(live)) if visible else {}, progress

    def _count(self, live: dict[str, Any]) -> None:
        now = time.monotonic()
        done = {worker["number"]: worker["done"] for worker in live["workers"]}
        if self._at:
            self.rate = sum(count - self._done.get(number, 0) for number, count in done.items()) / (
                now - self._at
            )
        self._done, self._at = done, now


def watch_tasks(look: Callable[[], tuple[list[TaskRecord], bool]], interval: float, *, as_json: bool) -> None:
    """The view of `ps --watch`."""
    from .tasks import with_ids

    with page_view(as_json=as_json) as show:
        for _ in repeated(interval, None):
            found, _more = look()
            if as_json:
                screen.json([documents.task(record) for record in found])
                continue
            from ..display import task_table

            size = screen.console().size
            if screen.is_terminal():
                found = found[: max(size.height - HEAD, 1)]
            show(task_table.tasks(with_ids(found, size.width), size.width, time.time()))


def repeated(interval: float, count: int | None) -> Iterator[int]:
    """Yield 0, 1, 2 …, `interval` seconds apart: `count` times, or without an end if it is None. A `q` ends it."""
    number = 0
    with Keyboard() as keyboard:
        while count is None or number < count:
            if number and keyboard.left_within(interval):
                return
            yield number
            number += 1


@contextmanager
def page_view(*, as_json: bool) -> Iterator[Callable[[RenderableType], None]]:
    """A function that shows a page: in place on a terminal, else below the last. Ctrl-C ends quietly."""
    if as_json or not screen.is_terminal():
        live: Any = nullcontext()
    else:
        from rich.live import Live

        live = Live(console=screen.console(), screen=True, auto_refresh=False)
    try:
        with live:
            yield (lambda page: live.update(page, refresh=True)) if hasattr(live, "update") else screen.show
    except KeyboardInterrupt:
        return
