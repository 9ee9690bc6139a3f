"""Failures that send an alert: one for each cause, not one for each task, whatever is killed meanwhile.

    python examples/failure_alerts.py [--home FOLDER]

Imports of files fail for two causes. A handler of `understudy.task.failed` runs for each task that has failed. It asks
an actor whether the cause is new, and if so calls the pager, which does not answer at first: the handler is retried as
any task. In the middle the supervisor is killed, and all of its processes with it. At the end the pager must have had
one call for each cause, and the store must say the same of the causes as the tasks themselves.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from understudy import Actor, Event, Retry, Runtime, State, actor, current, on, task

FILES = 100
#: Seconds that anything may take here.
PATIENCE = 40


@task
def import_file(number: int) -> int:
    """Two kinds of files cannot be imported."""
    if number % 10 == 0:
        raise ValueError(f"file {number} has no header")
    if number % 10 in (3, 6):
        raise PermissionError(f"file {number} belongs to user {number % 7}")
    return number


class Pager(Actor, durable=True):
    """What has been sent to people. A cause is sent once, however often a handler asks."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, str] = {}

    def send(self, cause: str, text: str) -> bool:
        """Whether this was new."""
        if cause in self.sent:
            return False
        self.sent[cause] = text
        return True

    def told(self) -> list[str]:
        """All that was sent."""
        return list(self.sent.values())


@on("understudy.task.failed", retry=Retry(attempts=3, delay=0.1))
def alert(event: Event) -> bool:
    """Tell people of a failure, if nobody has told them of its cause."""
    if current().attempt == 1 and event.data["task"].endswith("import_file"):
        raise ConnectionError("the pager does not answer")
    cause = f"{event.data['task']}/{event.data['error']}/{re.sub('[0-9]+', '#', event.data['message'])}"
    text = f"{event.data['task']} has failed: {event.data['error']}: {event.data['message']}"
    is_new: bool = actor(Pager, "on-call").call(Pager.send, cause, text)
    return is_new


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"it took more than {PATIENCE} s until {what}")
        time.sleep(0.05)


def demonstrate(home: Path) -> None:
    with Runtime(home=home, workers=2) as rt:
        infos = rt.start_many(import_file, range(FILES))
        until(lambda: len(rt.search("task:alert", limit=100)) > 5, "some files had failed")
        os.kill(rt.supervisor_pid, signal.SIGKILL)
        print("SIGKILL to the supervisor; its processes end with it")
        records = [rt.wait(info.id, PATIENCE) for info in infos]
        failed = [record for record in records if record.state is State.FAILED]
        until(lambda: len(rt.search("task:alert", limit=100)) == len(failed), "each failure had its run")
        until(lambda: not rt.search("task:alert state:queued,running"), "the alerts were sent")

        sent = rt.actor(Pager, "on-call").call(Pager.told)
        print(*(f"alert: {text}" for text in sent), sep="\n")
        causes = rt.errors(window=3600, task=import_file)
        for cause in causes:
            print(f"{cause.count} × {cause.type}: {cause.message} ({cause.frame})")
        assert len(failed) == sum(cause.count for cause in causes), "the store says what the tasks say"
        assert rt.counts()[alert.name] == {State.COMPLETED: len(failed)}
        assert rt.stats(3600, task=alert).retried >= len(failed), "the pager did not answer at first"
        assert len(sent) == len(causes)
        print(f"{len(failed)} failures of {len(causes)} causes sent {len(sent)} alerts")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="the home folder; by default a new one that is removed")
    given = parser.parse_args()
    if given.home is not None:
        demonstrate(given.home)
        return
    with tempfile.TemporaryDirectory() as folder:
        demonstrate(Path(folder) / "home")


if __name__ == "__main__":
    main()
