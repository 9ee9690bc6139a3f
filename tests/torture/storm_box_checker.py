"""The checks of the storm's containers: their plans against records, logs and journals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from storm_boxes import Part
from storm_known import Known, value_of
from understudy.actors.box.conf import BOX
from understudy.actors.ids import id_text
from understudy.actors.state import State
from understudy.storage.reader import Reader
from understudy.storage.tables.record import Record
from understudy.supervisor.wire.error_codec import info_of

#: The error type of each end that has one.
ERRORS = {State.FAILED: "BoxFailed", State.TIMED_OUT: "Timeout"}
STREAMS = {"stdout": "out", "stderr": "err"}
#: Ends after which a container has printed all its lines.
WHOLE = {State.COMPLETED, State.FAILED}


class Boxes:
    def __init__(self, home: Path, ran: Path, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._home = home
        self._ran = ran
        self._fault = fault
        self._tally = tally

    def ends_of(self, part: Part | None) -> set[State]:
        """The possible ends of a container that was not cancelled; its plan is missing if its client died too early."""
        if part is None:
            return {State.COMPLETED, State.FAILED, State.TIMED_OUT}
        if part.lasts and part.timeout < 60:
            # The storm may end before the container's time limit.
            return {State.TIMED_OUT, State.COMPLETED}
        return {State.FAILED if part.code else State.COMPLETED}

    def under_way(self, known: Known) -> None:
        """The log of a running container holds the beginning of its output."""
        self._said(known)

    def ended(self, known: Known, record: Record) -> None:
        """Its log has every line once and in order, its map agrees, and it was the task's only container."""
        id = id_text(known.id)
        error = info_of(record.error)
        if record.attempt != 1:
            self._fault(f"container task {id} has had {record.attempt} attempts: {error}")
        if record.state in ERRORS and (error is None or error.type != ERRORS[record.state]):
            self._fault(f"container task {id} ended as {record.state} by {error}")
        said = self._said(known)
        result = value_of(known.end[1]) if known.end else None
        if result is None and error is not None:
            result = error.details
        part = known.part
        if record.state in WHOLE and part is not None:
            if not result or result["exit_code"] != part.code:
                self._fault(f"container {id} ended with {result}, not with {part.code}")
            if not part.lasts and said != part.lines:
                self._fault(f"container {id} has said {said} of {part.lines} lines")
        if result and record.state is not State.CANCELLED:
            for stream, word in STREAMS.items():
                if result[stream] != "".join(f"{word} {n}\n" for n in range(1, said + 1)):
                    self._fault(f"container {id} has logged {said} lines, its {stream} is {result[stream]!r}")
        self._tally["containers ended"] += 1
        self._tally[f"containers {record.state}"] += 1
        self._tally["interruptions of containers"] += record.interruptions
        self._tally["lines of containers"] += 2 * said

    def _said(self, known: Known) -> int:
        """The number of stdout lines in the log, which must be the first ones, once each."""
        with Reader(self._home) as reader:
            lines = [line for _, chunk in reader.logs(known.id, -1, 1_000_000) for line in chunk]
        count = 0
        for stream, word in STREAMS.items():
            found = [text for _, level, text in lines if level == stream]
            count = len(found) if stream == "stdout" else count
            if found != [f"{word} {n}" for n in range(1, len(found) + 1)]:
                self._fault(f"container {id_text(known.id)} has logged as {stream}: {found}")
        if other := [line for line in lines if line[1] not in STREAMS]:
            self._fault(f"the log of container {id_text(known.id)} holds {other}")
        return count

    def only_ones(self, tasks: list[Known]) -> None:
        """No task has had two containers, and none was started twice; one with an exit code was started."""
        ran = Counter(line.partition(" ")[0] for line in self._ran.read_text().splitlines())
        for token, times in ran.items():
            if times > 1:
                self._fault(f"container {token} was started {times} times")
        for known in tasks:
            if known.name != BOX or known.part is None or known.end is None:
                continue
            state = Record.unpack(known.id, known.end[0]).state
            if state in WHOLE and not ran[known.part.token]:
                self._fault(f"container task {id_text(known.id)} is {state} and never ran")
        self._tally["containers started"] += ran.total()
