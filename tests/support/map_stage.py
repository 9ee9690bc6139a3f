"""Tasks that map others over items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

from understudy import (
    Actor,
    TaskEnded,
    aio,
    current,
    map_tasks,
    progress,
    receive,
    restore,
    sleep,
    step,
    task,
)
from understudy.actors.inside.context import checkpoint

#: Bytes of a large value.
LARGE = 600_000


@task(name="maps:triple", retry=1_000)
def triple(number: int, seconds: float = 0.0) -> int:
    if seconds:
        sleep(seconds)
    return 3 * number


@task(name="maps:large")
def large(number: int) -> bytes:
    return number.to_bytes(4, "big") * (LARGE // 4)


@task(name="maps:odd_fails")
def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@task(name="maps:rest", timeout=None, grace=60)
def rest(number: int) -> int:
    """Ends when its mailbox is closed, or when it is cancelled."""
    while (message := receive()) is not None:
        if isinstance(message, dict) and "$cancel" in message:
            break
    return number


@task(name="maps:gone", keep=0, retry=1_000)
def gone(number: int) -> int:
    """Its record may be removed as soon as it has ended."""
    return 3 * number


@task(name="maps:once", unique=True)
def once(number: int) -> int:
    sleep(5)
    return number


@task(name="maps:sum_up", timeout=None, retry=1_000)
def sum_up(count: int, seconds: float = 0.0, limit: int = 100) -> int:
    total = 0
    for place, value in enumerate(map_tasks(triple, ((n, seconds) for n in range(count)), limit)):
        assert value == 3 * place
        total += value
    return total


@task(name="maps:sum_up_async", timeout=None, retry=1_000)
async def sum_up_async(count: int, seconds: float = 0.0, limit: int = 100) -> int:
    total = place = 0
    async for value in aio.map_tasks(triple, [(n, seconds) for n in range(count)], limit):
        assert value == 3 * place
        place += 1
        total += value
    return total


@task(name="maps:outcomes")
def outcomes(count: int) -> list[Any]:
    values = map_tasks(odd_fails, range(count), 4, errors="return")
    return [value if isinstance(value, int) else type(value).__name__ for value in values]


@task(name="maps:raises")
def raises(count: int) -> list[Any]:
    """What came before the first error, the error, and what comes behind it."""
    values = map_tasks(odd_fails, range(count), 4)
    got: list[Any] = []
    try:
        for value in values:
            got.append(value)  # noqa: PERF402 - it keeps what came before an error
    except TaskEnded as error:
        got.append(str(error.error))
    return [*got, list(values)]


@task(name="maps:fails_with_it")
def fails_with_it(numbers: list[int]) -> None:
    """Its first child fails, while the others rest."""
    for _ in map_tasks(rest, numbers):
        raise ValueError("enough")


@task(name="maps:takes_some", timeout=None, grace=60)
def takes_some(count: int, limit: int, take: int) -> Any:
    """Takes some values, leaves the map, and goes on until it is told to end."""
    got = list(islice(map_tasks(triple, range(count), limit), take))
    checkpoint(got)
    receive()
    return got


@task(name="maps:rests", timeout=None, grace=60, retry=1_000)
def rests(count: int, limit: int = 100) -> list[int]:
    return list(map_tasks(rest, range(count), limit))


@task(name="maps:large_values", timeout=None)
def large_values(count: int, limit: int) -> int:
    size = 0
    for place, value in enumerate(map_tasks(large, range(count), limit)):
        assert value[:4] == place.to_bytes(4, "big")
        size += len(value)
    return size


@task(name="maps:keeps_none", timeout=None, grace=60, retry=1_000)
def keeps_none(count: int, tell: bool = True) -> list[int]:
    """Maps over children that are kept for no time, and waits for a message behind the last one."""
    values = list(map_tasks(gone, range(count)))
    receive()
    return values


def items(count: int) -> Iterator[int]:
    yield from range(count)
    raise LookupError("no more items")


@task(name="maps:broken_items")
def broken_items(count: int, limit: int) -> list[Any]:
    got: list[Any] = []
    try:
        for value in map_tasks(triple, items(count), limit):
            got.append(value)  # noqa: PERF402 - it keeps what came before an error
    except LookupError as error:
        got.append(str(error))
    return got


@task(name="maps:bad_item")
def bad_item(place: int) -> list[Any]:
    """One item cannot be encoded."""
    got: list[Any] = []
    try:
        for value in map_tasks(triple, [object() if n == place else n for n in range(10)], 3):
            got.append(value)  # noqa: PERF402 - as above
    except Exception as error:  # noqa: BLE001 - it is told
        got.append(type(error).__name__)
    return got


@task(name="maps:forms")
def forms() -> list[list[Any]]:
    return [
        list(map_tasks(triple, [1, (2,), (3, 0.0), {"number": 4}], 1)),
        list(map_tasks("maps:triple", [5])),
        list(map_tasks(triple, [])),
        list(map_tasks(triple.options(priority=5), iter([6, 7]), 2)),
    ]


@task(name="maps:two_at_once", retry=1_000)
def two_at_once(count: int) -> list[Any]:
    """Two maps whose values are taken in turn."""
    one, other = map_tasks(triple, range(count), 5), map_tasks(gone, range(count), 7)
    return list(zip(one, other, strict=True))


@task(name="maps:nested", timeout=None)
def nested(count: int, depth: int) -> int:
    if depth == 0:
        return 1
    return sum(map_tasks(nested, [(count, depth - 1)] * count, 2))


@task(name="maps:shared")
def shared() -> list[int]:
    """A unique task at several places."""
    return list(map_tasks(once, [7, 7, 8, 7]))


@task(name="maps:own_progress", timeout=None)
def own_progress(tells: bool) -> None:
    for value in map_tasks(triple, range(20), 5):
        if tells:
            progress(value, 1_000, "own")
    receive()


@task(name="maps:other_code", retry=1_000, timeout=None)
def other_code() -> list[int]:
    """Its second attempt maps other items, and one map more before them."""
    if not restore():
        checkpoint("first")
        assert list(map_tasks(triple, [1, 2, 3])) == [3, 6, 9]
        raise ValueError("again")
    assert list(map_tasks(odd_fails, [4])) == [4]
    return list(map_tasks(triple, [5, 6, 7, 8]))


class Maps(Actor):
    def map(self) -> list[int]:
        return list(map_tasks(triple, range(3)))


@task(name="maps:refusals")
def refusals() -> list[str]:
    told: list[str] = []
    for call in (
        lambda: map_tasks(triple, [1], 0),
        lambda: map_tasks(triple, [1], 10_001),
        lambda: map_tasks(triple, [1], True),
        lambda: map_tasks(triple, [1], errors="ignore"),  # type: ignore[call-overload]
        lambda: map_tasks(triple, 7),  # type: ignore[call-overload]
        lambda: map_tasks(triple.options(key="one"), [1]),
        lambda: map_tasks(triple.fn if hasattr(triple, "fn") else len, [1]),  # type: ignore[call-overload]
        lambda: next(map_tasks("maps:unknown", [1])),
        lambda: step(list, map_tasks(triple, [1])),
        lambda: step(lists),
        lambda: aio.map_tasks(triple, [1]),
    ):
        try:
            call()
            told.append("")
        except Exception as error:  # noqa: BLE001 - it is told
            told.append(f"{type(error).__name__}: {error}")
    return told


def lists() -> list[int]:
    return list(map_tasks(triple, [1]))


@task(name="maps:refused_async")
async def refused_async() -> str:
    try:
        map_tasks(triple, [1])
    except RuntimeError as error:
        return str(error)
    return ""


@task(name="maps:takes_some_async", timeout=None)
async def takes_some_async(count: int) -> list[int]:
    got: list[int] = []
    values: AsyncIterator[int] = aio.map_tasks(triple, range(count), 5)
    async for value in values:
        got.append(value)
        if len(got) == 3:
            break
    return got


@task(name="maps:attempt")
def attempt() -> int:
    return current().attempt
