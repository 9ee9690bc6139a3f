"""Handlers and listeners for tests of events."""

from __future__ import annotations

import os
from typing import Any

from understudy import (
    Actor,
    Event,
    Fail,
    Retry,
    aio,
    cancelled,
    checkpoint,
    current,
    emit,
    listen,
    on,
    receive,
    sleep,
    task,
)


@on("order.*", retry=Retry(attempts=3, delay=0.01))
def bill(event: Event) -> dict[str, Any]:
    """Handles orders; fails `event.data["fails"]` times."""
    if current().attempt <= event.data.get("fails", 0):
        raise OSError("the bank does not answer")
    made = emit("invoice.created", {"order": event.data["id"]})
    trigger = current().trigger
    assert trigger is not None
    return {"event": event.id, "trigger": trigger.event_id, "emitted": made.id, "kind": current().kind}


@on("order.paid")
@on("audit.**")
@task(name="audit", priority=-5)
async def audit(event: Event) -> str:
    if event.name == "audit.all":
        await aio.emit("audit.done", event.data, id=f"done/{event.id}")
    return event.name


@on("loop")
def again(event: Event) -> int:
    emit("loop", event.data + 1)
    return int(event.data)


@on("understudy.task.failed")
def alert(event: Event) -> str:
    if "fail too" in event.data["message"]:
        raise Fail("the alert fails, too")
    return f"{event.data['task']}: {event.data['message']}"


@on("understudy.worker.died")
def bury(event: Event) -> str:
    return str(event.data["exit"])


@task
def fails(why: str) -> None:
    raise Fail(why)


@task
def dies() -> None:
    os.abort()


@task
def waits_for(
    pattern: str, count: int, where: dict[str, Any] | None = None, since: float | None = None
) -> list[Any]:
    """Listens, says so, and returns the data of so many events."""
    listen(pattern, where=where, since=since)
    emit("listener.ready", current().id)
    got: list[Any] = []
    while len(got) < count:
        event = receive(timeout=20)
        assert isinstance(event, Event)
        got.append(event.data)
    return got


@task
async def waits_async(pattern: str) -> Any:
    await aio.listen(pattern)
    await aio.emit("listener.ready", current().id)
    event = await aio.receive(timeout=20)
    return event.data


@task
def listens_to(count: int) -> None:
    for number in range(count):
        listen(f"topic{number}.*")


@task
def sums_up(total: int) -> list[int]:
    """A listener with state: it goes on after a crash."""
    from understudy import restore

    listen("number.*")
    got: list[int] = restore() or []
    while len(got) < total:
        event = receive(timeout=30)
        got.append(event.data)
        checkpoint(got)
    return got


@task
def emits_many(prefix: str, count: int) -> int:
    for number in range(count):
        if cancelled():
            break
        emit("number.next", number, id=f"{prefix}/{number}")
        sleep(0)
    return count


class Till(Actor, durable=True):
    """Emits with the commits of its methods."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = 0

    def pay(self, amount: int) -> str:
        self.sum += amount
        made = emit("order.paid", {"id": amount})
        if amount < 0:
            raise ValueError("a refund")
        return made.id
