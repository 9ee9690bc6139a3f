"""SIGKILL of the supervisor: nothing acknowledged is missing, and everything continues under the next one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import stage_tasks as stage
from puppets import end, said
from theatre import PATIENCE, cookie, gone, kill, parked, processes_of, ready, runtime, seen, serving
from understudy import Executor, NotRunning, Runtime, State, SupervisorLost
from understudy.supervisor.client.calls import START_PART
from understudy.supervisor.client.connection import Reply
from understudy.supervisor.client.runtime import attached
from understudy.supervisor.client.steps import Steps
from understudy.supervisor.settings import BATCH_LIMIT
from waiting import until

KILLS = 5


def under_fire(rt: Runtime, seed: int, act: Callable[[], None]) -> int:
    """Repeats `act` while the supervisor is killed at random moments; returns the number of calls."""
    chance = random.Random(seed)
    over = threading.Event()
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            while not over.is_set():
                act()
        except BaseException as error:  # noqa: BLE001 - raised again by the test's own thread
            failures.append(error)

    actor = threading.Thread(target=go_on)
    actor.start()
    killed = set()
    try:
        while len(killed) < KILLS and not failures:
            pid = rt.supervisor_pid
            if pid not in killed:
                over.wait(chance.uniform(0.0, 0.15))
                kill(pid)
                killed.add(pid)
            until(lambda pid=pid: failures or rt.supervisor_pid != pid, PATIENCE)
    finally:
        over.set()
        actor.join()
    if failures:
        raise failures[0]
    return len(killed)


def test_during_start_many(home: Path) -> None:
    acknowledged: list[Any] = []
    with runtime(home, restarts=1000) as rt:

        def act() -> None:
            first = len(acknowledged)
            acknowledged.extend(rt.start_many(stage.add, [(first + n, 1) for n in range(50)]))

        assert under_fire(rt, 1, act) == KILLS
        assert len(acknowledged) >= 50
        # Repeated after a loss, but never started twice: there are as many tasks as handles.
        assert list(rt.results(acknowledged, 60)) == list(range(1, len(acknowledged) + 1))
        everything = rt.list(limit=len(acknowledged) * 2)
        assert {record.id for record in everything} == {info.id for info in acknowledged}
        assert {record.attempt for record in everything} == {1}


def test_no_future_of_an_executor_is_lost(home: Path) -> None:
    futures: list[Future[int]] = []
    with runtime(home, restarts=1000) as rt, Executor(rt) as executor:

        def act() -> None:
            first = len(futures)
            futures.extend([executor.submit(stage.add, first, n) for n in range(200)])
            # Others are under way, wait for the next commit, or run.
            futures[first].result(PATIENCE)

        assert under_fire(rt, 5, act) == KILLS
        assert [future.result(60) for future in futures] == [
            first + n for first in range(0, len(futures), 200) for n in range(200)
        ]
        everything = rt.list(limit=len(futures) * 2)
        assert len(everything) == len({future.id for future in futures}) == len(futures)


def test_futures_of_an_executor_end_though_no_supervisor_comes(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("understudy.supervisor.client.reconnecting.PATIENCE", 0.3)
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt, Executor(rt) as executor:
            done, running = executor.submit(stage.add, 1, 1), executor.submit(stage.parked)
            assert done.result(PATIENCE) == 2
            parked([rt.start(stage.parked)], rt)
            kill(supervisor.pid)
            with pytest.raises(NotRunning):
                running.result(PATIENCE)
            with pytest.raises(NotRunning):
                executor.submit(stage.add, 1, 1).result(PATIENCE)
        assert done.result() == 2


class Calls:
    """The calls of a start in parts; sometimes kills the supervisor while the call asks for them."""

    def __init__(self, rt: Runtime, first: int, kills: int) -> None:
        self._rt = rt
        self._first = first
        self._kills = kills
        self.killed = 0

    def __len__(self) -> int:
        return BATCH_LIMIT + 500

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number in range(len(self)):
            # During a part: the first time one part is on disk, later the last one is on its way or lost.
            if number % START_PART == START_PART // 2 and self.killed < self._kills and number > START_PART:
                until(lambda: self._rt.list(limit=1), PATIENCE)
                kill(self._rt.supervisor_pid)
                self.killed += 1
            yield self._first + number, 1


def test_during_a_start_in_parts(home: Path) -> None:
    """A start of more tasks than fit into one commit: some tasks run while others are still on their way."""
    acknowledged: list[Any] = []
    with runtime(home, restarts=1000, workers=2) as rt:

        def start(kills: int) -> int:
            calls = Calls(rt, len(acknowledged), kills)
            acknowledged.extend(rt.start_many(stage.add, calls))
            return calls.killed

        assert start(KILLS - 1) == KILLS - 1
        # And at random moments.
        assert under_fire(rt, 3, lambda: start(0)) == KILLS
        assert list(rt.results(acknowledged, 60)) == list(range(1, len(acknowledged) + 1))
        everything = rt.list(limit=len(acknowledged) * 2)
        assert {record.id for record in everything} == {info.id for info in acknowledged}
        assert len(everything) == len(set(acknowledged)) == len(acknowledged)
        assert {(record.state, record.attempt) for record in everything} == {(State.COMPLETED, 1)}


def test_during_send_many_and_checkpoint(home: Path, tmp_path: Path) -> None:
    """Acknowledged messages arrive, once and in order; messages of a lost call may or may not arrive."""
    acknowledged: set[int] = set()
    sent = 0
    with runtime(home, restarts=1000, mailbox_messages=1_000_000) as rt:
        book = stage.ledger.start(str(tmp_path))
        seen(tmp_path, "begun-0")

        def act() -> None:
            nonlocal sent
            numbers = range(sent, sent + 10)
            sent += 10
            try:
                rt.send_many((book.id, n) for n in numbers)
            except SupervisorLost:
                return
            acknowledged.update(numbers)

        under_fire(rt, 2, act)
        book.close()
        got = book.result(40)
        assert got == sorted(set(got)), "in order, and none twice"
        assert acknowledged <= set(got)
        assert len(list(tmp_path.glob("begun-*"))) > 1
        record = book.status()
        assert record.attempt == 1
        assert record.interruptions >= 1
        assert rt.restore(book.id) == got


def test_waits_and_calls_survive_it(home: Path, tmp_path: Path) -> None:
    with runtime(home) as rt:
        info = stage.working.start(str(tmp_path), "works")
        waits = stage.total.start()
        seen(tmp_path, "works")
        parked([waits], rt)
        until(lambda: {info.status().state, waits.status().state} == {"running"}, PATIENCE)
        results: list[Any] = []
        waiting = [
            threading.Thread(target=lambda info=info: results.append(info.result(PATIENCE)))
            for info in (info, waits)
        ]
        for thread in waiting:
            thread.start()
        until(lambda: len(rt._client._waits) == 2, PATIENCE)
        kill(rt.supervisor_pid)
        # The very next call works: it waits for the next supervisor.
        assert stage.add.start(1, 1).result(PATIENCE) == 2
        waits.send(1)
        waits.close()
        (tmp_path / "go").touch()
        for thread in waiting:
            thread.join(PATIENCE)
        assert sorted(map(str, results)) == ["1", "[1, 1]"]
        assert waits.status().interruptions == 1


def test_a_cancel_that_was_answered_stands(home: Path, tmp_path: Path) -> None:
    with runtime(home) as rt:
        info = stage.blocks_in_c.options(grace=60).start(str(tmp_path))
        seen(tmp_path, "begun")
        assert info.cancel()
        kill(rt.supervisor_pid)
        assert info.wait(PATIENCE).state == "cancelled"


def test_workers_and_their_children_die_with_it(home: Path, tmp_path: Path) -> None:
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            workers = ready(rt, 1)
            breeds = stage.breeds.start(str(tmp_path))
            pids = [int(seen(tmp_path, name)) for name in ("child", "daemon", "begun")]
            mark = cookie(rt)
            until(lambda: rt.status(breeds.id).state == "running", PATIENCE)
            kill(supervisor.pid)
            began = time.monotonic()
            gone([*workers, *pids])
            until(lambda: not processes_of(mark), PATIENCE)
            assert time.monotonic() - began < 5
    for path in tmp_path.iterdir():
        path.unlink()
    # Its lock file and socket are still there; neither counts.
    assert (home / "socket").exists() or any(path.is_socket() for path in home.iterdir())
    with pytest.raises(NotRunning):
        attached(home)
    with runtime(home) as rt:
        seen(tmp_path, "begun")
        assert rt.status(breeds.id).interruptions == 1
        assert rt.cancel(breeds.id)
        assert rt.wait(breeds.id, PATIENCE).state == "cancelled"


def test_a_second_supervisor_is_refused(home: Path) -> None:
    with serving(home) as first:
        assert said(first) == ["ready"]
        rt = Runtime.connect(home)
        with serving(home) as second:
            kind, message, pid = said(second)
            assert (kind, pid) == ("HomeInUse", first.pid)
            assert str(first.pid) in message
            assert second.wait(PATIENCE) == 0
        assert rt.run(stage.add, 1, 1, timeout=PATIENCE) == 2
        with runtime(home) as attached:
            assert attached.supervisor_pid == first.pid
            assert attached.run(stage.add, 1, 1, timeout=PATIENCE) == 2
        assert rt.run(stage.add, 1, 1, timeout=PATIENCE) == 2, "it was not ours to stop"
        rt.close()
        end(first)
    with serving(home) as third:
        assert said(third) == ["ready"]


def test_a_cancel_whose_answer_was_lost_still_says_that_it_cancelled(home: Path, monkeypatch: Any) -> None:
    with runtime(home) as rt:
        client = rt._client
        answer = client.answer

        def lost(reply: Reply) -> Steps[Any]:
            monkeypatch.setattr(client, "answer", answer)
            assert (yield from answer(reply))
            until(lambda: info.status().state == "cancelled", PATIENCE)
            raise SupervisorLost("gone")

        for info in (stage.parked.start(), stage.add.options(delay=3600).start(1, 1)):
            monkeypatch.setattr(client, "answer", lost)
            assert info.cancel()
            assert not info.cancel()
        info = stage.add.start(1, 1)
        assert info.result(PATIENCE) == 2
        assert not info.cancel()
