"""The stack of running code, from real workers: code that waits, that computes, or that holds up its interpreter."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import stack_tasks as tasks
from theatre import PATIENCE, gone, kill, parked, running, runtime, seen
from understudy import AsyncRuntime, Runtime, StackUnavailable, State, TaskInfo, TaskNotFound, TaskStack
from waiting import until

#: Seconds within which a stack comes, on a busy machine too.
SOON = 15.0


def begun(rt: Runtime, *infos: TaskInfo[Any]) -> None:
    for info in infos:
        until(lambda info=info: rt.status(info).state is State.RUNNING, PATIENCE)  # type: ignore[misc]


def stack_with(rt: Runtime, info: TaskInfo[Any], function: str, *, own: bool = False) -> TaskStack:
    """The stack, once the code has got to this function, in any of its threads or in its `own` one."""

    def found() -> TaskStack | None:
        try:
            stack = rt.stack(info, timeout=SOON)
        except StackUnavailable:
            return None
        return (
            stack if any(calls(thread, function) for thread in ([stack] if own else stack.threads)) else None
        )

    return until(found, PATIENCE, f"{function} of {info.task}")


def calls(thread: Any, function: str) -> bool:
    return any(frame.function.rpartition(".")[2] == function for frame in thread.frames)


@pytest.fixture
def rt(home: Path) -> Iterator[Runtime]:
    with runtime(home, app="stack_tasks", workers=1) as rt:
        yield rt


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("loops", ["loops", "spin"]),
        ("sleeps", ["sleeps"]),
        ("receives", ["receives", "receive"]),
        ("awaits", ["awaits", "inner", "receive"]),
        ("awaits_alone", ["awaits_alone", "inner", "receive"]),
        ("spins_on_loop", ["spins_on_loop", "spin"]),
        ("has_helper", ["has_helper", "wait_seen"]),
    ],
)
def test_the_worker_says_where_its_code_is(home: Path, name: str, functions: list[str]):
    with runtime(home, app="stack_tasks", workers=1, isolated=2) as rt:
        info = rt.start(getattr(tasks, name))
        stack = stack_with(rt, info, functions[-1], own=True)
        assert (stack.by, stack.note, stack.id, stack.task) == ("worker", "", info.id, info.task)
        assert stack.worker_pid == running([info], rt)[0]["pid"]
        own = [frame.function.rpartition(".")[2] for frame in stack.frames]
        assert own[: len(functions)] == functions
        first = stack.frames[0]
        assert first.file == tasks.__file__
        lines = Path(tasks.__file__).read_text().splitlines()
        assert first.source == lines[first.line - 1].strip() != ""
        assert f'File "{first.file}", line {first.line}, in {first.function}' in str(stack)
        if name == "has_helper":
            (helper,) = [each for each in stack.threads if each.name == "helper"]
            assert calls(helper, "spin")


@pytest.mark.parametrize(
    ("name", "role"), [("holds", "task"), ("holds_alone", "task"), ("holds_loop", "loop")]
)
def test_code_that_holds_up_its_interpreter(home: Path, name: str, role: str):
    with runtime(home, app="stack_tasks", workers=1, isolated=2) as rt:
        beside = rt.start(tasks.sleeps)
        begun(rt, beside)
        info = rt.start(getattr(tasks, name))
        begun(rt, info)
        stack = stack_with(rt, info, "match")
        assert stack.by == "signal"
        assert "a call into C" in stack.note
        own = stack.threads[0]
        assert own.role == role
        assert [frame.function for frame in own.frames][:2] == [name, "hold"]
        assert own.frames[0].file == tasks.__file__
        assert bool(stack.frames) == (role == "task")
        if name == "holds":
            # The one beside it did nothing but begin, and is told apart all the same.
            (other,) = [each for each in stack.threads if calls(each, "sleeps")]
            assert (other.role, other.task) == ("other", beside.id)
            assert rt.stack(beside, timeout=SOON).frames[0].function == "sleeps"
        # Nothing was disturbed: it runs as before, in the same worker.
        assert running([info], rt)[0]["pid"] == stack.worker_pid
        assert rt.status(info).interruptions == 0


def test_a_task_of_microseconds_that_hangs_for_once(home: Path):
    """Threads of quick tasks bear no mark, so they are found by what nobody else is."""
    with runtime(home, app="stack_tasks", workers=1) as rt:
        for number in range(40):
            assert rt.run(tasks.quick, number, timeout=PATIENCE) == number
        info = rt.start(tasks.holds)
        begun(rt, info)
        assert [frame.function for frame in stack_with(rt, info, "match").frames][:2] == ["holds", "hold"]


def test_twenty_at_once(home: Path):
    with runtime(home, app="stack_tasks", workers=2, slots=16, isolated=2) as rt:
        infos = [rt.start(tasks.sleeps) for _ in range(9)]
        infos += [rt.start(tasks.awaits) for _ in range(9)]
        begun(rt, *infos)
        stuck = [rt.start(tasks.holds_alone), rt.start(tasks.holds_alone)]
        begun(rt, *stuck)
        for each in stuck:
            stack_with(rt, each, "match")
        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            stacks = list(pool.map(lambda info: rt.stack(info, timeout=SOON), [*infos, *stuck]))
        assert time.monotonic() - began < SOON
        names = [stack.frames[0].function for stack in stacks]
        assert names == ["sleeps"] * 9 + ["awaits"] * 9 + ["holds_alone"] * 2
        assert [stack.id for stack in stacks] == [info.id for info in [*infos, *stuck]]
        # The same one, twenty times at once.
        with ThreadPoolExecutor(20) as pool:
            same = list(pool.map(lambda _: rt.stack(stuck[0], timeout=SOON), range(20)))
        assert {stack.frames[-1].function for stack in same} == {"match"}


def test_methods_of_actors(home: Path):
    with runtime(home, app="stack_tasks", workers=1) as rt:
        ref = rt.actor(tasks.Desk, "one")
        assert ref.options(timeout=PATIENCE).call("rest") == "rested"
        with pytest.raises(StackUnavailable, match="idle") as raised:
            rt.stack(ref.id)
        assert raised.value.state == "idle"
        ref.cast("work")
        info = rt.status(ref.id)
        until(lambda: rt.status(ref.id).state is State.RUNNING, PATIENCE)
        stack = until(lambda: rt.stack(info.id, timeout=SOON), PATIENCE)
        assert [frame.function.rpartition(".")[2] for frame in stack.frames] == ["work"]
        other = rt.actor(tasks.Desk, "two")
        other.cast("hold")
        until(lambda: rt.status(other.id).state is State.RUNNING, PATIENCE)
        stack = rt.stack(other.id, timeout=SOON)
        assert [frame.function for frame in stack.frames][:2] == ["hold", "hold"]


def test_what_does_not_run_has_none(rt: Runtime):
    with pytest.raises(TaskNotFound):
        rt.stack("00000000-0000-7000-8000-000000000000")
    done = rt.start(tasks.quick, 1)
    rt.wait(done, timeout=PATIENCE)
    later = rt.start(tasks.quick.options(delay=3600), 1)
    for info, state in ((done, "completed"), (later, "queued")):
        with pytest.raises(StackUnavailable, match=state) as raised:
            rt.stack(info)
        assert (raised.value.id, raised.value.state) == (info.id, state)
    rt.cancel(later)


def test_a_deep_stack_is_bounded(rt: Runtime):
    info = rt.start(tasks.deep, 900)
    begun(rt, info)
    stack = until(lambda: (found := rt.stack(info, timeout=SOON)).threads[0].dropped and found, PATIENCE)
    assert isinstance(stack, TaskStack)
    assert len(stack.frames) == 100
    assert stack.threads[0].dropped >= 800
    assert all(frame.function == "sink" for frame in stack.frames)
    assert "outer calls" in str(stack)


def test_the_async_runtime_has_it(rt: Runtime):
    async def story() -> TaskStack:
        async with AsyncRuntime.connect(rt.home) as other:
            info = rt.start(tasks.sleeps)
            while rt.status(info).state is not State.RUNNING:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.01)
            return await other.stack(info, timeout=SOON)

    assert asyncio.run(story()).frames[0].function == "sleeps"


def test_forks_handlers_and_waits_of_a_task_are_left_alone(home: Path, tmp_path: Path):
    with runtime(home, app="stack_tasks", workers=1, isolated=1) as rt:
        info = rt.start(tasks.forks_and_handles, str(tmp_path))
        seen(tmp_path, "ready")
        for _ in range(5):
            assert rt.stack(info, timeout=SOON).frames[0].function == "forks_and_handles"
        # By the signal, too.
        pid = running([info], rt)[0]["pid"]
        os.kill(pid, tasks.SIGNAL)
        (tmp_path / "go").touch()
        assert rt.result(info, timeout=PATIENCE) == ["usr1", "-12"], "the signal is as usual in its fork"


def test_a_task_that_takes_the_signal_away_is_not_killed(home: Path, tmp_path: Path):
    with runtime(home, app="stack_tasks", workers=1, isolated=1) as rt:
        info = rt.start(tasks.refuses_signal, str(tmp_path))
        seen(tmp_path, "refused")
        (row,) = running([info], rt)
        until(lambda: _refused(rt, info), PATIENCE, "it holds its interpreter")
        assert running([info], rt)[0]["pid"] == row["pid"]


def _refused(rt: Runtime, info: TaskInfo[Any]) -> bool:
    try:
        return rt.stack(info, timeout=SOON).by != "worker"
    except StackUnavailable as error:
        return "takes no signal" in str(error)


def test_a_worker_that_dies_or_stands_still_meanwhile(home: Path):
    with runtime(home, app="stack_tasks", workers=1, isolated=1) as rt:
        info = rt.start(tasks.holds_alone)
        begun(rt, info)
        (row,) = running([info], rt)
        said: list[object] = []

        def ask() -> None:
            try:
                said.append(rt.stack(info, timeout=SOON))
            except (StackUnavailable, TimeoutError) as error:
                said.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        kill(row["pid"])
        gone([row["pid"]])
        asking.join(SOON)
        assert len(said) == 1
        assert rt.ping(timeout=PATIENCE) is None


def test_a_task_that_waits_keeps_no_slot_for_it(rt: Runtime):
    info = rt.start(tasks.receives)
    parked([info], rt)
    assert rt.stack(info, timeout=SOON).frames[0].function == "receives"
    assert parked([info], rt)
    rt.send(info, "letter")
    assert rt.result(info, timeout=PATIENCE) == "letter"
