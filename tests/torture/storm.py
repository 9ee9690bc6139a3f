"""The storm: clients and tasks of every kind, whose processes are killed and stopped at random moments.

    make torture MINUTES=5 SEED=1 [CONTAINERS=1]
    python tests/torture/storm.py --seconds 60 --seed 1 [--containers]

After each death of the supervisor, and at the end, storm_checker.py searches the store for everything that
was acknowledged. The storm prints its counts and faults. With a fault the exit code is 1, and the folder with
all journals is kept. The seed determines the decisions; their timing depends on the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from engines import IMAGE, find_engine  # noqa: E402
from storm_calm import Calm, until  # noqa: E402
from storm_checker import Checker  # noqa: E402
from storm_engine import Containers  # noqa: E402
from storm_processes import Processes  # noqa: E402
from understudy.supervisor.boxes.docker_engine import DockerEngine  # noqa: E402

#: The kinds of processes to kill, and their weights.
VICTIMS = {"worker": 85, "supervisor": 1.5, "client": 2, "fork server": 1.5, "stop": 10}
#: The probability that one blow hits all processes of a kind.
ALL_AT_ONCE = 0.25
SETTINGS = {
    "workers": 6,
    "slots": 4,
    "restarts": 1_000_000,
    "max_crashes": 1_000_000,
    "mailbox_messages": 2_000,
    "drain": 2.0,
    "pools": {"aside": 2},
}
#: Seconds of one of many storms, and the kinds that take turns: the clients, and the durability.
SLICE = 100
KINDS = [
    ("sync,async,sync", "os"),
    ("sync,sync,async", "disk"),
    ("embedded,embedded,embedded", "os"),
    ("sync,async,sync,async", "disk"),
]


@dataclass(frozen=True)
class Weather:
    """The parameters of a storm."""

    seed: int
    seconds: float = 60
    #: Processes to kill; the storm ends early after this many.
    kills: int = 1_000_000
    #: Mean seconds between two blows.
    pace: float = 0.03
    #: The kinds of its clients, separated by commas.
    clients: str = "sync,async,sync"
    durability: str = "os"
    #: Whether clients also start containers.
    containers: bool = False


class Storm:
    def __init__(self, folder: Path, weather: Weather, engine: DockerEngine | None) -> None:
        self.folder = folder
        self.kills: Counter[str] = Counter()
        self.checker = Checker(folder)
        self._weather = weather
        self._chance = random.Random(weather.seed)
        self._kinds = weather.clients.split(",")
        self._embedded = "embedded" in self._kinds
        (folder / "locks").mkdir()
        self._containers = Containers(folder, engine) if engine is not None else None
        image = IMAGE if engine is not None else ""
        settings = {**SETTINGS, "durability": weather.durability}
        self._processes = Processes(folder, settings, UNDERSTUDY_STORM_IMAGE=image)
        self._number = 0
        self._stopped: list[tuple[float, int]] = []

    @property
    def killed(self) -> int:
        """The number of killed processes so far."""
        return sum(count for victim, count in self.kills.items() if victim != "(stopped)")

    def rage(self) -> None:
        """Kill at random for this time or this often."""
        weather, processes = self._weather, self._processes
        processes.listen(str(weather.seed))
        if not until((self.folder / "port").exists):
            self.checker.wrong.append("the WebSocket server does not listen")
        if not self._embedded:
            processes.serve()
        for _ in self._kinds:
            self._add_client()
        # Wait until all of them work, or the first blows would hit no process.
        until(lambda: processes.below_supervisor(fork_server=False))
        until(lambda: any(path.stat().st_size for path in self.folder.glob("client-*.journal")))
        end = time.monotonic() + weather.seconds
        all_deeds = self.folder / "all deeds"
        while time.monotonic() < end and not self.checker.wrong:
            # Few blows may kill many, and each client before it has done something of everything.
            if self.killed >= weather.kills and all_deeds.exists():
                break
            time.sleep(min(self._chance.expovariate(1 / weather.pace), 0.5))
            self._let_go()
            self._strike(self._chance.choices(list(VICTIMS), list(VICTIMS.values()))[0])
            self._replace_clients()
            if processes.supervisor is not None and processes.supervisor.poll() is not None:
                self.checker.wrong.append(
                    f"the supervisor ended by itself: {processes.supervisor.returncode}"
                )
            if processes.server_ended():
                self.checker.wrong.append("the WebSocket server has ended")

    def _add_client(self) -> None:
        kind = self._kinds[self._number % len(self._kinds)]
        self._number += 1
        self._processes.add_client(f"c{self._number}", f"{self._weather.seed}-{self._number}", kind)

    def _strike(self, victim: str) -> None:
        if victim == "supervisor":
            self._kill_supervisor()
            return
        if victim == "stop":
            self._stop_somebody()
            return
        pids = {
            "worker": lambda: self._processes.below_supervisor(fork_server=False),
            "fork server": lambda: self._processes.below_supervisor(fork_server=True),
            "client": self._processes.living_clients,
        }[victim]()
        # Sometimes all of them in one blow, as when memory runs out.
        all_at_once = self._chance.random() < ALL_AT_ONCE
        for pid in pids if all_at_once else self._chance.sample(pids, min(1, len(pids))):
            self.kills[victim] += self._processes.signal(pid, signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        processes = self._processes
        pid = processes.supervisor_pid()
        if not processes.signal(pid, signal.SIGKILL):
            return
        self.kills["supervisor"] += 1
        if processes.supervisor is None:
            return
        processes.supervisor.wait()
        # Clients are alive and record their last acknowledgements; the supervisor writes nothing any more.
        self.checker.look(pages=self.kills["supervisor"] % 5 == 1)
        self._look_at_connections()
        processes.supervisor = None
        processes.serve()

    def _look_at_connections(self) -> None:
        """No connection outlives its task. The kernel closes those of a dead worker; the server must notice."""

        def left() -> dict[int, str]:
            self._let_go()
            self.checker.read()
            return self.checker.sessions.open_of(self.checker.has_ended)

        if not until(lambda: not left(), 5):
            self.checker.wrong.append(f"connections of tasks that have ended are open: {left()}")

    def _stop_somebody(self) -> None:
        """SIGSTOP, and SIGCONT after a while, unless it is killed meanwhile."""
        processes = self._processes
        pids = [
            processes.supervisor_pid(),
            *processes.below_supervisor(fork_server=False),
            *processes.below_supervisor(fork_server=True),
            *(client.pid for client in processes.clients),
        ]
        pid = self._chance.choice(pids)
        if processes.signal(pid, signal.SIGSTOP):
            self.kills["(stopped)"] += 1
            self._stopped.append((time.monotonic() + self._chance.uniform(0.01, 0.4), pid))

    def _let_go(self, all: bool = False) -> None:
        now = time.monotonic()
        for due, pid in self._stopped:
            if all or due <= now:
                self._processes.signal(pid, signal.SIGCONT)
        self._stopped = [] if all else [(due, pid) for due, pid in self._stopped if due > now]

    def _replace_clients(self) -> None:
        processes = self._processes
        for client in processes.clients:
            if client.poll() not in (None, -signal.SIGKILL):
                self.checker.wrong.append(f"a client ended by itself with exit code {client.returncode}")
        processes.clients[:] = [client for client in processes.clients if client.returncode is None]
        while len(processes.clients) < len(self._kinds):
            self._add_client()

    def calm(self) -> None:
        """Let everything end, and search for missing or leftover things."""
        self._let_go(all=True)
        Calm(self.folder, self._processes, self.checker, self._containers).settle()

    def close(self) -> None:
        """End the remaining processes."""
        self._processes.close()
        if self._containers is not None:
            self._containers.close()


@contextmanager
def storm(weather: Weather, engine: DockerEngine | None) -> Iterator[Storm]:
    """A storm in its own folder, which is kept after a fault."""
    folder = Path(tempfile.mkdtemp(prefix="storm-"))
    it = Storm(folder, weather, engine)
    try:
        yield it
    finally:
        it.close()
        if it.checker.wrong or sys.exc_info()[0]:
            (folder / "wrong").write_text("\n".join(it.checker.wrong))
        else:
            shutil.rmtree(folder)


def one(weather: Weather, engine: DockerEngine | None) -> dict[str, Any]:
    """A whole storm; returns its counts and faults."""
    began = time.monotonic()
    with storm(weather, engine) as it:
        it.rage()
        it.calm()
    if it.checker.wrong:
        print(
            f"see {it.folder}/wrong",
            *(text[:400] for text in it.checker.wrong[:10]),
            sep="\n",
            file=sys.stderr,
        )
    return {
        "seed": weather.seed,
        "seconds": round(time.monotonic() - began, 1),
        "clients": weather.clients,
        "durability": weather.durability,
        "kills": {**it.kills, "all": it.killed},
        "done": dict(it.checker.tally),
        "wrong": len(it.checker.wrong),
    }


def many(minutes: float, first: Weather) -> Iterator[Weather]:
    """One storm after the other, each with the next seed and a new home, so that no home gets too large to check."""
    end = time.monotonic() + 60 * minutes
    seed = first.seed
    while (left := end - time.monotonic()) > 0:
        clients, durability = KINDS[seed % len(KINDS)]
        yield replace(first, seed=seed, seconds=min(SLICE, left), clients=clients, durability=durability)
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0, help="one storm after the other, for so long")
    parser.add_argument("--seconds", type=float, default=60, help="one storm of this length")
    parser.add_argument(
        "--kills",
        type=int,
        default=1_000_000,
        help="after which it ends, once a client has done all kinds of deeds",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=0.03, help="mean seconds between two blows")
    parser.add_argument("--clients", default="sync,async,sync", help="what clients there are")
    parser.add_argument("--durability", default="os", choices=["disk", "os"])
    parser.add_argument("--containers", action="store_true", help="with container tasks; needs an engine")
    options = vars(parser.parse_args())
    minutes = options.pop("minutes")
    weather = Weather(**options)
    engine = find_engine() if weather.containers else None
    if isinstance(engine, str):
        parser.error(f"--containers needs a container engine: {engine}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or its processes would continue
    total: Counter[str] = Counter()
    for each in many(minutes, weather) if minutes else [weather]:
        said = one(each, engine)
        print(json.dumps(said), flush=True)
        total["storms"] += 1
        total["wrong"] += said["wrong"]
        total.update({f"kills: {victim}": count for victim, count in said["kills"].items()})
        total.update(said["done"])
    if minutes:
        print(*(f"{name:32}{count:>10,}" for name, count in total.items()), sep="\n")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
