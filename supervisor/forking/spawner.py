"""Spawner: the supervisor's side of the fork server. Starts it, asks it for workers and notices its death."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ...actors.errors import AppFailed, ProtocolError, UnderstudyError
from ..app import AppSpec
from ..linux.child_watch import ChildWatch
from ..linux.processes import (
    COOKIE,
    ExitStatus,
    become_subreaper,
    carries,
    children_of,
    has_ended,
    hold,
    kill_strays,
    kill_tree,
    kill_trees,
    usual_open_files,
)
from ..linux.python_command import environment, python_command
from ..wire import packets
from ..wire.codec import check_version
from ..wire.packet_stream import PacketStream

#: Seconds for one fork, counted after the fork server has loaded the app and all modules asked for.
SPAWN_TIMEOUT = 10.0
#: Seconds that `stop` gives the fork server to kill leftover processes and end.
STOP_TIMEOUT = 10.0
#: The function that a worker runs.
ENTRY = "understudy.supervisor.worker.worker:main"

Tasks = dict[str, dict[str, Any]]


class SpawnFailed(UnderstudyError):
    """A spawn made no worker: no memory, too many processes, or the fork server died. Internal."""


class Spawner:
    """Guarantees:

    * Every spawn ends with the pid of a child of this process or with SpawnFailed.
    * A worker is killed if its spawn was cancelled or timed out.
    * `on_exit` is called once for every `start`. `on_failed` is called before it if the app did not load, but not if
      the fork server was killed meanwhile.
    * The death of a fork server harms no worker. `start` may be called again from `on_exit`.
    """

    def __init__(
        self,
        spec: AppSpec,
        cookie: str,
        on_loaded: Callable[[Tasks], None],
        on_failed: Callable[[AppFailed], None],
        on_exit: Callable[[ExitStatus], None],
        *,
        entry: str = ENTRY,
        name: str = "understudy",
        spawn_timeout: float = SPAWN_TIMEOUT,
    ) -> None:
        self._spec, self._cookie = spec, cookie
        self._on_loaded, self._on_failed, self._on_exit = on_loaded, on_failed, on_exit
        #: Called with the supervision trees of the app once it is loaded.
        self.on_trees: Callable[[list[dict[str, Any]]], None] = lambda _: None
        #: Called with the digest of its code, before that.
        self.on_code: Callable[[str], None] = lambda _: None
        self._entry, self._name, self._spawn_timeout = entry, name, spawn_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._line: PacketStream | None = None
        self._watch = ChildWatch(self._child_exited)
        self._numbers = itertools.count(1)
        #: Children that this process had before, for example those of an entry script that has exec'ed us.
        self._guests = frozenset(children_of(os.getpid()))
        self._spawns: dict[int, asyncio.Future[int]] = {}
        self._declares: dict[int, asyncio.Future[Tasks]] = {}
        #: Whether this fork server has reported that the app was loaded or that it failed.
        self._reported = False
        #: Whether no started process can be left.
        self._clean = True
        #: Clear while the app or further modules are being imported; a spawn waits meanwhile.
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        #: Pids of new workers that the caller has not yet passed to `reap_orphans`.
        self._fresh: set[int] = set()
        self._kills: set[asyncio.Future[list[int]]] = set()

    @property
    def pid(self) -> int | None:
        """The fork server's pid while it runs."""
        return self._process.pid if self._process else None

    @property
    def loaded(self) -> bool:
        """Whether the app is loaded, so that a spawn takes milliseconds."""
        return self._process is not None and self._ready.is_set()

    # -- Life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the fork server. Needs a running event loop. Raises OSError if the system refuses."""
        if self._process is not None:
            raise RuntimeError("the fork server is running")
        become_subreaper()
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # SIG_IGN was inherited; the kernel would then not report the exit status of children.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ours, theirs = packets.pair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    python_command("forking.fork_server", theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    env={**environment(), COOKIE: self._cookie},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        usual_open_files(self._process.pid)
        self._reported = self._clean = False
        self._ready.clear()
        self._ended.clear()
        self._watch.watch(self._process.pid)
        self._line = PacketStream(ours, self._take)
        self._line.send(
            {"supervisor": os.getpid(), "app": self._spec.pack(), "entry": self._entry, "name": self._name}
        )

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Close the socket; the fork server then kills all other processes of this home except us, and ends.

        This process does the killing if the fork server takes over `timeout` seconds, is importing or is dead.
        May be called before `start`, and twice.
        """
        if self._clean:
            return
        swept = self.loaded
        if swept and self._line is not None:
            self._line.close()
        else:
            self.kill()
        if self._process is not None:
            try:
                await asyncio.wait_for(self._ended.wait(), timeout)
            except TimeoutError:
                swept = False
                self.kill()
                await self._ended.wait()
        if not swept:
            try:
                await asyncio.to_thread(kill_strays, self._cookie)
            except RuntimeError:
                kill_strays(self._cookie)  # No thread can be started.
        self._clean = True

    def kill(self) -> None:
        """SIGKILL the fork server but not the workers; `on_exit` follows."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    # -- Requests --------------------------------------------------------------------------------------------

    async def spawn(self, config: dict[str, Any], fds: Sequence[int]) -> int:
        """Start a worker; returns its pid. It gets copies of `fds` (one to six); the caller may close them.

        Waits without limit until the app is loaded. Raises SpawnFailed.
        """
        if not 1 <= len(fds) <= packets.MAX_FDS:
            raise ValueError(f"a worker takes 1 to {packets.MAX_FDS} file descriptors, not {len(fds)}")
        while not self.loaded:
            if self._process is None:
                raise SpawnFailed("the fork server is not running")
            await self._ready.wait()
        assert self._line is not None
        number = next(self._numbers)
        self._line.send({"spawn": number, "config": config}, fds)
        answer = self._spawns[number] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(answer, self._spawn_timeout)
        except TimeoutError:
            # A fork takes milliseconds, so this one hangs, perhaps in a lock of the app. Restart.
            self.kill()
            self._abandon(answer)
            raise SpawnFailed(
                f"no answer from the fork server for {self._spawn_timeout:g} s; killed it"
            ) from None
        except asyncio.CancelledError:
            self._abandon(answer)
            raise

    def declare(self, modules: Sequence[str]) -> asyncio.Future[Tasks]:
        """Import further modules; spawns wait meanwhile. Running workers do not get the modules.

        The future gives the new tasks after `on_loaded` was called with them. It raises AppFailed if the import fails,
        and SpawnFailed if the fork server is not running or was killed meanwhile. It may be ignored.
        """
        answer: asyncio.Future[Tasks] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._process is None or self._line is None:
            answer.set_exception(SpawnFailed("the fork server is not running"))
            return answer
        number = next(self._numbers)
        self._line.send({"declare": number, "modules": list(modules)})
        self._declares[number] = answer
        self._ready.clear()
        return answer

    # -- Answers ---------------------------------------------------------------------------------------------

    def _take(self, packet: dict[str, Any]) -> None:
        if "spawned" in packet:
            self._take_worker(self._spawns.pop(packet["spawned"]), packet["pid"])
        elif "spawn_failed" in packet:
            error = SpawnFailed(f"no worker could be started: {packet['error']}")
            _fail(self._spawns.pop(packet["spawn_failed"]), error)
        elif "loaded" in packet:
            try:
                check_version(packet.get("protocol", 1), "code that workers would run", "supervisor")
            except ProtocolError as error:
                # The package was replaced while this supervisor ran.
                self._take_failure(None, AppFailed(str(error)))
                self.kill()
            else:
                self._take_tasks(packet["loaded"], packet["declare"])
                if packet["declare"] is None:
                    self.on_code(packet["code"])
                    self.on_trees(packet["trees"])
        elif "failed" in packet:
            self._take_failure(packet["declare"], AppFailed(packet["failed"], packet["traceback"]))

    def _take_worker(self, answer: asyncio.Future[int], pid: int) -> None:
        if answer.done():  # Cancelled or timed out.
            self._end(pid)
        else:
            self._fresh.add(pid)
            answer.set_result(pid)

    def _abandon(self, answer: asyncio.Future[int]) -> None:
        """Kill the worker if its answer came when the caller was already cancelled."""
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._fresh.discard(answer.result())
            self._end(answer.result())

    def _end(self, pid: int) -> None:
        kill_tree(pid)
        self._watch.watch(pid)

    def _take_tasks(self, tasks: Tasks, request: int | None) -> None:
        self._on_loaded(tasks)
        if request is not None:
            answer = self._declares.pop(request)
            if not answer.done():
                answer.set_result(tasks)
        self._load_reported()

    def _take_failure(self, request: int | None, error: AppFailed) -> None:
        if request is None:
            self._reported = True  # The fork server ends after this.
            self._on_failed(error)
        else:
            _fail(self._declares.pop(request), error)
            self._load_reported()

    def _load_reported(self) -> None:
        self._reported = True
        if not self._declares:
            self._ready.set()

    # -- Deaths ----------------------------------------------------------------------------------------------

    def _child_exited(self, pid: int, status: ExitStatus) -> None:
        process, line = self._process, self._line
        if process is None or line is None or pid != process.pid:
            return  # An orphan, not the fork server.
        line.drain()  # Take its last messages.
        line.close()
        process.returncode = status.returncode
        self._process = self._line = None
        spawns, self._spawns = self._spawns, {}
        for spawn in spawns.values():
            _fail(spawn, SpawnFailed(f"the fork server died ({status}) before it had forked the worker"))
        declares, self._declares = self._declares, {}
        for declare in declares.values():
            said = f"the fork server died ({status}) while it imported modules"
            _fail(declare, SpawnFailed(said) if status.signal == signal.SIGKILL else AppFailed(said))
        self._ready.set()  # Waiting spawns check again.
        self._ended.set()
        # The app does not cause a SIGKILL: the system was out of memory, or a user killed the process.
        if not self._reported and status.signal != signal.SIGKILL:
            self._on_failed(AppFailed(f"the app ended the process that imported it ({status})"))
        self._on_exit(status)

    def reap_orphans(self, known: set[int]) -> list[int]:
        """Kill and reap the orphans of dead workers: children not in `known` or ours. Returns the pids killed.

        `known` has all other children that this process keeps. Does nothing while a spawn is under way, because its
        worker is in no list yet. If this process had children before it was a supervisor, orphans may be theirs; then
        only orphans with our cookie are killed.
        """
        if self._spawns:
            return []
        children = set(children_of(os.getpid()))
        # Not by `children`: that listing may miss a process while others start and end.
        self._fresh = {pid for pid in self._fresh - known if os.path.exists(f"/proc/{pid}")}
        orphans = sorted(children - known - self._fresh - self._watch.pids - self._guests)
        if self._guests:
            orphans = [pid for pid in orphans if has_ended(pid) or carries(pid, self._cookie)]
        living = [pid for pid in orphans if not has_ended(pid)]
        for pid in orphans:
            self._watch.watch(pid)
        if living and (kills := self.kill_soon(living)) is not None:
            self._kills.add(kills)
            kills.add_done_callback(self._kills.discard)
        return living

    def kill_soon(self, pids: Sequence[int]) -> asyncio.Future[list[int]] | None:
        """Kill the trees of children that are not reaped yet, all at once in a thread; None if that is done.

        A task may leave hundreds of processes, and stopping a tree takes milliseconds. A child may be reaped
        before the thread comes to it, and its pid given to another process. So it is held before.
        """
        held: dict[int, int | None] = {}
        kills: asyncio.Future[list[int]] | None = None
        try:
            for pid in pids:
                with suppress(ProcessLookupError):
                    held[pid] = hold(pid)
            kills = asyncio.get_running_loop().run_in_executor(None, kill_trees, held)
            kills.add_done_callback(lambda _: _close(held))
        except (OSError, RuntimeError):
            # No descriptor or no thread is left, perhaps because of the processes that are to be killed.
            kill_trees(dict.fromkeys(pids))
            _close(held)
        return kills


def _close(held: dict[int, int | None]) -> None:
    for pidfd in held.values():
        if pidfd is not None:
            os.close(pidfd)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
