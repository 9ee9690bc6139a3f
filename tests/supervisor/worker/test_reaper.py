"""Children that tasks leave behind in a worker are waited for; those for which a task waits itself are not."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import child_tasks as tasks
from theatre import PATIENCE, for_many_tests, parked, ready, runtime
from understudy import Runtime
from understudy.supervisor.linux.processes import children_of
from waiting import until


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with for_many_tests(runtime(tmp_path_factory.mktemp("h") / "home", app="child_tasks")) as made:
        yield made


def none_left(worker: int) -> None:
    """Wait until its children have ended, which they do by themselves, and none is a zombie."""
    until(lambda: not children_of(worker), PATIENCE, lambda: f"children of {worker}: {children_of(worker)}")


def test_orphans_of_the_programs_that_tasks_run(rt: Runtime) -> None:
    (worker,) = ready(rt, 1)
    for info in [tasks.leaves_orphans.start(5) for _ in range(4)]:
        info.result(PATIENCE)
    none_left(worker)
    # Idle meanwhile, it begins to look again.
    tasks.leaves_orphans.start(5).result(PATIENCE)
    none_left(worker)


@pytest.mark.parametrize("way", tasks.WAYS)
def test_a_child_for_which_its_task_waits_late(rt: Runtime, way: str) -> None:
    assert rt.run(tasks.waits_late, way, timeout=PATIENCE) == 3
    none_left(ready(rt, 1)[0])


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio waits in a thread, so that there is no zombie"
)
def test_a_child_of_an_async_task(rt: Runtime) -> None:
    assert rt.run(tasks.waits_late_async, timeout=PATIENCE) == 3


def test_children_for_which_a_task_forgot_to_wait(rt: Runtime) -> None:
    (worker,) = ready(rt, 1)
    tasks.leaves_popen.start().result(PATIENCE)
    tasks.leaves_fork.start().result(PATIENCE)
    none_left(worker)
    waiting = tasks.waits.start()
    parked([waiting], rt)
    # Beside a task that has run for longer, if its object is gone.
    tasks.leaves_popen.start().result(PATIENCE)
    none_left(worker)
    # Another process may have its pid by now.
    assert rt.run(tasks.awaited_popens, timeout=PATIENCE) == []
    waiting.send("end")
    assert waiting.result(PATIENCE) == "end"


def test_a_child_of_a_task_that_was_quick_until_then(rt: Runtime) -> None:
    (worker,) = ready(rt, 1)

    def run(*, forks: bool) -> bool:
        return rt.run(tasks.forks_after_quick_attempts, forks, timeout=PATIENCE)

    until(lambda: not run(forks=False), PATIENCE, "the reaper rests beside quick tasks")
    run(forks=True)
    none_left(worker)
