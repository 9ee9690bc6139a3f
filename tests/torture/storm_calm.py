"""The calm after a storm: everything must end, and nothing may be missing or left over."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import storm_actors as players
import storm_events as events
import storm_sessions as sessions
import storm_tasks as stage
import storm_ties as ties
from storm_checker import Checker
from storm_engine import Containers
from storm_processes import Processes
from storm_trees import Trees
from understudy import Runtime, Task, UnderstudyError
from understudy.storage.file.locks import is_read
from understudy.storage.store import Store
from understudy.supervisor.client.runtime import attached

#: Tasks that run until they are cancelled.
RESTLESS = [stage.rest, stage.rest_async, stage.toil, ties.guardian, *sessions.HOLDERS]
#: Stages come first: their next stages must be open until they have ended.
STAGES = [stage.relay, *sessions.FEEDS]
CONSUMERS = [stage.collect, stage.collect_async, stage.listen, events.listens, *sessions.GATEWAYS]
#: Seconds that any step may take at the end.
PATIENCE = 60.0
#: The files of a home that is not served.
AT_REST = {"store.mdb", "store.voucher", "supervisor.lock"}
#: A file of a home that has had containers.
WITH_BOXES = {*AT_REST, "boxes"}
#: A supervisor's log holds none of these, whichever processes are killed.
NEVER_SAID = ("Traceback", "Please report", "acknowledgement failed", "belongs to no queued task")


def until(condition: Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Whether it became true within this many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Calm:
    def __init__(
        self, folder: Path, processes: Processes, checker: Checker, containers: Containers | None
    ) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._processes = processes
        self._checker = checker
        self._containers = containers

    def settle(self) -> None:
        """Let everything end, and search for missing or leftover things."""
        (self._folder / "calm").touch()
        if self._containers is not None:
            self._containers.call_time()
        self._await_clients()
        if self._processes.supervisor is None:
            self._processes.serve()
        self._bring_to_an_end()
        self._stop_supervisor()
        self._checker.look(pages=True)
        if rest := list(self._checker.unended()):
            self._fault(f"{len(rest)} tasks never ended: {rest[:5]}")
        if not until(self._no_connections, 5):
            self._fault(f"connections are left open: {self._checker.sessions.open}")
        self._checker.end(containers=self._containers is not None)
        self._look_for_remains()

    def _no_connections(self) -> bool:
        self._checker.read()
        return not self._checker.sessions.open

    def _await_clients(self) -> None:
        for client in self._processes.clients:
            try:
                if client.wait(PATIENCE) not in (0, -9):
                    self._fault(f"a client ended with exit code {client.returncode}")
            except subprocess.TimeoutExpired:
                self._fault("a client does not end")
                client.kill()
                client.wait()

    def _bring_to_an_end(self) -> None:
        rt = _connected(self._home)
        if rt is None:
            self._fault("no supervisor at the end")
            return
        with rt:
            # According to the store, not to the journals: a client may have been killed before it could
            # record a task that it had started.
            for plan in rt.schedules(limit=100_000):
                rt.cancel_schedule(plan)
            Trees(self._folder, self._fault, self._checker.tally).end(rt, PATIENCE)
            for tasks in (RESTLESS, STAGES, CONSUMERS):
                self._end_all(rt, tasks)
            self._stop_actors(rt)
            if not until(lambda: not rt.list(state=["queued", "running"], limit=1)):
                left = rt.list(state=["queued", "running"], limit=5)
                self._fault(f"these do not end: {left}; tree: {rt.tree()}; {self._processes.titles()}")
            if not until(lambda: not any(worker["tasks"] for worker in rt.tree()["workers"]), 5):
                self._fault(f"tasks without a task: {rt.tree()['workers']}")
            containers = self._containers
            # The sweep searches only sometimes for containers that were left behind.
            if containers is not None and not until(lambda: not containers.left()):
                self._fault(f"containers are left: {containers.left()}")

    def _end_all(self, rt: Runtime, tasks: list[Task[..., Any]]) -> None:
        def living() -> list[str]:
            states = ["queued", "running"]
            return [row.id for task in tasks for row in rt.list(state=states, task=task, limit=100_000)]

        for id in living():
            if tasks is RESTLESS:
                rt.cancel(id)
            else:
                rt.close(id)
        if not until(lambda: not living()):
            self._fault(f"these do not end: {[rt.status(id) for id in living()[:5]]}")

    def _stop_actors(self, rt: Runtime) -> None:
        """Let them handle what they could not, and have their reminders, and stop them."""
        if not until(lambda: not rt.list(state=["queued", "running"], task=players.errand, limit=1)):
            self._fault(f"errands do not end: {rt.list(task=players.errand, limit=5)}")
        try:
            for ref in rt.actors(limit=None):
                if ref.actor_class is not players.Tally:
                    patient = ref.options(timeout=PATIENCE)
                    patient.call("be", False)
                    rt.redrive(ref.id)
                    if not until(lambda patient=patient: not patient.call("awaited")):
                        self._fault(f"reminders of {ref} do not come: {patient.call('awaited')}")
            for ref in rt.actors(limit=None):
                ref.stop(timeout=PATIENCE)
        except UnderstudyError as error:
            self._fault(f"actors do not stop: {error!r}; tree: {rt.tree()}")

    def _stop_supervisor(self) -> None:
        supervisor = self._processes.supervisor
        assert supervisor is not None
        supervisor.terminate()
        try:
            if supervisor.wait(PATIENCE) != 0:
                self._fault(f"the supervisor ended with exit code {supervisor.returncode}")
        except subprocess.TimeoutExpired:
            self._fault("the supervisor does not stop")
            supervisor.kill()
            supervisor.wait()
        self._processes.supervisor = None

    def _look_for_remains(self) -> None:
        if not until(lambda: not self._processes.ours(), 5):
            self._fault(f"processes are left: {self._processes.titles()}")
        usual = AT_REST if self._containers is None else WITH_BOXES
        if extra := {path.name for path in self._home.iterdir()} - usual:
            self._fault(f"files are left in the home: {sorted(extra)}")
        store = Store.open(
            self._home, on_commit=_nothing, on_trouble=_nothing, on_recovered=_nothing, on_fatal=_nothing
        )
        store.close(10)
        with (self._home / "store.mdb").open("rb") as file:
            if is_read(file.fileno()):
                self._fault("a process still reads the store")
        said = (self._folder / "log").read_text(errors="replace")
        for words in NEVER_SAID:
            if words in said:
                at = said.index(words)
                self._fault(f"the log says: {said[max(0, at - 500) : at + 1500]}")

    def _fault(self, text: str) -> None:
        self._checker.wrong.append(text)


def _nothing(*_: Any) -> None:
    pass


def _connected(home: Path) -> Runtime | None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(UnderstudyError):
            return attached(home)
        time.sleep(0.02)
    return None
