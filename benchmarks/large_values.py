"""Benchmark of large values: tasks that return an argument of 1 MB, in MB per second, both ways together.

There are three comparisons:

- A plain copy sends the same bytes to another process and back over one Unix socket, without the disk.
- The floor takes Understudy's way and does nothing else: client, supervisor, worker and back, with every
  argument and result in LMDB with fsync.
- The disk's lower bound: this process alone puts as many new rows into LMDB, eight to a commit with fsync.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as numbers
from itertools import islice
from multiprocessing import get_context

from floors.commits import commit, opened
from floors.near import task_floor
from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, task

SIZE = 1_000_000
#: Rows of a raw commit: as many as `start_many` sends, and so commits, in one part.
AT_ONCE = 8


@task
def echo(value: bytes) -> bytes:
    """Its argument."""
    return value


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """All calls at once, one worker."""
    count = bench.sizes["values"]
    with Runtime(bench.folder / "home", workers=1) as runtime:
        value = os.urandom(SIZE)

        def rate(count: int) -> float:
            began = time.perf_counter()
            infos = runtime.start_many(echo, [value] * count)
            done = sum(found == value for found in runtime.results(infos, timeout=60))
            seconds = time.perf_counter() - began
            assert done == count, f"{done} of {count} results"
            return 2 * count * SIZE / 1e6 / seconds

        rate(4)
        yield lambda: {"1 MB": rate(count)}


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """The same way, bare."""
    count, value = bench.sizes["values"], os.urandom(SIZE)
    with task_floor(bench.folder, 1) as near:
        near.many(4, value)
        yield lambda: {"1 MB": 2 * count * SIZE / 1e6 / near.many(count, value)}


def give_back(far: socket.socket) -> None:
    """The peer process of the copy."""
    with far:
        while data := far.recv(1 << 18):
            far.sendall(data)


@contextmanager
def copy(bench: Bench) -> Iterator[Measure]:
    """Only the transfer of the bytes."""
    count, value = bench.sizes["values"], os.urandom(SIZE)
    near, far = socket.socketpair()
    process = get_context("spawn").Process(target=give_back, args=(far,))
    process.start()
    far.close()

    def rate(count: int) -> float:
        began = time.perf_counter()
        sender = threading.Thread(target=lambda: [near.sendall(value) for _ in range(count)])
        sender.start()
        back, there = bytearray(SIZE), 0
        for _ in range(count):
            there = 0
            while there < SIZE:
                there += near.recv_into(memoryview(back)[there:])
        sender.join()
        assert back == value
        return 2 * count * SIZE / 1e6 / (time.perf_counter() - began)

    rate(4)
    yield lambda: {"1 MB": rate(count)}
    near.close()
    process.join()


@contextmanager
def raw(bench: Bench) -> Iterator[Measure]:
    """Only the disk."""
    environment = opened(bench.folder / "raw")
    value, keys = os.urandom(SIZE), (number.to_bytes(16) for number in numbers())

    def rate(rows: int) -> float:
        began = time.perf_counter()
        for first in range(0, rows, AT_ONCE):
            commit(environment, dict.fromkeys(islice(keys, min(AT_ONCE, rows - first)), value))
        return rows * SIZE / 1e6 / (time.perf_counter() - began)

    rate(4)
    yield lambda: {"1 MB": rate(2 * bench.sizes["values"])}
    environment.close()


COPY = "socket copy"

CASE = Case(
    name="large_values",
    title="Arguments and results of 1 MB",
    about=__doc__ or "",
    rows=(Row("1 MB", "MB/s", more=True),),
    contenders={"understudy": ours, "floor": floor, COPY: copy, "raw commits": raw},
    targets=(Target("at least 0.3 × a plain socket copy", "1 MB", "at least", 0.3, COPY),),
    sizes={"values": 60},
    short={"values": 4},
    rounds=5,
    bounds=(
        "The disk, which the socket copy has no part in: raw commits of as many rows, with nothing else to do, "
        "come to a sixth of it. A store that grows takes pages that nobody has used before. Where the memory for "
        "them is new as well, 1 MB costs 2 ms of processor time to write (0.3 where it was used before) without "
        "the fsync: more than a third of all that the supervisor does. Most of the rest is copies, 0.1 ms for 1 "
        "MB each: a value is packed, put into a frame, goes through the kernel, is gone over, unpacked, and put "
        "into LMDB."
    ),
)

if __name__ == "__main__":
    main(CASE)
