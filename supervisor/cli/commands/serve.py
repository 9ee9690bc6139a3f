"""The command `serve`, which runs the supervisor in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Final

import click

from ....actors.errors import AppFailed
from ...app import AppSpec
from ...daemon.supervisor import Supervisor
from ...daemon.web_child import WebSockets
from ...home import Home
from ...linux.listeners import handed_down
from ...linux.processes import set_name, tune_garbage_collection
from ...linux.standard_streams import drop_output
from ...settings import Settings
from ...text import escape
from ...web_settings import WebSettings
from ..command import command
from ..display import screen
from ..exit_codes import ExitCode
from ..notify import Notifier
from ..params import DURATION, POOL_VALUE, POOL_VARIABLE, SIZE
from ..reloader import Reloader
from ..session import current
from ..source_files import SourceFiles

log = logging.getLogger("understudy")

LEVELS: Final = ("debug", "info", "warning", "error")
#: Task names that the ready line lists.
NAMES_SHOWN: Final = 5

_DEFAULTS: Final = {field.name: field.default for field in fields(Settings)}


def setting(
    name: str, kind: Any, help: str, metavar: str = "N", default: str | None = None
) -> Callable[..., Any]:
    """An option for one field of `Settings`, which may also be set by an environment variable."""
    shown = default or str(_DEFAULTS[name])
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        metavar=metavar,
        envvar=f"UNDERSTUDY_{name.upper()}",
        help=f"{help}  [$UNDERSTUDY_{name.upper()}; default: {shown}]",
    )


def web_option(name: str, metavar: str, help: str, *, many: bool = False) -> Callable[..., Any]:
    """An option of the web process, which may also be set by an environment variable."""
    variable = f"UNDERSTUDY_{name.removeprefix('--').replace('-', '_').upper()}"
    several = " May be given several times." if many else ""
    return click.option(
        name, metavar=metavar, multiple=many, envvar=variable, help=f"{help}{several}  [${variable}]"
    )


def pool_option(
    name: str, field: str, kind: click.ParamType[Any], metavar: str, help: str
) -> Callable[..., Any]:
    """An option about pools, which may be given several times, or by an environment variable with spaces between."""
    variable = f"UNDERSTUDY_{name.removeprefix('--').replace('-', '_').upper()}"
    return click.option(
        name,
        field,
        type=kind,
        metavar=metavar,
        multiple=True,
        envvar=variable,
        callback=lambda _ctx, _param, given: pools_of(name, given),
        help=f"{help} May be given several times.  [${variable}; default: none]",
    )


def pools_of(option: str, given: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """What was given of each pool: a number, or its variables. UsageError if it was given twice."""
    found: dict[str, Any] = {}
    for pool, *rest in given:
        *name, value = rest
        of = found.setdefault(pool, {}) if name else found
        key = name[0] if name else pool
        if key in of:
            raise click.UsageError(f"{option} is given twice for {':'.join([pool, *name])}")
        of[key] = value
    return found


@command("serve")
@click.argument("apps", metavar="APP...", nargs=-1, required=True)
@click.option(
    "--app-dir",
    type=click.Path(exists=True, file_okay=False),
    default=".",
    metavar="PATH",
    help="Import APP from this folder and work in it.  [default: the working directory]",
)
@click.option(
    "--reload",
    is_flag=True,
    help="For development: start again with the new code whenever a .py file of APP's folder changes.",
)
@setting("workers", click.IntRange(0, 1024), "Worker processes.", default="one per processor")
@setting(
    "slots",
    click.IntRange(1, 1024),
    "Sync tasks that may work in one worker at once; waiting tasks do not count.",
)
@setting("async_slots", click.IntRange(1, 1_000_000), "Async tasks that may work in one worker at once.")
@setting(
    "run_slots",
    click.IntRange(1, 1024),
    "Runs of HTTP requests that may work in one worker at once, in addition.",
)
@setting("isolated", click.IntRange(1, 1024), "Additional workers for tasks that need a worker of their own.")
@pool_option("--pool", "pools", POOL_VALUE, "POOL=N", "Additional workers for the tasks of this pool alone.")
@pool_option(
    "--pool-slots",
    "pool_slots",
    POOL_VALUE,
    "POOL=N",
    "Sync tasks that may work at once in one worker of this pool, instead of --slots.",
)
@pool_option(
    "--pool-env",
    "pool_env",
    POOL_VARIABLE,
    "POOL:NAME=VALUE",
    "A variable of the environment of this pool's workers.",
)
@setting("containers", click.IntRange(1, 1024), "Container tasks that may run at once; others stay queued.")
@setting("drain", DURATION, "Time that running tasks get to stop after SIGTERM.", "TIME", "30s")
@setting(
    "durability",
    click.Choice(["disk", "os"]),
    "When work is acknowledged: once it is on disk, or handed to the operating system, which is faster.",
    "[disk|os]",
)
@setting("worker_memory", SIZE, "Replace a worker that uses more memory than this.", "SIZE", "never")
@setting("worker_tasks", click.IntRange(0), "Replace a worker after N tasks.", default="never")
@setting(
    "active_actors", click.IntRange(1), "Actors at rest that a worker keeps in memory.", default="10,000"
)
@setting("event_keep", DURATION, "Time for which events are kept.", "TIME", "7d")
@setting("event_handlers", click.IntRange(1), "Handlers that one event may have.", default="1,000")
@setting("task_listens", click.IntRange(1), "Patterns of events that one task may listen to.")
@setting("schedules", click.IntRange(1), "Schedules that programs may make.", default="100,000")
@setting("schedule_keep", DURATION, "Time for which schedules that have ended are kept.", "TIME", "7d")
@setting("stream_items", click.IntRange(1), "Published items kept of one stream.", default="10,000")
@setting("stream_bytes", SIZE, "Bytes of published items kept of one stream.", "SIZE", "16M")
@setting("max_crashes", click.IntRange(1), "Worker deaths after which a task fails as Poisoned.")
@setting(
    "crash_window", DURATION, "Time for which the death of a worker counts against a task.", "TIME", "1h"
)
@setting("mailbox_messages", click.IntRange(1), "Messages that may wait in one mailbox.", default="10,000")
@setting("mailbox_bytes", SIZE, "Bytes that may wait in one mailbox.", "SIZE", "64M")
@setting("value_limit", SIZE, "Bytes of one argument list, message, checkpoint or result.", "SIZE", "64M")
@setting("log_limit", SIZE, "Bytes of log kept for one task; the oldest lines go first.", "SIZE", "10M")
@setting("start_timeout", DURATION, "Time that loading the app may take.", "TIME", "60s")
@setting(
    "traces",
    click.FloatRange(0, 1),
    "Share of the tasks that are traced with OpenTelemetry; those started inside a trace follow it.",
    "SHARE",
    "0, which is off",
)
@setting("group", str, "Members of this group may use the home as well.", "NAME", "nobody but the user")
@web_option(
    "--web",
    "ADDRESS",
    "Serve the dashboard, the API and the app's triggers there: 127.0.0.1:8787, or systemd.",
)
@web_option(
    "--http", "ADDRESS", "Serve the app's triggers alone there, for a network: 0.0.0.0:8080, or systemd."
)
@web_option("--web-host", "NAME", "Accept this name in the Host header, too.", many=True)
@web_option("--web-origin", "URL", "Let pages of this origin watch with a signed token.", many=True)
@web_option("--web-base", "PATH", "The path below which a proxy shows the web process: /jobs.")
@web_option(
    "--web-proxy", "ADDRESS", "Believe X-Forwarded headers of this proxy or network, or of unix.", many=True
)
@click.option(
    "--insecure", is_flag=True, help="Ask for no token at the address of --web, which must be on loopback."
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="UNDERSTUDY_LOG_LEVEL",
    metavar=f"[{'|'.join(LEVELS)}]",
    help="The supervisor's own log level, on stderr.  [$UNDERSTUDY_LOG_LEVEL; default: info]",
)
@click.option(
    "--exit-with-trees",
    is_flag=True,
    help="Stop when a supervision tree of the app has failed, or all have ended.",
)
def serve(
    apps: Sequence[str],
    app_dir: str,
    reload: bool,
    log_level: str,
    exit_with_trees: bool,
    web: str | None,
    http: str | None,
    web_host: Sequence[str],
    web_origin: Sequence[str],
    web_base: str | None,
    web_proxy: Sequence[str],
    insecure: bool,
    **settings: Any,
) -> int | None:
    """Serve a home: run the tasks that the modules APP declare.

    APP is a module, a package.module or a path/to/file.py; a name after a colon only has to exist in it.
    SIGTERM, SIGINT and SIGHUP stop the supervisor: running tasks get the --drain time to reach a stopping point.
    Tasks that have not ended then are queued again. A second SIGTERM or SIGINT stops the supervisor at once.
    """
    set_up_logging(log_level)
    home = current().home
    spec = AppSpec.parse_all(apps, app_dir)
    checked = Settings.of(settings)
    wanted = WebSettings.of(
        {
            "web": web,
            "http": http,
            "hosts": web_host,
            "origins": web_origin,
            "base": web_base,
            "proxies": web_proxy,
            "insecure": insecure,
        }
    )
    wanted.check_needs()
    handed = handed_down()
    if reload:
        code = Reloader(SourceFiles(spec, home.path)).run()
        if code is not None:
            return code
    set_name(f"understudy serve {' '.join(apps)} --home {home.path}")
    tune_garbage_collection()
    open_web = partial(WebSockets, wanted, handed) if wanted.asked else None
    return asyncio.run(_serve(home, spec, checked, open_web, Notifier(), exit_with_trees))


async def _serve(
    home: Home,
    spec: AppSpec,
    settings: Settings,
    open_web: Callable[[], WebSockets] | None,
    notifier: Notifier,
    exit_with_trees: bool,
) -> int | None:
    supervisor = Served(home, spec, settings, notifier, open_web, exit_with_trees=exit_with_trees)
    greeting: set[asyncio.Task[None]] = set()
    await supervisor.run(lambda: greeting.add(asyncio.get_running_loop().create_task(supervisor.greet())))
    for task in greeting:
        task.cancel()
    screen.note("stopped: unfinished tasks are queued and continue at the next start")
    return ExitCode.TREE_FAILED if supervisor.tree_failed else None


class Served(Supervisor):
    """A supervisor that tells the terminal and the service manager when it serves and when it stops."""

    def __init__(
        self,
        home: Home,
        spec: AppSpec,
        settings: Settings,
        notifier: Notifier,
        open_web: Callable[[], WebSockets] | None = None,
        *,
        exit_with_trees: bool,
    ) -> None:
        super().__init__(home, spec, settings, open_web=open_web)
        self._notifier = notifier
        self._told = False
        self._exit_with_trees = exit_with_trees
        #: Whether it ends because a supervision tree has failed.
        self.tree_failed = False

    def tree_ended(self, path: str, why: str, others: bool) -> None:
        """Stop when asked to: a supervision tree has failed, or the last one has ended."""
        if self._exit_with_trees and (why == "failed" or not others):
            self.tree_failed |= why == "failed"
            self.stop()

    async def greet(self) -> None:
        """Say that the supervisor serves, once the app is loaded. If the app fails to load, `run` raises."""
        try:
            names = await self.loaded()
        except AppFailed:
            return
        if self._told:
            return
        if not names:
            log.warning("the app declares no tasks with @task: is it the right module?")
        home = escape.one_line(self._home.path)
        line = ready_line(home, os.getpid(), self._settings.worker_count, names, self._settings.pools)
        self._notifier.ready(line)
        try:
            screen.line(line)
            for more in self._web_lines():
                screen.line(more)
        except BrokenPipeError:
            drop_output()  # serving goes on without a reader

    def _web_lines(self) -> list[str]:
        """Where the web process listens; the first time with the token, in the part of the URL that no server sees."""
        if self._web_sockets is None:
            return []
        urls = self._web_sockets.urls
        token = f"/#token={self.first_token}" if self.first_token else "/"
        web = [] if urls["web_url"] is None else [f"web: {urls['web_url']}{token}"]
        return [*web, *([] if urls["http_url"] is None else [f"triggers: {urls['http_url']}"])]

    def stop(self, now: bool = False) -> None:
        """Stop as `Supervisor.stop` does, and say so once."""
        if not self._told:
            self._told = True
            patience = f"running tasks have {self._settings.drain:g} s; a second signal ends them at once"
            how = "at once" if now else patience
            self._notifier.stopping(f"stopping: {how}")
            log.info("stopping: %s", how)
        super().stop(now)


def ready_line(home: str, pid: int, workers: int, names: list[str], pools: Mapping[str, int]) -> str:
    """The line that says that the supervisor serves."""
    shown = [escape.one_line(name) for name in names[:NAMES_SHOWN]]
    more = len(names) - len(shown)
    listed = ", ".join([*shown, *([f"{more} more"] if more else [])]) or "none"
    own = "".join(f", {count} in pool {pool}" for pool, count in pools.items())
    return f"serving {home} (pid {pid}, {workers} worker{'s' * (workers != 1)}{own}); tasks: {listed}"


def set_up_logging(level: str) -> None:
    """Log to stderr, without times if systemd's journal adds its own."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=level.upper(), format=f"{stamp}%(levelname)-7s %(message)s", stream=sys.stderr, force=True
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(escape.Formatter(handler.formatter._fmt if handler.formatter else None))
