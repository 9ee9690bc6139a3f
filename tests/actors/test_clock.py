from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future, InvalidStateError, as_completed, wait

import pytest

from understudy.actors.clock import ThreadWakeup as Wakeup
from understudy.actors.clock import TimedFuture


def test_a_ring_that_nobody_waits_for_yet_ends_the_next_wait_and_only_that() -> None:
    wakeup = Wakeup()
    assert not wakeup.wait(0)
    wakeup.ring()
    wakeup.ring()  # as good as one
    assert wakeup.wait()
    assert not wakeup.wait(0.01)


def test_any_thread_may_ring() -> None:
    wakeup = Wakeup()
    thread = threading.Thread(target=wakeup.ring)
    thread.start()
    assert wakeup.wait(60)
    thread.join()


def test_the_longest_time_there_is() -> None:
    wakeup = Wakeup()
    wakeup.ring()
    assert wakeup.wait(1e300)


def test_no_ring_is_lost_however_many_ring() -> None:
    wakeup, count, heard = Wakeup(), [0] * 4, 0

    def work(n: int) -> None:
        for _ in range(2_000):
            count[n] += 1
            wakeup.ring()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while (heard := sum(count)) < 8_000:
        assert wakeup.wait(deadline - time.monotonic()), f"nothing was heard after {heard}"
    for thread in threads:
        thread.join()


def test_a_future_is_as_those_of_the_standard_library() -> None:
    done: TimedFuture[int] = TimedFuture()
    told: list[object] = []
    done.add_done_callback(told.append)
    assert not done.done()
    assert not done.cancelled()
    with pytest.raises(TimeoutError):
        done.result(0)
    done.set_result(1)
    assert (done.done(), done.result(), done.exception(), told) == (True, 1, None, [done])
    done.add_done_callback(told.append)
    assert told == [done, done]
    assert not done.cancel()
    with pytest.raises(InvalidStateError):
        done.set_result(2)
    assert "finished" in repr(done)

    failed: TimedFuture[int] = TimedFuture()
    failed.set_exception(KeyError("k"))
    assert isinstance(failed.exception(), KeyError)
    with pytest.raises(KeyError):
        failed.result()

    cancelled: TimedFuture[int] = TimedFuture()
    cancelled.add_done_callback(told.append)
    assert cancelled.cancel()
    assert cancelled.cancel()
    assert told[-1] is cancelled
    assert not cancelled.set_running_or_notify_cancel()
    with pytest.raises(CancelledError):
        cancelled.result()
    with pytest.raises(InvalidStateError):
        cancelled.set_exception(KeyError())

    running: TimedFuture[int] = TimedFuture()
    assert running.set_running_or_notify_cancel()
    assert not running.cancel()
    running.set_result(3)
    assert running.result(0) == 3


def test_threads_that_wait_for_a_future_while_it_is_set() -> None:
    """In whatever order its condition is made and it is set, nobody waits for ever and no callback is lost."""
    for n in range(300):
        future: TimedFuture[int] = TimedFuture()
        assert all_that_is_heard(future, n) == [n] * 3


def all_that_is_heard(future: TimedFuture[int], value: int) -> list[int]:
    """What three threads get of a future that a fourth sets."""
    got: list[int] = []

    def call_back() -> None:
        future.add_done_callback(lambda future: got.append(future.result(0)))

    waits = (
        lambda: got.append(future.result(60)),
        call_back,
        lambda: got.extend(done.result() for done in as_completed([future], 60)),
        lambda: future.set_result(value),
    )
    threads = [threading.Thread(target=wait) for wait in waits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return got


def test_either_the_result_of_a_future_counts_or_its_cancel() -> None:
    for _ in range(300):
        future: TimedFuture[int] = TimedFuture()
        outcome: list[object] = []

        def set_it(future: TimedFuture[int] = future, outcome: list[object] = outcome) -> None:
            try:
                future.set_result(1)
                outcome.append("set")
            except InvalidStateError:
                pass

        thread = threading.Thread(target=set_it)
        thread.start()
        if future.cancel():
            outcome.append("cancelled")
        thread.join()
        assert outcome == [("cancelled" if future.cancelled() else "set")]


def test_several_futures_are_waited_for_at_once() -> None:
    futures: list[Future[int]] = [TimedFuture() for _ in range(3)]
    thread = threading.Thread(target=lambda: [future.set_result(n) for n, future in enumerate(futures)])
    thread.start()
    assert wait(futures, 60).not_done == set()
    thread.join()
