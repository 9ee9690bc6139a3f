"""The supervisor: the root of the tree. It boots, it serves, it stops; what it owns it starts and stops in order.

::

    Supervisor (lock on the home, signals)
    ├── Journal → Store → writer thread
    ├── Book, Mailroom, Attempts       the state, and what changes it; no threads of their own
    ├── Pool → fork server, workers → task actors
    ├── Dispatcher                     two timers
    └── Service → connections
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ...actors.errors import AppFailed, StoreError, UnderstudyError
from ...actors.ids import id_text
from ..app import AppSpec
from ..boxes.sweep import BoxSweep
from ..execution.attempts import Attempts
from ..execution.dispatcher import Dispatcher
from ..execution.pool import Pool
from ..execution.worker_seat import WorkerSeat
from ..home import Home, HomeLock
from ..linux.processes import allow_open_files, become_subreaper, kill_strays
from ..service.requests import Service
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_table import TaskTable
from ..testing.crash_points import Process, arm

log = logging.getLogger("understudy")

#: Seconds between two rounds of pruning.
PRUNE_EVERY: Final = 60.0
#: Tasks of one worker that the tree names.
TREE_TASKS: Final = 50
#: Seconds that running tasks get when the program that embeds the supervisor has died.
ORPHAN_DRAIN: Final = 2.0


class Supervisor:
    """Serves one home. `run` returns when it has been stopped; it raises what made it impossible to go on."""

    def __init__(self, home: Home, spec: AppSpec, settings: Settings, *, embedded: bool = False) -> None:
        self._home = home
        self._spec = spec
        self._settings = settings
        self._embedded = embedded
        self._started = time.time()
        self._turn_asked = False
        self._failure: UnderstudyError | None = None
        self._drain = settings.drain
        self._server: asyncio.Server | None = None
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Boot, serve until stopped, and stop. Raises HomeError, HomeInUse, StoreError, AppFailed."""
        arm(Process.SUPERVISOR)
        self._handle_signals()
        self._home.create()
        with self._home.lock() as lock:
            self._boot(lock)
            try:
                self._server = await self._listen()
                on_ready()
                await self._serve()
            finally:
                await self._shut_down()
        if self._failure is not None:
            raise self._failure

    # --- boot ---

    def _boot(self, lock: HomeLock) -> None:
        self._loop = asyncio.get_running_loop()
        become_subreaper()
        open_files = allow_open_files()
        self._journal = CommitLoop(self._home.path, self._settings)
        try:
            self._build(open_files)
        except BaseException:
            # `run` shuts down only what has come to be whole; this has a thread and holds the files.
            self._journal.close()
            raise

    def _build(self, open_files: int) -> None:
        # A backup has its original's id and may be served beside it: their folders differ, and keep that when renamed.
        folder = os.stat(self._home.path)
        cookie = f"{self._journal.store.home_id.hex()}-{folder.st_dev:x}-{folder.st_ino:x}"
        # Whoever is left over from a supervisor that was killed would run the same tasks as our workers.
        killed = kill_strays(cookie)
        if killed:
            log.warning("killed %d processes that the last supervisor of this home left behind", len(killed))
        self._journal.on_fatal = self._fail
        self._journal.on_backlog = self._throttle
        self._book = TaskTable(self._journal)
        self._mailroom = Mailboxes(self._journal, self._book, self._settings)
        self._attempts = Attempts(self._journal, self._book, self._mailroom, self._settings, self.turn)
        self._pool = Pool(
            self._settings, self._spec, str(self._home.path), cookie, self._attempts, self, self.turn
        )
        self._dispatcher = Dispatcher(self._book, self._attempts, self._pool, self._settings, self.turn)
        self._service = Service(
            self._journal,
            self._book,
            self._mailroom,
            self._attempts,
            self._pool,
            self._settings,
            {
                "pid": os.getpid(),
                "embedded": self._embedded,
                "script": self._spec.main_path,
                "settings": self._settings.pack(),
            },
            self.turn,
            open_files,
        )
        self._boxes = BoxSweep(self._home.path, cookie, self._book.record)
        self._connect()
        # As the first process of a container, and for orphans of tasks, there is nobody else to reap them.
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        interrupted = self._attempts.recover()
        if interrupted:
            many = "1 task" if interrupted == 1 else f"{interrupted} tasks"
            log.warning("what the last supervisor was running is queued again: %s", many)
        self._pool.start()
        self.turn()

    def _connect(self) -> None:
        self._book.on_queued = self.turn
        self._dispatcher.is_short = lambda was: self._journal.full if was else self._journal.short
        self._dispatcher.is_scarce = lambda: self._journal.scarce
        self._attempts.on_left_behind = self._boxes.ask
        self._service.on_stop = self.stop
        self._service.tree = self.tree

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_unix_server(self._service.connection, sock=self._home.listen())

    # --- service ---

    async def _serve(self) -> None:
        chores = [self._loop.create_task(chore) for chore in (self._prune_for_ever(), self._boxes.run())]
        try:
            await self._stop_asked.wait()
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                await self._service.prune(time.time())
            except UnderstudyError:
                log.exception("pruning failed; it is tried again")
            await asyncio.sleep(PRUNE_EVERY)

    def _handle_signals(self) -> None:
        """The first SIGTERM or SIGINT drains, the second stops now."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop, False)

    def stop(self, now: bool = False) -> None:
        """Drain and stop; asked a second time, or with `now`, without waiting for running tasks."""
        if now or self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    async def loaded(self) -> list[str]:
        """The names of the app's tasks, once it is loaded; AppFailed if it cannot be, which `run` raises as well."""
        await self._pool.app_ready.wait()
        if self._pool.app_error is not None:
            raise self._pool.app_error
        return self._book.declared.names()

    def orphaned(self) -> None:
        """The program that embeds this supervisor is gone."""
        self._drain = min(self._drain, ORPHAN_DRAIN)
        self.stop()

    def turn(self) -> None:
        """Have the changes of this turn of the loop carried out, once, after everything that has come in."""
        if not self._turn_asked:
            self._turn_asked = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn_asked = False
        self._dispatcher.dispatch()
        for link in list(self._pool.links):
            self._pool.settle(link)
            link.channel.flush()
        self._journal.seal()
        self._service.flush()

    def _throttle(self, behind: bool) -> None:
        """Read nothing more while the disk is behind: what comes in waits in the sockets, not in memory.

        But for clients when the disk is full: all that would take room is refused then.
        """
        self._service.read(not behind or self._journal.waits_for_room)
        for link in self._pool.links:
            link.channel.read(not behind)

    def _reap(self) -> None:
        self._pool.reap()

    def declared(self, tasks: dict[str, dict[str, Any]]) -> None:
        """See `AppEvents`."""
        self._book.declare(tasks)

    def given_up(self, error: AppFailed) -> None:
        """See `AppEvents`."""
        if self._embedded:
            # The program that embeds us is told at its next call, which is more use to it than our exit.
            log.error("%s", error)
            self._service.give_up(error)
        else:
            self._fail(error)

    def _fail(self, error: UnderstudyError | StoreError) -> None:
        self._failure = self._failure or error
        self.stop(now=True)

    # --- the end ---

    async def _shut_down(self) -> None:
        self._dispatcher.stop()
        if self._pool.links and not self._stop_now.is_set():
            log.debug("draining: running tasks have %g s", self._drain)
            self._pool.interrupt_all()
            await self._empty_or_now()
        await self._pool.stop()
        if self._failure is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._journal.settled(), 10)
        # Until here clients were served: what they start or send during a drain is kept for the next supervisor.
        if self._server is not None:
            self._server.close()
            self._home.stop_listening()
        await self._service.close(str(self._failure or "the supervisor was stopped"))
        lost = self._journal.close()
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
        """The live processes and what each runs, as plain data."""
        return {
            "pid": os.getpid(),
            "home": str(self._home.path),
            "started": self._started,
            "embedded": self._embedded,
            "draining": self._stop_asked.is_set(),
            "fork_server": self._pool.fork_server_pid,
            "tasks_declared": self._book.declared.names(),
            "disk_full": self._journal.full,
            "workers": [_branch(link) for link in self._pool.links],
        }


def _branch(link: WorkerSeat) -> dict[str, Any]:
    tasks = list(link.tasks.values())
    return {
        "number": link.number,
        "pid": link.pid,
        "started": link.spawned_at,
        "alone": link.alone,
        "retiring": link.retiring,
        "done": link.done,
        "task_count": len(tasks),
        "parked": sum(entry.parked for entry in tasks),
        "tasks": [
            {
                "id": id_text(entry.id),
                "task": entry.record.name,
                "attempt": entry.record.attempt,
                "started": entry.record.started,
                "parked": entry.parked,
            }
            for entry in tasks[:TREE_TASKS]
        ],
    }
