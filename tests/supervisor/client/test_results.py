"""Waiting for ends, against supervisors of paper: what is asked, and what follows when they go away meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimic import Peer, mimic
from understudy.actors.errors import UnknownTask
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.client.results import Results
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask

ID = b"i" * 16
START = (ID, "task", None, None, None, None, ID, None)
END = (ID, "completed", b"\x01", None)


class Caller:
    """Calls in a thread of its own; what it gave or raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.outcome = error

    def join(self) -> Any:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.outcome


def attached(home: Path) -> tuple[ReconnectingClient, Results]:
    attachment = ReconnectingClient(Home(home), Settings(), None, owner=False)
    return attachment, Results(attachment)


def asked_for_both(peer: Peer) -> tuple[int, int]:
    """The requests' numbers of a start and of the wait that follows without an answer."""
    start, wait = peer.next(), peer.next()
    assert (start[0], start[2]) == (Ask.START, (START,))
    assert (wait[0], wait[2]) == (Ask.WAIT, (ID,))
    return start[1], wait[1]


def test_a_start_and_its_end_are_asked_for_at_once(home: Path):
    with mimic(home) as it:
        attachment, ends = attached(home)
        peer = it.peer()
        caller = Caller(lambda: ends.of_start(ID, START, 10))
        start, wait = asked_for_both(peer)
        peer.tell((Answer.OK, start, None), (Answer.ENDED, wait, [END]), (Answer.OK, wait, None))
        assert caller.join() == END
        assert attachment._waits == set()
        attachment.close()


def test_a_start_that_is_refused_says_why(home: Path):
    with mimic(home) as it:
        attachment, ends = attached(home)
        peer = it.peer()
        caller = Caller(lambda: ends.of_start(ID, START, None))
        start, wait = asked_for_both(peer)
        peer.tell(
            (Answer.ERROR, start, "UnknownTask", "no such task", {"name": "task"}),
            (Answer.ERROR, wait, "TaskNotFound", "no task has this id", {"id": "i"}),
        )
        error = caller.join()
        assert isinstance(error, UnknownTask)
        assert str(error) == "no such task"
        assert attachment._waits == set()
        attachment.close()


def test_a_start_that_takes_too_long_is_left_alone(home: Path):
    with mimic(home) as it:
        attachment, ends = attached(home)
        peer = it.peer()
        caller = Caller(lambda: ends.of_start(ID, START, 0.02))
        start, wait = asked_for_both(peer)
        peer.tell((Answer.OK, start, None))
        assert isinstance(caller.join(), TimeoutError)
        assert peer.next() == (Ask.UNWAIT, wait)
        attachment.close()


@pytest.mark.parametrize("first", [Ask.START, Ask.WAIT], ids=["start", "wait"])
def test_both_are_asked_again_of_the_next_supervisor(home: Path, first: Ask):
    with mimic(home) as it:
        attachment, ends = attached(home)
        caller = Caller(lambda: ends.of_start(ID, START, 10))
        asked_for_both(it.peer())
    with mimic(home) as it:
        peer = it.peer()
        # In whichever order they come: the wait is asked again by a thread of its own.
        frames = {}
        while len(frames) < 2:
            frame = peer.next()
            frames[frame[0]] = frame[1]
        if first is Ask.WAIT:
            # It was asked before the task was there.
            peer.tell((Answer.ERROR, frames[Ask.WAIT], "TaskNotFound", "no task has this id", {"id": "i"}))
            peer.tell((Answer.OK, frames[Ask.START], None))
            op, number, ids = peer.next()
            assert (op, ids) == (Ask.WAIT, (ID,))
            frames[Ask.WAIT] = number
        else:
            peer.tell((Answer.OK, frames[Ask.START], None))
        peer.tell((Answer.ENDED, frames[Ask.WAIT], [END]), (Answer.OK, frames[Ask.WAIT], None))
        assert caller.join() == END
        attachment.close()
