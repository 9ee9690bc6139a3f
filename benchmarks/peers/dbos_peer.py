"""The DBOS peer on SQLite: workflows on threads of the calling process, the default without a queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbos import DBOS, DBOSConfig

TITLE = "DBOS"
PACKAGES = ("dbos",)
PROCESSES = "threads of the calling process"
KEEPS = "SQLite, as DBOS sets it up"
DURABLE = True


@DBOS.workflow()
def noop() -> None:
    """A no-op."""


class Session:
    """Calls in this process."""

    def many(self, count: int) -> None:
        handles = [DBOS.start_workflow(noop) for _ in range(count)]
        for handle in handles:
            assert handle.get_result() is None

    def one(self) -> None:
        assert DBOS.start_workflow(noop).get_result() is None


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The library, launched."""
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(config=DBOSConfig(name="bench", system_database_url=url, log_level="ERROR"))
    DBOS.launch()
    try:
        yield Session()
    finally:
        DBOS.destroy()
