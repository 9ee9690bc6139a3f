"""What a task leaves in its thread, and what the next one finds there."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import leaving_tasks as tasks
from theatre import PATIENCE, runtime
from understudy.supervisor.rules.pace import RUNS
from understudy.supervisor.worker.thread_state import ThreadState


def in_thread(call: Callable[[], Any]) -> Any:
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(call()), name="a thread")
    thread.start()
    thread.join()
    return said[0]


@pytest.mark.parametrize("what", tasks.LEAVE)
def test_each_thing_is_set_back_once(what: str) -> None:
    def body() -> list[Any]:
        state = ThreadState(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        before = tasks.seen_here()
        tasks.LEAVE[what]()
        left = tasks.seen_here()
        return [left != before, state.reset(), tasks.seen_here() == before, state.reset()]

    assert in_thread(body) == [True, True, True, False]


def test_a_new_thread_has_nothing_of_the_one_that_started_it() -> None:
    clean = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def body() -> Any:
        tasks.LEAVE["signals"]()
        tasks.LEAVE["processors"]()

        def new() -> Any:
            ThreadState(clean)
            return [signal.pthread_sigmask(signal.SIG_BLOCK, ()) == clean, os.sched_getaffinity(0)]

        return in_thread(new)

    assert in_thread(body) == [True, os.sched_getaffinity(0)]


def test_a_trace_function_from_before_the_first_task_stays() -> None:
    def trace(*_: Any) -> None:
        return None

    def body() -> Any:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            state = ThreadState(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return [state.reset(), sys.gettrace() is trace]
        finally:
            sys.settrace(before)

    assert in_thread(body) == [False, True]


def test_the_next_task_starts_clean(home: Path) -> None:
    with runtime(home, app="leaving_tasks", slots=1) as rt:
        clean = rt.run(tasks.look, timeout=PATIENCE)
        for what in [*tasks.LEAVE, *tasks.LEAVE_IN_CONTEXT]:
            rt.run(tasks.leave, what, timeout=PATIENCE)
            assert rt.run(tasks.look, timeout=PATIENCE) == clean, what


def test_quick_tasks_that_leave_something_are_watched(home: Path) -> None:
    with runtime(home, app="leaving_tasks", slots=1) as rt:
        clean = rt.run(tasks.look, timeout=PATIENCE)
        for _ in range(2 * RUNS):
            rt.run(tasks.leave_name, timeout=PATIENCE)
        infos = rt.start_many(tasks.name, [()] * (2 * RUNS))
        assert set(rt.results(infos, PATIENCE)) == {clean["name"]}


def test_a_thread_that_a_waiting_task_asks_for_is_clean(home: Path) -> None:
    with runtime(home, app="leaving_tasks", slots=1) as rt:
        clean = rt.run(tasks.look, timeout=PATIENCE)
        waiting = tasks.leaves_and_waits.start()
        assert rt.run(tasks.look, timeout=PATIENCE) == clean
        waiting.send("end")
        waiting.result(PATIENCE)
