"""The Ray peer: remote functions on this machine, with two processors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

TITLE = "Ray"
PACKAGES = ("ray",)
PROCESSES = "2 worker processes"
KEEPS = "nothing"
DURABLE = False


@ray.remote
def noop() -> None:
    """A no-op."""


class Session:
    """Calls from the driver."""

    def many(self, count: int) -> None:
        found = ray.get([noop.remote() for _ in range(count)], timeout=60)
        assert found == [None] * count

    def one(self) -> None:
        assert ray.get(noop.remote(), timeout=60) is None


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Ray with as few of its parts as possible."""
    # Not in `folder`: Ray's names are long, and a socket's path must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as temporary:
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100 << 20,
            configure_logging=False,
            _temp_dir=temporary,
        )
        try:
            yield Session()
        finally:
            ray.shutdown()
