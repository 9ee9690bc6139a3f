"""What a worker reports, over a real socket pair: order, how long it may gather, and the end."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from understudy.supervisor.settings import BATCH_BYTES
from understudy.supervisor.wire.codec import Decoder
from understudy.supervisor.wire.messages import Report
from understudy.supervisor.worker.report_buffer import DONE_GATHERED, LOG_GATHERED, LOG_LINGER, ReportBuffer
from waiting import until

#: Seconds that a loaded machine may take beyond what is promised.
SLACK = 2.0


def row(id: bytes, value: bytes | None = None) -> tuple[Any, ...]:
    return (id, 0, value, None, None, 0, 1.0, 2.0)


class Pair:
    def __init__(self, attempts: Mapping[bytes, object] | None = None) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(10)
        self.theirs = theirs
        self.reports = ReportBuffer(theirs) if attempts is None else ReportBuffer(theirs, attempts=attempts)
        self._decoder = Decoder(1 << 20)
        self.frames: list[tuple[Any, ...]] = []

    def more(self) -> list[tuple[Any, ...]]:
        """Wait for what comes next."""
        new: list[tuple[Any, ...]] = []
        while not new:
            data = self.ours.recv(1 << 18)
            if not data:
                raise EOFError
            new = list(self._decoder.feed(data))
        self.frames += new
        return new

    def until(self, op: Report, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until so many frames of a kind are there; those."""
        while len(found := [frame for frame in self.frames if frame[0] == op]) < count:
            self.more()
        return found

    def results(self) -> list[bytes]:
        return [result[0] for frame in self.frames if frame[0] == Report.DONE for result in frame[1]]

    def close(self) -> None:
        self.ours.close()
        self.reports.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_everything_about_a_task_comes_before_its_end(pair: Pair):
    for n in range(200):
        id = n.to_bytes(16, "big")
        pair.reports.parked(id, True)
        pair.reports.took(id, 2, 1)
        pair.reports.progress(id, 1.0, None, "")
        pair.reports.log(id, "stdout", "line")
        if n % 3 == 0:
            pair.reports.request((Report.CHECKPOINT, n, id, b"", 0, []))
        pair.reports.done(row(id))
    pair.reports.flush()
    while len(pair.results()) < 200:
        pair.more()
    ended: set[bytes] = set()
    seen: dict[str, set[bytes]] = {
        "log": set(),
        "mail": set(),
        "progress": set(),
        "parked": set(),
        "request": set(),
    }
    for frame in pair.frames:
        match frame[0]:
            case Report.DONE:
                ended |= {result[0] for result in frame[1]}
                continue
            case Report.LOG:
                kind, ids = "log", {frame[1]}
            case Report.TAKEN:
                kind, ids = "mail", {told[0] for told in frame[1]}
            case Report.PROGRESS:
                kind, ids = "progress", {told[0] for told in frame[1]}
            case Report.PARKED:
                kind, ids = "parked", {*frame[1], *frame[2]}
            case Report.CHECKPOINT:
                kind, ids = "request", {frame[2]}
        assert not ids & ended, f"{kind} of a task that has ended"
        seen[kind] |= ids
    assert [len(seen[kind]) for kind in ("log", "mail", "progress", "parked", "request")] == [200] * 4 + [67]
    assert pair.results() == [n.to_bytes(16, "big") for n in range(200)]


