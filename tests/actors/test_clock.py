from __future__ import annotations

import threading
import time

from understudy.actors.clock import ThreadWakeup as Wakeup


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
