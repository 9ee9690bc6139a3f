"""Starts in the background, against supervisors of paper: what is asked, and which future gets what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from mimic import Mimic, Peer, mimic
from understudy.actors.errors import NotRunning, TaskNotFound, UnknownTask
from understudy.supervisor.client import start_queue
from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.client.start_queue import StartQueue, TaskFuture
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until

THREAD = "understudy-executor"


def row(number: int, key: str | None = None, args: bytes | None = None) -> tuple[Any, ...]:
    return bytes([number]) * 16, "task", args, None, key, None, bytes(16), None


def end(number: int) -> tuple[Any, ...]:
    return bytes([number]) * 16, "completed", bytes([number]), None


def ids(*numbers: int) -> set[bytes]:
    return {bytes([number]) * 16 for number in numbers}


class Desk:
    """A queue, and the supervisor that it asks."""

    def __init__(self, home: Path, it: Mimic) -> None:
        self.client = ReconnectingClient(Home(home), Settings(), None, owner=False)
        self.over = 0
        self.queue = StartQueue(self.client, lambda: NO_DEADLINE, self._over)
        self.client.connect_now()
        self.peer: Peer = it.peer()

    def _over(self) -> None:
        self.over += 1

    def put(self, *rows: tuple[Any, ...]) -> list[TaskFuture[Any]]:
        return [self.queue.put(row, NO_DEADLINE) for row in rows]

    def next(self, op: Ask) -> tuple[int, Any]:
        """The number and the payload of the next request, which is this one."""
        frame = self.peer.next()
        assert frame[0] == op, frame
        return frame[1], frame[2] if len(frame) > 2 else None

    def starts(self, *numbers: int) -> int:
        """The next request starts these tasks."""
        request, rows = self.next(Ask.START)
        assert [row[0][0] for row in rows] == list(numbers)
        return request

    def waits(self, *numbers: int) -> int:
        """The next request waits for these tasks."""
        request, asked = self.next(Ask.WAIT)
        assert set(asked) == ids(*numbers)
        return request

    def tell(self, *frames: tuple[Any, ...]) -> None:
        self.peer.tell(*frames)


@pytest.fixture
def desk(home: Path) -> Iterator[Desk]:
    with mimic(home) as it:
        desk = Desk(home, it)
        yield desk
        desk.queue.close()
        desk.client.close()
        until(lambda: THREAD not in {thread.name for thread in threading.enumerate()})
        assert desk.over == 1
        assert not desk.client._waits
        assert desk.queue._waits == set()


def unknown(request: int, name: str = "task") -> tuple[Any, ...]:
    return Answer.ERROR, request, "UnknownTask", f"no {name}", {"name": name}


def test_a_start_takes_all_that_came_while_the_one_before_was_under_way(desk: Desk):
    (first,) = desk.put(row(1))
    request = desk.starts(1)
    later = desk.put(row(2), row(3))
    desk.tell((Answer.OK, request, None))
    wait = desk.waits(1)
    request = desk.starts(2, 3)
    desk.tell((Answer.ENDED, wait, [end(1)]), (Answer.OK, wait, None), (Answer.OK, request, None))
    assert first.result(10) == 1
    wait = desk.waits(2, 3)
    desk.tell((Answer.ENDED, wait, [end(3)]))
    assert later[1].result(10) == 3
    assert not later[0].done()
    desk.tell((Answer.ENDED, wait, [end(2)]), (Answer.OK, wait, None))
    assert later[0].result(10) == 2


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A START is full with two tasks or ten bytes, and at most three are under way."""
    monkeypatch.setattr(start_queue, "START_PART", 2)
    monkeypatch.setattr(start_queue, "BATCH_BYTES", 10)
    monkeypatch.setattr(start_queue, "START_AHEAD", 3)


@pytest.mark.usefixtures("parts_of_two")
def test_full_starts_are_sent_ahead_of_their_acknowledgements(desk: Desk):
    desk.put(row(1))
    requests = [desk.starts(1)]
    desk.put(row(2), row(3))
    requests.append(desk.starts(2, 3))
    desk.put(row(4, args=bytes(10)))
    requests.append(desk.starts(4))
    last = desk.put(row(5), row(6), row(7))
    desk.tell((Answer.OK, requests[0], None))
    desk.waits(1)  # No START came before: three were under way.
    requests.append(desk.starts(5, 6))
    for request in requests[1:]:
        desk.tell((Answer.OK, request, None))
    desk.waits(2, 3)
    desk.waits(4)
    desk.waits(5, 6)
    desk.tell(
        (Answer.OK, desk.starts(7), None)
    )  # This one is not full, so it came after the last acknowledgement.
    wait = desk.waits(7)
    desk.tell((Answer.ENDED, wait, [end(7)]), (Answer.OK, wait, None))
    assert last[2].result(10) == 7


