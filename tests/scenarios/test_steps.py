"""Steps: what has returned once gives the same value in every later attempt, through every death."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import step_tasks as app
from step_tasks import ran, returned, wrong
from theatre import ready
from understudy import (
    InvalidOption,
    NestedStep,
    NotInTask,
    Runtime,
    StepInfo,
    TaskCancelled,
    TaskFailed,
    step,
)
from understudy.storage.check import check
from understudy.supervisor.testing.crash_points import VARIABLE
from understudy.testing import InlineRuntime, kill_supervisor, kill_worker, wait_until

PATIENCE = 30.0
SETTINGS: dict[str, Any] = {"workers": 2, "slots": 4, "max_crashes": 100, "restarts": 100}


@pytest.fixture(scope="module", params=["inline", "processes"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime | None]:
    """The runtime with processes; None for the other one, which is made for each test."""
    if request.param == "inline":
        yield None
    else:
        home = tmp_path_factory.mktemp("h") / "home"
        with Runtime(home, app="step_tasks", **SETTINGS) as runtime:
            ready(runtime, SETTINGS["workers"])
            yield runtime
        assert check(home).problems == []


@pytest.fixture
def rt(shared: Runtime | None) -> Iterator[Runtime]:
    if shared is not None:
        yield shared
        return
    with InlineRuntime(**SETTINGS) as runtime:
        yield runtime


@pytest.fixture
def killed(home: Path) -> Iterator[Runtime]:
    """A runtime of its own, whose processes die; its store is sound afterwards."""
    with Runtime(home, app="step_tasks", **SETTINGS) as runtime:
        yield runtime
    assert check(home).problems == []


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def failed(rt: Runtime, task: Any, *args: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        rt.run(task, *args, timeout=PATIENCE)
    return caught.value


# --- what is known ---


def test_a_step_runs_once(rt: Runtime, folder: str) -> None:
    info = rt.start(app.three, folder, 3)
    values = rt.result(info, timeout=PATIENCE)
    assert len(set(values)) == 3
    assert ran(folder) == 3
    assert wrong(folder) == []
    assert rt.status(info).attempt == 4


def test_other_steps_in_the_next_attempt(rt: Runtime, folder: str) -> None:
    rt.run(app.edited, folder, timeout=PATIENCE)
    assert {name: ran(folder, name) for name in ("a", "b", "c", "new", "d")} == dict.fromkeys(
        ("a", "b", "c", "new", "d"), 1
    )
    assert wrong(folder) == []


def test_a_key_is_the_identity(rt: Runtime, folder: str) -> None:
    first, second = rt.run(app.by_key, folder, 2, timeout=PATIENCE)
    assert first == second
    assert ran(folder) == 1


def test_a_key_for_two_functions(rt: Runtime, folder: str) -> None:
    error = failed(rt, app.one_key_for_two, folder).error
    assert error is not None
    assert (error.type, ran(folder)) == ("InvalidOption", 1)
    assert "has the key of step step_tasks:work" in error.message


def test_a_key_twice_at_once(rt: Runtime, folder: str) -> None:
    error = failed(rt, app.one_key_at_once, folder).error
    assert error is not None
    assert (error.type, "under way" in error.message) == ("InvalidOption", True)


def test_errors_are_not_kept(rt: Runtime, folder: str) -> None:
    assert rt.run(app.errors_are_not_kept, folder, timeout=PATIENCE) == "done"
    assert ran(folder, "failing") == 2


def test_a_value_comes_back_as_its_type(rt: Runtime, folder: str) -> None:
    _, cents = rt.run(app.typed, folder, timeout=PATIENCE)
    assert (cents, ran(folder)) == (100, 1)


def test_sync_functions_of_async_tasks_run_in_threads(rt: Runtime, folder: str) -> None:
    value, _ = rt.run(app.in_threads, folder, timeout=PATIENCE)
    assert (ran(folder, "threaded"), len(value)) == (1, 36)


@pytest.mark.parametrize(("count", "size"), [(5_000, 8), (12, 300_000), (3, 3_000_000)])
def test_many_and_large_steps(rt: Runtime, folder: str, count: int, size: int) -> None:
    """More than one page, and values that are larger than one."""
    if isinstance(rt, InlineRuntime):
        count = min(count, 300)
    again, _ = rt.run(app.many, folder, count, size, timeout=90)
    assert (again, ran(folder)) == (0, count)


# --- what is refused ---


@pytest.mark.parametrize("task", [app.nested, app.nested_async])
def test_a_step_in_a_step(rt: Runtime, folder: str, task: Any) -> None:
    error = failed(rt, task, folder).error
    assert error is not None
    assert error.type == NestedStep.__name__
    assert "inside step step_tasks:" in error.message
    assert ran(folder) == 0


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        (app.blocking_step, NotInTask, "aio.step"),
        (app.coroutine_step, InvalidOption, "aio.step"),
        (app.nameless, InvalidOption, "no name"),
    ],
)
def test_what_is_no_step(rt: Runtime, folder: str, task: Any, kind: type[Exception], said: str) -> None:
    error = failed(rt, task, folder).error
    assert error is not None
    assert (error.type, said in error.message) == (kind.__name__, True)
    assert ran(folder) == 0


def test_outside_of_a_task() -> None:
    with pytest.raises(NotInTask):
        step(len, "x")


def test_a_value_that_cannot_be_encoded_names_its_step(rt: Runtime) -> None:
    error = failed(rt, app.cannot_be_kept).error
    assert error is not None
    assert error.type == "UnencodableValue"
    assert error.details["path"] == "the value of step step_tasks:unencodable['deep'][0]"


def test_a_value_that_is_too_large_names_its_step(home: Path) -> None:
    with InlineRuntime(value_limit=2_000) as rt:
        error = failed(rt, app.cannot_be_kept, 3_000).error
    assert error is not None
    assert error.type == "ValueTooLarge"
    assert "the value of step too-large takes 3,003 bytes" in error.message


# --- its own retries ---


@pytest.mark.parametrize("task", [app.tries, app.tries_async])
def test_its_own_retries(rt: Runtime, folder: str, task: Any) -> None:
    info = rt.start(task, folder, 2, 2)
    assert rt.result(info, timeout=PATIENCE) == 3
    assert rt.status(info).attempt == 1
    error = failed(rt, task, folder, 5, 1).error
    assert error is not None
    assert (error.type, error.message) == ("ConnectionError", "try 5")


@pytest.mark.parametrize("task", [app.tries, app.tries_async])
def test_a_cancel_ends_the_pause_between_two_tries(rt: Runtime, folder: str, task: Any) -> None:
    info = rt.start(task, folder, 5, 5, 3_600.0)
    wait_until(lambda: ran(folder) == 1, PATIENCE)
    assert info.cancel()
    with pytest.raises(TaskCancelled):
        info.result(timeout=PATIENCE)
    assert ran(folder) == 1


# --- what belongs to the task ---


def test_a_retry_keeps_them_unless_from_scratch(rt: Runtime, folder: str) -> None:
    first = rt.start(app.three, folder)
    values = rt.result(first, timeout=PATIENCE)
    again = rt.retry(first)
    assert rt.result(again, timeout=PATIENCE) == values
    assert rt.status(again).steps == 3
    anew = rt.retry(again, from_scratch=True)
    assert rt.result(anew, timeout=PATIENCE) != values
    assert ran(folder) == 6


def test_what_is_shown(rt: Runtime, folder: str) -> None:
    info = rt.start(app.three, folder)
    values = rt.result(info, timeout=PATIENCE)
    record = rt.status(info)
    steps = rt.steps(info)
    assert [(each.name, each.call, each.key) for each in steps] == [
        ("step_tasks:work", number, None) for number in (1, 2, 3)
    ]
    assert [each.value for each in steps] == values
    assert (record.steps, record.steps_size) == (3, sum(each.size for each in steps))
    assert record.created <= steps[0].time <= steps[2].time
    assert rt.steps(info, limit=1) == steps[2:]
    assert rt.steps(info, limit=None) == steps
    assert "value" not in steps[0].as_dict()
    keyed = rt.start(app.by_key, folder)
    rt.result(keyed, timeout=PATIENCE)
    [one] = rt.steps(keyed)
    assert isinstance(one, StepInfo)
    assert (one.name, one.call, one.key, one.message_id) == ("step_tasks:work", None, "k", None)


# --- deaths ---


@pytest.mark.parametrize("where", ["in", "after"])
def test_the_worker_dies(killed: Runtime, folder: str, where: str) -> None:
    """In a function the step runs again; once it has returned it does not."""
    killed.run(app.dies, folder, where, timeout=PATIENCE)
    assert [ran(folder, name) for name in ("first", "second", "third")] == [1, 2 if where == "in" else 1, 1]
    assert wrong(folder) == []


def test_six_at_once_over_three_deaths(killed: Runtime, folder: str) -> None:
    info = killed.start(app.six, folder, 3)
    assert len(set(killed.result(info, timeout=PATIENCE))) == 6
    assert killed.status(info).attempt == 4
    # Each death costs the one step that had not returned.
    assert [ran(folder, str(number)) for number in range(6)] == [1, 2, 1, 2, 1, 2]
    assert wrong(folder) == []


WHERE = [
    *("step.before:2", "step.after:2"),
    *(f"commit.{side}:{nth}" for side in ("before", "after") for nth in range(1, 6)),
    *(f"acknowledge.{side}:{nth}" for side in ("before", "after") for nth in (2, 3)),
    *(f"report.{side}:{nth}" for side in ("before", "after") for nth in (1, 2, 3)),
]


@pytest.mark.parametrize("where", WHERE)
def test_a_death_around_the_commit(
    where: str, home: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, in and after the commit of a step: of the supervisor, or of the worker that reports."""
    died = home.parent / "died"
    monkeypatch.setenv(VARIABLE, f"{where}@{died}")
    with Runtime(home, app="step_tasks", **{**SETTINGS, "workers": 1}) as rt:
        info = rt.start(app.three, folder, 1)
        values = rt.result(info, timeout=PATIENCE)
        assert died.exists(), "or it never came to this point"
    assert wrong(folder) == []
    assert ran(folder) <= 4, "at most the step under way has run again"
    assert [value for kind, _, value in app.notes(folder) if kind == "has"][-3:] == values
    assert check(home).problems == []


