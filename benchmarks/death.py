"""Benchmark of a worker's death: the time from its SIGKILL to the first line of the task's next attempt.

The task reports its start to a socket of the benchmark. With one worker, another must be forked first. With
two, the other one may take the task.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Retry, Runtime, receive, task

WORKERS = {"1 worker": 1, "2 workers": 2}


@task(retry=Retry(attempts=1_000_000, delay=0))
def perform(stage: str) -> None:
    """Report when and where it runs, and wait to be killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(struct.pack("dq", time.monotonic(), os.getpid()), stage)
    receive()


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One task, killed repeatedly."""
    with ExitStack() as stack:
        stage = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        path = os.fspath(bench.folder / "stage")
        stage.bind(path)
        stage.settimeout(20)
        runtimes = {
            row: stack.enter_context(
                Runtime(bench.folder / f"{workers}", workers=workers, max_crashes=1_000_000)
            )
            for row, workers in WORKERS.items()
        }

        def samples(runtime: Runtime) -> list[float]:
            info = runtime.start(perform, path)
            _, pid = struct.unpack("dq", stage.recv(64))
            found = []
            for _ in range(bench.sizes["kills"]):
                killed = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                began, pid = struct.unpack("dq", stage.recv(64))
                found.append(began - killed)
            runtime.cancel(info)
            runtime.wait_for_end(info).result(20)
            assert info.status().attempt == bench.sizes["kills"] + 1
            return found

        def measure() -> dict[str, float]:
            found = {}
            for row, runtime in runtimes.items():
                done = samples(runtime)
                found[f"{row}, p50"] = quantile(done, 0.5) * 1e3
                found[f"{row}, p99"] = quantile(done, 0.99) * 1e3
            return found

        yield measure


CASE = Case(
    name="death",
    title="SIGKILL of a worker, to its task running again",
    about=__doc__ or "",
    rows=tuple(Row(f"{row}, {share}", "ms") for row in WORKERS for share in ("p50", "p99")),
    contenders={"understudy": ours},
    targets=tuple(Target(f"p99 at most 50 ms, {row}", f"{row}, p99", "at most", 50) for row in WORKERS),
    sizes={"kills": 100},
    short={"kills": 3},
    rounds=3,
    bounds=(
        "With one worker, most is the fork of another one. A death costs the event loop some milliseconds, "
        "of which reading the marks of the worker is the largest part; the rest waits for the processors."
    ),
)

if __name__ == "__main__":
    main(CASE)
