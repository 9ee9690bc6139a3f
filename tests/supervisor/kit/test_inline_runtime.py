from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import kit_tasks as app
from checkout import ROOT
from understudy import (
    Executor,
    InvalidOption,
    NotInline,
    NotRunning,
    Runtime,
    Stalled,
    State,
    SupervisorLost,
    TaskFailed,
    UnknownPool,
    receive,
    sleep,
    task,
)
from understudy.supervisor.kit.crash_plan import POINTS
from understudy.supervisor.testing import crash_points
from understudy.testing import InlineRuntime

#: What the tasks here have done, in order. They are in this process.
TOLD: list[Any] = []
GATE = threading.Event()


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    TOLD.clear()
    with InlineRuntime() as runtime:
        yield runtime


@task
def steps(name: str) -> None:
    for number in range(3):
        TOLD.append((name, number))
        sleep(1)


@task(retry=5)
def counted() -> int:
    TOLD.append("begun")
    try:
        message: int = receive()
    finally:
        TOLD.append("over")
    return message


@task
def hangs() -> None:
    GATE.wait()


@task
def calls_the_test(rt_close: str) -> None:
    RUNTIMES[-1].clock.advance(1)


RUNTIMES: list[InlineRuntime] = []


# --- one thing at a time ---


def test_everything_has_run_when_a_call_returns(rt: InlineRuntime) -> None:
    rt.start_many(steps, ["a", "b", "c"])
    assert TOLD == [("a", 0), ("b", 0), ("c", 0)], "in the order of their starts"
    rt.clock.advance(1)
    assert TOLD[3:] == [("a", 1), ("b", 1), ("c", 1)]


def test_a_task_without_a_slot_waits(rt: InlineRuntime) -> None:
    with InlineRuntime(slots=1) as narrow:
        first, second = narrow.start(app.collect), narrow.start(app.add, 1, 2)
        assert narrow.result(second) == 3, "a task that waits has no slot"
        narrow.close_mailbox(first)
        assert narrow.result(first) == []


def test_the_same_order_each_time() -> None:
    orders = []
    for _ in range(3):
        TOLD.clear()
        with InlineRuntime(workers=3, slots=2) as rt:
            rt.start_many(steps, [str(n) for n in range(20)])
            rt.clock.advance(10)
        orders.append(list(TOLD))
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == 60


def test_what_is_not_waited_for_runs_with_the_next_settle(rt: InlineRuntime) -> None:
    ref = rt.actor(app.Account, "ada", "Ada")
    future = ref.submit(app.Account.deposit, 5)
    assert not future.done()
    rt.settle()
    assert future.done()
    assert future.get() == 5


# --- what never ends ---


def test_a_call_that_waits_for_ever_says_what_for(rt: InlineRuntime) -> None:
    info = rt.start(app.patient)
    with pytest.raises(Stalled, match=r"kit_tasks:patient \(.*, running\).*clock\.advance\(0\.1\)"):
        rt.result(info)
    rt.clock.advance(0.1)
    assert rt.result(info) == "timed out"
    with pytest.raises(Stalled, match=r"send a message, or cancel"):
        rt.result(rt.start(app.collect.options(timeout=None)))


def test_code_that_hangs_is_found_and_shown() -> None:
    GATE.clear()
    rt = InlineRuntime(patience=0.2)
    try:
        with pytest.raises(Stalled, match=r"GATE\.wait\(\)"):
            rt.run(hangs)
        with pytest.raises(Stalled):
            rt.run(app.add, 1, 2)
    finally:
        GATE.set()
        rt.close()


def test_a_task_may_not_drive_the_test(rt: InlineRuntime) -> None:
    RUNTIMES.append(rt)
    with pytest.raises(TaskFailed, match="are for the test, not for tasks"):
        rt.run(calls_the_test, "x")


# --- crashes ---


def test_a_crash_runs_no_finally_block(rt: InlineRuntime) -> None:
    info = rt.start(counted)
    assert TOLD == ["begun"]
    rt.crash()
    assert rt.status(info).interruptions == 1
    assert TOLD == ["begun", "begun"]
    rt.send(info, 7)
    assert rt.result(info) == 7
    assert TOLD == ["begun", "begun", "over"]
    rt.close()
    assert TOLD[3:] == ["over"], "the code of the dead is ended with the runtime"


def test_a_send_that_meets_a_crash_says_so(rt: InlineRuntime) -> None:
    info = rt.start(app.collect)
    rt.crash_at("commit")
    with pytest.raises(SupervisorLost):
        rt.send(info, 1)
    rt.close_mailbox(info)
    assert rt.result(info) == []