@pytest.mark.parametrize("point", ["step.before", "step.after", "commit.before", "commit.after"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_inline(point: str, nth: int, folder: str) -> None:
    with InlineRuntime(**SETTINGS) as rt:
        rt.crash_at(point, nth)
        rt.run(app.three, folder, 1, timeout=PATIENCE)
    assert wrong(folder) == []
    assert ran(folder) <= 4


@pytest.mark.parametrize("kill", [kill_supervisor, None])
def test_it_outlives_the_supervisor(
    killed: Runtime, folder: str, kill: Callable[[Runtime], None] | None
) -> None:
    info = killed.start(app.keeps_one_and_sleeps, folder)
    wait_until(lambda: returned(folder) == 1, PATIENCE)
    kill_supervisor(killed) if kill else kill_worker(info)
    wait_until(lambda: returned(folder) == 2, PATIENCE)
    assert (ran(folder), wrong(folder)) == (1, [])
    info.cancel()


# --- actors ---


@pytest.mark.parametrize("cls", [app.Shop, app.AsyncShop])
def test_a_message_that_is_handled_again(killed: Runtime, folder: str, cls: Any) -> None:
    ref = killed.actor(cls, "one")
    ref.proxy().sell(folder, "a", kills=2).get(timeout=PATIENCE)
    assert (ran(folder, "a"), ran(folder, "tried"), wrong(folder)) == (1, 2, [])
    assert killed.status(ref.id).steps == 0
    ref.proxy().sell(folder, "b").get(timeout=PATIENCE)
    assert ran(folder, "b") == 1


def test_steps_end_with_their_message(rt: Runtime, folder: str) -> None:
    ref = rt.actor(app.Shop, f"{folder}/one"[-40:])
    for number in range(2):
        ref.proxy().sell(folder, f"{number}").get(timeout=PATIENCE)
    assert ran(folder) == 2, "another message does the step anew"
    assert (rt.status(ref.id).steps, rt.steps(ref.id)) == (0, [])


def test_a_dead_letter_keeps_its_steps(rt: Runtime, folder: str) -> None:
    ref = rt.actor(app.Shop, f"{folder}/dead"[-40:])
    ref.proxy().sell.defer(folder, "a", 0, True)
    wait_until(lambda: rt.dead_letters(ref.id), PATIENCE)
    [kept] = rt.steps(ref.id)
    assert (kept.name, kept.message_id is not None) == ("step_tasks:work", True)
    Path(folder, "mended").touch()
    assert rt.redrive(ref.id) == 1
    wait_until(lambda: ref.proxy().sold.get(timeout=PATIENCE) == 1, PATIENCE)
    assert ran(folder) == 1
    wait_until(lambda: rt.status(ref.id).steps == 0, PATIENCE)


def test_where_an_actor_has_no_steps(rt: Runtime, folder: str) -> None:
    shop = rt.actor(app.Shop, f"{folder}/none"[-40:]).proxy()
    with pytest.raises(Exception, match="a @read_only method keeps nothing"):
        shop.look().get(timeout=PATIENCE)
    with pytest.raises(Exception, match="durable=True"):
        rt.actor(app.Fleeting).proxy().act().get(timeout=PATIENCE)
    with pytest.raises(Exception, match="steps belong to a message, and the start of an actor handles none"):
        rt.actor(app.Eager).proxy().any().get(timeout=PATIENCE)
