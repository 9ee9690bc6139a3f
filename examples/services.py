"""Two services and their jobs in one home, in place of supervisord: what dies comes back, in the right order.

`python examples/services.py` starts a tree of a price feed and of a ticker that depends on it. Jobs ask the feed for
prices. Then it kills the feed's worker: the ticker is stopped, the feed is started, and then the ticker, and jobs that
asked meanwhile get their answers. It prints what has happened, and exits with 0 if all is well.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable

from understudy import (
    Runtime,
    Supervisor,
    Tree,
    checkpoint,
    child,
    current,
    ready,
    receive,
    restore,
    send,
    task,
)

#: Seconds that each step may take.
PATIENCE = 30.0
STOP = {"$cancel": True}


@task(timeout=None, isolate=True)
def feed(symbol: str) -> None:
    """Answer each question for the price. How many were answered is kept over restarts."""
    answered = restore() or 0
    ready()
    while (question := receive()) != STOP:
        answered += 1
        answer = {"symbol": symbol, "price": 100 + answered}
        checkpoint(answered, send=[(question["reply_to"], answer)])


@task(timeout=None)
def ticker() -> None:
    """Print that it serves. It depends on the feed, so it is restarted with it."""
    print(f"ticker serves, attempt {current().attempt}")
    ready()
    receive()


@task
def price(feed_id: str) -> int:
    """A job beside the services: ask the feed."""
    send(feed_id, {"reply_to": current().id})
    answer: int = receive(timeout=PATIENCE)["price"]
    return answer


services = Supervisor(
    "services",
    strategy="rest_for_one",
    children=[child("feed", feed, "ACME", ready=True), child("ticker", ticker, ready=True)],
)


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until it is so, and say it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not in {PATIENCE:g} s: {what}")
        time.sleep(0.01)
    print(what)


def serves(tree: Tree) -> bool:
    """Whether the tree and both services run."""
    status = tree.status()
    return status.state == "running" and all(each.state == "running" for each in status.children)


def main() -> None:
    """Start the tree, kill a service, and ask it before, meanwhile and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", help="keep the home there")
    home = parser.parse_args().home or tempfile.mkdtemp(prefix="understudy-services-")
    with Runtime(home, workers=2) as rt:
        tree = rt.supervise(services)
        wait_for("both services run", lambda: serves(tree))
        feed_id = tree.info("feed").id
        prices = [rt.run(price, feed_id, timeout=PATIENCE)]
        os.kill(tree.child("feed").worker_pid or 0, signal.SIGKILL)
        jobs = rt.start_many(price, [feed_id] * 3)  # while the feed is dead
        wait_for(
            "the feed was killed, and both run again",
            lambda: tree.child("feed").restarts == 1 and serves(tree),
        )
        prices += [job.result(timeout=PATIENCE) for job in jobs]
        same = tree.info("feed").id == feed_id
        print(f"prices: {sorted(prices)}; the feed is {'the same' if same else 'another'} task")
        tree.stop()
        wait_for("all is stopped", lambda: tree.status().state == "stopped")
        if sorted(prices) != [101, 102, 103, 104] or not same:
            sys.exit("a question was lost or answered twice")


if __name__ == "__main__":
    main()
