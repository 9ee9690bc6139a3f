"""Mixed load for any time: memory, file, threads and descriptors must not grow with it.

    make load MINUTES=60
    python tests/torture/load.py --seconds 600 --plot docs/load.png

Samples the supervisor, the fork server and the workers, and compares the medians of the second and the last
quarter. The exit code is 1 if something has grown, or if a task ended in a wrong way. --plot needs
matplotlib.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import load_tasks as stage  # noqa: E402
from understudy import Runtime, State, TaskInfo  # noqa: E402

#: The quantities that must not grow, and the growth that still passes: a share of the earlier value, and an
#: amount in its unit.
BOUNDS = {
    "supervisor MiB": (0.10, 4),
    "workers MiB": (0.10, 8),
    "fork server MiB": (0.02, 1),
    "store MiB": (0.25, 4),
    "threads": (0.10, 3),
    "descriptors": (0.05, 4),
}
MIB = 1 << 20


class Load:
    def __init__(self, rt: Runtime, seed: int, rest: float) -> None:
        self._rt = rt
        self._rest = rest
        self._chance = random.Random(seed)
        self.done = 0
        self.wrong: list[str] = []

    def round(self) -> None:
        """Some tasks of each kind. Each round waits for its tasks, so that the same amount is always under way."""
        chance, rt = self._chance, self._rt
        sums = [(n, chance.randrange(1000)) for n in range(100)]
        added = rt.start_many(stage.add, sums)
        breaths = rt.start_many(stage.breathe, [chance.uniform(0, 0.05) for _ in range(20)])
        others: list[TaskInfo] = [
            *(rt.start(stage.stumble) for _ in range(5)),
            *(rt.start(stage.talk, chance.randrange(20)) for _ in range(3)),
            *(rt.start(stage.carry, chance.randbytes(chance.randrange(20_000))) for _ in range(5)),
        ]
        keeper, waits, late = (
            rt.start(stage.tally),
            rt.start(stage.wait_for_word),
            rt.start(stage.wait_for_word),
        )
        numbers = [chance.randrange(100) for _ in range(33)]
        rt.send_many((keeper.id, number) for number in numbers)
        rt.close(keeper.id)
        rt.send(waits.id, "word")
        rt.cancel(late.id)
        self._check("sums", list(rt.results(added, 120)), [one + two for one, two in sums])
        self._check("state", rt.result(keeper.id, 120), {"count": 33, "sum": sum(numbers)})
        self._check("word", rt.result(waits.id, 120), "word")
        for info in [*breaths, *others, late]:
            rt.wait(info.id, 120)
        time.sleep(self._rest)
        self.done += len(added) + len(breaths) + len(others) + 3

    def _check(self, what: str, found: object, right: object) -> None:
        if found != right:
            self.wrong.append(f"{what}: {found} instead of {right}")


class Samples:
    """Rows of measured values, by seconds since the beginning."""

    def __init__(self, rt: Runtime, load: list[Load]) -> None:
        self._rt = rt
        self._load = load
        self._began = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def take(self) -> None:
        tree = self._rt.tree()
        supervisor = psutil.Process(tree["pid"])
        workers = [psutil.Process(worker["pid"]) for worker in tree["workers"] if worker["pid"]]
        server = psutil.Process(tree["fork_server"])
        everybody = [supervisor, server, *workers]
        self.rows.append(
            {
                "seconds": time.monotonic() - self._began,
                "done": sum(load.done for load in self._load),
                "supervisor MiB": _private(supervisor),
                "workers MiB": sum(map(_private, workers)),
                "fork server MiB": _private(server),
                "store MiB": Path(self._rt.home, "store.mdb").stat().st_size / MIB,
                "threads": sum(process.num_threads() for process in everybody),
                "descriptors": sum(process.num_fds() for process in everybody),
            }
        )

    def grown(self) -> list[str]:
        """Quantities that are larger in the last quarter than in the second; the first quarter is the warm-up.

        The file is left out if the run is so short that nothing is pruned before the end of the second
        quarter.
        """
        quarter = len(self.rows) // 4
        early, late = self.rows[quarter : 2 * quarter], self.rows[-quarter:]
        found = []
        for name, (share, amount) in BOUNDS.items():
            if name == "store MiB" and early and early[0]["seconds"] < 2 * stage.KEEP:
                continue
            before, after = (statistics.median(row[name] for row in rows) for rows in (early, late))
            if after > before * (1 + share) + amount:
                found.append(f"{name}: {before:.1f} in the second quarter, {after:.1f} in the last")
        return found

    def summary(self) -> dict[str, Any]:
        quarter = max(1, len(self.rows) // 4)
        return {
            name: [
                round(statistics.median(row[name] for row in rows), 1)
                for rows in (self.rows[quarter : 2 * quarter], self.rows[-quarter:])
            ]
            for name in BOUNDS
        }


def _private(process: psutil.Process) -> float:
    """Private memory in MiB: without mapped files such as the store, which the system can reclaim."""
    memory = process.memory_info()
    return (memory.rss - memory.shared) / MIB


def run(
    home: Path, seconds: float, seed: int, clients: int, prune_every: float, rest: float = 0
) -> tuple[Samples, list[str]]:
    """Load an own supervisor for this time; returns the measurements and the faults."""
    with Runtime(home, app=stage.__file__, workers=2) as rt:
        loads = [Load(rt, seed * 100 + n, rest) for n in range(clients)]
        for load in loads:
            load.round()  # so that the workers are there and have loaded what they need
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=_until, args=(end, load.round, load.wrong)) for load in loads]
        for thread in threads:
            thread.start()
        samples = Samples(rt, loads)
        pruned = time.monotonic()
        while time.monotonic() < end:
            samples.take()
            if time.monotonic() - pruned > prune_every:
                rt.prune()
                pruned = time.monotonic()
            time.sleep(min(max(0.0, end - time.monotonic()), seconds / 200))
        for thread in threads:
            thread.join()
        wrong = [text for load in loads for text in load.wrong]
        bad = rt.list(state=[State.TIMED_OUT], limit=5) + [
            record for record in rt.list(state="failed", limit=1000) if not record.task.endswith("stumble")
        ]
    return samples, [*wrong, *map(str, bad), *samples.grown()]


def _until(end: float, act: Callable[[], None], wrong: list[str]) -> None:
    try:
        while time.monotonic() < end:
            act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be told
        wrong.append(repr(error))


def plot(rows: Iterable[dict[str, float]], path: Path) -> None:
    """All quantities over time, each in its own panel."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(rows)
    panels = [("done", "tasks"), *((name, name) for name in BOUNDS)]
    figure, axes = plt.subplots(len(panels), 1, figsize=(7, 9), sharex=True, layout="constrained")
    minutes = [row["seconds"] / 60 for row in rows]
    for axis, (name, label) in zip(axes, panels, strict=True):
        axis.plot(minutes, [row[name] for row in rows], linewidth=1)
        axis.set_ylim(bottom=0)
        axis.set_ylabel(label, fontsize=7)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes", fontsize=8)
    figure.savefig(path, dpi=80)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--prune-every", type=float, default=5)
    parser.add_argument("--rest", type=float, default=0, help="seconds that each client rests after a round")
    parser.add_argument("--plot", type=Path, help="a picture of it, as PNG")
    parser.add_argument("--rows", type=Path, help="what was measured, as JSON")
    options = parser.parse_args()
    if options.minutes:
        options.seconds = 60 * options.minutes
    folder = Path(tempfile.mkdtemp(prefix="load-"))
    try:
        samples, wrong = run(
            folder / "home", options.seconds, options.seed, options.clients, options.prune_every, options.rest
        )
    finally:
        shutil.rmtree(folder)
    done = samples.rows[-1]["done"]
    print(json.dumps({"seconds": options.seconds, "tasks": done, **samples.summary(), "wrong": wrong}))
    if options.rows:
        options.rows.write_text(json.dumps(samples.rows))
    if options.plot:
        plot(samples.rows, options.plot)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
