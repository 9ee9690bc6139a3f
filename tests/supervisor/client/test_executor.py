"""The Executor, against one real supervisor that these tests share."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from call_tasks import add, nap, refuse, sum_of_children
from leftovers import left_behind, ours
from understudy import (
    Executor,
    InvalidOption,
    InvalidTask,
    NotRunning,
    Runtime,
    State,
    TaskFailed,
    UnencodableValue,
    UnknownTask,
)
from understudy.supervisor.client.start_queue import TaskFuture
from waiting import until

THREAD = "understudy-executor"


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: workers come and go while the tests share a supervisor. See `rt`."""


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    before = ours()
    with Runtime(home, app="call_tasks", workers=2, durability="os", drain=1.0) as rt:
        yield rt
    assert left_behind(before) == []


@pytest.fixture
def executor(rt: Runtime) -> Iterator[Executor]:
    with Executor(rt) as executor:
        yield executor
    assert threads() == 0


def threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def test_it_gives_values_and_errors(executor: Executor):
    first, second = executor.submit(add, 1), executor.submit(add, 1, b=5)
    named, failed = executor.submit("call_tasks:add", 7), executor.submit(refuse, "not today")
    assert [first.result(30), second.result(30), named.result(30)] == [2, 6, 8]
    assert isinstance(first, futures.Future)
    with pytest.raises(TaskFailed, match="not today"):
        failed.result(30)
    assert isinstance(failed.exception(), TaskFailed)


def test_its_tasks_are_ordinary_ones(rt: Runtime, executor: Executor):
    future = executor.submit(add.options(keep=60), 1)
    assert future.result(30) == 2
    record = rt.status(future.id)
    assert (record.task, record.state, record.options) == (add.name, State.COMPLETED, {"keep": 60})


def test_many_from_several_threads(executor: Executor):
    with futures.ThreadPoolExecutor(4) as pool:
        parts = [
            pool.submit(lambda part: [executor.submit(add, number, part) for number in range(300)], part)
            for part in range(4)
        ]
    for part, made in enumerate(parts):
        assert [future.result(30) for future in made.result()] == [number + part for number in range(300)]


def test_map_and_as_completed(executor: Executor):
    assert list(executor.map(add, range(50), range(50), timeout=30)) == [2 * number for number in range(50)]
    made = [executor.submit(add, number, 0) for number in range(50)]
    assert sorted(future.result() for future in futures.as_completed(made, 30)) == list(range(50))
    assert all(future.done() for future in made)


def test_asyncio_takes_its_futures(executor: Executor):
    async def story() -> None:
        values = await asyncio.gather(
            *(asyncio.wrap_future(executor.submit(add, number, 0)) for number in range(20))
        )
        assert values == list(range(20))
        assert await asyncio.get_running_loop().run_in_executor(executor, add, 3) == 4

    asyncio.run(story())


def test_callbacks_may_submit(executor: Executor):
    later: list[TaskFuture[int]] = []
    executor.submit(add, 1).add_done_callback(lambda done: later.append(executor.submit(add, done.result())))
    until(lambda: len(later) == 1)
    assert later[0].result(30) == 3


def plain(number: int) -> int:
    return number


@pytest.mark.parametrize("function", [plain, len, lambda: 1, None])
def test_a_plain_function_is_refused_with_what_to_do(executor: Executor, function: Any):
    with pytest.raises(InvalidTask, match="put @task above the function"):
        executor.submit(function, 1)


def test_what_is_wrong_at_the_call_is_raised_there(executor: Executor):
    with pytest.raises(TypeError):
        executor.submit(add, 1, 2, 3)
    with pytest.raises(UnencodableValue):
        executor.submit(add, object())


def test_what_the_supervisor_refuses_is_the_error_of_that_future_alone(executor: Executor):
    made = [
        executor.submit(add, 1),
        executor.submit("call_tasks:nobody"),
        *(executor.submit(add, 2) for _ in range(20)),
    ]
    with pytest.raises(UnknownTask, match="nobody"):
        made[1].result(30)
    assert [future.result(30) for future in made[:1] + made[2:]] == [2] + [3] * 20


def test_cancel_cancels_the_task(rt: Runtime, executor: Executor):
    running = executor.submit(nap, 600)
    until(lambda: any(record.id == running.id for record in rt.list(state=State.RUNNING)))
    assert running.cancel()
    assert running.cancelled()
    with pytest.raises(futures.CancelledError):
        running.result()
    assert rt.wait(running.id, 30).state is State.CANCELLED


