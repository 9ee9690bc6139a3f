"""Orders as a saga in steps: a human approves by an event, and failures send an alert.

    python examples/order_saga.py [--home FOLDER]

Five orders are placed. Each is one task, whose steps are done once: reserve, ask a human, charge, ship. The large
orders wait until a human approves or rejects them; meanwhile the supervisor is killed, and all of its processes with
it. The bank fails at its first call, so that step is tried again. A worker dies between the payment and the shipment
of an order. One order names an article that nobody has: its task fails for good, and an alert goes out. At the end the
ledger must hold each payment once, and the stock what was neither shipped nor released.
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

from understudy import Actor, Event, Fail, Retry, Runtime, actor, current, emit, listen, on, receive, step

STOCK = {"book": 10, "piano": 2}
PRICES = {"book": 20, "piano": 9_000}
#: Orders above this sum need a human.
APPROVED_UP_TO = 1_000
#: The order whose worker dies when it is paid.
UNLUCKY = "5"
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
        if order in self.reserved:
            self.stock[self.reserved.pop(order)] += 1


class Ledger(Actor, durable=True):
    """The payments, and how often each was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: dict[str, int] = {}
        self.calls: dict[str, int] = {}

    def pay(self, order: str, amount: int) -> str:
        self.calls[order] = self.calls.get(order, 0) + 1
        if self.calls[order] == 1:
            return ""
        self.paid[order] = amount
        return f"receipt-{order}"


def reserve(order: str, article: str) -> None:
    actor(Warehouse, "main").proxy().reserve(order, article).get()


def release(order: str) -> None:
    actor(Warehouse, "main").proxy().release(order).get()


def ask_a_human(order: str, data: dict[str, Any]) -> str:
    """What a human decides. Waiting takes no slot."""
    listen("human.*", where={"order": order})
    emit("approval.asked", data, id=f"asked/{order}")
    return str(receive(timeout=80_000).name.partition(".")[2])


def charge(order: str, amount: int) -> str:
    receipt = actor(Ledger, "main").proxy().pay(order, amount).get()
    if not receipt:
        raise ConnectionError("the bank does not answer")
    return str(receipt)


def ship(order: str, article: str, receipt: str) -> str:
    return f"{article} for order {order}, {receipt}"


@on("order.placed", timeout=86_400, retry=Retry(attempts=5, delay=0.1))
def fulfil(event: Event) -> str:
    """The saga. It may be interrupted anywhere: what a step has done is done."""
    order, article = event.data["order"], event.data["article"]
    if article not in PRICES:
        raise Fail(f"order {order}: nobody has a {article}")
    amount = PRICES[article]
    step(reserve, order, article)
    if amount > APPROVED_UP_TO and step(ask_a_human, order, event.data) == "rejected":
        step(release, order)  # the compensation: what the saga has done is undone
        return f"order {order} is rejected"
    receipt = step.options(retry=Retry(attempts=5, delay=0.1))(charge, order, amount)
    if order == UNLUCKY and current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(ship, order, article, receipt)


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


def place(rt: Runtime, orders: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Emits each order twice, as a shop would that got no answer; returns the tasks of the orders."""

    def emitted() -> dict[str, str]:
        return {
            order: rt.emit("order.placed", {"order": order, "article": article}, id=f"shop/{order}").runs[0]
            for order, article in orders
        }

    emitted()
    return emitted()


def main(home: Path) -> None:
    orders = [("1", "book"), ("2", "piano"), ("3", "piano"), ("4", "unicorn"), (UNLUCKY, "book")]
    with Runtime(home, workers=2, drain=1.0) as rt:
        runs = place(rt, orders)
        until("the large orders ask", lambda: len(rt.events(name="approval.asked")) == 2)
        os.kill(rt.supervisor_pid, signal.SIGKILL)
        print("SIGKILL to the supervisor")
        rt.emit("human.approved", {"order": "2"})
        rt.emit("human.rejected", {"order": "3"})
        ended = [rt.result(run, timeout=PATIENCE) for order, run in runs.items() if order != "4"]
        (failed,) = until("the alert", lambda: rt.events(name="understudy.task.failed"))
        alerted = rt.result(failed.runs[0][1], timeout=PATIENCE)
        paid = rt.actor(Ledger, "main").proxy().paid.get()
        stock = rt.actor(Warehouse, "main").proxy().stock.get()
        for line in ended:
            print("ended:", line)
        print("alert:", alerted)
        print(f"the steps of order {UNLUCKY}:")
        for each in rt.steps(runs[UNLUCKY]):
            print(f"  {each.name.rpartition(':')[2]}", "" if each.value is None else each.value)
    assert paid == {"1": 20, "2": 9_000, "5": 20}, paid
    assert stock == {"book": 8, "piano": 1}, stock
    assert alerted == "fulfil failed: order 4: nobody has a unicorn", alerted
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
