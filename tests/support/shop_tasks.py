"""Tasks of a small shop, for the pages of the dashboard: whatever a page shows, one of these makes."""

from __future__ import annotations

import logging

from understudy import (
    Actor,
    Event,
    Fail,
    Limit,
    checkpoint,
    emit,
    on,
    progress,
    publish,
    receive,
    restore,
    sleep,
    task,
)


@task(retry=2)
def charge(order: int, currency: str = "EUR") -> dict[str, object]:
    print(f"charging order {order}")
    logging.getLogger("shop").warning("the bank is slow")
    return {"order": order, "paid": True, "currency": currency}


@task(retry=0)
def ship(order: int) -> None:
    raise ConnectionError(f"carrier {order} does not answer")


@task(retry=0)
def mail(to: str) -> None:
    raise Fail(f"no such mailbox: {to}")


@task(timeout=600)
def stocktake(shelves: int) -> int:
    """Runs until a message comes."""
    done = restore() or 0
    progress(3, shelves, "shelf 3")
    publish("shelf", {"number": 3, "items": 41})
    checkpoint(done + 3, publish=[("shelf", {"number": 4})])
    print("counting")
    receive()
    return shelves


@task
def order(number: int) -> str:
    first = charge.start(number)
    second = ship.start(number)
    first.wait(timeout=30)
    second.wait(timeout=30)
    emit("order.closed", {"order": number, "lines": [{"sku": "A-17", "count": 2}]})
    return "closed"


@on("order.*")
def invoice(event: Event) -> str:
    emit("invoice.made", {"order": event.data["order"]})
    return event.id


@task
def flaky(name: str) -> str:
    from understudy import current

    if current().attempt < 3:
        raise ValueError(f"{name} is not ready")
    return name


@task
def later(number: int) -> int:
    return number


@task(timeout=None)
def counter(name: str) -> None:
    """A child of a supervision tree. It fails at a message that it cannot read."""
    while (message := receive()) is not None and message != {"$cancel": True}:
        checkpoint(message)  # else it would come again after each restart
        raise ValueError(f"{name} cannot read {message}")


@task(limit=Limit("carrier", concurrency=2, rate="100/s"))
def deliver(parcel: int) -> None:
    sleep(600)


@task
def scan(number: int) -> int:
    return number


@task
def nap() -> None:
    sleep(600)


@task
def hostile(text: str) -> str:
    print(text)
    publish("item", text)
    emit("hostile.event", {"text": text, text: 1})
    raise RuntimeError(text)


class Basket(Actor):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, sku: str) -> int:
        self.lines.append(sku)
        return len(self.lines)
