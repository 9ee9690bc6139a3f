"""The storm: clients and tasks of every kind, whose processes are killed and stopped at random instants.

    make torture MINUTES=5 SEED=1
    python tests/torture/storm.py --seconds 60 --seed 1

After each death of the supervisor, with the home at rest, and at the end, everything that was acknowledged is looked
for on disk (storm_checker.py). Prints what was done and found; the exit code is 1 if anything was wrong. Then the
folder with all journals is kept. Decisions follow the seed; what they meet follows the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import storm_tasks as stage  # noqa: E402
from storm_checker import Checker  # noqa: E402
from understudy import Runtime, Task, UnderstudyError  # noqa: E402
from understudy.storage.store import Store  # noqa: E402
from understudy.supervisor.processes import children_of, has_ended  # noqa: E402

#: The environment variable that every process of a storm carries.
MARK = "UNDERSTUDY_STORM"
#: Who is killed, and how often as all others.
VICTIMS = {"worker": 85, "supervisor": 1.5, "client": 2, "fork server": 1.5, "stop": 10}
#: How often one blow takes all of a kind.
ALL_AT_ONCE = 0.25
SETTINGS = {
    "workers": 6,
    "slots": 4,
    "restarts": 1_000_000,
    "max_crashes": 1_000_000,
    "mailbox_messages": 2_000,
    "drain": 2.0,
}
#: Seconds of one of many storms, and what they take turns in: the clients, and what the writer waits for.
SLICE = 100
KINDS = [
    ("sync,async,sync", "os"),
    ("sync,sync,async", "disk"),
    ("embedded,embedded,embedded", "os"),
    ("sync,async,sync,async", "disk"),
]
#: Tasks that go on until they are cancelled.
RESTLESS = [stage.rest, stage.rest_async, stage.toil]
#: Seconds that anything may take at the end.
PATIENCE = 60.0
#: What a home holds that is not served.
AT_REST = {"store.mdb", "store.mdb-lock", "store.gate", "supervisor.lock"}
#: A supervisor's log holds none of these, whatever is killed.
NEVER_SAID = ("Traceback", "Please report", "acknowledgement failed", "belongs to no task")

SERVE = """
import asyncio, json, logging, sys
sys.path[:] = json.loads(sys.argv[1])
from understudy.supervisor.app import AppSpec
from understudy.supervisor.home import Home
from understudy.supervisor.root import Supervisor
from understudy.supervisor.settings import Settings
logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
home, app, settings = json.loads(sys.argv[2])
asyncio.run(Supervisor(Home(home), AppSpec.parse(app), Settings.of(settings)).run())
"""


def until(condition: Callable[[], object], timeout: float = PATIENCE) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Storm:
    def __init__(self, folder: Path, seed: int, clients: list[str], durability: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.chance = random.Random(seed)
        self.seed = seed
        self.kinds = clients
        self.embedded = "embedded" in clients
        self.kills: Counter[str] = Counter()
        self.checker = Checker(folder)
        self.settings = {**SETTINGS, "durability": durability}
        self.mark = uuid.uuid4().hex
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._clients: list[subprocess.Popen[bytes]] = []
        self._number = 0
        self._stopped: list[tuple[float, int]] = []
        self._log = (folder / "log").open("ab")
        (folder / "locks").mkdir()

    # --- processes ---

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            MARK: self.mark,
            "UNDERSTUDY_STORM_FOLDER": str(self.folder),
            "UNDERSTUDY_STORM_SETTINGS": json.dumps(self.settings),
        }

    def serve(self) -> None:
        arguments = [str(self.home), str(HERE / "storm_tasks.py"), self.settings]
        self._supervisor = self._start(["-P", "-c", SERVE, json.dumps(sys.path), json.dumps(arguments)])

    def add_client(self) -> None:
        kind = self.kinds[self._number % len(self.kinds)]
        self._number += 1
        command = [str(HERE / "storm_client.py"), f"c{self._number}", f"{self.seed}-{self._number}", kind]
        self._clients.append(self._start(command))

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def ours(self) -> list[int]:
        """Every living process of this storm but this one."""
        mark = f"{MARK}={self.mark}".encode()
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _carries(int(entry), mark)]

    def supervisor_pid(self) -> int:
        if self._supervisor is not None:
            return self._supervisor.pid
        with suppress(OSError, ValueError, IndexError):
            return int((self.home / "supervisor.lock").read_bytes().split()[0])
        return 0

    def _below_supervisor(self, fork_server: bool) -> list[int]:
        with suppress(OSError):
            return [pid for pid in children_of(self.supervisor_pid()) if _is_fork_server(pid) is fork_server]
        return []

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal, but to none that is not ours: pids are used again."""
        if pid <= 1:
            return False
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if not _carries(pid, f"{MARK}={self.mark}".encode()):
                return False
            signal.pidfd_send_signal(descriptor, number)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    @property
    def killed(self) -> int:
        """How many processes were killed so far."""
        return sum(count for victim, count in self.kills.items() if victim != "(stopped)")

    def _processes(self) -> list[str]:
        return [_title(pid) for pid in self.ours()]

    # --- the storm ---

    def rage(self, seconds: float, pace: float, kills: int) -> None:
        """Kill at random for so long or so often; `pace` is the mean time between two deaths, in seconds."""
        if not self.embedded:
            self.serve()
        for _ in self.kinds:
            self.add_client()
        # Until all of them are up and at work, or the first blows would meet nobody.
        until(lambda: self._below_supervisor(fork_server=False))
        until(lambda: any(path.stat().st_size for path in self.folder.glob("client-*.journal")))
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.killed < kills and not self.checker.wrong:
            time.sleep(min(self.chance.expovariate(1 / pace), 0.5))
            self._let_go()
            self._strike(self.chance.choices(list(VICTIMS), list(VICTIMS.values()))[0])
            self._replace_clients()
            if self._supervisor is not None and self._supervisor.poll() is not None:
                self.checker.wrong.append(f"the supervisor ended by itself: {self._supervisor.returncode}")

    def _strike(self, victim: str) -> None:
        if victim == "supervisor":
            self._kill_supervisor()
            return
        if victim == "stop":
            self._stop_somebody()
            return
        pids = {
            "worker": lambda: self._below_supervisor(fork_server=False),
            "fork server": lambda: self._below_supervisor(fork_server=True),
            "client": lambda: [client.pid for client in self._clients if client.poll() is None],
        }[victim]()
        # Now and then all of them in one blow, as when the memory is gone.
        all_at_once = self.chance.random() < ALL_AT_ONCE
        for pid in pids if all_at_once else self.chance.sample(pids, min(1, len(pids))):
            self.kills[victim] += self.signal(pid, signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        pid = self.supervisor_pid()
        if not self.signal(pid, signal.SIGKILL):
            return
        self.kills["supervisor"] += 1
        if self._supervisor is None:
            return
        self._supervisor.wait()
        # Clients are alive and note what they were still told; nothing is written any more.
        self.checker.look(pages=self.kills["supervisor"] % 5 == 1)
        self._supervisor = None
        self.serve()

    def _stop_somebody(self) -> None:
        """SIGSTOP, and SIGCONT in a while, unless it is killed meanwhile."""
        pids = [
            self.supervisor_pid(),
            *self._below_supervisor(fork_server=False),
            *self._below_supervisor(fork_server=True),
            *(client.pid for client in self._clients),
        ]
        pid = self.chance.choice(pids)
        if self.signal(pid, signal.SIGSTOP):
            self.kills["(stopped)"] += 1
            self._stopped.append((time.monotonic() + self.chance.uniform(0.01, 0.4), pid))

    def _let_go(self, all: bool = False) -> None:
        now = time.monotonic()
        for due, pid in self._stopped:
            if all or due <= now:
                self.signal(pid, signal.SIGCONT)
        self._stopped = [] if all else [(due, pid) for due, pid in self._stopped if due > now]

    def _replace_clients(self) -> None:
        living = [client for client in self._clients if client.poll() is None]
        for client in self._clients:
            if client.returncode not in (None, -signal.SIGKILL):
                self.checker.wrong.append(f"a client ended by itself with exit code {client.returncode}")
        self._clients = living
        while len(self._clients) < len(self.kinds):
            self.add_client()

    # --- the calm after it ---

    def calm(self) -> None:
        """Let everything come to its end, and look for what is missing or left over."""
        self._let_go(all=True)
        (self.folder / "calm").touch()
        for client in self._clients:
            try:
                if client.wait(PATIENCE) not in (0, -signal.SIGKILL):
                    self._fault(f"a client ended with exit code {client.returncode}")
            except subprocess.TimeoutExpired:
                self._fault("a client does not end")
                client.kill()
                client.wait()
        if self._supervisor is None:
            self.serve()
        self.checker.read()
        self._bring_to_an_end()
        self._stop_supervisor()
        self.checker.look(pages=True)
        if rest := list(self.checker.unended()):
            self._fault(f"{len(rest)} tasks never ended: {rest[:5]}")
        self._look_for_remains()

    def _bring_to_an_end(self) -> None:
        rt = _connected(self.home)
        if rt is None:
            self._fault("no supervisor at the end")
            return
        with rt:
            # Stages first: what they pass on to has to be open until they have ended. By what is on disk, not by the
            # journals: a client may have been killed before it could note what it had started.
            for tasks in (RESTLESS, [stage.relay], [stage.collect, stage.collect_async, stage.listen]):
                self._end_all(rt, tasks)
            if not until(lambda: not rt.list(state=["queued", "running"], limit=1)):
                left = rt.list(state=["queued", "running"], limit=5)
                self._fault(f"these do not end: {left}; tree: {rt.tree()}; {self._processes()}")
            if not until(lambda: not any(worker["tasks"] for worker in rt.tree()["workers"]), 5):
                self._fault(f"tasks without a task: {rt.tree()['workers']}")

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

    def _stop_supervisor(self) -> None:
        assert self._supervisor is not None
        self._supervisor.terminate()
        try:
            if self._supervisor.wait(PATIENCE) != 0:
                self._fault(f"the supervisor ended with exit code {self._supervisor.returncode}")
        except subprocess.TimeoutExpired:
            self._fault("the supervisor does not stop")
            self._supervisor.kill()
            self._supervisor.wait()
        self._supervisor = None

    def _look_for_remains(self) -> None:
        if not until(lambda: not self.ours(), 5):
            self._fault(f"processes are left: {self._processes()}")
        if extra := {path.name for path in self.home.iterdir()} - AT_REST:
            self._fault(f"files are left in the home: {sorted(extra)}")
        store = Store.open(
            self.home, on_commit=_nothing, on_trouble=_nothing, on_recovered=_nothing, on_fatal=_nothing
        )
        store.close(10)
        with lmdb.open(str(self.home / "store.mdb"), subdir=False, readonly=True, max_dbs=20) as env:
            # Its first line is a heading, or says that there are none.
            if len(readers := env.readers().strip().splitlines()) > 1:
                self._fault(f"reader slots are left: {readers}")
        said = (self.folder / "log").read_text(errors="replace")
        for words in NEVER_SAID:
            if words in said:
                at = said.index(words)
                self._fault(f"the log says: {said[max(0, at - 500) : at + 1500]}")

    def _fault(self, text: str) -> None:
        self.checker.wrong.append(text)

    def close(self) -> None:
        self._log.close()
        for pid in self.ours():
            self.signal(pid, signal.SIGKILL)
        for process in [*self._clients, *([self._supervisor] if self._supervisor else [])]:
            process.wait()


def _nothing(*_: Any) -> None:
    pass


def _connected(home: Path) -> Runtime | None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(UnderstudyError):
            return Runtime.connect(home)
        time.sleep(0.02)
    return None


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and not has_ended(pid)
    except OSError:
        return False


def _title(pid: int) -> str:
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return f"{pid} (parent {parent}, {state}) {Path(f'/proc/{pid}/cmdline').read_bytes()[:60]!r}"
    return str(pid)


def _is_fork_server(pid: int) -> bool | None:
    """None for what is neither that nor a worker."""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b": worker" in name:
            return False
        if b": fork server" in name or b"forkserver" in name:
            return True
    return None


@contextmanager
def storm(seed: int, clients: list[str], durability: str) -> Iterator[Storm]:
    """A storm in a folder of its own, which is kept if anything was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="storm-"))
    it = Storm(folder, seed, clients, durability)
    try:
        yield it
    finally:
        it.close()
        if it.checker.wrong or sys.exc_info()[0]:
            (folder / "wrong").write_text("\n".join(it.checker.wrong))
        else:
            shutil.rmtree(folder)


def one(seed: int, seconds: float, kills: int, pace: float, clients: str, durability: str) -> dict[str, Any]:
    """A storm from its beginning to its end; what was done and found."""
    began = time.monotonic()
    with storm(seed, clients.split(","), durability) as it:
        it.rage(seconds, pace, kills)
        it.calm()
    if it.checker.wrong:
        print(
            f"see {it.folder}/wrong",
            *(text[:400] for text in it.checker.wrong[:10]),
            sep="\n",
            file=sys.stderr,
        )
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "clients": clients,
        "durability": durability,
        "kills": {**it.kills, "all": it.killed},
        "done": dict(it.checker.tally),
        "wrong": len(it.checker.wrong),
    }


def many(minutes: float, seed: int, pace: float) -> Iterator[dict[str, Any]]:
    """One storm after the other, each with the next seed and on a new home, so that none has too much to look at."""
    end = time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 0:
        clients, durability = KINDS[seed % len(KINDS)]
        yield one(seed, min(SLICE, left), 1_000_000, pace, clients, durability)
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0, help="one storm after the other, for so long")
    parser.add_argument("--seconds", type=float, default=60, help="one storm of this length")
    parser.add_argument("--kills", type=int, default=1_000_000, help="after which it ends before its time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.03, help="mean seconds between two blows")
    parser.add_argument("--clients", default="sync,async,sync", help="what clients there are")
    parser.add_argument("--durability", default="os", choices=["disk", "os"])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or what it has started would live on
    if options.minutes:
        storms = many(options.minutes, options.seed, options.pace)
    else:
        storms = iter(
            [
                one(
                    options.seed,
                    options.seconds,
                    options.kills,
                    options.pace,
                    options.clients,
                    options.durability,
                )
            ]
        )
    total: Counter[str] = Counter()
    for said in storms:
        print(json.dumps(said), flush=True)
        total["storms"] += 1
        total["wrong"] += said["wrong"]
        total.update({f"kills: {victim}": count for victim, count in said["kills"].items()})
        total.update(said["done"])
    if options.minutes:
        print(*(f"{name:24}{count:>10,}" for name, count in total.items()), sep="\n")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
