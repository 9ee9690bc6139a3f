"""The answer to one request across reconnections, against supervisors of paper."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from mimic import mimic
from understudy.actors.errors import ConnectTimeout, MailboxFull, NotRunning, SupervisorLost
from understudy.actors.refs.futures import wait_here
from understudy.supervisor.client import connection as connection_module
from understudy.supervisor.client import reconnecting as reconnecting_module
from understudy.supervisor.client.answer_wait import AnswerWait
from understudy.supervisor.client.connection import Connection
from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


@pytest.fixture
def client(home: Path) -> Iterator[ReconnectingClient]:
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    yield client
    client.close()


def asked(client: ReconnectingClient, *, deadline: Deadline = NO_DEADLINE, **options: Any) -> AnswerWait:
    wait = AnswerWait(client, Ask.ASK, lambda _: (b"i" * 16, b"letter", []), **options)
    client.begin(wait, deadline)
    return wait


def test_an_answer(home: Path, client: ReconnectingClient):
    with mimic(home) as it:
        wait = asked(client)
        peer = it.peer()
        op, number, *fields = peer.next()
        assert (op, fields) == (Ask.ASK, [b"i" * 16, b"letter", ()])
        peer.tell((Answer.OK, number, b"reply"))
        assert wait.result(10) == b"reply"
        assert not wait.cancel()
        refused = asked(client)
        peer.tell((Answer.ERROR, peer.next()[1], "MailboxFull", "full", {"messages": 4}))
        with pytest.raises(MailboxFull):
            refused.result(10)
        assert not client._waits


def test_it_is_asked_again_on_the_next_connection_with_its_fields_made_anew(
    home: Path, client: ReconnectingClient
):
    seen = iter([[b"1"], [b"2"], [b"3"]])
    with mimic(home) as first:
        wait = AnswerWait(client, Ask.ASK, lambda _: (b"i" * 16, b"letter", next(seen)))
        client.begin(wait, NO_DEADLINE)
        assert first.peer().next()[4] == (b"1",)
    with mimic(home) as second:
        second.peer().next()
    with mimic(home) as third:
        peer = third.peer()
        _, number, _, _, ids = peer.next()
        assert ids == (b"3",)
        peer.tell((Answer.OK, number, b"reply"))
        assert wait.result(10) == b"reply"


def test_what_may_not_be_asked_again_is_lost_with_its_connection(home: Path, client: ReconnectingClient):
    with mimic(home) as it:
        wait = asked(client, again=False)
        it.peer().next()
    with pytest.raises(SupervisorLost):
        wait.result(10)
    assert not client._waits


def test_it_is_sent_once_when_the_connection_comes(home: Path, client: ReconnectingClient):
    """The thread that begins it and the one that connects may both ask; also after a connection was lost."""
    wait = asked(client, again=False)
    with mimic(home) as first:
        peer = first.peer()
        number = peer.next()[1]
        # It is asked before others see the connection.
        connection = until(lambda: client.connection)
        wait.ask(connection)
        client.begin(asked_later := AnswerWait(client, Ask.PRUNE, lambda _: (False,)), NO_DEADLINE)
        op, later, _ = peer.next()
        assert op == Ask.PRUNE, "not a second ASK"
        peer.tell((Answer.OK, number, None), (Answer.OK, later, 0))
        assert wait.result(10) is None
        assert asked_later.result(10) == 0
    until(lambda: connection.lost)
    late = AnswerWait(client, Ask.PRUNE, lambda _: (False,))
    late.ask(connection)
    assert not late.done(), "a lost connection is not asked"


def test_a_cancel_tells_the_supervisor_and_keeps_nothing(home: Path, client: ReconnectingClient):
    with mimic(home) as it:
        wait = asked(client, on_cancel=Ask.UNASK)
        silent = asked(client)
        peer = it.peer()
        number = peer.next()[1]
        peer.next()
        done = threading.Event()
        wait.add_done_callback(lambda _: done.set())
        assert wait.cancel()
        assert wait.cancel(), "a second time"
        assert done.is_set()
        with pytest.raises(CancelledError):
            wait.result(10)
        assert peer.next() == (Ask.UNASK, number)
        assert silent.cancel()
        connection = until(lambda: client.connection)
        assert connection._requests == {}
        assert not client._waits
        connection.request(Ask.TREE)
        assert peer.next()[0] == Ask.TREE, "nothing was sent for the silent one"
        # An answer that comes all the same is nobody's.
        peer.tell((Answer.OK, number, b"reply"))


def test_they_are_asked_in_the_order_in_which_they_began(home: Path, client: ReconnectingClient):
    """Before a connection is there, while it comes, and again on the next one."""

    def numbered(number: int) -> AnswerWait:
        wait = AnswerWait(client, Ask.ASK, lambda _: (b"i" * 16, str(number), []))
        client.begin(wait, NO_DEADLINE)
        return wait

    waits = [numbered(number) for number in range(20)]
    for _ in range(2):
        with mimic(home) as it:
            while client.connection is None:
                waits.append(numbered(len(waits)))
            waits.append(numbered(len(waits)))
            peer = it.peer()
            asked = [peer.next()[3] for _ in waits]
            assert asked == [str(number) for number in range(len(waits))]
        until(lambda: client.connection is None)


def test_a_cancelled_one_is_not_asked_when_the_connection_comes(home: Path, client: ReconnectingClient):
    kept, cancelled = asked(client), asked(client)
    assert cancelled.cancel()
    with mimic(home) as it:
        peer = it.peer()
        number = peer.next()[1]
        peer.tell((Answer.OK, number, b"reply"))
        assert kept.result(10) == b"reply"
        # Waits are asked before the connection is the client's, so an answer may come first.
        connection = until(lambda: client.connection)
        connection.request(Ask.TREE)
        assert peer.next()[0] == Ask.TREE


def test_its_patience(client: ReconnectingClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnecting_module, "PATIENCE", 0.05)
    limited = asked(client, deadline=Deadline(60))
    with pytest.raises(ConnectTimeout, match=r"waited 0\.05 s"):
        asked(client).result(10)
    assert not limited.done(), "its caller looks at the time itself"
    client.close()
    with pytest.raises(NotRunning, match="closed"):
        limited.result(10)
    with pytest.raises(NotRunning, match="closed"):
        asked(client)


def test_it_keeps_what_it_needs_until_it_is_over(home: Path, client: ReconnectingClient):
    import gc
    import weakref

    class Kept:
        pass

    gc.disable()
    try:
        with mimic(home) as it:
            kept = Kept()
            gone = weakref.ref(kept)
            wait: AnswerWait | None = asked(client, keep=kept)
            del kept
            peer = it.peer()
            number = peer.next()[1]
            assert gone() is not None
            peer.tell((Answer.OK, number, None))
            assert wait is not None
            wait.result(10)
            until(lambda: gone() is None)
            over = weakref.ref(wait)
            wait = None
            until(lambda: over() is None)  # It is in no cycle.
    finally:
        gc.enable()


def test_it_is_sent_at_the_latest_when_somebody_waits(
    home: Path, client: ReconnectingClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection_module, "FOLLOWS", 60.0)
    monkeypatch.setattr(Connection, "_wake_sender", lambda _: None)
    with mimic(home) as it:
        first = asked(client)
        peer = it.peer()
        peer.tell((Answer.OK, peer.next()[1], None))
        wait_here(first, 10)
        later = asked(client, soon=True)

        def answer() -> None:
            peer.tell((Answer.OK, peer.next()[1], b"reply"))

        thread = threading.Thread(target=answer)
        thread.start()
        wait_here(later, 10)
        assert later.result(0) == b"reply"
        thread.join()


def test_one_that_must_not_be_repeated_is_not_asked_on_another_connection(
    home: Path, client: ReconnectingClient
):
    """Its connection is lost, and it has not been told yet."""
    with mimic(home) as first:
        wait = asked(client, again=False)
        first.peer().next()
        lost = until(lambda: client.connection)
    with pytest.raises(SupervisorLost):
        wait.result(10)
    with mimic(home) as second:
        other = asked(client)
        peer = second.peer()
        number = peer.next()[1]
        wait = asked(client, again=False)
        peer.next()
        connection = until(lambda: client.connection)
        wait.connection = lost
        wait.ask(connection)
        wait.refused(connection, SupervisorLost("on another connection"))
        peer.tell((Answer.OK, number, b"reply"))
        assert other.result(10) == b"reply"
        assert not wait.done()
        connection.request(Ask.TREE)
        assert peer.next()[0] == Ask.TREE, "it was not sent again"
