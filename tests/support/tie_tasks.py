"""Tasks and actors that are linked, and that monitor each other."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from understudy import (
    Actor,
    BoxConf,
    Fail,
    Retry,
    RetryLater,
    TaskNotFound,
    UnderstudyError,
    aio,
    as_completed,
    box,
    cancelled,
    checkpoint,
    current,
    demonitor,
    gather,
    monitor,
    receive,
    restore,
    send,
    sleep,
    task,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.task.current_runtime import runtime
from ws_tasks import forever, forever_async

PATIENCE = 50.0
#: For a parent that is retried after a while.
RETRY = Retry(attempts=2, delay=30)


@task(name="ties:rest", timeout=None, grace=60)
def rest() -> str:
    """Goes on until it is cancelled, or until its mailbox is closed."""
    while (message := receive()) is not None:
        if isinstance(message, dict) and "$cancel" in message:
            return "asked to stop"
    return "closed"


@task(name="ties:rest_async", timeout=None, grace=60)
async def rest_async() -> None:
    await aio.sleep(1_000_000)


@task(name="ties:double", retry=1_000)
def double(number: int) -> int:
    return 2 * number


@task(name="ties:late_double", timeout=None, retry=1_000)
def late_double(number: int) -> int:
    """The same, once its mailbox is closed."""
    receive()
    return 2 * number


@task(name="ties:fails")
def fails(text: str = "told to") -> None:
    raise ValueError(text)


@task(name="ties:parent", timeout=None, grace=60)
def parent(children: int = 2, key: str = "") -> Any:
    """Starts linked children, tells its client which, and then ends as it is told."""
    linked = rest.options(link=True, **({"key": key} if key else {}))
    state = restore()
    if state is None:
        state = [linked.start().id for _ in range(children)]
        checkpoint(state)
    how = receive()
    if how in ("raise", "later"):
        checkpoint(state)  # for this attempt only
    return end(how)


@task(name="ties:starts_delayed")
def starts_delayed() -> list[str]:
    return [rest.options(link=True, delay=1_000).start().id]


@task(name="ties:starts_async")
def starts_async() -> list[str]:
    return [rest_async.options(link=True).start().id]


@task(name="ties:stubborn", timeout=None, grace=0.2)
def stubborn() -> None:
    end("spin")


@task(name="ties:starts_stubborn")
def starts_stubborn() -> str:
    child = stubborn.options(link=True).start()
    while child.status().state != "running":
        sleep(0.01)
    return child.id


@task(name="ties:starts_many")
def starts_many() -> list[str]:
    """Starts three that are linked, in different ways, and one that is not."""
    rt: Any = runtime()
    linked = rest.options(link=True)
    infos = [*rt.start_many(linked, [()] * 2), *rt.start_many([linked.call(), rest.call()])]
    return [info.id for info in infos]


@task(name="ties:family", timeout=None, grace=60)
def family(depth: int) -> None:
    """A linked child, which has a linked child, and so on."""
    if depth:
        checkpoint([family.options(link=True).start(depth - 1).id])
    receive()


def end(how: Any) -> Any:
    """End as a message says."""
    match how:
        case "return":
            return "returned"
        case "raise":
            raise ValueError("told to")
        case "fail":
            raise Fail("told to")
        case "later":
            raise RetryLater(0)
        case "hang":
            sleep(1_000_000)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spin":
            while True:
                time.sleep(0.01)
    return how


class Boss(Actor, durable=True, idle=5):
    """An actor with linked children."""

    def __init__(self) -> None:
        self.children: list[str] = []

    def hire(self) -> str:
        self.children.append(rest.options(link=True).start().id)
        return self.children[-1]

    def fail(self) -> None:
        raise ValueError("told to")


class Watcher(Actor, durable=True, idle=5):
    """An actor that notes the ends of others."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def watch(self, id: Any) -> None:
        monitor(id)

    def forget_about(self, id: str) -> bool:
        return demonitor(id)

    def on_receive(self, message: Any) -> None:
        self.told.append(message)

    def so_far(self) -> list[Any]:
        return self.told


class Fleeting(Watcher, durable=False):
    """The same, without a place on disk."""


class Deaf(Actor):
    """Has no on_receive."""

    def watch(self, id: str) -> None:
        monitor(id)


@task(name="ties:watch", timeout=None, grace=60, retry=5)
def watch(ids: list[str], count: int | None = None) -> list[Any]:
    """Monitors these, and returns so many messages, by default one for each."""
    for id in ids:
        monitor(id)
    return [receive() for _ in range(len(ids) if count is None else count)]


@task(name="ties:watch_async", timeout=None, grace=60)
async def watch_async(ids: list[str]) -> list[Any]:
    for id in ids:
        await aio.monitor(id)
    await aio.monitor(ids[0])
    told = [await aio.receive() for _ in ids]
    return [*told, await aio.demonitor(ids[0])]


@task(name="ties:obeys", timeout=None, grace=60, retry=5)
def obeys() -> Any:
    """Does what its messages say, and returns the ends that it was told of."""
    told: list[Any] = restore() or []
    while (message := receive()) is not None:
        match message:
            case {"$down": _}:
                told.append(message)
            case ["monitor", id]:
                monitor(id)
            case ["demonitor", id]:
                told.append(demonitor(id))
            case "raise":
                checkpoint(told)  # for this attempt only
                raise ValueError("told to")
            case "end":
                break
        checkpoint(told)
    return told


