"""Benchmark of a worker's death in the middle of an ask: the time from its SIGKILL to the answer of the ask.

The method kills its own worker the first time that it runs. The ask is then handled again by another worker, which
builds the actor from the disk. With one worker, that one has to be forked first.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Actor, Runtime

WORKERS = {"1 worker": 1, "2 workers": 2}


class Victim(Actor, name="actor_death:Victim", durable=True):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add_or_die(self, mark: str) -> int:
        """Change it; the first time with this file, its worker dies first."""
        self.count += 1
        if not os.path.exists(mark):
            Path(mark).write_text(f"{time.monotonic()}", encoding="ascii")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One actor, whose worker is killed repeatedly."""
    with ExitStack() as stack:
        actors = {}
        for row, workers in WORKERS.items():
            runtime = stack.enter_context(
                Runtime(bench.folder / f"{workers}", workers=workers, max_crashes=1_000_000)
            )
            actors[row] = runtime.actor(Victim, "one")
        number = 0

        def sample(row: str) -> float:
            nonlocal number
            number += 1
            mark = bench.folder / f"mark-{number}"
            count = actors[row].options(timeout=20).call(Victim.add_or_die, os.fspath(mark))
            seconds = time.monotonic() - float(mark.read_text(encoding="ascii"))
            mark.unlink()
            assert count == counts[row] + 1, "not exactly once"
            counts[row] = count
            return seconds

        counts = dict.fromkeys(WORKERS, 0)

        def measure() -> dict[str, float]:
            found = {}
            for row in WORKERS:
                done = [sample(row) for _ in range(bench.sizes["kills"])]
                found[f"{row}, p50"] = quantile(done, 0.5) * 1e3
                found[f"{row}, p99"] = quantile(done, 0.99) * 1e3
            return found

        yield measure


CASE = Case(
    name="actor_death",
    title="SIGKILL of a worker in an ask, to its answer",
    about=__doc__ or "",
    rows=tuple(Row(f"{row}, {share}", "ms") for row in WORKERS for share in ("p50", "p99")),
    contenders={"understudy": ours},
    targets=tuple(Target(f"p99 at most 50 ms, {row}", f"{row}, p99", "at most", 50) for row in WORKERS),
    sizes={"kills": 100},
    short={"kills": 2},
    rounds=3,
)

if __name__ == "__main__":
    main(CASE)
