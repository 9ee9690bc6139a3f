"""Benchmark of a restart with a million queued tasks: time to the first task, and the supervisor's memory.

The supervisor is `understudy serve` in its own process, with one worker of one slot. A task that does not end
holds the slot while the million tasks are queued. Then all processes are killed with SIGKILL. The time runs
from the new process's start to the first line of the first queued task, including Python's start and the
app's import. Memory is the resident size, as `ps` shows it, one second later. A second figure leaves out the
mapped file of the store.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Retry, Runtime, State, current, task


@task(name="restart:hold", retry=Retry(attempts=100, delay=0))
def hold(stage: str) -> None:
    """Report that it runs, and keep the slot; the second time, end."""
    if current().interruptions == 0:
        _tell(stage)
        time.sleep(600)


@task(name="restart:first")
def first(stage: str) -> None:
    """Report when it runs."""
    _tell(stage)


@task(name="restart:noop")
def noop() -> None:
    """A no-op."""


def _tell(stage: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(struct.pack("d", time.monotonic()), stage)


def serve(home: Path) -> subprocess.Popen[bytes]:
    """A supervisor for this file."""
    command = ["-m", "understudy.supervisor.cli", "serve", __file__, "--home", os.fspath(home)]
    options = ["--workers", "1", "--slots", "1", "--drain", "0", "--log-level", "error"]
    return subprocess.Popen([sys.executable, *command, *options], stdout=subprocess.DEVNULL)


def connected(home: Path) -> Runtime:
    """Wait until it serves."""
    runtime = Runtime.connect(home)
    runtime.ping(timeout=20)
    return runtime


def prepare(runtime: Runtime, stage: socket.socket, path: str) -> None:
    """Occupy the slot, and queue the task that will be the first when it is free."""
    info = runtime.start(hold.options(priority=50), path)
    stage.recv(64)
    while info.status().state is not State.RUNNING:  # an earlier interruption would not count
        time.sleep(0.005)
    runtime.start(first.options(priority=20), path)


def memory(pid: int) -> tuple[float, float]:
    """Resident memory, and the part of it that is not mapped files, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return tuple(int(told[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the supervisor and all processes below it with SIGKILL."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(below, 10)


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """Every round queues one more task as the first, and restarts."""
    home = bench.folder / "home"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stage:
        path = os.fspath(bench.folder / "stage")
        stage.bind(path)
        stage.settimeout(60)
        process = serve(home)
        with closing(connected(home)) as runtime:
            prepare(runtime, stage, path)
            infos = runtime.start_many(noop, [()] * bench.sizes["queued tasks"])
            assert len(infos) == bench.sizes["queued tasks"]
        del infos

        def measure() -> dict[str, float]:
            nonlocal process
            stop(process)
            began = time.monotonic()
            process = serve(home)
            ran = struct.unpack("d", stage.recv(64))[0] - began
            with closing(connected(home)) as runtime:
                time.sleep(1)
                resident, own = memory(process.pid)
                prepare(runtime, stage, path)
            return {"first dispatch": ran, "resident": resident, "not the file's": own}

        try:
            yield measure
        finally:
            stop(process)


CASE = Case(
    name="restart",
    title="Restart with a million tasks queued",
    about=__doc__ or "",
    rows=(Row("first dispatch", "s"), Row("resident", "MB"), Row("not the file's", "MB")),
    contenders={"understudy": ours},
    targets=(
        Target("first dispatch within 1 s", "first dispatch", "at most", 1),
        Target("resident at most 150 MB", "resident", "at most", 150),
    ),
    sizes={"queued tasks": 1_000_000},
    short={"queued tasks": 1000},
    rounds=3,
    large=True,
    bounds=(
        "Python's own start and the import of the app and of the supervisor are most of it: with a thousand "
        "tasks queued it takes as long. Memory is not the bound."
    ),
)

if __name__ == "__main__":
    main(CASE)
