"""Staying with a supervisor, against ones of paper; with real ones it is in tests/scenarios."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mimic import Peer, mimic
from understudy.actors.errors import NoRuntime, NotRunning, SupervisorLost
from understudy.supervisor.app import loading
from understudy.supervisor.client import reconnecting as attachment_module
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


def attach(home: Path) -> ReconnectingClient:
    return ReconnectingClient(Home(home), Settings(), None, owner=False)


def test_what_may_be_asked_twice_is_asked_again_after_a_restart(home: Path):
    with mimic(home) as first:
        attachment = attach(home)
        peer = first.peer()
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(attachment.ask(Ask.CANCEL, b"i" * 16)))
        asking.start()
        assert peer.next()[0] == Ask.CANCEL
    with mimic(home) as second:
        peer = second.peer()
        op, number, _ = peer.next()
        assert op == Ask.CANCEL
        peer.tell((Answer.OK, number, True))
        asking.join(10)
        assert answers == [True]
        attachment.close()


def test_what_may_not_is_not(home: Path):
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
        sent = attachment.request(Ask.SEND, [])
    with pytest.raises(SupervisorLost):
        sent.result(10)
    attachment.close()


def test_waits_go_on_by_themselves(home: Path):
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
        wait = attachment.wait_for([b"a" * 16, b"b" * 16])
    with mimic(home) as second:
        peer = second.peer()
        op, number, ids = peer.next()
        assert (op, sorted(ids)) == (Ask.WAIT, [b"a" * 16, b"b" * 16])
        peer.tell(
            (Answer.ENDED, number, [(id, "completed", None, None) for id in ids]), (Answer.OK, number, None)
        )
        assert wait.future.result(10) is None
        attachment.forget(wait)
        attachment.close()


def test_a_supervisor_that_is_killed_as_it_starts_is_started_again_but_not_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    starts = []

    def killed(*_: object) -> None:
        starts.append(1)
        raise SupervisorLost("the supervisor was killed during its start")

    monkeypatch.setattr(attachment_module, "ChildSupervisor", killed)
    with pytest.raises(NotRunning, match="died 4 times within 10 s"):
        ReconnectingClient(Home(home), Settings(restarts=3), None, owner=True)
    assert len(starts) == 4


def test_patience_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attachment_module, "PATIENCE", 0.05)
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
        wait = attachment.wait_for([b"a" * 16])
    with pytest.raises(NotRunning, match="waited"):
        wait.future.result(10)
    until(lambda: attachment._connection.lost)
    with pytest.raises(NotRunning, match=r"waited 0\.05 s"):
        attachment.ask(Ask.TREE)
    attachment.close()
    attachment.close()
    with pytest.raises(NotRunning, match="closed"):
        attachment.ask(Ask.TREE)


def test_nobody_is_left_waiting_by_a_defect(home: Path, monkeypatch: pytest.MonkeyPatch):
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
        wait = attachment.wait_for([b"a" * 16])

        def broken(*_arguments: object) -> None:
            raise OSError(24, "too many open files")

        monkeypatch.setattr(attachment_module, "Connection", broken)
    with pytest.raises(NotRunning, match="too many open files"):
        wait.future.result(10)
    attachment.close()


def test_an_attachment_that_was_closed_lets_waits_fail(home: Path):
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
        wait = attachment.wait_for([b"a" * 16])
        attachment.close()
        with pytest.raises(NotRunning, match="closed"):
            wait.future.result(10)


def test_a_program_that_is_being_imported_for_its_tasks_starts_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    assert not loading()
    monkeypatch.setattr(attachment_module, "loading", lambda: True)
    attachment = ReconnectingClient(Home(home), Settings(), None, owner=True)
    with pytest.raises(NoRuntime, match="__main__"):
        attachment.connected()
    assert not home.exists()
    # Later, in a worker, it attaches and starts nothing.
    monkeypatch.setattr(attachment_module, "loading", lambda: False)
    with pytest.raises(NotRunning):
        attachment.connected()
    assert not home.exists()
    with mimic(home):
        assert attachment.connected() is attachment.connected()
        attachment.close()


def test_one_connection_at_a_time(home: Path):
    """Many threads that find the connection broken make one new one."""
    with mimic(home) as first:
        attachment = attach(home)
        first.peer()
    until(lambda: attachment._connection.lost)
    peers: list[Peer] = []

    def serve(peer: Peer) -> None:
        peers.append(peer.greet())

    with mimic(home, serve):
        threads = [threading.Thread(target=attachment.connected) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(peers) == 1
        attachment.close()
