"""A gateway between a market-data feed and durable tasks. It loses no trade although its worker is killed.

`gateway` is one long task. It reads trades from a WebSocket feed, gathers them into bars of `PER_BAR` trades
and starts a `settle` task for each bar. Its checkpoint holds the number of the last trade and the unfinished
bar. Each bar has its own key, so that starting it twice makes one task. The feed can repeat the trades after
a given number. The gateway asks for them whenever the connection opens.

Meanwhile this program SIGKILLs the gateway's worker twice and cuts the feed's connections twice. The bars
must equal those that a plain loop over the trades makes; if they do not, the exit code is 1.

    python examples/market_gateway.py [--trades TRADES] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from understudy import Retry, Runtime, TaskInfo, checkpoint, restore, task, ws

PER_BAR = 25
"""Trades in a bar."""
KILLS = [(0.2, "feed"), (0.4, "worker"), (0.6, "feed"), (0.8, "worker")]
"""The share of the trades after which the feed is cut off or the worker killed."""

Trade = dict[str, Any]


@task(retry=Retry(attempts=100, delay=0.1))
def settle(trades: list[Trade]) -> dict[str, Any]:
    """A bar: first, highest, lowest and last price, and the volume."""
    prices = [trade["price"] for trade in trades]
    return {
        "from": trades[0]["number"],
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": sum(trade["size"] for trade in trades),
    }


@task(timeout=None, retry=Retry(attempts=1_000, delay=0.1))
def gateway(url: str, last: int) -> list[str]:
    """Turn the feed's trades up to number `last` into bars; the ids of their tasks."""
    state: dict[str, Any] = restore() or {"seen": 0, "bar": [], "tasks": []}

    def subscribe(feed: ws.Connection) -> None:
        feed.send({"op": "subscribe", "after": state["seen"]})

    with ws.connect(url, reconnect=ws.Backoff(delay=0.05), on_connect=subscribe) as feed:
        while state["seen"] < last:
            trade = feed.receive()
            if trade is None:
                raise ConnectionError(f"the feed has ended: {feed.close_code} {feed.close_reason}")
            if isinstance(trade, ws.Reconnected):
                print(f"connected again after {trade.down:.2f} s; going on after trade {state['seen']}")
                continue
            if trade["number"] != state["seen"] + 1:
                raise ValueError(f"trade {trade['number']} after {state['seen']}")
            state["seen"] = trade["number"]
            state["bar"].append(trade)
            if len(state["bar"]) == PER_BAR or state["seen"] == last:
                bar, state["bar"] = state["bar"], []
                # If this process dies before the checkpoint, the next attempt gets the same task by its key.
                state["tasks"].append(settle.options(key=f"bar-{bar[0]['number']}").start(bar).id)
                checkpoint(state)
    tasks: list[str] = state["tasks"]
    return tasks


# --- a simulated market ---


def trades(count: int) -> list[Trade]:
    """The day's trades, the same at each call."""
    chance = random.Random(7)
    price = 10_000
    day = []
    for number in range(1, count + 1):
        price += chance.randint(-20, 20)
        day.append({"number": number, "price": price, "size": chance.randint(1, 500)})
    return day


class Feed:
    """A server that sends each subscriber the trades after the number that it asks for."""

    def __init__(self, day: list[Trade]) -> None:
        self._day = day
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._clients: set[ServerConnection] = set()
        self.url = ""
        threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True).start()
        self._listening.wait(10)

    async def _serve(self) -> None:
        async with serve(self._tell, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/trades"
            self._listening.set()
            await asyncio.Future()

    async def _tell(self, client: ServerConnection) -> None:
        self._clients.add(client)
        try:
            request = json.loads(await client.recv())
            for trade in self._day[request["after"] :]:
                await client.send(json.dumps(trade))
                if trade["number"] % 5 == 0:
                    await asyncio.sleep(0.002)  # about 2,500 trades per second
            await client.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)

    def cut_off(self) -> None:
        """Abort all connections without a closing handshake."""

        def abort() -> None:
            for client in self._clients:
                client.transport.abort()

        self._loop.call_soon_threadsafe(abort)


def main() -> int:
    """Run the gateway, kill and cut, compare the bars; the exit code."""
    parser = argparse.ArgumentParser(description="A gateway between a market-data feed and durable tasks.")
    parser.add_argument("--trades", type=int, default=5_000, help="trades of the day")
    parser.add_argument("--home", type=Path, help="the home folder; by default a temporary one")
    arguments = parser.parse_args()
    day = trades(arguments.trades)
    feed = Feed(day)
    home = arguments.home or Path(tempfile.mkdtemp(prefix="understudy-"))
    try:
        with Runtime(home, workers=2, max_crashes=1_000) as rt:
            info = gateway.start(feed.url, len(day))
            for part, what in KILLS:
                seen = wait_for(rt, info, part * len(day))
                if what == "feed":
                    feed.cut_off()
                    print(f"trade {seen}: the feed's connection cut off")
                else:
                    pid = worker_of(rt, info)
                    os.kill(pid, signal.SIGKILL)
                    print(f"trade {seen}: SIGKILL to the worker {pid}")
            ids = info.result(timeout=300)
            bars = list(rt.results(ids, timeout=60))
            record = info.status()
    finally:
        if arguments.home is None:
            shutil.rmtree(home)
    expected = [settle(day[start : start + PER_BAR]) for start in range(0, len(day), PER_BAR)]
    right = bars == expected
    print(
        f"{len(bars)} bars of {len(day)} trades begun {record.attempt + record.interruptions} times:",
        "equal" if right else "NOT equal",
        end=" ",
    )
    print("to the plain computation")
    return 0 if right else 1


def wait_for(rt: Runtime, info: TaskInfo[list[str]], number: float) -> int:
    """Wait until the checkpoint holds the trade of this number or the task ends; the number of its last trade."""
    while True:
        seen: int = (rt.restore(info.id) or {"seen": 0})["seen"]
        if seen >= number or info.status().ended is not None:
            return seen
        time.sleep(0.01)


def worker_of(rt: Runtime, info: TaskInfo[list[str]]) -> int:
    """The pid of the gateway's worker."""

    def pids() -> Iterator[int]:
        for worker in rt.tree()["workers"]:
            if any(row["id"] == info.id for row in worker["tasks"]):
                yield worker["pid"]

    while (pid := next(pids(), None)) is None:
        time.sleep(0.01)
    return pid


if __name__ == "__main__":
    sys.exit(main())
