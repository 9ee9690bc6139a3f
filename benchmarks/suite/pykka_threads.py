"""The memory of Pykka's actors: threads of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYKKA = """
import os, sys
import pykka
from suite.probe import memory

class Parked(pykka.ThreadingActor):
    def on_receive(self, message): return message

before = memory([os.getpid()])
actors = [Parked.start() for _ in range(int(sys.argv[1]))]
assert [actor.ask(1) for actor in actors] == [1] * len(actors)
print((memory([os.getpid()]) - before) / len(actors) / 1e3, flush=True)
os._exit(0)
"""


def memory_each(count: int) -> float:
    """KB of each of this many actors that wait, in a process of their own."""
    ended = subprocess.run(
        [sys.executable, "-c", PYKKA, str(count)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).resolve().parent.parent)},
    )
    return float(ended.stdout)