def test_the_same_order_from_many_threads(pair: Pair):
    """A checkpoint of a task comes before its end, whichever thread sends."""

    def perform(thread: int) -> None:
        for n in range(100):
            id = bytes((thread, n)) * 8
            pair.reports.log(id, "stdout", "x")
            pair.reports.request((Report.CHECKPOINT, n, id, b"", 0, []))
            pair.reports.done(row(id))

    threads = [threading.Thread(target=perform, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while len(pair.results()) < 400:
        pair.more()
    for thread in threads:
        thread.join()
    assert len(set(pair.results())) == 400, "each once"
    announced: set[bytes] = set()
    for frame in pair.frames:
        if frame[0] in {Report.CHECKPOINT, Report.LOG}:
            announced.add(frame[2] if frame[0] == Report.CHECKPOINT else frame[1])
        elif frame[0] == Report.DONE:
            assert {result[0] for result in frame[1]} <= announced


def say(reports: ReportBuffer, what: str, id: bytes, of: object) -> bool | None:
    """Report something of an attempt."""
    match what:
        case "parked":
            reports.parked(id, True, of)
        case "mail":
            reports.took(id, 2, 1, of)
        case "progress":
            reports.progress(id, 1.0, None, "", of)
        case "request":
            return reports.request((Report.CHECKPOINT, 1, id, b"", 0, []), id, of)
    return None


SAID = {
    "parked": Report.PARKED,
    "mail": Report.TAKEN,
    "progress": Report.PROGRESS,
    "request": Report.CHECKPOINT,
}


@pytest.mark.parametrize("what", SAID)
def test_what_an_attempt_says_that_is_over_does_not_count(what: str):
    id, over, runs = b"a" * 16, object(), object()
    attempts: dict[bytes, object] = {}
    pair = Pair(attempts)
    assert not say(pair.reports, what, id, over)
    attempts[id] = runs
    assert not say(pair.reports, what, id, over)
    pair.reports.done(row(b"b" * 16))
    pair.until(Report.DONE)
    assert [frame[0] for frame in pair.frames] == [Report.DONE]
    assert say(pair.reports, what, id, runs) is not False
    assert pair.until(SAID[what])
    pair.close()


@pytest.mark.parametrize("what", SAID)
def test_an_attempt_that_ends_while_it_speaks_has_spoken_before_its_end(what: str):
    """Behind the end it would be taken for a report of the next attempt."""
    id, attempt = b"a" * 16, object()

    class Attempts(dict[bytes, object]):
        """The attempt is there, and ends in the moment in which that has been seen."""

        def get(self, key: bytes, default: object = None) -> object:
            found = super().get(key, default)
            ending.start()
            until(lambda: pair.reports.has_results)
            return found

    def end() -> None:
        attempts.pop(id)
        pair.reports.done(row(id))
        pair.reports.flush()

    ending = threading.Thread(target=end)
    attempts = Attempts({id: attempt})
    pair = Pair(attempts)
    say(pair.reports, what, id, attempt)
    ending.join()
    pair.until(Report.DONE)
    assert [frame[0] for frame in pair.frames] == [SAID[what], Report.DONE]
    pair.close()


def test_a_request_goes_out_at_once_and_takes_the_rest_along(pair: Pair):
    pair.reports.done(row(b"x" * 16))
    pair.reports.request((Report.RESTORE, 1, b"y" * 16))
    assert [frame[0] for frame in pair.more()] in ([Report.RESTORE, Report.DONE], [Report.DONE])
    pair.until(Report.RESTORE)


def test_results_that_are_held_wake_no_thread(pair: Pair):
    pair.reports.done(row(b"x" * 16), held=True)
    assert pair.reports.has_results
    assert not pair.reports._some.is_set(), "its thread sends it"
    pair.reports.flush()
    pair.until(Report.DONE)
    pair.reports.done(row(b"y" * 16), held=True)
    pair.reports.send_soon()
    pair.frames.clear()
    pair.until(Report.DONE)


@pytest.mark.parametrize("what", ["done", "parked", "mail", "progress", "log"])
def test_nothing_lingers(pair: Pair, what: str):
    id = os.urandom(16)
    started = time.monotonic()
    match what:
        case "done":
            pair.reports.done(row(id))
        case "parked":
            pair.reports.parked(id, True)
        case "mail":
            pair.reports.took(id, 1, 1)
        case "progress":
            pair.reports.progress(id, 1.0, 2.0, "half")
        case "log":
            pair.reports.log(id, "stdout", "line")
    assert pair.more()
    assert time.monotonic() - started < LOG_LINGER + SLACK


def test_log_lines_that_gather_do_not_hold_results_up(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("understudy.supervisor.worker.report_buffer.LOG_LINGER", 30.0)
    pair.reports.log(b"a" * 16, "stdout", "line")
    for n in range(5):
        pair.reports.done(row(bytes((n,)) * 16))
        pair.until(Report.DONE, n + 1)
    assert [frame for frame in pair.frames if frame[0] == Report.LOG] == []
    pair.reports.done(row(b"a" * 16))
    (log,) = pair.until(Report.LOG)
    assert log[1] == b"a" * 16
    assert log[2][0][1:] == ("stdout", "line")


def test_what_a_task_printed_goes_out_before_what_it_acknowledges(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.supervisor.worker.report_buffer.LOG_LINGER", 30.0)
    printed, silent, other = b"p" * 16, b"s" * 16, b"o" * 16
    pair.reports.log(other, "stdout", "waits")
    pair.reports.took(silent, 1, 0)
    pair.until(Report.TAKEN)
    pair.reports.log(printed, "stdout", "line")
    pair.reports.took(printed, 2, 1)
    pair.until(Report.TAKEN, 2)
    assert [frame[:2] for frame in pair.frames] == [
        (Report.TAKEN, ((silent, 1, 0),)),
        (Report.LOG, printed),
        (Report.TAKEN, ((printed, 2, 1),)),
    ]
    pair.reports.request((Report.CHECKPOINT, 1, other, b"", 0, []))
    pair.until(Report.CHECKPOINT)
    assert [frame[:2] for frame in pair.frames[3:]] == [(Report.LOG, other), (Report.CHECKPOINT, 1)]


class Lasting:
    """An attempt that is to be watched until it has been asked three times."""

    id = b"l" * 16

    def __init__(self) -> None:
        self.asked = 0

    def takes_long(self) -> bool:
        self.asked += 1
        return self.asked == 3


def test_what_takes_long_is_looked_at_until_it_has_said_so() -> None:
    lasting, over = Lasting(), Lasting()
    pair = Pair({Lasting.id: lasting})
    try:
        for each in (lasting, over):
            pair.reports.watch(each)
        until(lambda: not pair.reports._watched)
    finally:
        pair.close()
    assert (lasting.asked, over.asked) == (3, 0)


def test_only_the_last_word_counts(pair: Pair):
    id, other = b"a" * 16, b"b" * 16
    with pair.reports._sending:
        for waits in (True, False, True, False):
            pair.reports.parked(id, waits)
        pair.reports.parked(other, True)
        for n in range(10):
            pair.reports.progress(id, float(n), None, "")
            pair.reports.took(id, n, n)
    pair.until(Report.TAKEN)
    assert (Report.PARKED, (other,), (id,)) in pair.frames
    assert (Report.PROGRESS, ((id, 9.0, None, ""),)) in pair.frames
    assert (Report.TAKEN, ((id, 9, 9),)) in pair.frames


def test_many_results_are_sent_by_the_thread_that_makes_them(pair: Pair):
    for n in range(DONE_GATHERED):
        pair.reports.done(row(n.to_bytes(16, "big")))
    assert not pair.reports.has_results
    pair.reports.done(row(b"x" * 16))
    assert pair.reports.has_results or pair.until(Report.DONE)


def test_results_that_are_large_together_go_in_frames_that_fit(pair: Pair):
    values = [bytes(BATCH_BYTES // 3 + n) for n in range(8)]
    reader = threading.Thread(target=lambda: pair.until(Report.DONE, 4))
    reader.start()
    with pair.reports._sending:
        for n, value in enumerate(values):
            pair.reports.done(row(bytes((n,)) * 16, value))
    pair.reports.flush()
    reader.join()
    sizes = [sum(len(result[2]) for result in frame[1]) for frame in pair.frames if frame[0] == Report.DONE]
    assert max(sizes) <= BATCH_BYTES
    assert sum(sizes) == sum(map(len, values))


def test_a_task_that_prints_much_is_slowed_down_to_what_is_read(pair: Pair):
    pair.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    lines = 8 * LOG_GATHERED // 100
    printed = 0

    def chatter() -> None:
        nonlocal printed
        for _ in range(lines):
            pair.reports.log(b"a" * 16, "stdout", "x" * 84)
            printed += 1

    thread = threading.Thread(target=chatter)
    thread.start()
    heard = 0
    while heard < lines:
        for frame in pair.more():
            heard += len(frame[2])
        assert pair.reports._log_size <= 2 * LOG_GATHERED
    thread.join()
    assert (printed, heard) == (lines, lines)


def test_close_sends_what_is_left_and_ends_the_thread():
    pair = Pair()
    pair.reports.log(b"a" * 16, "stdout", "last words")
    pair.reports.done(row(b"a" * 16))
    pair.reports.close()
    assert not pair.reports._thread.is_alive()
    assert [frame[0] for frame in pair.more()][-1] == Report.DONE
    assert Report.LOG in [frame[0] for frame in pair.frames]
    pair.ours.close()
    pair.theirs.close()


def test_without_a_supervisor_nobody_is_kept_waiting():
    pair = Pair()
    pair.ours.close()
    pair.reports.request((Report.RESTORE, 1, b"x" * 16))
    pair.reports.done(row(b"x" * 16))
    pair.reports.close()
    pair.theirs.close()


def test_a_line_may_bring_its_time(pair: Pair):
    before = time.time()
    pair.reports.log(b"a" * 16, "stdout", "then", 7.25)
    pair.reports.log(b"b" * 16, "stdout", "now")
    (_, _, [then]), (_, _, [now]) = pair.until(Report.LOG, 2)
    assert then == (7.25, "stdout", "then")
    assert before <= now[0] <= time.time()
