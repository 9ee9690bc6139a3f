"""A stream of events: bounded, ended by close or by the supervisor's end, never a hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mimic import Peer, mimic
from understudy.actors.errors import ProtocolError, SupervisorLost
from understudy.actors.ids import id_text, new_id
from understudy.actors.state import State
from understudy.supervisor.client import subscription as subscription_module
from understudy.supervisor.client.subscription import Subscription, TaskEvent
from understudy.supervisor.home import Home
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until

STREAM = new_id()


def confirm(peer: Peer) -> None:
    peer.greet()
    assert peer.next()[0] == Ask.SUBSCRIBE
    peer.tell((Answer.OK, 1, None))


class Stage:
    def __init__(self, subscription: Subscription, peer: Peer) -> None:
        self.subscription, self.peer = subscription, peer

    def tell(self, count: int, start: int = 0) -> None:
        rows = [(new_id(), f"task {n}", "running", 1, 2.0, STREAM, None) for n in range(start, start + count)]
        self.peer.tell((Answer.EVENT, 1, rows))


@pytest.fixture
def stage(home: Path) -> Iterator[Stage]:
    with mimic(home, confirm) as it:
        subscription = Subscription(Home(home), None, None).open()
        yield Stage(subscription, it.peer())
        subscription.close()


def test_events_in_order(stage: Stage):
    stage.tell(3)
    event = stage.subscription.next(10)
    assert isinstance(event, TaskEvent)
    assert (event.task, event.state, event.attempt, event.time) == ("task 0", State.RUNNING, 1, 2.0)
    assert event.stream_id == id_text(STREAM)
    assert [next(stage.subscription).task for _ in range(2)] == ["task 1", "task 2"]
    with pytest.raises(TimeoutError, match="within 0"):
        stage.subscription.next(0.01)


def test_close_ends_the_iteration_for_good(stage: Stage):
    stage.tell(1)
    assert next(iter(stage.subscription)).task == "task 0"
    with stage.subscription as same:
        assert same is stage.subscription
    stage.subscription.close()
    assert [stage.subscription.next(), stage.subscription.next(5)] == [None, None]
    assert list(stage.subscription) == []


def test_close_wakes_who_waits(stage: Stage):
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(stage.subscription.next()))
    thread.start()
    until(lambda: stage.subscription._events.change._waiters)  # type: ignore[attr-defined]
    stage.subscription.close()
    thread.join(10)
    assert got == [None]


def test_more_than_fits_waits_and_does_not_keep_close_waiting(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subscription_module, "AHEAD", 10)
    stage.tell(100)
    until(lambda: len(stage.subscription._events._waiting) == 10)
    assert [next(stage.subscription).task for _ in range(50)] == [f"task {n}" for n in range(50)]
    assert len(stage.subscription._events._waiting) <= 10
    stage.subscription.close()


def test_what_came_before_the_end_is_given_and_then_the_end_each_time(stage: Stage):
    stage.tell(2)
    until(lambda: len(stage.subscription._events._waiting) == 2)
    stage.peer.tell((Answer.GOODBYE, "it was stopped"))
    stage.peer.close()
    until(lambda: stage.subscription._events._error is not None)
    assert [next(stage.subscription).task for _ in range(2)] == ["task 0", "task 1"]
    for _ in range(2):
        with pytest.raises(SupervisorLost, match="it was stopped"):
            stage.subscription.next(10)


def test_a_state_of_a_later_release_is_an_error_and_no_hang(stage: Stage):
    stage.peer.tell((Answer.EVENT, 1, [(new_id(), "task", "paused", 1, 2.0, STREAM, None)]))
    with pytest.raises(ProtocolError, match="paused"):
        stage.subscription.next(10)


def test_one_that_is_refused_leaves_nothing_behind(home: Path):
    def refuse(peer: Peer) -> None:
        peer.greet()
        peer.next()
        peer.tell((Answer.ERROR, 1, "NotRunning", "it stops", {}))

    with mimic(home, refuse), pytest.raises(ConnectionError, match="it stops"):
        Subscription(Home(home), None, None).open()
    until(lambda: not [t for t in threading.enumerate() if t.name == "understudy-client"])


def test_one_that_was_let_go_of_ends(home: Path):
    with mimic(home, confirm) as it:
        subscription = Subscription(Home(home), None, None).open()
        peer = it.peer()
        # Its reading thread waits because nobody takes the events.
        rows = [(new_id(), "task", "running", 1, 2.0, STREAM, None)] * (subscription_module.AHEAD + 1)
        peer.tell((Answer.EVENT, 1, rows))
        events = subscription._events
        until(lambda: len(events._waiting) == subscription_module.AHEAD)
        with pytest.warns(ResourceWarning, match="was not closed"):
            del subscription
        until(lambda: not [t for t in threading.enumerate() if t.name == "understudy-client"])


def test_one_without_an_answer_keeps_its_time(home: Path):
    with mimic(home), pytest.raises(TimeoutError, match=r"has not answered within 0\.05 s"):
        Subscription(Home(home), None, None).open(0.05)


def test_events_on_an_event_loop(stage: Stage):
    async def story() -> None:
        waiting = asyncio.create_task(stage.subscription.next_async())
        await asyncio.sleep(0)
        stage.tell(2)
        first = await waiting
        second = await stage.subscription.next_async()
        assert [event and event.task for event in (first, second)] == ["task 0", "task 1"]
        cancelled = asyncio.create_task(stage.subscription.next_async())
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        last = asyncio.create_task(stage.subscription.next_async())
        await asyncio.sleep(0)
        stage.subscription.close()
        assert await last is None

    asyncio.run(story())