def test_each_start_has_the_options_and_the_parent_of_its_own_time(rt: Runtime, executor: Executor):
    late, soon = add.options(delay=0.01, priority=3), add.options(priority=1)
    made = [executor.submit(each, 1) for each in (add, add, soon, add, late, late, soon)]
    assert [future.result(30) for future in made] == [2] * 7
    records = [rt.status(future.id) for future in made]
    assert [record.options.get("priority") for record in records] == [None, None, 1, None, 3, 3, 1]
    assert {record.origin_run for record in records} == {None}
    parents = [executor.submit(sum_of_children, 3) for _ in range(4)]
    assert [future.result(60) for future in parents] == [3] * 4
    for parent in parents:
        children = [record for record in rt.list(task=add, limit=500) if record.origin_run == parent.id]
        assert len(children) == 3


def test_shutdown_cancels_what_has_not_ended(rt: Runtime):
    executor = Executor(rt)
    done = executor.submit(add, 1)
    assert done.result(30) == 2
    made = [executor.submit(nap, 600) for _ in range(40)]
    executor.shutdown(cancel_futures=True)
    assert threads() == 0
    assert all(future.cancelled() for future in made)
    assert done.result() == 2
    until(lambda: rt.list(state=[State.QUEUED, State.RUNNING], task=nap) == [])
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(add, 1)
    executor.shutdown()


def test_shutdown_need_not_wait(rt: Runtime):
    executor = Executor(rt)
    future = executor.submit(add, 1)
    executor.shutdown(wait=False)
    assert future.result(30) == 2
    until(lambda: threads() == 0)


def test_an_executor_that_is_let_go_of_ends_its_thread(rt: Runtime):
    executor = Executor(rt)
    future = executor.submit(add, 1)
    gone = weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None
    assert future.result(30) == 2
    until(lambda: threads() == 0)


def test_it_takes_the_runtime_around_it_or_makes_one(
    rt: Runtime, home: Path, monkeypatch: pytest.MonkeyPatch
):
    with Runtime.connect(rt.home) as around, Executor() as executor:
        assert executor._runtime is around
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home))
    with Executor(workers=1, app="call_tasks", durability="os") as executor:
        own = executor._runtime
        assert own.home == str(home)
        assert executor.submit(add, 1).result(30) == 2
    with pytest.raises(NotRunning, match="closed"):
        own.ping()


def test_a_home_is_opened_and_closed(home: Path):
    with Executor(home, workers=1, app="call_tasks", durability="os") as executor:
        future = executor.submit(add, 1)
    assert future.result(0) == 2
    with pytest.raises(NotRunning), Runtime.connect(home, call_timeout=0.1) as rt:
        rt.ping()


@pytest.mark.parametrize("what", [4, object(), asyncio])
def test_what_it_cannot_use_is_refused(what: Any):
    with pytest.raises(InvalidOption, match="a Runtime or a home"):
        Executor(what)


def test_settings_are_for_a_home(rt: Runtime):
    with pytest.raises(InvalidOption, match="workers is for a runtime that"):
        Executor(rt, workers=1)


def test_parents_that_wait_in_a_task_leave_their_slots_to_the_children(home: Path):
    with (
        Runtime(home, app="call_tasks", workers=1, slots=1, durability="os", drain=1.0) as rt,
        Executor(rt) as executor,
    ):
        parents = [executor.submit(sum_of_children, 5) for _ in range(3)]
        assert [future.result(60) for future in parents] == [10, 10, 10]


def test_a_fork_may_use_it_and_its_parent_too(rt: Runtime, executor: Executor):
    assert executor.submit(add, 1).result(30) == 2
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if executor.submit(add, 2).result(30) == 3 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert executor.submit(add, 3).result(30) == 4


KEPT = """
    executor = Executor(Runtime.connect(sys.argv[1]))
    futures = [executor.submit(nap.options(delay=3600), 1) for _ in range(500)]
"""
LET_GO = """
    def enqueue(count):
        executor = Executor(Runtime.connect(sys.argv[1]))
        for _ in range(count):
            executor.submit(nap.options(delay=3600), 1)
    enqueue(200)
    enqueue(300)
"""


@pytest.mark.parametrize("source", [KEPT, LET_GO], ids=["kept", "let go"])
def test_a_program_that_ends_has_started_what_it_submitted(rt: Runtime, source: str):
    program = textwrap.dedent("""
        import sys
        from call_tasks import nap
        from understudy import Executor, Runtime
    """) + textwrap.dedent(source)
    ended = subprocess.run(
        [sys.executable, "-c", program, rt.home],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    waiting = rt.list(state=State.QUEUED, task=nap, limit=1000)
    assert len(waiting) == 500
    for record in waiting:
        assert rt.cancel(record.id)
