"""Benchmark of a WebSocket gateway task: messages per second, and memory per connection.

There is one connection, from a cheap server in its own process. "In": the task receives each message and
parses its JSON. "Through": the task also sends it back as JSON. A message has about 70 bytes. The comparison
is the bare websockets library, which does the same in its own process. Memory is the amount that idle
connections of one task add to its worker or to the bare process. A page that several processes share is
counted once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, aio, task, ws

HERE = Path(__file__).parent
RATES = ("in, sync", "in, async", "through, sync", "through, async")


@task
def take_in(url: str, count: int) -> float:
    """Messages per second, received by the task."""
    with ws.connect(f"{url}/in/{count}", proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        for message in conn:
            taken += message["size"] // 300
        assert taken == count
        return count / (time.perf_counter() - began)


@task
async def take_in_async(url: str, count: int) -> float:
    """Messages per second, received with the bare library."""
    async with aio.ws.connect(f"{url}/in/{count}", proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        async for message in conn:
            taken += message["size"] // 300
        assert taken == count
        return count / (time.perf_counter() - began)


@task
def pass_through(url: str, count: int) -> float:
    """Messages per second, received and sent back by the task."""
    with ws.connect(f"{url}/through/{count}", proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        for message in conn:
            taken += message["size"] // 300
            conn.send(message)
        assert taken == count
        return count / (time.perf_counter() - began)


@task
async def pass_through_async(url: str, count: int) -> float:
    """Messages per second, received and sent back with the bare library."""
    async with aio.ws.connect(f"{url}/through/{count}", proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        async for message in conn:
            taken += message["size"] // 300
            await conn.send(message)
        assert taken == count
        return count / (time.perf_counter() - began)


@task
def hold(url: str, count: int) -> float:
    """Bytes per idle connection. It uses a new worker, because an old one would reuse freed memory."""
    with ws.connect(f"{url}/idle", proxy=None):
        process = psutil.Process()
        before = process.memory_full_info().pss
        conns = [ws.connect(f"{url}/idle", proxy=None, close_timeout=0) for _ in range(count)]
        return (process.memory_full_info().pss - before) / len(conns)


@contextmanager
def feed() -> Iterator[str]:
    """The address of a server for this case."""
    process = subprocess.Popen(
        [sys.executable, "-m", "floors.feed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One worker."""
    count, connections = bench.sizes["messages"], bench.sizes["connections"]
    tasks = dict(zip(RATES, (take_in, take_in_async, pass_through, pass_through_async), strict=True))
    with feed() as url, Runtime(bench.folder / "home", workers=1) as runtime:
        yield lambda: {
            **{row: runtime.run(each, url, count, timeout=60) for row, each in tasks.items()},
            "memory each": runtime.run(hold.options(isolate=True), url, connections, timeout=60) / 1e3,
        }


@contextmanager
def bare(bench: Bench) -> Iterator[Measure]:
    """A new process in every round."""
    command = [sys.executable, "-m", "floors.listener"]
    with feed() as url:

        def measure() -> dict[str, float]:
            ended = subprocess.run(
                [*command, url, str(bench.sizes["messages"]), str(bench.sizes["connections"])],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                cwd=HERE,
            )
            found = json.loads(ended.stdout)
            rates = {row: found[row.partition(",")[0]] for row in RATES}
            return {**rates, "memory each": found["memory"] / 1e3}

        yield measure


CASE = Case(
    name="gateway",
    title="Messages from a WebSocket through a task",
    about=__doc__ or "",
    rows=(*(Row(row, "messages/s", more=True) for row in RATES), Row("memory each", "KB")),
    contenders={"understudy": ours, "websockets": bare},
    targets=tuple(
        Target(f"at least 0.5 × the bare library, {row}", row, "at least", 0.5, "websockets") for row in RATES
    ),
    sizes={"messages": 50_000, "connections": 1_000},
    short={"messages": 200, "connections": 5},
    rounds=5,
)

if __name__ == "__main__":
    main(CASE)
