"""Tasks for tests of the client: short ones, and one for each way to end."""

from __future__ import annotations

import os

from understudy import Executor, Fail, checkpoint, current, progress, receive, restore, sleep, task


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
def own_kind() -> tuple[str, str, None]:
    here = current()
    assert here.trigger is None
    return here.kind, here.id, here.trigger


@task
def refuse(reason: str = "no") -> None:
    raise Fail(reason)


@task
def collect(stop_at: int = 1_000_000) -> list[object]:
    got: list[object] = []
    while len(got) < stop_at and (message := receive()) is not None:
        got.append(message)
    return got


@task(grace=0.2)
def nap(seconds: float) -> str:
    return "slept" if sleep(seconds) else "woken"


@task(concurrency=1, grace=0.2)
def held(seconds: float) -> None:
    sleep(seconds)


@task
def remember(value: object) -> object:
    before = restore()
    checkpoint(value)
    progress(1, 2, "half")
    print("remembered", value)
    return before


@task(isolate=True)
def own_pid() -> int:
    return os.getpid()


@task(timeout=0.05, grace=0.1)
def too_slow() -> None:
    sleep(60)


@task
def sum_of_children(count: int) -> int:
    with Executor() as executor:
        return sum(
            future.result(30) for future in [executor.submit(add, number, 0) for number in range(count)]
        )
