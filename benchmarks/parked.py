"""Benchmark of waiting actors: the memory of each, and how much they slow down short tasks.

10,000 sync and 100,000 async actors wait in `receive`, on 2 workers. Memory is the growth of the supervisor,
its fork server and the workers together, compared with no actors. A page that several processes share counts
once. Pages of files do not count: the system drops them, including the store's, when it needs memory. Short
tasks are no-ops, all at once, as in the throughput case, compared with the same tasks in a home without
actors. Pykka's actors are threads of one process. They store nothing and can be lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.probe import family, memory
from suite.program import main
from suite.pykka_threads import memory_each
from suite.rate import rate_of
from understudy import Runtime, aio, receive, send, task

ROWS = ("sync, memory each", "async, memory each", "beside sync", "beside async")


@task(timeout=None)
def park(gathered: str) -> None:
    """A sync actor."""
    send(gathered, True)
    receive()


@task(timeout=None)
async def park_async(gathered: str) -> None:
    """An async actor."""
    await aio.send(gathered, True)
    await aio.receive()


@task
async def gather(count: int) -> None:
    """Wait until this many actors run."""
    for _ in range(count):
        await aio.receive()


@task
def noop() -> None:
    """A no-op."""


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """Two homes with actors, which stay for all rounds; memory is the same in every round."""
    with ExitStack() as stack:
        each = {}
        homes = {}
        for kind, actor in (("sync", park), ("async", park_async)):
            count = bench.sizes[f"{kind} actors"]
            runtime = stack.enter_context(
                Runtime(bench.folder / kind, workers=2, drain=0, mailbox_messages=1_000_000)
            )
            rate_of(runtime, noop, bench.sizes["tasks"])
            before = memory(family(runtime))
            gathered = runtime.start(gather, count)
            runtime.start_many(actor, [gathered.id] * count)
            gathered.result(timeout=120)
            time.sleep(1)  # their reports are written and released
            each[f"{kind}, memory each"] = (memory(family(runtime)) - before) / count / 1e3
            homes[kind] = runtime
        yield lambda: {
            **each,
            **{f"beside {kind}": rate_of(home, noop, bench.sizes["tasks"]) for kind, home in homes.items()},
        }
        for home in homes.values():
            home.stop_supervisor(now=True)


@contextmanager
def empty(bench: Bench) -> Iterator[Measure]:
    """No actors wait."""
    with Runtime(bench.folder / "home", workers=2) as runtime:
        rate_of(runtime, noop, bench.sizes["tasks"])
        yield lambda: {
            f"beside {kind}": rate_of(runtime, noop, bench.sizes["tasks"]) for kind in ("sync", "async")
        }


@contextmanager
def pykka(bench: Bench) -> Iterator[Measure]:
    """In a process of its own."""
    found = {"sync, memory each": memory_each(min(bench.sizes["sync actors"], 10_000))}
    yield lambda: found


CASE = Case(
    name="parked",
    title="Actors that wait",
    about=__doc__ or "",
    rows=(
        Row("sync, memory each", "KB"),
        Row("async, memory each", "KB"),
        Row("beside sync", "tasks/s", more=True),
        Row("beside async", "tasks/s", more=True),
    ),
    contenders={"understudy": ours, "no actors": empty, "Pykka threads": pykka},
    targets=(
        Target("sync at most 30 KB", "sync, memory each", "at most", 30),
        Target("async at most 6 KB", "async, memory each", "at most", 6),
        Target("beside sync ones at least 0.8 × empty", "beside sync", "at least", 0.8, "no actors"),
        Target("beside async ones at least 0.8 × empty", "beside async", "at least", 0.8, "no actors"),
    ),
    sizes={"sync actors": 10_000, "async actors": 100_000, "tasks": 10_000},
    short={"sync actors": 30, "async actors": 50, "tasks": 200},
    rounds=5,
    large=True,
    bounds=(
        "A sync actor keeps its thread: 16 KB are pages of its stack that were touched, one of them far down because "
        "msgpack unpacks there, and 4 KB are Python's own stack of the thread; what is left are the thread, the actor "
        "and what the allocator has at hand for it. An async one is five coroutines and a task of asyncio's (3 KB with "
        "the actor and its mailbox); about 1 KB of it is in the supervisor."
    ),
)

if __name__ == "__main__":
    main(CASE)
