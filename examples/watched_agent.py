"""An agent at work that a program shows live, although either of the two is killed.

    python examples/watched_agent.py [--steps 40] [--home FOLDER]

The agent thinks, step by step, and publishes its words with the checkpoint of each step. The screen is another program:
it watches the agent and appends each entry to a file, with the entry's cursor. Both are killed, and so is the
supervisor. The agent goes on from its checkpoint, and the screen from its last cursor. At the end the screen must have
every word once and in order.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from understudy import Retry, Runtime, WatchEntry, checkpoint, current, publish, restore, sleep, task

#: Seconds that anything may take here.
PATIENCE = 40
#: Deaths of each: the agent's worker, the screen, and the supervisor.
DEATHS = 2


@task(retry=Retry(attempts=100, delay=0), timeout=None)
def agent(question: str, steps: int) -> str:
    """Answers in so many steps."""
    done = restore() or 0
    publish("begins", {"attempt": current().attempt, "step": done})
    while done < steps:
        sleep(0.01)  # here a model would think
        done += 1
        words = [f"{question}-{done}a", f"{question}-{done}b"]
        # The state and the words are on disk together, or neither is.
        checkpoint(done, publish=[("word", word) for word in words])
    return f"{done} steps"


def show(home: str, id: str, file: str) -> None:
    """The program at the screen: appends what it sees, each entry with its cursor, in one write."""
    screen = Path(file)
    lines = screen.read_text().splitlines() if screen.exists() else []
    after = json.loads(lines[-1])["cursor"] if lines else None
    with (
        Runtime.connect(home) as rt,
        rt.watch(task=id, after=after) as entries,
        screen.open("a", encoding="utf-8") as out,
    ):
        for entry in entries:
            if entry.kind != "snapshot":
                out.write(line_of(entry))
                out.flush()


def line_of(entry: WatchEntry) -> str:
    """A line of the screen."""
    value = entry.value if entry.kind == "item" else None
    return json.dumps({"cursor": entry.cursor, "kind": entry.kind, "name": entry.name, "value": value}) + "\n"


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"it took more than {PATIENCE} s until {what}")
        time.sleep(0.01)


def demonstrate(home: Path, steps: int) -> None:
    file = home.parent / "screen.jsonl"

    def seen() -> list[str]:
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def look(id: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, "--show", str(home), id, str(file)])

    with Runtime(home=home, workers=1) as rt:
        info = rt.start(agent, "why", steps)
        screen = look(info.id)
        try:
            for death in range(1, DEATHS + 1):
                count = death * steps // (DEATHS + 1)
                until(lambda count=count: len(seen()) >= count, "the screen had shown more")  # type: ignore[misc]
                screen.kill()
                screen.wait()
                pid = rt.status(info.id).worker_pid
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                os.kill(rt.supervisor_pid, signal.SIGKILL)
                print("SIGKILL to the agent's worker, to the supervisor and to the screen")
                rt.ping()  # the next supervisor serves
                screen = look(info.id)
            print(rt.result(info.id, PATIENCE))
            if screen.wait(PATIENCE) != 0:
                sys.exit("the screen has failed")
        finally:
            screen.kill()
            screen.wait()

    entries = [json.loads(line) for line in seen()]
    words = [entry["value"] for entry in entries if entry["name"] == "word"]
    if words != [f"why-{step}{part}" for step in range(1, steps + 1) for part in "ab"]:
        sys.exit(f"the screen shows {words}")
    if entries[-1]["kind"] != "end":
        sys.exit(f"the last entry is {entries[-1]}")
    begun = sum(entry["name"] == "begins" for entry in entries)
    print(f"{len(words)} words, each once and in order; the agent has begun {begun} times")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--home", type=Path, help="the home folder; by default a new one that is removed")
    parser.add_argument(
        "--show", nargs=3, metavar=("HOME", "ID", "FILE"), help="be the program at the screen"
    )
    given = parser.parse_args()
    if given.show:
        show(*given.show)
    elif given.home is not None:
        demonstrate(given.home, given.steps)
    else:
        with tempfile.TemporaryDirectory() as folder:
            demonstrate(Path(folder) / "home", given.steps)


if __name__ == "__main__":
    main()