@task(name="ties:crowd", timeout=None, grace=60, retry=1_000)
def crowd(count: int) -> dict[str, Any]:
    """Has linked children and children that it monitors, and says in which order it was told of their ends.

    Each attempt makes the same calls, whatever the one before has done.
    """
    state = restore() or {"told": [], "watched": False}
    own = current().id
    linked = [rest.options(key=f"{own}/rest/{n}", link=True).start().id for n in range(count)]
    # Every second one ends by itself, perhaps before it is monitored; the others end when their mailbox is closed.
    infos = [
        (late_double if n % 2 else double).options(key=f"{own}/double/{n}").start(n) for n in range(count)
    ]
    if not state["watched"]:
        for info in infos:
            monitor(info)
        state["watched"] = True
        checkpoint(state)
    for info in infos[1::2]:
        info.close()
    while len(state["told"]) < count:
        message = receive(PATIENCE)
        state["told"].append(message["$down"])
        checkpoint(state)
    # Whatever else had come would stand before this message.
    if not state.get("sent"):
        state["sent"] = True
        checkpoint(state, send=[(own, "last")])
    last = receive(PATIENCE)
    return {"linked": linked, "watched": [info.id for info in infos], "told": state["told"], "last": last}


@task(name="ties:busy_watch", timeout=None)
def busy_watch(ids: list[str]) -> list[Any]:
    """Monitors these, and receives nothing for a while."""
    for id in ids:
        monitor(id)
    sleep(50)
    return [receive() for _ in range(3 + len(ids))]


@task(name="ties:drains", timeout=None)
def drains(ids: list[str]) -> list[Any]:
    """Reads its mailbox to the end, and monitors only then."""
    got: list[Any] = []
    while got[-1:] != [None]:
        got.append(receive())
    for id in reversed(ids):
        monitor(id)
    got += [receive() for _ in ids]
    got.append(receive())
    try:
        monitor(id_text(new_id()))
    except TaskNotFound:
        got.append("unknown")
    return [*got, receive()]


@task(name="ties:refused", timeout=60)
def refused(unknown: str) -> list[tuple[str, str]]:
    """The errors of calls that are refused."""
    errors = []
    for id in (unknown, current().id, 7, "no id"):
        try:
            monitor(id)  # type: ignore[arg-type]  # what a user may write
        except UnderstudyError as error:
            errors.append((type(error).__name__, str(error)))
    return errors


@task(name="ties:late", timeout=None, grace=0.5)
def late() -> list[str]:
    """Starts a linked child after it was asked to stop."""
    while not cancelled():
        sleep(0.01)
    return [rest.options(link=True).start().id]


@task(name="ties:tells", timeout=60)
def tells(id: str, message: Any) -> None:
    send(id, message)


# --- many children ---


@task(name="ties:brief")
def brief(number: int, seconds: float = 0.0) -> int:
    sleep(seconds)
    return 3 * number


@task(name="ties:sum_up", timeout=None, retry=1_000)
def sum_up(count: int, seconds: float = 0.0) -> int:
    """The sum of what its children return. Each attempt starts the same ones."""
    own = current().id
    rt: Any = runtime()
    infos = rt.start_many([brief.options(key=f"{own}/{n}").call(n, seconds) for n in range(count)])
    values = gather(infos)
    assert values == [3 * n for n in range(count)]
    return sum(values)


@task(name="ties:sum_up_async", timeout=None, retry=1_000)
async def sum_up_async(count: int, seconds: float = 0.0) -> int:
    own = current().id
    infos = [await aio.start(brief.options(key=f"{own}/{n}"), n, seconds) for n in range(count)]
    return sum(await aio.gather(infos))


@task(name="ties:in_order_of_ends", timeout=None)
def in_order_of_ends(delays: list[float], timeout: float | None = None) -> list[int]:
    infos = {brief.start(place, delay): place for place, delay in enumerate(delays)}
    return [infos[info] for info in as_completed(infos, timeout)]


@task(name="ties:in_order_of_ends_async", timeout=None)
async def in_order_of_ends_async(delays: list[float], timeout: float | None = None) -> list[int]:
    infos = {await aio.start(brief, place, delay): place for place, delay in enumerate(delays)}
    return [infos[info] async for info in aio.as_completed(infos, timeout)]


@task(name="ties:gathers", timeout=None)
def gathers(ids: list[str], timeout: float | None = None) -> list[Any]:
    return gather(ids, timeout)


@task(name="ties:gathers_async", timeout=None)
async def gathers_async(ids: list[str], timeout: float | None = None) -> list[Any]:
    return await aio.gather(ids, timeout)


@task(name="ties:outcomes", timeout=None)
def outcomes(ids: list[str]) -> list[str]:
    return [repr(each) for each in gather(ids, errors="return")]


# --- children of other kinds ---


@task(name="ties:holds_connections", timeout=None)
def holds_connections(url: str) -> None:
    """Starts two linked tasks with a WebSocket each, and waits."""
    for each in (forever, forever_async):
        each.options(link=True).start(url)
    receive()


@task(name="ties:holds_container", timeout=None)
def holds_container(image: str) -> None:
    """Starts a linked container, and waits."""
    conf = BoxConf(image, script="sleep 1000")
    info = box.start(conf, key=f"{current().id}/box", grace=0.2, link=True)
    checkpoint(info.id)
    receive()
