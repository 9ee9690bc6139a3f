"""Drives one peer, in a process of its own, for `suite/peer.py`.

    python -m peers.drive NAME FOLDER [WORKERS]

Each line of its input is `many COUNT [ACTORS]` (all calls at once) or `one COUNT` (one call after the other). Its
answers are JSON. The first tells its name and version, or why it is missing; the others are seconds. It ends
at the end of its input.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from suite.machine import installed


class Missing(Exception):
    """The peer cannot be started here; the message says why."""


class Session(Protocol):
    """A running peer."""

    def many(self, count: int, *actors: int) -> float | None:
        """Make this many calls at once; return after the last result, with all results checked.

        `actors`: how many actors they go to, if the case says so. Of schedules: how late the runs were, in seconds.
        """

    def one(self) -> float | None:
        """One call and its result; or one run of a schedule, and how late it was."""


class PeerModule(Protocol):
    """The contents of a module of this package."""

    TITLE: str
    PACKAGES: tuple[str, ...]
    """The version of the first one is reported."""
    PROCESSES: str
    """The processes or threads that run its tasks."""
    KEEPS: str
    """The data that is on disk when a call is acknowledged."""
    DURABLE: bool
    """Whether that data survives the death of every process."""

    @staticmethod
    def opened(folder: Path, workers: int) -> AbstractContextManager[Session]:
        """Started; all its processes are stopped at the end."""


def main(name: str, folder: str, workers: str = "2") -> None:
    """See the module."""
    try:
        with _opened(name, Path(folder), int(workers)) as (peer, session):
            _say(
                title=peer.TITLE,
                version=installed(peer.PACKAGES[0]),
                processes=peer.PROCESSES,
                keeps=peer.KEEPS,
                durable=peer.DURABLE,
            )
            for line in sys.stdin:
                what, *numbers = line.split()
                counts = [int(number) for number in numbers]
                if what == "many":
                    _say(seconds=_timed(partial(session.many, *counts)))
                else:
                    _say(samples=[_timed(session.one) for _ in range(counts[0])])
    except Missing as error:
        _say(missing=str(error))


@contextmanager
def _opened(name: str, folder: Path, workers: int) -> Iterator[tuple[PeerModule, Session]]:
    try:
        peer: PeerModule = importlib.import_module(f"peers.{name}_peer")  # type: ignore[assignment]
    except ImportError as error:
        raise Missing(f"not installed: {error}") from error
    with peer.opened(folder, workers) as session:
        session.many(10)  # it works
        yield peer, session


def _timed(call: Any) -> float:
    """The seconds that a call takes; or those that it returns, which is what its case measures."""
    began = time.perf_counter()
    told = call()
    return time.perf_counter() - began if told is None else float(told)


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
