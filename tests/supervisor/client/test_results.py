"""Waiting for ends, against supervisors of paper: what is asked, and what follows when they go away meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from call_tasks import add, refuse, remember
from mimic import Peer, mimic
from understudy import AsyncRuntime, Runtime, TaskFailed
from understudy.actors import values
from understudy.actors.errors import NotRunning, StoreError, TaskNotFound, UnknownTask
from understudy.actors.state import State
from understudy.storage.file.names import store_file
from understudy.storage.reader import Reader
from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.client.results import Results
from understudy.supervisor.client.stored_ends import StoredEnds
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until

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
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    return client, Results(client, StoredEnds(Reader(home)))


def asked_for_both(peer: Peer) -> tuple[int, int]:
    """The requests' numbers of a start and of the wait that follows without an answer."""
    start, wait = peer.next(), peer.next()
    assert (start[0], start[2]) == (Ask.START, (START,))
    assert (wait[0], wait[2]) == (Ask.WAIT, (ID,))
    return start[1], wait[1]


def test_a_start_and_its_end_are_asked_for_at_once(home: Path):
    with mimic(home) as it:
        client, ends = attached(home)
        caller = Caller(lambda: ends.of_start(ID, START, Deadline(10)))
        peer = it.peer()
        start, wait = asked_for_both(peer)
        peer.tell((Answer.OK, start, None), (Answer.ENDED, wait, [END]), (Answer.OK, wait, None))
        assert caller.join() == END
        assert not client._waits
        client.close()


def test_a_start_that_is_refused_says_why(home: Path):
    with mimic(home) as it:
        client, ends = attached(home)
        caller = Caller(lambda: ends.of_start(ID, START, NO_DEADLINE))
        peer = it.peer()
        start, wait = asked_for_both(peer)
        peer.tell(
            (Answer.ERROR, start, "UnknownTask", "no such task", {"name": "task"}),
            (Answer.ERROR, wait, "TaskNotFound", "no task has this id", {"id": "i"}),
        )
        error = caller.join()
        assert isinstance(error, UnknownTask)
        assert str(error) == "no such task"
        assert not client._waits
        client.close()


def test_a_start_that_takes_too_long_is_left_alone(home: Path):
    with mimic(home) as it:
        client, ends = attached(home)
        client.connect_now()
        peer = it.peer()
        caller = Caller(lambda: ends.of_start(ID, START, Deadline(0.2)))
        start, wait = asked_for_both(peer)
        peer.tell((Answer.OK, start, None))
        assert isinstance(caller.join(), TimeoutError)
        assert peer.next() == (Ask.UNWAIT, wait)
        client.close()


@pytest.mark.parametrize("first", [Ask.START, Ask.WAIT], ids=["start", "wait"])
def test_both_are_asked_again_of_the_next_supervisor(home: Path, first: Ask):
    with mimic(home) as it:
        client, ends = attached(home)
        caller = Caller(lambda: ends.of_start(ID, START, Deadline(10)))
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
        client.close()


def test_ends_that_are_in_the_store_need_no_supervisor(home: Path):
    with Runtime(home, app="call_tasks", workers=1, durability="os", drain=0) as rt:
        infos = [rt.start(add, 1), rt.start(refuse), rt.start(remember, 1)]
        done, failed, nothing = (info.id_bytes for info in infos)
        queued = rt.start(add.options(delay=3600), 1).id_bytes
        for info in infos:
            info.wait(20)
    client, ends = attached(home)
    deadline = Deadline(0.05)
    assert ends.one(done, deadline) == (done, State.COMPLETED, values.pack(2), None)
    assert ends.one(nothing, deadline) == (nothing, State.COMPLETED, None, None)
    assert ends.future(failed, lambda row: row[1], None).result(0) is State.FAILED
    assert [row[0] for row in ends.each([failed, done], deadline)] == [failed, done]
    with pytest.raises(NotRunning, match="understudy serve"):
        ends.one(queued, deadline)
    assert client.connection is None
    assert not client._waits
    client.close()


def test_a_future_is_set_by_the_supervisor_and_cancelled_by_its_user(home: Path):
    with mimic(home) as it:
        client, ends = attached(home)
        client.connect_now()
        peer = it.peer()
        keep = Kept()
        future, other = ends.future(ID, lambda row: row[2], keep), ends.future(ID, lambda row: row[2], None)
        kept = weakref.ref(keep)
        del keep
        numbers = [peer.next()[1], peer.next()[1]]
        assert kept() is not None, "it is needed until the end"
        assert other.cancel()
        assert other.cancel()
        assert peer.next() == (Ask.UNWAIT, numbers[1])
        peer.tell((Answer.ENDED, numbers[0], [END]), (Answer.OK, numbers[0], None))
        assert future.result(10) == b"\x01"
        until(lambda: kept() is None)
        assert not future.cancel()
        assert not client._waits
        client.close()


def test_a_future_fails_with_its_wait(home: Path):
    with mimic(home) as it:
        client, ends = attached(home)
        client.connect_now()
        peer = it.peer()
        future = ends.future(ID, lambda row: row[2], None)
        number = peer.next()[1]
        peer.tell((Answer.ERROR, number, "TaskNotFound", "no task has this id", {"id": "i"}))
        assert isinstance(future.exception(10), TaskNotFound)
        pending = ends.future(ID, lambda row: row[2], None)
        client.close()
        with pytest.raises(NotRunning, match="closed"):
            pending.result(10)
        with pytest.raises(NotRunning, match="closed"):
            ends.future(ID, lambda row: row[2], None)


def test_ended_tasks_need_no_answer(home: Path):
    with Runtime(home, app="call_tasks", workers=1, durability="os", drain=0) as rt:
        infos = rt.start_many(add, range(300))
        failed = rt.start(refuse)
        assert list(rt.results(infos, 30)) == list(range(1, 301))
        rt.wait(failed, 30)
        os.kill(rt.supervisor_pid, signal.SIGSTOP)
        try:
            assert [rt.result(info, 5) for info in infos] == list(range(1, 301))
            assert [info.result(0) for info in reversed(infos)] == list(range(300, 0, -1))
            assert rt.wait(failed, 5).state is State.FAILED
            with pytest.raises(TaskFailed, match="no"):
                rt.wait_for(failed).result(5)

            async def story() -> None:
                async with AsyncRuntime.connect(home) as other:
                    assert [await other.result(info, 5) for info in infos] == list(range(1, 301))
                    assert (await other.wait(failed, 5)).state is State.FAILED

            asyncio.run(story())
        finally:
            os.kill(rt.supervisor_pid, signal.SIGCONT)


def test_a_store_that_cannot_be_read_is_left_to_the_supervisor(home: Path):
    with mimic(home) as it:
        store_file(home).write_bytes(b"no store" * 10_000)
        client, ends = attached(home)
        with pytest.raises(StoreError):
            ends.one(ID, Deadline(10))
        client.connect_now()
        peer = it.peer()
        caller = Caller(lambda: ends.one(ID, Deadline(10)))
        op, number, ids = peer.next()
        assert (op, ids) == (Ask.WAIT, (ID,))
        peer.tell((Answer.ENDED, number, [END]), (Answer.OK, number, None))
        assert caller.join() == END
        client.close()


class Kept:
    """Something that a future needs."""