@pytest.mark.usefixtures("parts_of_two")
def test_a_refusal_harms_no_start_that_was_sent_ahead(desk: Desk):
    desk.put(row(1))
    first = desk.starts(1)
    bad, good, *_ = desk.put(row(2), row(3), row(4), row(5))
    second, third = desk.starts(2, 3), desk.starts(4, 5)
    desk.tell((Answer.OK, third, None), unknown(second), (Answer.OK, first, None))
    desk.waits(1)
    desk.tell(unknown(desk.starts(2)))
    with pytest.raises(UnknownTask, match="no task"):
        bad.result(10)
    desk.tell((Answer.OK, desk.starts(3), None))
    desk.waits(3)
    desk.waits(4, 5)
    assert not good.done()


@pytest.mark.usefixtures("parts_of_two")
def test_a_cancel_waits_for_all_starts_under_way_and_comes_before_the_next(desk: Desk):
    desk.put(row(1))
    first = desk.starts(1)
    second, _ = desk.put(row(2), row(3))
    request = desk.starts(2, 3)
    assert second.cancel()
    desk.put(row(4), row(5))
    desk.tell((Answer.OK, first, None))
    desk.waits(1)
    desk.tell((Answer.OK, request, None))
    desk.waits(2, 3)
    request, asked = desk.next(Ask.CANCEL)
    assert asked == bytes([2]) * 16
    desk.tell((Answer.OK, request, True))
    desk.starts(4, 5)


@pytest.mark.usefixtures("parts_of_two")
def test_a_flush_waits_for_all_starts_under_way(desk: Desk):
    desk.put(row(1))
    first = desk.starts(1)
    desk.put(row(2), row(3))
    second = desk.starts(2, 3)
    over = threading.Thread(target=desk.queue.flush, args=(10,))
    over.start()
    desk.tell((Answer.OK, first, None))
    desk.waits(1)
    assert over.is_alive()
    desk.tell((Answer.OK, second, None))
    over.join(10)
    assert not over.is_alive()


@pytest.mark.usefixtures("parts_of_two")
def test_all_starts_under_way_are_sent_again_to_the_next_supervisor(home: Path):
    with mimic(home) as it:
        desk = Desk(home, it)
        desk.put(row(1))
        desk.starts(1)
        desk.put(row(2), row(3))
        desk.starts(2, 3)
    with mimic(home) as it:
        desk.peer = it.peer()
        desk.tell((Answer.OK, desk.starts(1), None))
        desk.waits(1)
        desk.tell((Answer.OK, desk.starts(2, 3), None))
        desk.waits(2, 3)
        desk.queue.close()
        desk.client.close()
        desk.queue.join()


def test_a_task_that_is_refused_harms_no_other(desk: Desk):
    (first,) = desk.put(row(1))
    request = desk.starts(1)
    good, bad, fine = desk.put(row(2), row(3), row(4))
    desk.tell((Answer.OK, request, None))
    desk.waits(1)
    desk.tell(unknown(desk.starts(2, 3, 4)))
    desk.tell((Answer.OK, desk.starts(2), None))
    desk.waits(2)
    desk.tell(unknown(desk.starts(3, 4)))
    desk.tell(unknown(desk.starts(3)))
    with pytest.raises(UnknownTask, match="no task"):
        bad.result(10)
    desk.tell((Answer.OK, desk.starts(4), None))
    desk.waits(4)
    assert not any(future.done() for future in (first, good, fine))


def test_a_wait_that_is_refused_harms_no_other(desk: Desk):
    desk.put(row(1))
    request = desk.starts(1)
    gone, good = desk.put(row(2), row(3))
    desk.tell((Answer.OK, request, None))
    desk.waits(1)
    desk.tell((Answer.OK, desk.starts(2, 3), None))
    missing = "TaskNotFound", "no task", {"id": "2"}
    desk.tell((Answer.ERROR, desk.waits(2, 3), *missing))
    for _ in range(2):
        request, asked = desk.next(Ask.WAIT)
        if set(asked) == ids(2):
            desk.tell((Answer.ERROR, request, *missing))
        else:
            assert set(asked) == ids(3)
            desk.tell((Answer.ENDED, request, [end(3)]), (Answer.OK, request, None))
    with pytest.raises(TaskNotFound):
        gone.result(10)
    assert good.result(10) == 3


