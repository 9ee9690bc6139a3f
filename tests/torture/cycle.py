"""The message cycle: threads ask and tell chains of actors while each process dies at each point of a message's way.

    make cycle RUNS=100 SEED=1
    python tests/torture/cycle.py --runs 100 --seed 1

In one run a process dies at each of EACH places, before or after points of POINTS that the seed draws. Then all sums,
replies and orders must be exact. The first fault ends it with exit code 1, and the folder is kept.
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
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import cycle_actors as app  # noqa: E402
from cycle_actors import Book, Purse, Till  # noqa: E402
from cycle_client import BELL, LEAST, persist, speak  # noqa: E402
from understudy import ActorRef, Runtime  # noqa: E402
from understudy.storage.check import check  # noqa: E402
from understudy.supervisor.testing.crash_points import VARIABLE  # noqa: E402
from waiting import until  # noqa: E402

#: The points of a message's way, and the most calls of the function before the death.
POINTS = {
    **dict.fromkeys(["call", "post", "hear"], 12),
    **dict.fromkeys(["ask", "tell", "commit", "acknowledge", "give", "order", "turn", "reply", "answer"], 30),
    **dict.fromkeys(["rest", "away", "remind", "stop"], 3),
    **dict.fromkeys(["take", "begin", "settle", "end", "report"], 20),
    **dict.fromkeys(["build", "stopped", "forget"], 2),
}
#: The place of one death of each run: whatever was answered too early is not on disk then.
ALWAYS = "commit.before"
#: Deaths of one run.
EACH = 8
#: Threads of the program that embeds the supervisor, and of each client; clients beside it.
OWN = 2
CLIENTS = 2
THREADS = 3
SPEAKERS = OWN + CLIENTS * THREADS
SETTINGS = {
    "workers": 2,
    "restarts": 1_000_000,
    "max_crashes": 1_000_000,
    "drain": 1.0,
    "durability": "os",
}
#: Seconds in which all deaths must have come, and all must be as it should at the end.
PATIENCE = 90.0


class Clients:
    """Client processes that are replaced when they are killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("ab")
        self._processes = [self._start(number) for number in range(CLIENTS)]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        first = OWN + number * THREADS
        command = [sys.executable, str(HERE / "cycle_client.py"), self._folder, str(THREADS), str(first)]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env={**os.environ, "PYTHONPATH": path}
        )

    def replace(self) -> bool:
        """Start anew the killed ones; whether all have ended by themselves."""
        for number, process in enumerate(self._processes):
            if process.poll() == -signal.SIGKILL:
                self._processes[number] = self._start(number)
            elif process.returncode:
                said = (self._folder / "log").read_text(errors="replace")[-2_000:]
                raise AssertionError(f"a client ended with exit code {process.returncode}: {said}")
        return all(process.returncode == 0 for process in self._processes)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()


def run(folder: Path, seed: int, deaths: int = EACH) -> int:
    """One run; returns the number of payments. AssertionError if anything is not exact."""
    chance = random.Random(seed)
    places = [f"{point}.{side}" for point in POINTS for side in ("before", "after")]
    places.remove(ALWAYS)
    notes = {place: folder / f"died {place}" for place in (ALWAYS, *chance.sample(places, deaths - 1))}
    wanted = [
        f"{place}:{chance.randint(1, POINTS[place.partition('.')[0]])}@{note}"
        for place, note in notes.items()
    ]
    (folder / "wanted").write_text("\n".join(wanted))
    os.environ[VARIABLE] = ",".join(wanted)
    try:
        with Runtime(folder / "home", app=app.__file__, **SETTINGS) as rt:
            payments = _run(rt, folder, notes)
    finally:
        del os.environ[VARIABLE]
    assert check(folder / "home").problems == []
    return payments


def _run(rt: Runtime, folder: Path, notes: dict[str, Path]) -> int:
    book = persist(lambda: rt.actor(Book, "book"))
    till = persist(lambda: rt.actor(Till, "till", book))
    purses = [
        persist(lambda number=number: rt.actor(Purse, f"purse {number}", till)) for number in range(SPEAKERS)
    ]
    clients = Clients(folder)
    failures: list[BaseException] = []

    def own() -> None:
        try:
            speak(rt, folder, range(OWN), keyed=False)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=own)
    thread.start()
    try:

        def met() -> bool:
            clients.replace()
            return bool(failures) or all(note.exists() for note in notes.values())

        until(
            met, PATIENCE, lambda: f"not met: {[place for place, note in notes.items() if not note.exists()]}"
        )
    finally:
        (folder / "over").touch()
        try:
            until(clients.replace, PATIENCE, "the clients do not end")
        finally:
            clients.close()
            thread.join()
    if failures:
        raise failures[0]
    return verify(rt, folder, book, till, purses)


def verify(
    rt: Runtime, folder: Path, book: ActorRef[Book], till: ActorRef[Till], purses: list[ActorRef[Purse]]
) -> int:
    """Compare what the actors know with what their speakers were told."""
    numbers: list[int] = []
    for number, purse in enumerate(purses):
        mine = [json.loads(line) for line in (folder / f"speaker {number}").read_text().splitlines()]
        steps = list(range(len(mine)))
        assert mine == sorted(mine), f"replies of speaker {number} out of order: {mine}"
        bells = steps[::BELL]
        facts: Any = until(
            lambda purse=purse, bells=bells: (
                facts if len((facts := purse.call(Purse.facts))[2]) >= len(bells) else None
            ),
            PATIENCE,
        )
        assert [facts[0], facts[1], sorted(facts[2])] == [len(steps), steps, bells], f"purse {number}"
        numbers += mine
    total = len(numbers)
    assert total >= LEAST * SPEAKERS
    assert sorted(numbers) == list(range(1, total + 1)), "a payment has no number of its own"
    assert book.proxy().payments.get(timeout=PATIENCE) == total
    assert till.proxy().sum.get(timeout=PATIENCE) == till.call(Till.stored) == total
    for ref in (book, till, *purses):
        assert rt.dead_letters(ref) == [], f"dead letters of {ref}"
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    payments = 0
    began = time.monotonic()
    for seed in range(options.seed, options.seed + options.runs):
        folder = Path(tempfile.mkdtemp(prefix="cycle-"))
        try:
            payments += run(folder, seed)
        except BaseException:
            print(f"seed {seed} has failed, see {folder}", file=sys.stderr, flush=True)
            raise
        shutil.rmtree(folder)
        print(f"seed {seed}: {time.monotonic() - began:.0f} s, {payments:,} payments", flush=True)
    print(f"{options.runs} runs, {options.runs * EACH:,} deaths, {payments:,} payments: all exact")
    return 0


if __name__ == "__main__":
    sys.exit(main())
