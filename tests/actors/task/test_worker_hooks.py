from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from understudy import InvalidTask, on_worker_start, on_worker_stop
from understudy.actors.task import worker_hooks
from waiting import until


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    started, kept = (
        worker_hooks._state["started"],
        (worker_hooks._start_hooks[:], worker_hooks._stop_hooks[:]),
    )
    worker_hooks._start_hooks[:] = worker_hooks._stop_hooks[:] = []
    worker_hooks._state["started"] = 0
    yield
    worker_hooks._start_hooks[:], worker_hooks._stop_hooks[:] = kept
    worker_hooks._state["started"] = started


def test_starts_in_order_once_each_and_stops_in_the_other_order():
    called: list[str] = []
    for name in "ab":
        assert callable(on_worker_start(lambda name=name: called.append(f"start {name}")))
        on_worker_stop(lambda name=name: called.append(f"stop {name}"))
    worker_hooks.start()
    on_worker_start(lambda: called.append("start late"))
    worker_hooks.start()
    worker_hooks.start()
    worker_hooks.stop()
    assert called == ["start a", "start b", "start late", "stop b", "stop a"]


def test_a_failed_start_says_which_hook_and_why():
    @on_worker_start
    def connect() -> None:
        raise SystemExit(3)

    with pytest.raises(
        worker_hooks.HookFailed, match=r"test_worker_hooks:.*connect raised SystemExit: 3"
    ) as caught:
        worker_hooks.start()
    assert isinstance(caught.value.__cause__, SystemExit)


def test_a_thread_waits_for_a_hook_that_another_one_calls():
    inside, go, order = threading.Event(), threading.Event(), list[str]()

    @on_worker_start
    def slow() -> None:
        inside.set()
        go.wait(20)
        order.append("hook")

    def second() -> None:
        worker_hooks.start()
        order.append("task")

    threads = [threading.Thread(target=worker_hooks.start), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    threads[1].join(0.2)  # Without the lock it ends here.
    assert order == []
    go.set()
    for thread in threads:
        thread.join(20)
    assert order == ["hook", "task"]


def test_a_hook_may_declare_and_call_others():
    called: list[str] = []

    @on_worker_start
    def outer() -> None:
        on_worker_start(lambda: called.append("inner"))
        worker_hooks.start()
        called.append("outer")

    worker_hooks.start()
    assert called == ["inner", "outer"]


def test_a_slow_hook_is_named_in_the_log_while_it_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_hooks, "SLOW", 0.01)

    @on_worker_start
    def hangs() -> None:
        until(lambda: "hangs has not returned within 0.01 s" in caplog.text)

    worker_hooks.start()
    until(lambda: "understudy-hook" not in {thread.name for thread in threading.enumerate()})


def test_a_quick_hook_leaves_no_thread():
    on_worker_start(lambda: None)
    worker_hooks.start()
    until(lambda: "understudy-hook" not in {thread.name for thread in threading.enumerate()})


def test_a_failed_stop_keeps_no_other_from_its_own(caplog: pytest.LogCaptureFixture):
    called: list[int] = []
    on_worker_stop(lambda: called.append(1))
    on_worker_stop(lambda: called[1])
    worker_hooks.stop()
    assert called == [1]
    assert "the stop hook" in caplog.text


def test_a_module_that_is_loaded_twice_has_its_hooks_once():
    for module in ("app", "__mp_main__"):

        def hook() -> None:
            pass

        hook.__module__ = module
        on_worker_start(hook)
    assert len(worker_hooks._start_hooks) == 1


def test_what_is_no_hook():
    async def waits() -> None:
        pass

    for wrong in (3, waits, (n for n in range(2))):
        for declare in (on_worker_start, on_worker_stop):
            with pytest.raises(InvalidTask, match="@on_worker_"):
                declare(wrong)  # type: ignore[type-var]
