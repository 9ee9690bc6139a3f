"""Stores that are closed at the end, programs in processes of their own, a small disk."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from desk import Desk
from understudy.storage.environment import Environment
from understudy.storage.store import Store


@pytest.fixture
def open_desk(home: Path) -> Iterator[Callable[..., Desk]]:
    """Opens a store, of the test's home and on the disk unless told otherwise; closed at the end."""
    desks: list[Desk] = []

    def open_desk(kind: type[Store] = Store, place: Path | None = None, **options: Any) -> Desk:
        desks.append(Desk(kind, place or home, **{"map_size": 1 << 20, **options}))
        return desks[-1]

    yield open_desk
    for desk in desks:
        desk.store.close(5)


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk()


@pytest.fixture
def open_environment(home: Path) -> Iterator[Callable[..., Environment]]:
    """Opens the environment of the test's home; closed at the end."""
    opened: list[Environment] = []

    def open_environment(map_size: int = 1 << 20, **options: Any) -> Environment:
        opened.append(Environment(home, map_size, **options))
        return opened[-1]

    yield open_environment
    for environment in opened:
        environment.close()


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python source in a process of its own, with pipes; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def program(source: str, *args: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-u", "-c", textwrap.dedent(source), *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        return started[-1]

    yield program
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "understudy-test", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small tmpfs takes root; the test with RLIMIT_FSIZE covers most of this")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
