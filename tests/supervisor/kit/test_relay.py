from __future__ import annotations

import threading

import pytest

from understudy.supervisor.kit.crash_plan import CrashPlan
from understudy.supervisor.kit.relay import Relay, Runner, Stuck, runner_here


def test_one_runs_at_a_time_and_a_wait_gives_back() -> None:
    relay, told, waiting = Relay(10, CrashPlan()), list[str](), list[Runner]()

    def work(name: str) -> None:
        runner = runner_here()
        assert runner is not None
        told.append(f"{name} begins")
        waiting.append(runner)
        runner.pause()
        told.append(f"{name} ends")

    for name in "ab":
        relay.run(lambda name=name: work(name))  # type: ignore[misc]
    assert told == ["a begins", "b begins"]
    for runner in reversed(waiting):
        relay.resume(runner)
    assert told[2:] == ["b ends", "a ends"]
    relay.close()


def test_a_thread_is_used_again() -> None:
    relay, seen = Relay(10, CrashPlan()), set[int]()
    for _ in range(5):
        relay.run(lambda: seen.add(threading.get_ident()))
    assert len(seen) == 1
    assert runner_here() is None
    relay.close()
    assert not any(isinstance(thread, Runner) and thread.relay is relay for thread in threading.enumerate())


def test_code_that_does_not_give_back_is_shown() -> None:
    relay, gate = Relay(0.05, CrashPlan()), threading.Event()
    with pytest.raises(Stuck) as stuck:
        relay.run(lambda: gate.wait() and None)
    assert "gate.wait()" in str(stuck.value.error)
    gate.set()
    relay.close()