def test_futures_whose_keys_lead_to_one_task_get_its_end(desk: Desk):
    desk.put(row(1))
    request = desk.starts(1)
    pair = desk.put(row(2, "k"), row(3, "k"))
    desk.tell((Answer.OK, request, None))
    desk.waits(1)
    desk.tell((Answer.OK, desk.starts(2, 3), [bytes([9]) * 16] * 2))
    wait = desk.waits(9)
    desk.tell((Answer.ENDED, wait, [end(9)]), (Answer.OK, wait, None))
    assert [future.result(10) for future in pair] == [9, 9]
    assert {future.id for future in pair} == {"09090909-0909-0909-0909-090909090909"}


def test_a_task_that_was_not_sent_is_never_started_if_it_is_cancelled(desk: Desk):
    desk.put(row(1))
    request = desk.starts(1)
    second, third = desk.put(row(2), row(3))
    assert second.cancel()
    assert second.cancel()
    assert second.cancelled()
    desk.tell((Answer.OK, request, None))
    desk.waits(1)
    desk.starts(3)
    assert not third.done()


def test_a_task_that_was_sent_is_cancelled_after_its_start(desk: Desk):
    (first,) = desk.put(row(1))
    request = desk.starts(1)
    assert first.cancel()
    with pytest.raises(futures.CancelledError):
        first.result(10)
    assert futures.wait([first], 10).done == {first}
    desk.tell((Answer.OK, request, None))
    wait = desk.waits(1)
    request, asked = desk.next(Ask.CANCEL)
    assert asked == bytes([1]) * 16
    desk.tell((Answer.OK, request, True))
    desk.tell((Answer.ENDED, wait, [(bytes([1]) * 16, "cancelled", None, None)]), (Answer.OK, wait, None))
    desk.queue.flush(10)


def test_a_cancel_comes_too_late_for_a_task_that_has_ended(desk: Desk):
    (first,) = desk.put(row(1))
    desk.tell((Answer.OK, desk.starts(1), None))
    desk.tell((Answer.ENDED, desk.waits(1), [end(1)]))
    assert first.result(10) == 1
    assert not first.cancel()
    assert not first.cancelled()


def test_it_takes_no_more_than_so_many_starts_without_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start_queue, "MAX_STARTS", 2)
    desk.put(row(1))
    request = desk.starts(1)
    desk.put(row(2))
    with pytest.raises(TimeoutError, match=r"2 starts were not acknowledged within 0\.05 s"):
        desk.queue.put(row(3), Deadline(0.05))
    desk.tell((Answer.OK, request, None))
    desk.queue.put(row(3), Deadline(10))


def test_it_takes_no_more_than_so_many_bytes_without_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(start_queue, "MAX_START_BYTES", 100)
    desk.put(row(1, args=bytes(1000)))  # One is taken at any size.
    request = desk.starts(1)
    with pytest.raises(TimeoutError):
        desk.queue.put(row(2, args=b"1"), Deadline(0.05))
    desk.tell((Answer.OK, request, None))
    desk.queue.put(row(3, args=bytes(100)), Deadline(10))
    with pytest.raises(TimeoutError):
        desk.queue.put(row(2, args=b"1"), Deadline(0.05))


def test_after_close_it_ends_with_its_last_future(desk: Desk):
    (first,) = desk.put(row(1))
    desk.queue.close()
    desk.queue.close()
    with pytest.raises(RuntimeError, match="shut down"):
        desk.put(row(2))
    desk.tell((Answer.OK, desk.starts(1), None))
    wait = desk.waits(1)
    assert desk.over == 0
    desk.tell((Answer.ENDED, wait, [end(1)]), (Answer.OK, wait, None))
    desk.queue.join()
    assert first.done()
    assert desk.over == 1


def test_cancelled_tasks_do_not_hold_it_up_after_close(desk: Desk):
    desk.put(row(1))
    desk.tell((Answer.OK, desk.starts(1), None))
    desk.waits(1)
    desk.queue.close()
    desk.queue.cancel_all()
    request, _ = desk.next(Ask.CANCEL)
    desk.tell((Answer.OK, request, True))
    desk.queue.join()
    assert desk.next(Ask.UNWAIT)


