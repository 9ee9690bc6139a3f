"""Orders as a saga: each step is a handler of events, a human approves by an event, and failures send an alert.

    python examples/order_saga.py [--home FOLDER]

Five orders are placed. Small ones are paid and shipped. The large ones wait until a human approves or rejects them;
meanwhile the supervisor is killed, and all of its processes with it. The bank fails at its first call, so a payment
is tried again. One order names an article that nobody has: its handler fails for good, and an alert goes out. At the
end the ledger must hold each payment once, and the stock what was neither shipped nor released.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from understudy import Actor, Event, Fail, Retry, Runtime, actor, current, emit, listen, on, receive

STOCK = {"book": 10, "piano": 2}
PRICES = {"book": 20, "piano": 9_000}
#: Orders above this sum need a human.
APPROVED_UP_TO = 1_000
#: Seconds that anything may take here.
PATIENCE = 40


class Warehouse(Actor, durable=True):
    """What is there. Each order moves its articles once, however often it asks."""

    def __init__(self) -> None:
        super().__init__()
        self.stock = dict(STOCK)
        self.reserved: dict[str, str] = {}

    def reserve(self, order: str, article: str) -> None:
        if order not in self.reserved:
            self.reserved[order] = article
            self.stock[article] -= 1

    def release(self, order: str) -> None:
        self.stock[self.reserved.pop(order)] += 1


class Ledger(Actor, durable=True):
    """The payments."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: dict[str, int] = {}

    def pay(self, order: str, amount: int) -> None:
        self.paid[order] = amount


def warehouse() -> Any:
    return actor(Warehouse, "main").proxy()


@on("order.placed")
def reserve(event: Event) -> None:
    order, article = event.data["order"], event.data["article"]
    if article not in PRICES:
        raise Fail(f"order {order}: nobody has a {article}")
    warehouse().reserve(order, article).get()
    # With an id the next step is taken once, although this run may be repeated.
    emit("stock.reserved", {**event.data, "amount": PRICES[article]}, id=f"reserved/{order}")


@on("stock.reserved", timeout=86_400)
def approve(event: Event) -> str:
    """Decides small orders at once, and waits for a human to decide the others. Waiting takes no slot."""
    order = event.data["order"]
    decision = "approved"
    if event.data["amount"] > APPROVED_UP_TO:
        listen("human.*", where={"order": order})
        emit("approval.asked", event.data, id=f"asked/{order}")
        decision = receive(timeout=80_000).name.partition(".")[2]
    emit(f"order.{decision}", event.data, id=f"{decision}/{order}")
    return str(decision)


@on("order.approved", retry=Retry(attempts=5, delay=0.1))
def charge(event: Event) -> None:
    if current().attempt == 1:
        raise ConnectionError("the bank does not answer")
    order, amount = event.data["order"], event.data["amount"]
    actor(Ledger, "main").proxy().pay(order, amount).get()
    emit("order.paid", event.data, id=f"paid/{order}")


@on("order.paid")
def ship(event: Event) -> str:
    return f"{event.data['article']} for order {event.data['order']}"


@on("order.rejected")
def release(event: Event) -> None:
    """The compensation: what the saga has done is undone."""
    warehouse().release(event.data["order"]).get()


@on("understudy.task.failed")
def alert(event: Event) -> str:
    """Would send a mail."""
    return f"{event.data['task'].rpartition(':')[2]} failed: {event.data['message']}"


def until(what: str, condition: Callable[[], Any]) -> Any:
    """What the condition gives once it is true."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > end:
            sys.exit(f"waited for {PATIENCE} s: {what}")
        time.sleep(0.02)
    return value


def names_of(rt: Runtime, name: str) -> set[str]:
    return {event.data["order"] for event in rt.events(name=name)}


def results_of(rt: Runtime, name: str) -> list[Any]:
    runs = [run for event in rt.events(name=name) for _, run in event.runs]
    return sorted(rt.results(runs, timeout=PATIENCE))


def place(rt: Runtime, orders: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Emits each order twice, as a shop would that got no answer; returns the streams."""

    def emitted() -> dict[str, str]:
        return {
            order: rt.emit("order.placed", {"order": order, "article": article}, id=f"shop/{order}").stream_id
            for order, article in orders
        }

    emitted()
    return emitted()


def main(home: Path) -> None:
    orders = [("1", "book"), ("2", "piano"), ("3", "piano"), ("4", "unicorn"), ("5", "book")]
    with Runtime(home, workers=2, drain=1.0) as rt:
        streams = place(rt, orders)
        until("the large orders ask", lambda: names_of(rt, "approval.asked") == {"2", "3"})
        os.kill(rt.supervisor_pid, signal.SIGKILL)
        print("SIGKILL to the supervisor")
        rt.emit("human.approved", {"order": "2"})
        rt.emit("human.rejected", {"order": "3"})
        until("three orders are paid", lambda: names_of(rt, "order.paid") == {"1", "2", "5"})
        until("one is rejected", lambda: names_of(rt, "order.rejected") == {"3"})
        shipped, alerts = results_of(rt, "order.paid"), results_of(rt, "understudy.task.failed")
        results_of(rt, "order.rejected")
        paid = rt.actor(Ledger, "main").proxy().paid.get()
        stock = rt.actor(Warehouse, "main").proxy().stock.get()
        for line in shipped:
            print("shipped:", line)
        for line in alerts:
            print("alert:", line)
        print("the stream of order 2:")
        for depth, node in rt.stream(streams["2"]).walk():
            print(f"  {'  ' * depth}{node.kind} {node.name.rpartition(':')[2]}", node.state or "")
    assert paid == {"1": 20, "2": 9_000, "5": 20}, paid
    assert stock == {"book": 8, "piano": 1}, stock
    assert alerts == ["reserve failed: order 4: nobody has a unicorn"], alerts
    print("each payment once, the stock is right, one alert")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    given = parser.parse_args().home
    if given is not None:
        main(given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "home")
