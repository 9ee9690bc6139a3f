"""Tasks that do what a task should not: the worker works correctly, or dies and is replaced; others continue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rude_tasks
from theatre import PATIENCE, gone, kill, ready
from understudy import Runtime, State, Task
from understudy.storage.check import check

#: The possible ends of an attempt whose code ends its worker; all others complete or fail by their own error.
DIE = {
    "closes_every_descriptor", "closes_all_and_opens_its_own", "shuts_its_socket_down", "writes_into_its_socket",
    "ends_its_process", "exits_from_a_thread",
}  # fmt: skip
FAIL = {
    "exits": "SystemExit",
    "raises_what_is_no_exception": "KeyboardInterrupt",
    "raises_a_generator_exit": "GeneratorExit",
    "raises_what_has_no_text": "Unprintable",
    "raises_with_escapes": "ValueError",
    "recurses_for_ever": "RecursionError",
    "takes_all_memory_it_may": "MemoryError",
}
#: Their effects stay in the worker, and would meet the next tasks there.
RUIN = {"takes_all_descriptors", "sets_limits", "takes_all_memory_it_may"}
#: These take as long as a timeout.
SLOW = {"stops_itself"}


@pytest.mark.parametrize("rude", [rude_tasks.rude, rude_tasks.rude_async], ids=["sync", "async"])
def test_no_task_harms_another(home: Path, rude: Task[..., Any]):
    ways = rude_tasks.RUDE if rude is rude_tasks.rude else [*DIE, *FAIL, "stops_the_loop", "blocks_signals"]
    with Runtime(
        home, app="rude_tasks", workers=1, slots=4, drain=1.0, restarts=1_000, durability="os"
    ) as rt:
        for how in ways:
            (worker,) = ready(rt, 1)
            waiting = rt.start(rude_tasks.echo.options(retry=3))
            if how == "closes_every_descriptor":
                rt.run(rude_tasks.add_async, 1, 2, timeout=PATIENCE)  # with an event loop, and without one
            record = rt.start(rude.options(timeout=1 if how in SLOW else PATIENCE, grace=0.1), how).wait(
                PATIENCE
            )
            if how != "stops_the_loop":
                assert expected(how)(record), (how, record)
            for number, add in enumerate((rude_tasks.add, rude_tasks.add_async)):
                assert rt.run(add.options(retry=3), number, 1, timeout=PATIENCE) == number + 1, how
            waiting.send(how)
            assert waiting.result(PATIENCE) == how
            if how in RUIN and [each["pid"] for each in rt.tree()["workers"]] == [worker]:
                kill(worker)
                gone([worker])
    assert check(home).problems == []


def expected(how: str) -> Callable[[Any], bool]:
    if how in DIE:
        return lambda record: record.state is State.FAILED and record.error.type == "WorkerDied"
    if how in FAIL:
        return lambda record: record.state is State.FAILED and record.error.type == FAIL[how]
    if how in SLOW:
        return lambda record: record.state is State.TIMED_OUT
    return lambda record: record.state is State.COMPLETED
