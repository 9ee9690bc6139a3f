"""The calls' own requests, against a supervisor of paper; with a real one they are in test_runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from call_tasks import add
from mimic import Mimic, Peer, mimic
from understudy import AsyncRuntime, Runtime, SupervisorLost
from understudy.actors.ids import id_text, new_id
from understudy.supervisor.client.calls import START_PART
from understudy.supervisor.settings import BATCH_LIMIT
from understudy.supervisor.wire.messages import Answer, Ask


def confirm(it: Mimic, seen: list[tuple[Any, ...]]) -> None:
    """Answer the requests of the next client with OK until it hangs up."""
    peer = it.peer()
    try:
        while True:
            op, number, *fields = peer.next()
            seen.append((op, *fields))
            peer.tell((Answer.OK, number, None))
    except (EOFError, OSError):
        return


@pytest.fixture
def seen(home: Path) -> Iterator[list[tuple[Any, ...]]]:
    """What a client asks."""
    asked: list[tuple[Any, ...]] = []
    with mimic(home) as it:
        answering = threading.Thread(target=confirm, args=(it, asked))
        answering.start()
        yield asked
    answering.join(10)


def test_a_large_start_is_sent_in_parts(home: Path, seen: list[tuple[Any, ...]]):
    with Runtime.connect(home) as rt:
        infos = rt.start_many(add, range(BATCH_LIMIT + 1), timeout=30)
    assert len({info.id for info in infos}) == BATCH_LIMIT + 1
    assert [len(rows) for _, rows in seen] == [START_PART] * (BATCH_LIMIT // START_PART) + [1]


def test_between_two_parts_a_call_keeps_its_time(home: Path, seen: list[tuple[Any, ...]]):
    over = threading.Event()

    def calls() -> Iterator[int]:
        yield from range(BATCH_LIMIT)
        over.wait(0.2)  # Longer than the call's time, whatever the machine does.
        yield from range(BATCH_LIMIT)
        over.set()

    with Runtime.connect(home) as rt:
        with pytest.raises(TimeoutError, match="has not answered within"):
            rt.start_many(add, calls(), timeout=0.1)
        with pytest.raises(TimeoutError, match="has not answered within"):
            rt.send_many(((id_text(new_id()), n) for n in calls()), timeout=0.1)
    assert not over.is_set()


def test_what_a_call_gave_up_is_not_kept(home: Path):
    def silent(peer: Peer) -> None:
        peer.greet()

    id = id_text(new_id())
    with mimic(home, silent), Runtime.connect(home) as rt:
        calls = (
            lambda: rt.start_many(add, [1], timeout=0.01),
            lambda: rt.run(add, 1, timeout=0.01),
            lambda: rt.send(id, 1, timeout=0.01),
            lambda: rt.send_many([(id, 1)], timeout=0.01),
            lambda: rt.close_mailbox(id, timeout=0.01),
            lambda: rt.cancel(id, timeout=0.01),
            lambda: rt.result(id, timeout=0.01),
            lambda: list(rt.results([id], timeout=0.01)),
            lambda: rt.wait(id, timeout=0.01),
            lambda: rt.ping(timeout=0.01),
            lambda: rt.tree(timeout=0.01),
            lambda: rt.prune(timeout=0.01),
            lambda: rt.compact(timeout=0.01),
            lambda: rt.stop_supervisor(timeout=0.01),
            lambda: rt.subscribe(timeout=0.1),
        )
        rt._client.connect_now()
        for call in calls:
            with pytest.raises(TimeoutError, match="within"):
                call()
        connection = rt._client.connection
        assert connection is not None
        assert connection._requests == connection._waits == {}
        assert not rt._client._waits


def test_a_send_is_never_repeated(home: Path):
    with mimic(home) as it, Runtime.connect(home) as rt:
        failed: list[BaseException] = []

        def send() -> None:
            try:
                rt.send(id_text(new_id()), 1)
            except SupervisorLost as error:
                failed.append(error)

        sending = threading.Thread(target=send)
        sending.start()
        peer = it.peer()
        assert peer.next()[0] == Ask.SEND
        peer.close()
        sending.join(10)
        assert len(failed) == 1


def test_every_call_that_waits_takes_a_timeout():
    import inspect

    reads = {
        "status", "list", "search", "counts", "event", "events", "stream", "restore", "logs", "lookup", "actors",
        "dead_letters", "actor_status", "schedules", "schedule_info", "schedule_history", "next_times", "streams",
        "stats", "attempts", "steps", "errors", "trees", "tree_of", "tokens", "audit", "bulk", "bulks", "bulk_ids",
        "bulk_outcomes",
    }  # fmt: skip
    own = {"start", "schedule", "actor", "connect", "close", "wait_for", "wait_for_end", "watch"}
    for kind in (Runtime, AsyncRuntime):
        calls = {name for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}
        for name in calls - reads - own - {"open"}:
            assert "timeout" in inspect.signature(getattr(kind, name)).parameters, name
