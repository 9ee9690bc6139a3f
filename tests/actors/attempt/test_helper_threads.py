"""Threads that a task starts, on the stage: whose they are, and what waits when they wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from understudy.actors.attempt import helper_threads
from understudy.actors.attempt.actor import actor_here, current_actor, running_actor
from understudy.actors.attempt.helper_threads import start_outside
from understudy.actors.errors import Cancelled, NotInTask
from understudy.actors.ids import id_text
from understudy.actors.inside import context
from waiting import until

#: Seconds that a wait takes at most.
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker, and undone at the end."""
    for kind, name in (
        (threading.Thread, "start"),
        (threading.Thread, "join"),
        (threading.Condition, "wait"),
        (ThreadPoolExecutor, "submit"),
    ):
        monkeypatch.setattr(kind, name, getattr(kind, name))
    helper_threads.install()


def here() -> Any:
    actor = actor_here("here")
    return actor.host.plays[actor]  # type: ignore[attr-defined]  # the stage's


def by_thread(call: Callable[[], Any]) -> Any:
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(call()))
    thread.start()
    thread.join(PATIENCE)
    return said[0]


def by_subclass(call: Callable[[], Any]) -> Any:
    class Own(threading.Thread):
        def run(self) -> None:
            self.said = call()

    thread = Own()
    thread.start()
    thread.join()
    return thread.said


def by_timer(call: Callable[[], Any]) -> Any:
    said: queue.Queue[Any] = queue.Queue()
    threading.Timer(0.001, lambda: said.put(call())).start()
    return said.get(timeout=PATIENCE)