def test_a_crash_leaves_no_descriptor_behind(rt: InlineRuntime) -> None:
    rt.start(app.collect)
    rt.crash()
    rt.settle()
    before = len(os.listdir("/proc/self/fd"))
    for point in ("", "recover.before", "recover.after"):
        if point:
            rt.crash_at(point)
        rt.crash()
        rt.settle()
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("point", sorted(POINTS))
def test_state_is_exact_after_a_crash_at_any_point(point: str, side: str) -> None:
    for nth in (1, 3):
        with InlineRuntime() as rt:
            ref = rt.actor(app.Account, "ada", "Ada")
            rt.crash_at(f"{point}.{side}", nth)
            if point in ("bury", "recover"):
                rt.kill_worker(ref.id) if point == "bury" else rt.crash()
            assert [ref.options(timeout=60).call(app.Account.deposit, 1) for _ in range(5)] == [1, 2, 3, 4, 5]
            info = rt.start(app.counts)
            for n in range(3):
                # It may be asked again only if it is known whether it was done.
                rt.start(app.relays_to, info.id, n).wait(timeout=60)
            rt.close_mailbox(info)
            assert rt.result(info, timeout=60)[0] == 3


def test_a_point_that_is_not_there(rt: InlineRuntime) -> None:
    for point in ("nowhere", "commit.during", "commit.", "fork.before"):
        with pytest.raises(InvalidOption, match="commit, "):
            rt.crash_at(point)
    with pytest.raises(InvalidOption):
        rt.crash_at("commit", 0)


def test_every_point_of_a_running_system_is_there() -> None:
    others = {
        name for name, (process, _) in crash_points.POINTS.items() if process not in ("supervisor", "worker")
    }
    assert set(POINTS) == crash_points.POINTS.keys() - others - {"adopt"}
    page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    assert [point for point in POINTS if f"| `{point}` | {crash_points.POINTS[point][0]} |" not in page] == []


def test_two_runtimes_know_nothing_of_each_other(rt: InlineRuntime) -> None:
    with InlineRuntime() as other:
        other.crash_at("commit")
        assert rt.run(app.add, 1, 2) == 3
        assert other.run(app.add, 1, 2) == 3
        other.clock.advance(1000)
        assert other.clock.time() - rt.clock.time() > 999
        with pytest.raises(LookupError):
            other.status(rt.start(app.add, 1, 2))


# --- what it has not ---


def test_what_needs_processes_is_refused(rt: InlineRuntime) -> None:
    for call in (rt.subscribe, rt.stop_supervisor, InlineRuntime.connect, lambda: Executor(rt)):
        with pytest.raises(NotInline):
            call()
    with pytest.raises(InvalidOption):
        InlineRuntime(colour="red")


def test_isolated_tasks_run(rt: InlineRuntime) -> None:
    assert rt.run(app.add.options(isolate=True), 1, 2, timeout=60) == 3


def test_pids_are_nobodys(rt: InlineRuntime) -> None:
    info = rt.start(app.collect)
    for pid in (rt.supervisor_pid, rt.status(info).worker_pid):
        assert pid is not None
        assert pid > 1 << 22


# --- the process around it ---


def test_in_an_async_test() -> None:
    async def story() -> Any:
        with InlineRuntime() as rt:
            info = rt.start(app.third_time)
            rt.clock.advance(1)
            return rt.result(info)

    assert asyncio.run(story()) == 3


def test_it_leaves_nothing_behind() -> None:
    before = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rt = InlineRuntime()
        rt.start(app.collect)
        rt.start(app.collect_async)
        rt.start(app.stubborn)
        rt.crash()
        rt.close()
        rt.close()
    assert threading.active_count() == before
    with pytest.raises(NotRunning):
        rt.run(app.add, 1, 2)
    with pytest.raises(NotRunning):
        rt.status(rt_id())


def rt_id() -> str:
    return "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def test_beside_a_real_runtime(rt: InlineRuntime) -> None:
    assert isinstance(rt, Runtime)
    assert rt.status(rt.start(app.add, 1, 2)).state is State.COMPLETED


def test_pools_have_workers_of_their_own_and_one_environment() -> None:
    with InlineRuntime(pools={"gpu": 2}) as rt:
        beside = [worker for worker in rt._world.pool.seats if worker.pool == "gpu"]
        assert len(beside) == 2
        assert rt.run(app.add.options(pool="gpu"), 1, 2) == 3
        assert sum(worker.done for worker in beside) == 1
        with pytest.raises(UnknownPool, match="It has gpu"):
            rt.start(app.add.options(pool="io"), 1, 2)
    with pytest.raises(NotInline, match="share one environment"):
        InlineRuntime(pools={"gpu": 1}, pool_env={"gpu": {"A": "b"}})
