"""`serve`: the supervisor, in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import click

from ....actors.errors import AppFailed
from ...app import AppSpec
from ...daemon.supervisor import Supervisor
from ...home import Home
from ...linux.processes import set_name, tune_garbage_collection
from ...settings import Settings
from ...text import escape
from ..command import command
from ..display import screen
from ..notify import Notifier
from ..params import DURATION, SIZE
from ..session import current

log = logging.getLogger("understudy")

LEVELS: Final = ("debug", "info", "warning", "error")
#: Task names that the line at the start lists.
NAMES_SHOWN: Final = 5

_DEFAULTS: Final = {field.name: field.default for field in fields(Settings)}


def setting(
    name: str, kind: Any, help: str, metavar: str = "N", default: str | None = None
) -> Callable[..., Any]:
    """An option for one field of `Settings`, which can be given as an environment variable, too."""
    shown = default or str(_DEFAULTS[name])
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        metavar=metavar,
        envvar=f"UNDERSTUDY_{name.upper()}",
        help=f"{help}  [$UNDERSTUDY_{name.upper()}; default: {shown}]",
    )


@command("serve")
@click.argument("app", metavar="APP")
@click.option(
    "--app-dir",
    type=click.Path(exists=True, file_okay=False),
    default=".",
    metavar="PATH",
    help="Folder to import APP from and to work in.  [default: the working directory]",
)
@setting("workers", click.IntRange(0, 1024), "Worker processes.", default="one per processor")
@setting(
    "slots",
    click.IntRange(1, 1024),
    "Sync tasks that one worker works on at once; waiting ones do not count.",
)
@setting("async_slots", click.IntRange(1, 1_000_000), "Async tasks that one worker works on at once.")
@setting("isolated", click.IntRange(1, 1024), "Workers beyond those for tasks that need one of their own.")
@setting("containers", click.IntRange(1, 1024), "Container tasks at work at once; others stay queued.")
@setting("drain", DURATION, "Time for running tasks to reach a stopping point at SIGTERM.", "TIME", "30s")
@setting(
    "durability",
    click.Choice(["disk", "os"]),
    'What "acknowledged" means: on disk, or handed to the operating system, which is faster.',
    "[disk|os]",
)
@setting("worker_memory", SIZE, "Replace a worker that takes more memory than this.", "SIZE", "never")
@setting("worker_tasks", click.IntRange(0), "Replace a worker after so many tasks.", default="never")
@setting("max_crashes", click.IntRange(1), "Deaths of its worker after which a task is failed as Poisoned.")
@setting("mailbox_messages", click.IntRange(1), "Messages that may wait in one mailbox.", default="10,000")
@setting("mailbox_bytes", SIZE, "Bytes that may wait in one mailbox.", "SIZE", "64M")
@setting("value_limit", SIZE, "Bytes of one argument list, message, checkpoint or result.", "SIZE", "64M")
@setting("log_limit", SIZE, "Bytes of log kept for one task; the oldest lines go first.", "SIZE", "10M")
@setting("start_timeout", DURATION, "Time that loading the app may take.", "TIME", "60s")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="UNDERSTUDY_LOG_LEVEL",
    metavar=f"[{'|'.join(LEVELS)}]",
    help="What the supervisor tells of itself, on stderr.  [$UNDERSTUDY_LOG_LEVEL; default: info]",
)
def serve(app: str, app_dir: str, log_level: str, **settings: Any) -> None:
    """Serve a home: run the tasks that APP declares.

    APP is a module, a package.module or a path/to/file.py. SIGTERM and SIGINT stop it: running tasks get --drain to
    reach a stopping point, and whatever has not ended is queued again. A second signal stops at once.
    """
    set_up_logging(log_level)
    home = current().home
    spec = AppSpec.parse(app, app_dir)
    set_name(f"understudy serve {app} --home {home.path}")
    tune_garbage_collection()
    asyncio.run(_serve(home, spec, Settings.of(settings), Notifier()))


async def _serve(home: Home, spec: AppSpec, settings: Settings, notifier: Notifier) -> None:
    supervisor = Served(home, spec, settings, notifier)
    greeting: set[asyncio.Task[None]] = set()
    await supervisor.run(lambda: greeting.add(asyncio.get_running_loop().create_task(supervisor.greet())))
    for task in greeting:
        task.cancel()
    screen.note("stopped: what has not ended is queued and goes on at the next start")


class Served(Supervisor):
    """A supervisor that says when it begins to serve and to stop: on the terminal, and to the service manager."""

    def __init__(self, home: Home, spec: AppSpec, settings: Settings, notifier: Notifier) -> None:
        super().__init__(home, spec, settings)
        self._place = escape.one_line(home.path)
        self._shown_settings = settings
        self._notifier = notifier
        self._told = False

    async def greet(self) -> None:
        """Say that we serve, once the app is loaded; if it cannot be, `run` raises that."""
        try:
            names = await self.loaded()
        except AppFailed:
            return
        if self._told:
            return
        line = ready_line(self._place, os.getpid(), self._shown_settings.worker_count, names)
        self._notifier.ready(line)
        screen.line(line)

    def stop(self, now: bool = False) -> None:
        """As the supervisor's own; told once."""
        if not self._told:
            self._told = True
            how = (
                "at once"
                if now
                else f"running tasks have {self._shown_settings.drain:g} s, a second signal ends them"
            )
            self._notifier.stopping(f"stopping: {how}")
            log.info("stopping: %s", how)
        super().stop(now)


def ready_line(home: str, pid: int, workers: int, names: list[str]) -> str:
    """The one line that says that all is well."""
    shown = [escape.one_line(name) for name in names[:NAMES_SHOWN]]
    more = len(names) - len(shown)
    listed = ", ".join([*shown, *([f"{more} more"] if more else [])]) or "none: APP declares none with @task"
    return f"serving {home} (pid {pid}, {workers} worker{'s' * (workers != 1)}); tasks: {listed}"


def set_up_logging(level: str) -> None:
    """To stderr; without the time where the journal adds its own."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=level.upper(), format=f"{stamp}%(levelname)-7s %(message)s", stream=sys.stderr, force=True
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(escape.Formatter(handler.formatter._fmt if handler.formatter else None))
