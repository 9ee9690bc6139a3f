"""The command `logs`: the lines that a task has printed and logged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import click

from ....actors.errors import UnderstudyError
from ....actors.ids import id_text
from ....actors.state import TERMINAL
from ....storage.reader import LogLine, Reader
from ...home import Home
from ...text import documents, escape, units
from .. import lookup
from ..command import command
from ..display import screen
from ..params import id_argument, json_option
from ..session import current

if TYPE_CHECKING:
    from ...client.subscription import Subscription

#: Seconds between two reads of the store while a task runs. The supervisor reports its end at once.
LOOK_EVERY: Final = 0.25
#: Chunks of log that are read at once.
CHUNKS: Final = 500
#: The number before the first row. Row 0 holds the number of dropped lines.
BEGINNING: Final = -1

_STYLES: Final = {
    "ERROR": "red",
    "CRITICAL": "bold red",
    "WARNING": "yellow",
    "DEBUG": "dim",
    "attempt": "dim",
    "stderr": "yellow",
}


@command("logs")
@id_argument()
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they come, until the task ends.")
@json_option("Print a JSON object for each line.")
def logs(id: str, follow: bool, as_json: bool) -> None:
    """Print a task's log: time, level and text of each line."""
    printer = Printer(as_json=as_json)
    with current().reader() as reader:
        task = lookup.find(reader, id).id
        for lines in lines_of(reader, task, follow=follow):
            printer.print(lines)


def lines_of(reader: Reader, task: bytes, *, follow: bool) -> Iterator[list[LogLine]]:
    """Lines of the task's log so far; with `follow` also new ones as they come, until the task has ended."""
    last = BEGINNING
    with closing(Bell(current().home, reader, task)) as wakeup:
        while True:
            # Read the record before the lines: a task's lines are on disk before its end is.
            record = reader.record(task)
            while chunks := reader.logs(task, after=last, limit=CHUNKS):
                last = chunks[-1][0]
                yield from (lines for _, lines in chunks)
            if not follow or record is None or record.terminal:
                return
            wakeup.wait(LOOK_EVERY)


class Printer:
    """Prints log lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console: Any = None if as_json else screen.console(screen.BOUNDLESS)

    def print(self, lines: Sequence[LogLine]) -> None:
        """Print these lines."""
        for at, level, text in lines:
            if self._as_json:
                screen.json(documents.line(at, level, text))
            else:
                self._print(at, level, text)

    def _print(self, at: float, level: str, text: str) -> None:
        from rich.text import Text

        first, *rest = escape.lines(text) or [""]
        level = escape.one_line(level)
        stamp = units.clock(at, time.time())
        head = f"{stamp}  {level:<7}  "
        line = Text.assemble((stamp, "dim"), "  ", (f"{level:<7}", _STYLES.get(level, "")), "  ", first)
        for more in rest:
            line.append("\n" + " " * len(head) + more)
        # Printed by way of a string, because rich would wrap lines and ignore a closed terminal.
        with self._console.capture() as capture:
            self._console.print(line, soft_wrap=True)
        screen.write(capture.get())


class Bell:
    """Waits for a task's end, by an event of the supervisor. The supervisor may stop and start meanwhile."""

    def __init__(self, home: Home, reader: Reader, id: bytes) -> None:
        self._home = home
        self._id = id_text(id)
        record = reader.record(id)
        self._stream = None if record is None else record.stream
        self._events: Subscription | None = None

    def wait(self, seconds: float) -> None:
        """Return at the task's end, or after `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            events = self._subscribed()
            while (left := deadline - time.monotonic()) > 0:
                event = events.next(timeout=left)
                if event is None or (event.id == self._id and event.state in TERMINAL):
                    return
        except TimeoutError:
            return
        except UnderstudyError:
            # There is no supervisor now. Lines on disk can still be read, and a supervisor may start later.
            self.close()
            time.sleep(max(deadline - time.monotonic(), 0))

    def _subscribed(self) -> Subscription:
        if self._events is None:
            from ...client.subscription import Subscription

            self._events = Subscription(self._home, None, self._stream).open()
        return self._events

    def close(self) -> None:
        """End the subscription."""
        if self._events is not None:
            self._events.close()
            self._events = None