def by_pool(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(PATIENCE)


def by_thread_pool(call: Callable[[], Any]) -> Any:
    with ThreadPool(1) as pool:
        return pool.apply(call)


def by_grandchild(call: Callable[[], Any]) -> Any:
    return by_thread(lambda: by_pool(call))


@pytest.mark.parametrize(
    "by",
    [by_thread, by_subclass, by_timer, by_pool, by_thread_pool, by_grandchild],
    ids=lambda by: by.__name__,
)
def test_a_thread_belongs_to_the_task_that_starts_it(stage: Any, by: Any) -> None:
    def body() -> Any:
        helper = by(
            lambda: [
                context.current().id,
                context.cancelled(),
                context.receive(PATIENCE),
                current_actor.get(),
            ]
        )
        context.progress(1, 2)
        return [*helper[:3], helper[3] is here().actor, by(lambda: context.checkpoint("saved"))]

    play = stage.perform(body, now=False)
    play.tell("a")
    stage.begin(play)
    assert play.value() == [id_text(play.actor.id), False, "a", True, True]
    assert [value for value, _, _ in play.checkpoints] == ["saved"]


def test_each_piece_of_work_in_a_shared_pool_belongs_to_its_task(stage: Any) -> None:
    with ThreadPoolExecutor(1) as pool:

        def body() -> Any:
            return pool.submit(lambda: context.current().id).result(PATIENCE)

        for _ in range(3):
            play = stage.perform(body)
            assert play.value() == id_text(play.actor.id)
            assert pool.submit(running_actor).result(PATIENCE) is None, "work of no task"


def test_what_outlives_the_attempt_belongs_to_nobody(stage: Any) -> None:
    go_on = threading.Event()
    pool = ThreadPoolExecutor(1)
    said: list[Any] = []

    def late() -> None:
        go_on.wait(PATIENCE)
        for call in (
            context.current,
            lambda: context.progress(1),
            context.receive,
            lambda: context.checkpoint(1),
        ):
            with pytest.raises(NotInTask):
                call()
        said.append(running_actor())

    def body() -> None:
        threads.append(threading.Thread(target=late))
        threads[0].start()
        work.append(pool.submit(late))

    threads: list[threading.Thread] = []
    work: list[Future[None]] = []
    play = stage.perform(body)
    play.outcome()
    play.until(play.actor.actor_stopped.is_set)
    go_on.set()
    threads[0].join(PATIENCE)
    work[0].result(PATIENCE)
    pool.shutdown()
    assert said == [None, None]
    assert (play.progress, play.checkpoints) == ([], [])


def test_a_thread_that_waits_for_an_ended_attempt_is_let_go(stage: Any) -> None:
    def body() -> None:
        threads.append(threading.Thread(target=wait))
        threads[0].start()
        play.until(lambda: play.actor.inbox.rings)

    def wait() -> None:
        with pytest.raises(NotInTask, match="is over"):
            context.receive()
        said.append("let go")

    threads: list[threading.Thread] = []
    said: list[str] = []
    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until(lambda: play.outcomes)
    threads[0].join(PATIENCE)
    assert said == ["let go"]


def test_a_thread_of_nobody(stage: Any) -> None:
    def body() -> Any:
        said: list[Any] = []
        thread = threading.Thread(target=lambda: said.append(running_actor()))
        start_outside(thread)
        thread.join()
        return [said, here().actor.helpers is None]

    assert stage.perform(body).value() == [[None], True]


def test_a_thread_that_cannot_be_started_counts_for_nothing(stage: Any) -> None:
    def body() -> Any:
        thread = threading.Thread(target=print)
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        return here().actor.helpers._working

    assert stage.perform(body).value() == 0


# --- waiting ---


def test_a_helper_that_waits_gives_nothing_away(stage: Any) -> None:
    def body() -> Any:
        for wait in (context.receive, lambda: context.sleep(PATIENCE)):
            threading.Thread(target=wait).start()
        until(lambda: len(play.actor.inbox.rings) == 2)
        return play.parked

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until(lambda: play.outcomes and not play.actor.inbox.rings)
    assert play.value() == 0
    assert play.parked == 0


WAYS_TO_WAIT: dict[str, Callable[[ThreadPoolExecutor, list[Future[Any]]], Any]] = {
    "result": lambda _, work: [piece.result() for piece in work],
    "wait": lambda _, work: wait_for_all(work),
    "shutdown": lambda pool, _: pool.shutdown(),
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_a_task_waits_when_it_waits_for_helpers_that_all_wait(stage: Any, way: str) -> None:
    begun, computes = threading.Event(), threading.Event()

    def compute_and_receive() -> Any:
        begun.set()
        while not computes.is_set():  # works: this wait is not seen
            pass
        return context.receive()

    def body() -> Any:
        pool = ThreadPoolExecutor(3)
        work = [pool.submit(call) for call in (context.receive, context.receive, compute_and_receive)]
        WAYS_TO_WAIT[way](pool, work)
        pool.shutdown()
        return sorted(piece.result() for piece in work)

    play = stage.perform(body, now=False)
    stage.begin(play)
    # A piece of work that no thread has taken yet does not keep the task from waiting.
    assert begun.wait(PATIENCE)
    waits = play.parked
    play.until(lambda: len(play.actor.inbox.rings) == 2 and play.actor.helpers._own_waits)
    assert play.parked == waits, "one of them works"
    computes.set()
    play.until_waiting()
    play.tell(1, 2, 3)
    assert play.value() == [1, 2, 3]


def test_a_thread_that_is_joined(stage: Any) -> None:
    def body() -> Any:
        said: list[Any] = []
        thread = threading.Thread(target=lambda: said.append(by_pool(context.receive)))
        thread.start()
        thread.join()
        return said

    play = stage.perform(body)
    play.until_waiting()
    play.tell("a")
    assert play.value() == ["a"]


def test_the_end_of_the_task_ends_the_wait_of_its_helpers_for_the_host(stage: Any) -> None:
    """The task's own thread gives up to wait; its helper goes on to."""

    def body() -> None:
        pool = ThreadPoolExecutor(1)
        with pytest.raises(TimeoutError):
            pool.submit(context.receive).result(0.05)
        pool.shutdown(wait=False)

    play = stage.perform(body)
    play.until(lambda: play.outcomes)
    assert play.parked == play.resumed == 1


# --- cancel ---


def test_each_thread_learns_of_a_cancel_by_itself(stage: Any) -> None:
    def body() -> Any:
        here().actor.stop_for("cancel")
        with ThreadPoolExecutor(1) as pool:
            helper = [pool.submit(context.cancelled).result() for _ in range(2)]
        return [*helper, context.receive()]

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == [True, True, {"$cancel": True}]


def test_the_loop_of_a_helper_ends_too(stage: Any) -> None:
    rounds: list[bool] = []

    def loop() -> None:
        while True:
            rounds.append(context.sleep(PATIENCE))

    def body() -> Any:
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(loop)
            thread = threading.Thread(target=loop)
            thread.start()
            play.until(lambda: len(play.actor.inbox.rings) == 2)
            play.actor.stop_for("cancel")
            thread.join()
            with pytest.raises(Cancelled):
                work.result()
        return rounds

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == [False, False]


def test_several_threads_take_each_message_once(stage: Any) -> None:
    def take() -> list[Any]:
        got = []
        while (message := context.receive()) is not None:
            got.append(message)
        return got

    def body() -> Any:
        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(take) for _ in range(4)]
            return sorted(message for piece in work for message in piece.result())

    play = stage.perform(body, ack="checkpoint")
    for n in range(200):
        play.tell(*range(5 * n, 5 * n + 5))
    play.actor.inbox.close()
    assert play.value() == list(range(1_000))
    assert play.actor.taken == 1_000


def test_it_is_installed_once() -> None:
    before = threading.Thread.start
    helper_threads.install()
    assert threading.Thread.start is before
