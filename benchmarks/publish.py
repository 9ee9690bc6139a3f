"""Benchmark of published items per second, from one task to one watcher, and of the time until one is seen.

The time runs from the first publish to the watcher's last entry. Messages into one mailbox are measured beside it. The
delay is from the call of `publish` to the entry in the watching process, one item each 20 ms.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, publish, receive, sleep, task

ITEMS, MESSAGES, DELAY = "published items", "messages into one mailbox", "seen after, p99"


@task
def publishes(count: int) -> None:
    """Publish so many items when the first message comes."""
    receive()
    for n in range(count):
        publish("n", n)


@task
def paced(count: int) -> None:
    """Publish the time, again and again."""
    for _ in range(count):
        sleep(0.02)
        publish("at", time.time())


@task
def listens(count: int) -> int:
    """Receive so many messages; their sum."""
    return sum(receive() for _ in range(count))


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """`publish` to `watch`, and `send_many` to `receive`."""
    count, paces = bench.sizes["items"], bench.sizes["paced"]
    limits = {"stream_items": 1_000_000, "stream_bytes": 1 << 30, "mailbox_messages": 1_000_000}
    with Runtime(bench.folder / "home", workers=1, **limits) as runtime:

        def items() -> float:
            info = runtime.start(publishes, count)
            with runtime.watch(task=info) as watch:
                next(watch)
                began = time.perf_counter()
                runtime.send(info, True)
                seen = sum(entry.kind == "item" for entry in watch)
                seconds = time.perf_counter() - began
            assert seen == count, f"{seen} of {count} items"
            return count / seconds

        def messages() -> float:
            info = runtime.start(listens, count)
            began = time.perf_counter()
            runtime.send_many((info, n) for n in range(count))
            assert runtime.result(info, timeout=60) == count * (count - 1) // 2
            return count / (time.perf_counter() - began)

        def delay() -> float:
            with runtime.watch(task=runtime.start(paced, paces)) as watch:
                late = sorted(time.time() - entry.value for entry in watch if entry.kind == "item")
            return late[int(len(late) * 0.99)] * 1000

        items()
        yield lambda: {ITEMS: items(), MESSAGES: messages(), DELAY: delay()}


CASE = Case(
    name="publish",
    title="Items published by one task, seen by one watcher",
    about=__doc__ or "",
    rows=(
        Row(ITEMS, "items/s", more=True),
        Row(MESSAGES, "messages/s", more=True),
        Row(DELAY, "ms", more=False),
    ),
    contenders={"understudy": ours},
    targets=(Target("seen within 50 ms, p99", DELAY, "at most", 50),),
    sizes={"items": 20_000, "paced": 250},
    short={"items": 400, "paced": 10},
    bounds=(
        "Processor time: the task encodes and hands over each item, the supervisor numbers it and makes it a row, and "
        "the watcher reads the row and makes an entry of it. They share two processors."
    ),
)

if __name__ == "__main__":
    main(CASE)
