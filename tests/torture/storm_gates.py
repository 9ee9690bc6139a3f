"""The tasks of a storm that have a limit, or that are unique. They see themselves how many of them are under way."""

from __future__ import annotations

import random
import time

from storm_journal import AGAIN, in_place, on_stage
from understudy import Limit, aio, task

#: Attempts under one key at once, and the keys.
PLACES = 2
KEYS = "abc"
CAP = Limit("storm", concurrency=PLACES)


@task(limit=CAP, limit_by="key", retry=AGAIN)
def capped(key: str, number: int) -> int:
    with on_stage(), in_place(f"capped-{key}", PLACES):
        time.sleep(random.uniform(0, 0.01))
        return number


@task(limit=CAP, limit_by="key", retry=AGAIN)
async def capped_async(key: str, number: int) -> int:
    with on_stage(), in_place(f"capped-{key}", PLACES):
        await aio.sleep(random.uniform(0, 0.01))
        return number


@task(unique=True, unique_by="key", retry=AGAIN)
def sole(key: str, number: int) -> int:
    with on_stage(), in_place(f"sole-{key}", 1):
        time.sleep(random.uniform(0, 0.02))
        return number


@task(unique=True, unique_by="key", on_conflict="replace", retry=AGAIN)
def newest(key: str, number: int) -> int:
    with on_stage(), in_place(f"newest-{key}", 1):
        time.sleep(random.uniform(0, 0.02))
        return number


ALL = [capped, capped_async, sole, newest]
NAMES = {each.name for each in ALL}
