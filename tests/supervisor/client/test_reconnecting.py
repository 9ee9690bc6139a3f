"""Staying with a supervisor, against ones of paper; with real ones it is in tests/scenarios."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from mimic import Peer, mimic
from understudy.actors.errors import ConnectTimeout, NoRuntime, NotRunning, SupervisorLost
from understudy.supervisor.app import loading
from understudy.supervisor.client import reconnecting as reconnecting_module
from understudy.supervisor.client.connection import Connection, Reply
from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.client.steps import finish
from understudy.supervisor.client.wait import EndsWait
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


def attach(home: Path) -> ReconnectingClient:
    """A client that is connected."""
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    client.connect_now()
    return client


def ask(client: ReconnectingClient, op: Ask, *fields: Any, timeout: float | None = None) -> Any:
    deadline = Deadline(timeout)
    return finish(client.ask(deadline, op, *fields), deadline, client.late)


def request(client: ReconnectingClient, op: Ask, *fields: Any) -> Reply:
    return finish(client.request(NO_DEADLINE, op, *fields), NO_DEADLINE, client.late)


def wait_for(client: ReconnectingClient, *keys: bytes, timeout: float | None = None) -> EndsWait:
    wait = EndsWait(keys)
    client.begin(wait, Deadline(timeout))
    return wait


def connection_of(client: ReconnectingClient) -> Connection:
    return finish(client.connected(NO_DEADLINE), NO_DEADLINE, client.late)


def test_what_may_be_asked_twice_is_asked_again_after_a_restart(home: Path):
    with mimic(home) as first:
        client = attach(home)
        peer = first.peer()
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(ask(client, Ask.CANCEL, b"i" * 16)))
        asking.start()
        assert peer.next()[0] == Ask.CANCEL
    with mimic(home) as second:
        peer = second.peer()
        op, number, _ = peer.next()
        assert op == Ask.CANCEL
        peer.tell((Answer.OK, number, True))
        asking.join(10)
        assert answers == [True]
        client.close()


def test_what_may_not_is_not(home: Path):
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        sent = request(client, Ask.SEND, [])
    with pytest.raises(SupervisorLost):
        sent.result(10)
    client.close()


def test_waits_go_on_by_themselves(home: Path):
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        wait = wait_for(client, b"a" * 16, b"b" * 16)
    with mimic(home) as second:
        peer = second.peer()
        op, number, ids = peer.next()
        assert (op, sorted(ids)) == (Ask.WAIT, [b"a" * 16, b"b" * 16])
        peer.tell(
            (Answer.ENDED, number, [(id, "completed", None, None) for id in ids]), (Answer.OK, number, None)
        )
        assert wait.future.result(10) is None
        client.forget(wait)
        client.close()


def test_a_supervisor_that_is_killed_as_it_starts_is_started_again_but_not_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    starts = []

    def killed(*_: object) -> None:
        starts.append(1)
        raise SupervisorLost("the supervisor was killed during its start")

    monkeypatch.setattr(reconnecting_module, "ChildSupervisor", killed)
    with pytest.raises(NotRunning, match="died 4 times within 10 s"):
        ReconnectingClient(Home(home), Settings(restarts=3), None, owner=True)
    assert len(starts) == 4


def test_patience_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnecting_module, "PATIENCE", 0.05)
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        wait = wait_for(client, b"a" * 16)
    with pytest.raises(NotRunning, match="waited"):
        wait.future.result(10)
    until(lambda: client.connection is None)
    with pytest.raises(NotRunning, match=r"waited 0\.05 s"):
        ask(client, Ask.TREE)
    client.close()
    client.close()
    with pytest.raises(NotRunning, match="closed"):
        ask(client, Ask.TREE)


def test_nobody_is_left_waiting_by_a_defect(home: Path, monkeypatch: pytest.MonkeyPatch):
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        wait = wait_for(client, b"a" * 16)

        def broken(*_arguments: object) -> None:
            raise OSError(24, "too many open files")

        monkeypatch.setattr(reconnecting_module, "Connection", broken)
    with pytest.raises(NotRunning, match="too many open files"):
        wait.future.result(10)
    client.close()


def test_an_client_that_was_closed_lets_waits_fail(home: Path):
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        wait = wait_for(client, b"a" * 16)
        client.close()
        with pytest.raises(NotRunning, match="closed"):
            wait.future.result(10)


def test_a_program_that_is_being_imported_for_its_tasks_starts_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    assert not loading()
    monkeypatch.setattr(reconnecting_module, "loading", lambda: True)
    client = ReconnectingClient(Home(home), Settings(), None, owner=True)
    with pytest.raises(NoRuntime, match="__main__"):
        ask(client, Ask.TREE)
    with pytest.raises(NoRuntime, match="__main__"):
        wait_for(client, b"a" * 16)
    assert not home.exists()
    # Later, in a worker, it attaches and starts nothing.
    monkeypatch.setattr(reconnecting_module, "loading", lambda: False)
    with pytest.raises(NotRunning):
        ask(client, Ask.TREE, timeout=0.05)
    assert not home.exists()
    with mimic(home):
        assert connection_of(client) is connection_of(client)
        client.close()


def test_one_connection_at_a_time(home: Path):
    """Many threads that find the connection broken make one new one."""
    with mimic(home) as first:
        client = attach(home)
        first.peer()
    until(lambda: client.connection is None)
    peers: list[Peer] = []

    def serve(peer: Peer) -> None:
        peers.append(peer.greet())

    with mimic(home, serve):
        threads = [threading.Thread(target=connection_of, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(peers) == 1
        client.close()


def others(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_it_connects_when_it_is_needed(home: Path):
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    assert client.connection is None
    assert not home.exists()
    assert not client.used
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask(client, Ask.TREE)))
    asking.start()
    until(lambda: client._arrivals)
    with mimic(home) as it:
        peer = it.peer()
        peer.tell((Answer.OK, peer.next()[1], {"pid": 1}))
        asking.join(10)
        assert answers == [{"pid": 1}]
        assert client.used
        until(lambda: not others("understudy-connect"))
        client.close()


def test_each_caller_waits_for_its_own_time(home: Path):
    """Beside the others: all are told at about the same time, and nobody waits for the sum."""
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    told: list[BaseException] = []

    def call(timeout: float) -> None:
        try:
            ask(client, Ask.TREE, timeout=timeout)
        except ConnectTimeout as error:
            told.append(error)

    began = time.monotonic()
    threads = [threading.Thread(target=call, args=(0.5,)) for _ in range(40)]
    for thread in threads:
        thread.start()
    with pytest.raises(ConnectTimeout, match=r"no supervisor serves .* start one .*\(waited 0\.1 s\)"):
        ask(client, Ask.TREE, timeout=0.1)
    for thread in threads:
        thread.join()
    assert len(told) == 40
    assert time.monotonic() - began < 10
    assert client._arrivals == []
    until(lambda: not others("understudy-connect"))
    client.close()


def test_a_supervisor_that_accepts_and_does_not_answer(home: Path):
    """As one that is stopped, or starting: the calls keep their time, and `close` does not wait for it."""
    with mimic(home, lambda _peer: None):
        client = ReconnectingClient(Home(home), Settings(), None, owner=False)
        with pytest.raises(ConnectTimeout, match=r"does not answer \(waited"):
            ask(client, Ask.TREE, timeout=0.05)
        wait = wait_for(client, b"a" * 16, timeout=0.05)
        until(lambda: client._opening)
        client.close()
        with pytest.raises(NotRunning, match="closed"):
            wait.future.result(10)
        assert not others("understudy-connect")


def test_without_a_limit_of_its_own_a_call_is_patient(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnecting_module, "PATIENCE", 0.05)
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    patient, limited = wait_for(client, b"a" * 16), wait_for(client, b"b" * 16, timeout=60)
    with pytest.raises(ConnectTimeout, match=r"waited 0\.05 s"):
        ask(client, Ask.TREE)
    with pytest.raises(ConnectTimeout, match=r"waited 0\.05 s"):
        patient.future.result(10)
    assert not limited.future.done(), "its caller looks at the time itself"
    assert others("understudy-connect")
    client.forget(limited)
    until(lambda: not others("understudy-connect"))
    client.close()


def test_a_wait_that_was_forgotten_is_not_asked_again(home: Path):
    with mimic(home) as first:
        client = attach(home)
        first.peer()
        kept, forgotten = wait_for(client, b"a" * 16), wait_for(client, b"b" * 16)
    client.forget(forgotten)
    forgotten.forget()
    with mimic(home) as second:
        assert second.peer().next()[2] == (b"a" * 16,)
        connection = connection_of(client)
        forgotten.ask(connection)
        assert len(connection._waits) == 1
        client.forget(kept)
        client.close()


def test_a_client_that_nobody_has_is_not_kept_by_its_connection(home: Path):
    with mimic(home) as it:
        client = attach(home)
        peer, gone = it.peer(), weakref.ref(client)
        connection = client.connection
        assert connection is not None
        del client
        assert gone() is None
        peer.close()
        until(lambda: connection.lost)


def test_a_runtime_in_a_module_of_the_app_starts_nothing(home: Path, monkeypatch: pytest.MonkeyPatch):
    """As in a worker, which imports the module, too: there it may be used, and attaches."""
    monkeypatch.setattr(reconnecting_module, "loading", lambda: True)
    client = ReconnectingClient(Home(home), Settings(), None, owner=True)
    monkeypatch.undo()
    client._after_fork()
    with mimic(home) as it:
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(ask(client, Ask.TREE)))
        asking.start()
        peer = it.peer()
        peer.tell((Answer.OK, peer.next()[1], {}))
        asking.join(10)
        assert answers == [{}]
        client.close()
