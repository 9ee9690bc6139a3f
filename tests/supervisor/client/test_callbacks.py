"""Users' callbacks and decoders: on which thread they run, and that none of them holds up another's answer."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.supervisor.client import callbacks as callbacks_module
from understudy.supervisor.client.callbacks import Callbacks, UserFuture
from waiting import until

OWN = "understudy-callbacks"


@pytest.fixture
def callbacks() -> Iterator[Callbacks]:
    made = Callbacks()
    yield made
    made.close()
    until(lambda: OWN not in {thread.name for thread in threading.enumerate()})


def here() -> str:
    return threading.current_thread().name


def test_callbacks_run_on_one_thread_in_their_order(callbacks: Callbacks):
    seen: list[tuple[int, str]] = []
    futures = [UserFuture(callbacks, lambda raw: raw) for _ in range(5)]
    for future in futures:
        future.add_done_callback(lambda done: seen.append((done.result(), here())))
    assert callbacks._thread is None, "it begins with the first callback"
    for number, future in enumerate(futures):
        future.set_result(number)
    until(lambda: len(seen) == 5)
    assert seen == [(number, OWN) for number in range(5)]
    futures[0].add_done_callback(lambda done: seen.append((done.result(), here())))
    assert seen[-1] == (0, "MainThread"), "the future was done"


def test_a_callback_may_wait_for_another_future(callbacks: Callbacks):
    first, second = UserFuture(callbacks, str), UserFuture(callbacks, str)
    got: list[str] = []
    first.add_done_callback(lambda _: got.append(second.result(10)))
    first.set_result(1)
    until(lambda: second._condition._waiters)  # type: ignore[attr-defined]
    second.set_result(2)
    until(lambda: got == ["2"])


def test_an_error_in_a_callback_is_logged_and_the_next_one_runs(
    callbacks: Callbacks, caplog: pytest.LogCaptureFixture
):
    seen: list[int] = []

    def fails(_done: Future[Any]) -> None:
        raise KeyError("mine")

    future = UserFuture(callbacks, lambda raw: raw)
    future.add_done_callback(fails)
    future.add_done_callback(lambda _: seen.append(1))
    with caplog.at_level(logging.ERROR, "understudy"):
        future.set_result(None)
        until(lambda: seen)
    assert "KeyError: 'mine'" in caplog.text


def test_the_value_is_decoded_by_whoever_asks_and_once(callbacks: Callbacks):
    decoded: list[str] = []

    def decode(raw: Any) -> list[Any]:
        decoded.append(here())
        return [raw]

    future = UserFuture(callbacks, decode)
    setting = threading.Thread(target=future.set_result, args=(7,), name="reading")
    setting.start()
    setting.join()
    assert decoded == []
    assert future.result() == [7]
    assert future.result() is future.result()
    assert future.exception() is None
    assert decoded == ["MainThread"]


def test_a_decoder_that_fails_is_the_futures_error(callbacks: Callbacks):
    future = UserFuture(callbacks, int)
    future.set_result("x")
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="invalid literal"):
        future.result()


def test_the_librarys_own_waits_work(callbacks: Callbacks):
    futures = [UserFuture(callbacks, str) for _ in range(3)]
    timer = threading.Timer(0.01, lambda: [future.set_result(n) for n, future in enumerate(futures)])
    timer.start()
    assert {done.result() for done in concurrent.futures.as_completed(futures, 10)} == {"0", "1", "2"}
    assert not concurrent.futures.wait(futures, 10).not_done
    timer.join()


def test_close_waits_for_callbacks_that_are_due(callbacks: Callbacks, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    future, late = UserFuture(callbacks, str), UserFuture(callbacks, str)
    future.add_done_callback(lambda _: seen.append(here()))
    late.add_done_callback(lambda _: seen.append(here()))
    future.set_result(1)
    callbacks.close()
    assert seen == [OWN]
    callbacks.close()
    late.set_result(2)
    assert seen == [OWN, "MainThread"], "no thread is left for it"

    stuck, go_on = Callbacks(), threading.Event()
    blocked = UserFuture(stuck, str)
    blocked.add_done_callback(lambda _: go_on.wait(10))
    blocked.set_result(3)
    monkeypatch.setattr(callbacks_module, "CLOSE_WITHIN", 0.01)
    stuck.close()
    go_on.set()


def test_a_callback_may_close_them(callbacks: Callbacks):
    future = UserFuture(callbacks, str)
    future.add_done_callback(lambda _: callbacks.close())
    future.set_result(1)
    until(lambda: callbacks._thread is not None and not callbacks._thread.is_alive())


def test_a_future_is_let_go_of_without_the_garbage_collector(callbacks: Callbacks):
    future = UserFuture(callbacks, str)
    future.add_done_callback(lambda _: None)
    gone = weakref.ref(future)
    future.set_result(1)
    gc.disable()
    try:
        del future
        until(lambda: gone() is None)
    finally:
        gc.enable()
