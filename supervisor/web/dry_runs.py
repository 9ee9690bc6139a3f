"""Dry runs of cancels and retries of many tasks: what matched, which is exactly what is touched if they are applied.

They are in the memory of the web process for some minutes. The name of one is the id of the bulk that it becomes: so if
it is applied twice, it is one bulk.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...actors.errors import BulkNotFound, TaskNotFound
from ...actors.ids import id_text
from ...actors.task.handles import TaskRecord
from ..client.bulk_calls import BulkPlan
from ..client.runtime import Runtime

SAMPLE: Final = 10
"""Tasks that a dry run shows."""

KEPT_SECONDS: Final = 900.0
KEPT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of ids of all dry runs together; the oldest go first, the newest never."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What matched."""

    plan: BulkPlan
    made: float

    @property
    def name(self) -> str:
        """By which it is applied."""
        return id_text(self.plan.id)

    @property
    def count(self) -> int:
        """How many tasks."""
        return len(self.plan)

    def sample(self, runtime: Runtime) -> list[TaskRecord]:
        """Some of the tasks, newest first."""
        found = []
        for id in self.plan.first(SAMPLE):
            try:
                found.append(runtime.status(id))
            except TaskNotFound:
                continue
        return found


class DryRuns:
    """The dry runs that may still be applied. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, DryRun] = OrderedDict()

    def keep(self, plan: BulkPlan) -> DryRun:
        """Keep what matched."""
        run = DryRun(plan, self._clock())
        with self._lock:
            self._runs[run.name] = run
            self._forget()
        return run

    def take(self, name: str) -> DryRun:
        """The one of this name. BulkNotFound if its time is over."""
        with self._lock:
            self._forget()
            run = self._runs.get(name)
        if run is None:
            raise BulkNotFound(
                "make a dry run first: this one is too old, or the web process has restarted. Nothing was changed",
                name[:80],
            )
        return run

    def drop(self, name: str) -> None:
        """It was applied."""
        with self._lock:
            self._runs.pop(name, None)

    def _forget(self) -> None:
        size = sum(len(run.plan.packed) for run in self._runs.values())
        now = self._clock()
        while self._runs:
            oldest = next(iter(self._runs.values()))
            if (size <= KEPT_BYTES or len(self._runs) == 1) and now - oldest.made <= KEPT_SECONDS:
                return
            size -= len(oldest.plan.packed)
            self._runs.popitem(last=False)


#: Those of this process.
dry_runs: Final = DryRuns()
