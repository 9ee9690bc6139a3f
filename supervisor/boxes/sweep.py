"""`BoxSweep`, which removes leftover containers and output folders of this home. It runs in the supervisor.

An attempt removes its own container. The sweep removes those that no attempt can remove: the task was
cancelled while it was queued again, its worker was killed, or its start was lost with the supervisor. It also
removes the output folders of pruned tasks. Containers of other homes carry another label and are never
touched.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from ...actors.errors import EngineAbsent, InvalidValue, StoreCorrupt, UnderstudyError
from ...actors.ids import id_bytes
from ...storage.tables.record import Record
from ..home import BOXES
from . import spec
from .docker_engine import DockerEngine, Missing

log = logging.getLogger("understudy")

T = TypeVar("T")

#: Seconds between two sweeps; seconds from a request to its sweep.
SWEEP_EVERY: Final = 30.0
SOON: Final = 0.2
#: Seconds within which the engine has to answer here.
PATIENCE: Final = 10.0


def is_over(record: Record | None, attempt: str) -> bool:
    """Whether no current or later attempt needs this attempt's container. Pure."""
    if record is None or record.ended is not None:
        return True
    return attempt.isdigit() and int(attempt) < record.attempt


class BoxSweep:
    """The sweep. It uses a thread for each request. It asks no engine if the home never had a container."""

    def __init__(self, home: Path, cookie: str, record: Callable[[bytes], Record | None]) -> None:
        self._folder = home / BOXES
        self._label = {spec.HOME_LABEL: cookie}
        self._record = record
        self._asked = asyncio.Event()
        self._engine: DockerEngine | None = None

    def ask(self) -> None:
        """Ask for a sweep soon."""
        self._asked.set()

    async def run(self) -> None:
        """Sweep now, every `SWEEP_EVERY` seconds and at each `ask`, until cancelled."""
        while True:
            try:
                await self.sweep()
            except EngineAbsent as error:
                log.debug("no search for containers left behind: %s", error)
            except (UnderstudyError, Missing, OSError) as error:
                log.warning("the search for containers left behind failed: %s", error)
            except Exception:
                log.exception("the search for containers left behind failed; it is tried again")
            with suppress(TimeoutError):
                # `wait_for` before Python 3.12 loses a cancel that comes together with the event.
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._asked.wait()
                await asyncio.sleep(SOON)
            self._asked.clear()

    async def sweep(self) -> list[str]:
        """Sweep once; the ids of the removed containers. EngineAbsent, EngineError."""
        if not self._folder.is_dir():
            return []
        rows = await _in_thread(self._find)
        doomed = [row["Id"] for row in rows if self._is_over(row["Labels"])]
        doomed = await _in_thread(partial(self._remove, doomed))
        if doomed:
            log.info("removed %d containers whose task has ended", len(doomed))
        gone = [path for path in self._folder.iterdir() if self._is_pruned(path.name)]
        for path in gone:
            await _in_thread(partial(shutil.rmtree, path, ignore_errors=True))
        return doomed

    def _find(self) -> list[dict[str, Any]]:
        if self._engine is None:
            self._engine = DockerEngine(PATIENCE)
        return self._engine.find(self._label)

    def _remove(self, doomed: list[str]) -> list[str]:
        """Remove containers; those that are removed. One that cannot be does not keep the others."""
        removed: list[str] = []
        for id in doomed:
            assert self._engine is not None
            try:
                self._engine.remove(id)
            except (UnderstudyError, Missing, OSError) as error:
                log.warning("container %.12s could not be removed; it is tried again: %s", id, error)
            else:
                removed.append(id)
        return removed

    def _is_over(self, labels: dict[str, str]) -> bool:
        """Unknown ids and damaged records are left alone."""
        try:
            id = id_bytes(labels.get(spec.TASK_LABEL, ""))
            return is_over(self._record(id), labels.get(spec.ATTEMPT_LABEL, ""))
        except (InvalidValue, StoreCorrupt, TypeError):
            return False

    def _is_pruned(self, name: str) -> bool:
        try:
            return self._record(id_bytes(name)) is None
        except (InvalidValue, StoreCorrupt):
            return False


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` on a daemon thread. On an asyncio thread, a silent engine would delay this process's end."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # the caller may be cancelled; the work runs to its end

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            future.set_exception(error)

    threading.Thread(target=run, name="understudy-sweep", daemon=True).start()
    return await asyncio.wrap_future(future)
