"""The pool of worker processes: it starts them by way of the fork server, watches them, and retires grown ones."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from ...actors.errors import AppFailed
from ..app import AppSpec
from ..channel.interface import ChannelEvents
from ..channel.local import LocalChannel
from ..forking.spawner import Spawner, SpawnFailed
from ..linux.child_watch import ChildWatch
from ..linux.processes import ExitStatus, rss_of_tree
from ..rules.pauses import was_paused
from ..settings import Settings
from ..tasks.attempt import due_of
from ..wire.socket_buffers import widen
from .worker_pool import WorkerPool
from .worker_seat import WorkerEvents, WorkerSeat

log = logging.getLogger("understudy")

#: Seconds between two looks at the memory of workers that have work.
MEMORY_LOOK: Final = 0.1
#: Seconds until a worker that could not be started is tried again.
SPAWN_AGAIN: Final = 1.0
#: Seconds between two looks where only the replacement of grown workers depends on it.
RECYCLE_LOOK: Final = 1.0


class AppEvents(Protocol):
    """The receiver of what becomes of the app."""

    def declared(self, tasks: dict[str, dict[str, Any]]) -> None:
        """The app, or further modules of it, declares these tasks."""

    def supervises(self, trees: list[dict[str, Any]]) -> None:
        """The app has these supervision trees; its tasks are known."""

    def loaded_code(self, digest: str) -> None:
        """The app is loaded; the digest is that of its code."""

    def given_up(self, error: AppFailed) -> None:
        """No worker will be started any more."""


class Pool(WorkerPool):
    """Owns the fork server and every worker. Started with `start`, ended with `stop`."""

    def __init__(
        self,
        settings: Settings,
        spec: AppSpec,
        home: str,
        cookie: str,
        events: WorkerEvents,
        app_events: AppEvents,
        turn: Callable[[], None],
    ) -> None:
        super().__init__(settings, events, turn)
        self._home = home
        self._app_events = app_events
        self._modules: list[str] = []
        self._spawner = Spawner(spec, cookie, self._loaded, self._give_up, self._fork_server_ended)
        self._spawner.on_trees = app_events.supervises
        self._spawner.on_code = app_events.loaded_code
        self._watch = ChildWatch(self._died)
        self._spawns: set[asyncio.Task[None]] = set()
        self._kills: set[asyncio.Future[Any]] = set()
        self._spawning_again: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        #: Gives the pids of other children that the supervisor keeps.
        self.others: Callable[[], set[int]] = set
        self._load_due: asyncio.TimerHandle | None = None
        #: Set while there is a fork server to import modules, and when there will be none any more.
        self._imports = asyncio.Event()

    # --- life ---

    def start(self) -> None:
        """Start the fork server; workers follow when the app is loaded."""
        self._spawner.start()
        self._imports.set()
        self._await_load()

    @property
    def fork_server_pid(self) -> int | None:
        """The fork server's pid, while it runs."""
        return self._spawner.pid

    async def stop(self) -> None:
        """Kill what is left, and the fork server with it."""
        self._stopping = True
        self._imports.clear()
        for timer in (self._looking, self._spawning_again):
            if timer is not None:
                timer.cancel()
        for seat in list(self.seats):
            seat.retiring = seat.blameless = True
            seat.channel.kill()
        for spawn in list(self._spawns):
            spawn.cancel()
        await asyncio.gather(*self._spawns, *self._kills, return_exceptions=True)
        for seat in list(self.seats):
            if not seat.pid:
                # Cancelled before its first step, a spawn does not run at all and cannot forget its link itself.
                self._forget(seat)
        await self.empty.wait()
        await self._spawner.stop()
        self._watch.close()

    # --- the app ---

    def _loaded(self, tasks: dict[str, dict[str, Any]]) -> None:
        self.app_error = None
        self._app_events.declared(tasks)
        self.app_ready.set()
        self.ensure()

    def _await_load(self, second_chance: bool = True) -> None:
        limit = self._settings.start_timeout
        self._load_due = self._loop.call_later(limit, self._loads_too_long, second_chance)

    def _loads_too_long(self, second_chance: bool) -> None:
        if self.app_ready.is_set() or self._stopping:
            return
        if second_chance and was_paused(due_of(self._load_due), self._loop.time()):
            self._await_load(second_chance=False)
        else:
            limit = self._settings.start_timeout
            self._give_up(AppFailed(f"the app was not loaded within start_timeout={limit:g} seconds"))

    def _give_up(self, error: AppFailed) -> None:
        """Start nothing more. Workers that run may end what they have."""
        if self.app_error is None and not self._stopping:
            self.app_error = error
            self.app_ready.set()
            self._imports.set()
            self._app_events.given_up(error)

    def _fork_server_ended(self, status: ExitStatus) -> None:
        if self._stopping or self.app_error is not None:
            return
        self._imports.clear()
        log.error("the fork server ended with %s; starting another", status)
        if self._restarts.note(self._loop.time()):
            self._give_up(
                AppFailed(
                    f"the fork server died {len(self._restarts)} times in a row, the last time with {status}"
                )
            )
            return
        self._start_fork_server()

    def _start_fork_server(self) -> None:
        if self._stopping:
            return
        try:
            self._spawner.start()
        except OSError as error:
            # No process or no descriptor is left. Workers that run go on without it.
            log.error("no fork server could be started, trying again in %g s: %s", SPAWN_AGAIN, error)  # noqa: TRY400 - it passes
            self._loop.call_later(SPAWN_AGAIN, self._start_fork_server)
            return
        self._imports.set()
        for module in self._modules:
            # They could be imported before. If that fails now, workers try it.
            self._spawner.declare([module]).add_done_callback(_looked_at)

    async def declare(self, modules: Sequence[str]) -> None:
        """More modules hold tasks; AppFailed if one cannot be imported."""
        fresh = [module for module in modules if module not in self._modules]
        if fresh:
            await self._import(fresh)
            self._modules += fresh
            for seat in self.seats:
                seat.channel.declare(fresh)

    async def declare_again(self) -> None:
        """Let the fork server import modules again that it could not import, and let workers try it again."""
        for module in list(self._modules):
            # One of them may be imported although another cannot. A worker's error is the one that is shown.
            with suppress(AppFailed):
                await self._import([module])
        for seat in self.seats:
            seat.channel.declare(self._modules)

    async def _import(self, modules: list[str]) -> None:
        while True:
            # It never comes in a supervisor that stops: the client asks the next one.
            await self._imports.wait()
            if self.app_error is not None:
                raise self.app_error
            # If the fork server is killed meanwhile, the next one is asked.
            with suppress(SpawnFailed):
                await self._spawner.declare(modules)
                return

    # --- spawning ---

    def _bring_up_soon(self, seat: WorkerSeat) -> None:
        spawn = self._loop.create_task(self._bring_up(seat))
        self._spawns.add(spawn)
        spawn.add_done_callback(self._spawns.discard)

    def _open_channel(self, events: ChannelEvents) -> LocalChannel:
        return LocalChannel(self._settings, events, self._kill)

    async def _bring_up(self, seat: WorkerSeat) -> None:
        channel = seat.channel
        assert isinstance(channel, LocalChannel)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._forget(seat)
            self._spawn_failed(error)
            return
        widen(ours)
        widen(theirs)
        config = {
            **self._config_of(seat),
            "home": self._home,
            "modules": self._modules,
            "traces": self._settings.traces,
        }
        try:
            with theirs:
                fds = [theirs.fileno(), *channel.shared_fds]
                channel.pid = await self._spawner.spawn(config, fds)
            ours.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: channel, ours)
        except (SpawnFailed, OSError, asyncio.CancelledError) as error:
            ours.close()
            if seat.pid == 0:
                self._forget(seat)
            else:
                self._watch.watch(seat.pid)
                channel.kill()
            if isinstance(error, asyncio.CancelledError):
                raise
            self._spawn_failed(error)
            return
        self._watch.watch(seat.pid)
        # Held back while this spawn was under way.
        self.reap()
        if self._stopping:
            channel.kill()
        self._look_at_memory()
        self._turn()

    def _spawn_failed(self, error: Exception) -> None:
        """The system has no room for another process just now. That passes, so it does not count as a death."""
        log.error("no worker could be started, trying again in %g s: %s", SPAWN_AGAIN, error)
        if self._spawning_again is None:
            self._spawning_again = self._loop.call_later(SPAWN_AGAIN, self._spawn_again)

    def _spawn_again(self) -> None:
        self._spawning_again = None
        self.ensure()
        self._turn()

    # --- ends ---

    def _kill(self, pid: int) -> None:
        """SIGKILL a worker with everything it has started; the watch reports its death."""
        kill = self._spawner.kill_soon([pid])
        if kill is not None:
            self._kills.add(kill)
            kill.add_done_callback(self._kills.discard)

    def _died(self, pid: int, status: ExitStatus) -> None:
        seat = next((seat for seat in self.seats if seat.pid == pid), None)
        if seat is not None:
            self._bury(seat, status)

    def reap(self) -> None:
        """Kill and reap what dead workers' tasks have left behind; it is our child now. Not while a spawn is under
        way, whose worker nobody knows yet: how that one ends is for its watch to see."""
        known = {seat.pid for seat in self.seats if seat.pid} | self.others()
        with suppress(OSError):
            self._spawner.reap_orphans(known)

    # --- memory ---

    def _look_at_memory(self) -> None:
        """Look at the memory of workers, but only while somebody has set a limit and there is work."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._stopping:
            return
        again: list[float] = []
        for seat in list(self.seats):
            try:
                again += self._look_at_seat(seat)
            except Exception:
                log.exception("the memory of worker %d could not be looked at; it is tried again", seat.pid)
                again.append(RECYCLE_LOOK)
        if again:
            self._looking = self._loop.call_later(min(again), self._look_at_memory)

    def _look_at_seat(self, seat: WorkerSeat) -> list[float]:
        """Act if a worker has too much memory; the seconds until the next look, if there must be one."""
        has = [*seat.tasks.values(), *seat.residents] if seat.alone else []
        limit = has[0].options.memory_limit if has else None
        if seat.alone and (not has or limit is not None):
            if seat.tasks and limit is not None and rss_of_tree(seat.pid) > limit:
                self._events.over_memory(seat)
            return [MEMORY_LOOK]
        if self._settings.worker_memory and seat.pid and not seat.retiring:
            if any(seat.counts.values()) or seat.done:
                self._retire_if_grown(seat)
            return [RECYCLE_LOOK]
        return []

    def _retire_if_grown(self, seat: WorkerSeat) -> None:
        rss = rss_of_tree(seat.pid)
        if rss > self._settings.worker_memory:
            log.warning("worker %d takes %d MiB and is replaced", seat.pid, rss >> 20)
            self.retire(seat)
            self.ensure()


def _looked_at(done: asyncio.Future[Any]) -> None:
    """An error that nobody waits for."""
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("%s", error)
