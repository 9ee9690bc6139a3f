"""Benchmark of durable messages per second into one and into 100 mailboxes.

The time runs from the first send to the last acknowledgement. The receivers are already waiting. Each takes
its share of the messages and ends; its end acknowledges the last of them. The floor writes a message, passes
it to the mailbox's worker and removes it when the worker acknowledges it. Both use two workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from floors.near import message_floor
from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, receive, send, task

MAILBOXES = {"1 mailbox": 1, "100 mailboxes": 100}


@task
def listen(count: int, ready_at: str) -> int:
    """Receive this many messages; return their sum."""
    send(ready_at, True)
    return sum(receive() for _ in range(count))


@task
def gather(count: int) -> None:
    """Wait until this many listeners run."""
    for _ in range(count):
        receive()


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """`send_many` to tasks that wait in `receive`."""
    count = bench.sizes["messages"]
    with Runtime(bench.folder / "home", workers=2, mailbox_messages=1_000_000) as runtime:

        def rate(mailboxes: int) -> float:
            gathered = runtime.start(gather, mailboxes)
            each = count // mailboxes
            infos = runtime.start_many(listen, [(each, gathered.id)] * mailboxes)
            gathered.result(timeout=30)
            began = time.perf_counter()
            runtime.send_many((infos[n % mailboxes], n) for n in range(count))
            total = sum(runtime.results(infos, timeout=60))
            seconds = time.perf_counter() - began
            assert total == count * (count - 1) // 2, f"a wrong sum: {total}"
            return count / seconds

        rate(10)
        yield lambda: {row: rate(mailboxes) for row, mailboxes in MAILBOXES.items()}


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """The same way, bare."""
    count = bench.sizes["messages"]
    with message_floor(bench.folder, 2) as near:
        near.many(10, count)
        yield lambda: {row: count / near.many(mailboxes, count) for row, mailboxes in MAILBOXES.items()}


CASE = Case(
    name="messages",
    title="Durable messages, sent to received and acknowledged",
    about=__doc__ or "",
    rows=tuple(Row(row, "messages/s", more=True) for row in MAILBOXES),
    contenders={"understudy": ours, "floor": floor},
    targets=tuple(
        target
        for row in MAILBOXES
        for target in (
            Target(f"at least 0.35 × floor, {row}", row, "at least", 0.35, "floor"),
            Target(
                f"at least 60,000/s where the floor does 150,000, {row}",
                row,
                "at least",
                60_000,
                given=("floor", 150_000),
            ),
        )
    ),
    sizes={"messages": 20_000},
    short={"messages": 400},
    bounds=(
        "Processor time, 5.5 µs for a message into one mailbox and 4.3 into one of many: 1.1 in the client, 1.5 "
        "to 1.9 in the supervisor's loop, which checks, numbers, keys and hands on each message and deletes it when "
        "it is acknowledged, 0.8 in its writer, which shares one interpreter with the loop and for which each message "
        "is a row, 0.7 to 1.8 in the workers; of one mailbox all messages are received by one thread. They also "
        "follow each other more than they overlap: a request carries 10,000 messages, and each side has to be through "
        "with it before the next one begins."
    ),
)

if __name__ == "__main__":
    main(CASE)
