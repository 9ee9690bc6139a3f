"""Tasks per second, all started at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from understudy import Runtime, Task


def rate_of(runtime: Runtime, task: Task[..., Any], count: int, calls: Sequence[Any] | None = None) -> float:
    """Start `count` tasks that return None, with these calls if they take arguments, and wait for all of them."""
    began = time.perf_counter()
    infos = runtime.start_many(task, [()] * count if calls is None else calls)
    done = sum(value is None for value in runtime.results(infos, timeout=60))
    seconds = time.perf_counter() - began
    assert done == count, f"{done} of {count} results"
    return count / seconds