def test_an_unused_queue_is_over_at_once(desk: Desk):
    desk.queue.close()
    desk.queue.join()
    assert desk.over == 1


def test_the_next_supervisor_is_asked_again(home: Path):
    with mimic(home) as it:
        desk = Desk(home, it)
        (first,) = desk.put(row(1))
        desk.starts(1)
    with mimic(home) as it:
        desk.peer = it.peer()
        desk.tell((Answer.OK, desk.starts(1), None))
        desk.waits(1)
    with mimic(home) as it:
        desk.peer = it.peer()
        desk.tell((Answer.ENDED, desk.waits(1), [end(1)]))
        assert first.result(10) == 1
        desk.queue.close()
        desk.queue.join()
        desk.client.close()


def test_a_closed_client_ends_all_futures(desk: Desk):
    (first,) = desk.put(row(1))
    desk.tell((Answer.OK, desk.starts(1), None))
    desk.waits(1)
    (second,) = desk.put(row(2))
    desk.starts(2)
    desk.client.close()
    (third,) = desk.put(row(3))
    for future in (first, second, third):
        with pytest.raises(NotRunning, match="closed"):
            future.result(10)


def test_all_queues_are_flushed_within_one_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    limits: list[float | None] = []
    other = StartQueue(desk.client, lambda: NO_DEADLINE, lambda: None)
    monkeypatch.setattr(start_queue, "_queues", [desk.queue, other])
    monkeypatch.setattr(StartQueue, "flush", lambda _queue, seconds: limits.append(seconds))
    start_queue.flush_all(0.0)
    assert limits == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="shut down"):
        desk.put(row(1))


def test_a_cancel_during_the_start_reaches_the_task_to_which_the_key_leads(desk: Desk):
    (first,) = desk.put(row(1, "k"))
    request = desk.starts(1)
    assert first.cancel()
    desk.tell((Answer.OK, request, [bytes([9]) * 16]))
    wait = desk.waits(9)
    request, asked = desk.next(Ask.CANCEL)
    assert asked == bytes([9]) * 16
    desk.tell((Answer.OK, request, True))
    desk.tell((Answer.ENDED, wait, [(bytes([9]) * 16, "cancelled", None, None)]), (Answer.OK, wait, None))
    desk.queue.flush(10)
    assert first.id == "09090909-0909-0909-0909-090909090909"


@pytest.mark.parametrize("kind", ["AppFailed", "StoreFull", "StoreError", "ProtocolError", "UnderstudyError"])
def test_an_error_that_is_about_no_task_is_that_of_all_after_one_request(desk: Desk, kind: str):
    desk.put(row(1))
    request = desk.starts(1)
    pair = desk.put(row(2), row(3))
    desk.tell((Answer.OK, request, None))
    desk.waits(1)
    desk.tell((Answer.ERROR, desk.starts(2, 3), kind, "no", {}))
    assert [type(future.exception(10)).__name__ for future in pair] == [kind] * 2
    (fourth,) = desk.put(row(4))
    request = desk.starts(4)
    pair = desk.put(row(5), row(6))
    desk.tell((Answer.OK, request, None))
    desk.waits(4)
    desk.tell((Answer.OK, desk.starts(5, 6), None))
    desk.tell((Answer.ERROR, desk.waits(5, 6), kind, "no", {}))
    assert [type(future.exception(10)).__name__ for future in pair] == [kind] * 2
    assert not fourth.done()


def test_an_error_at_its_end_is_logged_and_holds_up_nobody(home: Path, caplog: pytest.LogCaptureFixture):
    def fail() -> None:
        raise OSError("cannot be closed")

    with mimic(home) as it:
        desk = Desk(home, it)
        desk.queue._on_over = fail
        (first,) = desk.put(row(1))
        desk.tell((Answer.OK, desk.starts(1), None))
        desk.tell((Answer.ENDED, desk.waits(1), [end(1)]))
        assert first.result(10) == 1
        desk.queue.close()
        joining = threading.Thread(target=desk.queue.join, daemon=True)
        joining.start()
        joining.join(10)
        assert not joining.is_alive()
        unused = StartQueue(desk.client, lambda: NO_DEADLINE, fail)
        unused.close()
        unused.join()
        desk.client.close()
    assert caplog.text.count("OSError: cannot be closed") == 2
