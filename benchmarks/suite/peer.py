"""A peer in its own process: `peers/drive.py` takes commands over a pipe. All its processes end with it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from suite.figures import quantile

BENCHMARKS = Path(__file__).resolve().parent.parent

#: Seconds for a peer to start, and to carry out a command.
START_LIMIT = 60.0
CALL_LIMIT = 60.0
STOP_LIMIT = 20.0


class PeerMissing(Exception):
    """The peer cannot be installed or started, or does not answer; the message says why."""

    def __init__(self, title: str, reason: str) -> None:
        super().__init__(reason)
        self.title = title


class Peer:
    """Our side of a driver. Leaving the block ends the driver and all its processes."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.title = name
        self._folder = folder
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.drive", self.name, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": os.fspath(BENCHMARKS)},
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        offspring = self._offspring()
        with contextlib.suppress(OSError):
            self._stdin.close()  # it takes that for the end
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT if kind is None else 5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in offspring:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._log.close()

    def facts(self) -> dict[str, Any]:
        """Its data when it is ready: its version, the stored data, whether that is durable."""
        facts = self._answer(START_LIMIT)
        self.title = facts.pop("title", self.title)
        if "missing" in facts:
            raise PeerMissing(self.title, facts["missing"])
        return facts

    def many(self, count: int, *actors: int) -> float:
        """Seconds for this many calls at once, until their results. `actors`: how many actors they go to."""
        return float(self._ask("many", count, *actors)["seconds"])

    def one_by_one(self, count: int) -> dict[str, float]:
        """Milliseconds of single calls, one after the other."""
        samples = self._ask("one", count)["samples"]
        return {"p50": quantile(samples, 0.5) * 1e3, "p99": quantile(samples, 0.99) * 1e3}

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _offspring(self) -> list[psutil.Process]:
        # Some start daemons in their own sessions; those that exist by now are found by descent.
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def _ask(self, what: str, *counts: int) -> dict[str, Any]:
        try:
            print(what, *counts, file=self._stdin, flush=True)
        except OSError:
            raise PeerMissing(self.title, f"its driver ended: {self._last_words()}") from None
        return self._answer(CALL_LIMIT)

    def _answer(self, limit: float) -> dict[str, Any]:
        while True:
            try:
                line = self._lines.get(timeout=limit)
            except queue.Empty:
                raise PeerMissing(self.title, f"no answer within {limit:g} s: {self._last_words()}") from None
            if line is None:
                raise PeerMissing(self.title, f"its driver ended: {self._last_words()}")
            if line.startswith("{"):  # some peers print too
                return dict(json.loads(line))

    def _last_words(self) -> str:
        lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"
