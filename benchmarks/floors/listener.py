"""A gateway written with only the `websockets` library.

    python -m floors.listener URL MESSAGES CONNECTIONS

It prints three figures as JSON: messages received per second, messages received and sent back per second, and
bytes of memory per connection.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import psutil
from websockets.asyncio.client import connect


async def main(url: str, count: int, connections: int) -> None:
    """See the module. It parses and makes JSON as a gateway does, one message after the other, without dropping any."""
    found = {"in": await _take_in(url, count), "through": await _pass_through(url, count)}
    process = psutil.Process()
    before = process.memory_full_info().pss
    idle = [await connect(f"{url}/idle", compression=None, proxy=None) for _ in range(connections)]
    found["memory"] = (process.memory_full_info().pss - before) / len(idle)
    print(json.dumps(found), flush=True)
    for conn in idle:
        conn.transport.abort()


async def _take_in(url: str, count: int) -> float:
    async with connect(f"{url}/in/{count}", compression=None, proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        async for text in conn:
            taken += json.loads(text)["size"] // 300
        assert taken == count
        return count / (time.perf_counter() - began)


async def _pass_through(url: str, count: int) -> float:
    async with connect(f"{url}/through/{count}", compression=None, proxy=None) as conn:
        began, taken = time.perf_counter(), 0
        async for text in conn:
            message = json.loads(text)
            taken += message["size"] // 300
            await conn.send(json.dumps(message, separators=(",", ":")))
        assert taken == count
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
