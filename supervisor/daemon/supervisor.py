"""The supervisor, the root of the process tree: it boots, serves a home and stops its parts in order.

::

    Supervisor (lock on the home, signals)
    ├── CommitLoop → Store → writer thread
    ├── Core                                no threads of its own
    │   ├── TaskTable, Mailboxes, Attempts  the state and its changes
    │   ├── Pool → fork server, workers → task actors
    │   ├── Dispatcher                      two timers
    │   └── Service → connections
    ├── HomeWatch                           a timer
    ├── WebChild → web process              runs no user code
    └── BoxSweep                            a thread while it talks to an engine
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final

from ...actors.errors import AppFailed, HomeError, StoreError, UnderstudyError
from ...actors.ids import id_text
from ...storage.tables.schema import Lane
from ..app import AppSpec, lacks_guard
from ..boxes.sweep import BoxSweep
from ..execution.attempts import Attempts
from ..execution.pool import Pool
from ..execution.worker_seat import WorkerSeat
from ..home import Home, HomeLock, pid_namespace
from ..linux.clock_watch import ClockWatch
from ..linux.processes import allow_open_files, become_subreaper, kill_strays
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..testing.crash_points import Process, arm
from .chores import PRUNE_EVERY, repeat
from .core import Core
from .home_watch import HOME_LOOK, HomeWatch
from .task_folders import TaskFolders
from .web_child import WebChild, WebSockets, first_token

log = logging.getLogger("understudy")

#: The most tasks of one worker in the tree.
TREE_TASKS: Final = 50
#: The most idle actors of one worker in the tree.
TREE_ACTORS: Final = 10
#: The most tasks without code that are counted for the tree.
TREE_COUNTED: Final = 10_000
#: Seconds of drain after the death of the program that embeds the supervisor.
ORPHAN_DRAIN: Final = 2.0


class Supervisor:
    """Serves one home. `run` returns when it has been stopped, and raises the error that made it stop."""

    def __init__(
        self,
        home: Home,
        spec: AppSpec,
        settings: Settings,
        *,
        embedded: bool = False,
        open_web: Callable[[], WebSockets] | None = None,
    ) -> None:
        """`open_web` opens the sockets of the web process; None for none. They are closed at the end."""
        self._home = home
        self._spec = spec
        self._settings = settings
        self._embedded = embedded
        self._open_web = open_web
        self._web_sockets: WebSockets | None = None
        self._web: WebChild | None = None
        #: The first token of the home, if it was made now.
        self.first_token: str | None = None
        self._started = time.time()
        self._failure: UnderstudyError | None = None
        self._drain = settings.drain
        self._server: asyncio.Server | None = None
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Boot, serve until stopped, and stop. Raises HomeError, HomeInUse, AddressUnusable, StoreError, AppFailed."""
        arm(Process.SUPERVISOR)
        self._handle_signals()
        self._home.create(self._settings.group)
        # The lock comes first: a second supervisor says that the home is in use, and not that its address is.
        with self._home.lock() as lock, self._opened_web():
            self._boot(lock)
            try:
                self._watch = HomeWatch(
                    self._home, self._listen, self._core.commits.compact, self._home_removed
                )
                # Programs, and tests above all, use short-lived homes there on purpose.
                if not self._embedded:
                    self._watch.warn()
                await self._listen()
                if self._web is not None:
                    await self._core.commits.settled()
                    self._web.start()
                on_ready()
                await self._serve()
            finally:
                await self._shut_down()
        if self._failure is not None:
            raise self._failure

    # --- boot ---

    @contextmanager
    def _opened_web(self) -> Iterator[None]:
        if self._open_web is not None:
            self._web_sockets = self._open_web()
        try:
            yield
        finally:
            if self._web_sockets is not None:
                self._web_sockets.close()

    def _boot(self, lock: HomeLock) -> None:
        self._loop = asyncio.get_running_loop()
        become_subreaper()
        open_files = allow_open_files()
        commits = CommitLoop(self._home.path, self._settings)
        try:
            self._build(commits, open_files)
        except BaseException:
            # `run` shuts down a complete core only. The commit loop has a thread and open files.
            commits.close()
            raise

    def _build(self, commits: CommitLoop, open_files: int) -> None:
        # A backup has its original's id and may be served at the same time. Its device or inode differs.
        folder = os.stat(self._home.path)
        cookie = f"{commits.store.home_id.hex()}-{folder.st_dev:x}-{folder.st_ino:x}"
        # Processes left over from a killed supervisor would run the same tasks as our workers.
        killed = kill_strays(cookie)
        if killed:
            log.warning("killed %d processes that the last supervisor of this home left behind", len(killed))
        commits.on_fatal = self._fail
        facts = {
            "pid": os.getpid(),
            "embedded": self._embedded,
            "script": self._spec.main_path,
            "settings": self._settings.told(),
            **({} if self._web_sockets is None else self._web_sockets.urls),
        }

        def open_pool(attempts: Attempts, turn: Callable[[], None]) -> Pool:
            self._pool = Pool(self._settings, self._spec, str(self._home.path), cookie, attempts, self, turn)
            return self._pool

        self._core = core = Core(commits, self._settings, facts, open_pool, open_files)
        self._boxes = BoxSweep(self._home.path, cookie, core.table.record)
        self._clock_watch = ClockWatch(core.clock_was_set)
        core.attempts.on_left_behind = self._boxes.ask
        core.service.on_stop = self.stop
        core.trees.on_ended = self.tree_ended
        self._folders = TaskFolders(self._home.path, core.table.record)
        core.service.on_pruned = self._folders.sweep
        core.service.tree = self.tree
        # No other process reaps the orphans of tasks, nor any orphan if this is a container's first process.
        self._loop.add_signal_handler(signal.SIGCHLD, self._pool.reap)
        interrupted = core.recover()
        if interrupted:
            many = "1 task" if interrupted == 1 else f"{interrupted} tasks"
            log.warning("running tasks of the last supervisor are queued again: %s", many)
        self._pool.start()
        if self._web_sockets is not None:
            # The process reads it from disk, and so may programs that were connected before.
            core.service.access.key()
            self.first_token = first_token(core.service.access, self._home.path)
            self._web = WebChild(self._web_sockets, self._home.path, cookie)
            self._pool.others = lambda: (
                set() if self._web is None or self._web.pid is None else {self._web.pid}
            )
        core.turn()

    async def _listen(self) -> None:
        """Listen in the home. Connections of an earlier socket stay."""
        old = self._server
        self._server = await self._loop.create_unix_server(
            self._core.service.connection, sock=self._home.listen()
        )
        if old is not None:
            old.close()

    # --- service ---

    async def _serve(self) -> None:
        chores = [
            self._loop.create_task(chore)
            for chore in (
                # The last supervisor may have ended between a record's removal and its folder's.
                self._folders.sweep(),
                repeat("pruning", PRUNE_EVERY, lambda: self._core.service.prune(time.time())),
                repeat("the look after the home", HOME_LOOK, self._watch.look),
                self._boxes.run(),
            )
        ]
        try:
            await self._stop_asked.wait()
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    def _home_removed(self, error: HomeError) -> None:
        if self._embedded:
            # Its program still reaches it. Another one would start with an empty home.
            log.error("%s", error)
        else:
            self._fail(error)

    def _handle_signals(self) -> None:
        """The first SIGTERM or SIGINT drains, the second one stops at once. SIGHUP drains."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, False)
        # nohup ignores it, so that the supervisor outlives its terminal.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        # A lost terminal sends it more than once: the kernel does, and then the shell. So a second one ends nothing.
        if not self._stop_asked.is_set():
            self.stop()

    def stop(self, now: bool = False) -> None:
        """Drain and stop. A second call, or `now`, does not wait for running tasks."""
        if now or self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    async def loaded(self) -> list[str]:
        """The names of the app's tasks, once it is loaded. Raises AppFailed if it cannot be loaded, as does `run`."""
        await self._pool.app_ready.wait()
        if self._pool.app_error is not None:
            raise self._pool.app_error
        return self._core.table.declared.names()

    def tree_ended(self, path: str, why: str, others: bool) -> None:
        """A top supervision tree has ended: "stopped", "completed" or "failed". `others`: whether one still runs."""

    def orphaned(self) -> None:
        """The program that embeds this supervisor has ended."""
        self._drain = min(self._drain, ORPHAN_DRAIN)
        self.stop()

    def declared(self, tasks: dict[str, dict[str, Any]]) -> None:
        """See `AppEvents`."""
        declared = self._core.table.declared
        self._core.table.declare(tasks)
        if no_pool := [f"{name} ({pool})" for name, pool in declared.no_pool.items() if name in tasks]:
            log.warning(
                "the app has tasks for pools that this supervisor does not have, and none of them begins: %s",
                ", ".join(no_pool),
            )

    def supervises(self, trees: list[dict[str, Any]]) -> None:
        """See `AppEvents`. A program that embeds its supervisor starts its trees itself."""
        if not self._embedded:
            self._core.service.trees.declare(trees)

    def loaded_code(self, digest: str) -> None:
        """See `AppEvents`."""
        self._core.starts.note(digest)
        self._core.turn()

    def given_up(self, error: AppFailed) -> None:
        """See `AppEvents`."""
        if self._embedded:
            # The embedding program gets the error at its next call, which is more useful to it than our exit.
            if not lacks_guard(error):
                log.error("%s", error.args[0])
            self._core.service.give_up(error)
        else:
            self._fail(error)

    def _fail(self, error: UnderstudyError | StoreError) -> None:
        self._failure = self._failure or error
        self.stop(now=True)

    # --- the end ---

    async def _shut_down(self) -> None:
        self._clock_watch.close()
        self._core.dispatcher.stop()
        self._core.schedules.stop()
        self._core.trees.stop()
        self._core.turns.stop()
        self._core.letters.stop()
        if self._pool.seats and not self._stop_now.is_set():
            log.debug("draining: running tasks have %g s", self._drain)
            self._pool.interrupt_all()
            await self._empty_or_now()
        if self._web is not None:
            # It serves until here, as clients are.
            await self._web.stop()
        await self._pool.stop()
        self._core.aftermath.stop()
        if self._failure is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._core.commits.settled(), 10)
        # Clients were served until here: their starts and messages during a drain are kept for the next supervisor.
        if self._server is not None:
            self._server.close()
            self._home.stop_listening()
        await self._core.service.close(str(self._failure or "the supervisor was stopped"))
        lost = self._core.commits.close()
        if lost is not None and self._failure is None:
            self._failure = lost

    async def _empty_or_now(self) -> None:
        waits = [
            self._loop.create_task(self._pool.empty.wait()),
            self._loop.create_task(self._stop_now.wait()),
        ]
        await asyncio.wait(waits, timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # --- the tree ---

    def tree(self) -> dict[str, Any]:
        """The live processes and their tasks, as plain data."""
        return {
            "pid": os.getpid(),
            "pid_namespace": pid_namespace(),
            "home": str(self._home.path),
            "started": self._started,
            "embedded": self._embedded,
            "draining": self._stop_asked.is_set(),
            "fork_server": self._pool.fork_server_pid,
            "web": None if self._web is None else self._web.pid,
            "tasks_declared": self._core.table.declared.names(),
            "waits_for_code": self._core.table.queues.absent(Lane.CODE, TREE_COUNTED),
            "waits_for_pool": self._core.table.queues.absent(Lane.NO_POOL, TREE_COUNTED),
            "pools": {
                name: {"workers": count, "slots": self._settings.slots_in(name)}
                for name, count in self._settings.pools.items()
            },
            "not_imported": dict(self._core.table.declared.unimportable),
            "waits_for_room": self._core.dispatcher.waits_for_room,
            "disk_full": self._core.commits.store.full,
            "workers": [_branch(seat, self._core.turns.residents(seat)) for seat in self._pool.seats],
        }


def _branch(seat: WorkerSeat, residents: Sequence[LiveActor]) -> dict[str, Any]:
    """`residents`: the actors that the worker has in memory."""
    tasks = list(seat.tasks.values())
    at_rest = (actor for actor in residents if actor.id not in seat.tasks)
    return {
        "number": seat.number,
        "pid": seat.pid,
        "started": seat.spawned_at,
        "alone": seat.alone,
        "pool": seat.pool,
        "retiring": seat.retiring,
        "done": seat.done,
        "task_count": len(tasks),
        "parked": sum(task.parked for task in tasks),
        # On disk these are idle.
        "short_turns": sum(task.rests and not (task.attempt and task.attempt.shown) for task in tasks),
        "actor_count": len(residents),
        "tasks": [
            {
                "id": id_text(task.id),
                "task": task.record.name,
                "actor": task.record.actor,
                "attempt": task.record.attempt,
                "tries": task.options.retry.attempts + 1,
                "started": task.record.started,
                "parked": task.parked,
            }
            for task in tasks[:TREE_TASKS]
        ],
        "idle_actors": [
            {"id": id_text(actor.id), "task": actor.record.name, "actor": actor.record.actor}
            for actor in islice(at_rest, TREE_ACTORS)
        ],
    }
