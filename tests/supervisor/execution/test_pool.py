"""The pool with a real fork server and real workers: as many as wanted, replaced, retired, given up."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from puppets import async_until, write_app
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import AppFailed
from understudy.actors.ids import new_id
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane
from understudy.supervisor.app import AppSpec
from understudy.supervisor.channel.local import LocalChannel
from understudy.supervisor.execution import pool as pool_module
from understudy.supervisor.execution import worker_pool
from understudy.supervisor.execution.pool import Pool
from understudy.supervisor.execution.worker_seat import WorkerSeat
from understudy.supervisor.forking.spawner import Spawner
from understudy.supervisor.linux.processes import ExitStatus, children_of, kill_strays
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks.live_task import LiveTask
from understudy.supervisor.wire.messages import Report

APP = """
    import time
    from understudy import task, sleep

    @task(name="echo")
    def echo(): return None

    @task(name="grow")
    def grow():
        held = bytearray(300 << 20)
        time.sleep(60)
"""


def channel_of(seat: WorkerSeat) -> LocalChannel:
    assert isinstance(seat.channel, LocalChannel)
    return seat.channel


class Troupe:
    """A pool, and what it has told."""

    def __init__(self, spec: AppSpec, home: Path, **settings: Any) -> None:
        self.frames: list[tuple[Any, ...]] = []
        self.hung_up_links: list[WorkerSeat] = []
        self.tasks: dict[str, Any] = {}
        self.deaths: list[tuple[WorkerSeat, ExitStatus]] = []
        self.hopeless: list[AppFailed] = []
        self.grown: list[WorkerSeat] = []
        self.explained = False
        self.cookie = uuid.uuid4().hex
        self.settings = Settings.of({"workers": 2, **settings})
        self.pool = Pool(self.settings, spec, str(home), self.cookie, self, self, self.turn)

    # --- AppEvents ---

    def loaded_code(self, digest: str) -> None:
        assert len(digest) == 16

    def supervises(self, trees: list[dict[str, Any]]) -> None:
        """None of these apps has one."""

    def declared(self, tasks: dict[str, dict[str, Any]]) -> None:
        self.tasks.update(tasks)

    def given_up(self, error: AppFailed) -> None:
        self.hopeless.append(error)

    # --- WorkerEvents ---

    def died(self, seat: WorkerSeat, status: ExitStatus) -> bool:
        self.deaths.append((seat, status))
        return self.explained

    def over_memory(self, seat: WorkerSeat) -> None:
        self.grown.append(seat)

    def retiring(self, seat: WorkerSeat) -> None:
        pass

    def ready(self, seat: WorkerSeat) -> None:
        self.turn()

    def took_back(self, seat: WorkerSeat, lane: Lane, count: int) -> None:
        raise AssertionError("a local channel answers at once")

    def reported(self, seat: WorkerSeat, frame: tuple[Any, ...]) -> None:
        self.frames.append(frame)
        if frame[0] == Report.DONE:
            for row in frame[1]:
                seat.drop(seat.tasks[row[0]])
                seat.done += 1
        self.turn()

    def lost(self, seat: WorkerSeat) -> None:
        self.hung_up_links.append(seat)

    def turn(self) -> None:
        for seat in list(self.pool.seats):
            self.pool.settle(seat)
            seat.channel.flush()

    def up(self, *, alone: bool = False) -> list[WorkerSeat]:
        return [
            seat
            for seat in self.pool.seats
            if seat.pid and seat.alone is alone and channel_of(seat)._transport
        ]

    def run(self, seat: WorkerSeat, task: str, **options: Any) -> bytes:
        id = new_id()
        entry = LiveTask(Record(id, task, 1.0, id), Options().changed(options), Lane.SYNC, stored=False)
        seat.hand(Lane.SYNC, [entry], 0.0)
        seat.channel.flush()
        return id

    def done(self, id: bytes) -> list[tuple[Any, ...]]:
        return [row for frame in self.frames if frame[0] == Report.DONE for row in frame[1] if row[0] == id]


def reaped(before: set[int]) -> set[int]:
    """Our children that are still there, but for those from before; those that have ended are not any more."""
    for pid in set(children_of(os.getpid())) - before:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return set(children_of(os.getpid())) - before


@asynccontextmanager
async def troupe(folder: Path, source: str = APP, **settings: Any) -> AsyncIterator[Troupe]:
    before = set(children_of(os.getpid()))
    it = Troupe(write_app(folder, source), folder, **settings)
    it.pool.start()
    try:
        yield it
    finally:
        await it.pool.stop()
        kill_strays(it.cookie)
        await async_until(lambda: not reaped(before))
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def test_workers_come_work_and_go(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path) as it:
            assert not it.pool.empty.is_set() or not it.pool.seats
            await async_until(lambda: len(it.up()) == 2)
            assert set(it.tasks) >= {"echo", "grow"}
            assert it.pool.app_ready.is_set()
            id = it.run(it.up()[0], "echo")
            await async_until(lambda: it.done(id))
            assert it.done(id)[0][1] == Ending.VALUE
            assert len({seat.pid for seat in it.pool.seats}) == 2
        assert it.pool.empty.is_set()
        assert it.hopeless == []

    asyncio.run(story())


def test_one_that_dies_is_replaced_and_its_end_is_told(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path) as it:
            it.explained = True
            await async_until(lambda: len(it.up()) == 2)
            victim = it.up()[0]
            os.kill(victim.pid, signal.SIGKILL)
            await async_until(lambda: it.deaths)
            assert it.deaths == [(victim, ExitStatus(signal=signal.SIGKILL))]
            assert victim not in it.pool.seats
            await async_until(lambda: len(it.up()) == 2)

    asyncio.run(story())


def test_what_it_had_said_is_heard_before_its_death_is(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            (seat,) = it.up()
            heard_before: list[bool] = []
            it.died = lambda _seat, _status: bool(heard_before.append(bool(it.done(id)))) or True  # type: ignore[method-assign]
            seat.channel.read(False)
            id = it.run(seat, "echo")
            await async_until(lambda: seat.channel.unbegun(Lane.SYNC) == 0)
            # The result lies in the socket, unread, when the worker dies.
            sock = channel_of(seat)._transport.get_extra_info("socket")  # type: ignore[union-attr]
            await async_until(lambda: sock_has_data(sock))
            os.kill(seat.pid, signal.SIGKILL)
            await async_until(lambda: heard_before)
            assert heard_before == [True]

    asyncio.run(story())


def sock_has_data(sock: Any) -> bool:
    import select

    return bool(select.select([sock.fileno()], [], [], 0)[0])


def test_deaths_that_nothing_explains_are_borne_only_so_often(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1, restarts=1) as it:
            for _ in range(2):
                await async_until(it.up)
                os.kill(it.up()[0].pid, signal.SIGKILL)
                before = len(it.deaths)
                await async_until(lambda before=before: len(it.deaths) > before)
            await async_until(lambda: it.hopeless)
            assert "die too often" in str(it.hopeless[0])
            assert it.pool.app_error is it.hopeless[0]
            it.pool.ensure()
            it.pool.want_isolated(1)
            assert it.pool.seats == []
            assert it.pool.empty.is_set()

    asyncio.run(story())


def test_a_task_that_waits_leaves_its_place_to_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_pool, "MANY_WAITING", 0)

    async def story() -> None:
        async with troupe(tmp_path, workers=1, isolated=1) as it:
            await async_until(it.up)
            it.pool.want_isolated(1)
            await async_until(it.pool.idle_isolated)
            (own,) = it.pool.idle_isolated()
            id = it.run(own, "echo")
            it.pool.want_isolated(3)
            assert [seat for seat in it.pool.seats if seat.alone] == [own], "it works"
            own.set_parked(own.tasks[id], True)
            it.pool.want_isolated(3)
            it.pool.want_isolated(3)
            assert sum(seat.alone for seat in it.pool.seats) == 2, "one that waits, and one that may work"
            assert caplog.text.count("that only wait") == 1

    asyncio.run(story())


def test_an_isolated_worker_is_for_one_task(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1, isolated=2) as it:
            it.explained = True
            await async_until(it.up)
            it.pool.want_isolated(5)
            it.pool.want_isolated(5)
            assert sum(seat.alone for seat in it.pool.seats) == 2, "no more than may run at once"
            await async_until(lambda: len(it.pool.idle_isolated()) == 2)
            own = it.pool.idle_isolated()[0]
            id = it.run(own, "echo")
            assert own not in it.pool.idle_isolated()
            await async_until(lambda: it.done(id))
            await async_until(lambda: own not in it.pool.seats)
            assert it.deaths[-1] == (own, ExitStatus(code=0))

    asyncio.run(story())


def test_a_retired_worker_gets_nothing_new_and_exits(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            it.explained = True
            await async_until(it.up)
            (seat,) = it.up()
            retired: list[WorkerSeat] = []
            it.retiring = retired.append  # type: ignore[method-assign]
            it.pool.retire(seat)
            it.pool.retire(seat)
            assert retired == [seat]
            assert not seat.takes(Lane.SYNC)
            it.pool.ensure()
            await async_until(lambda: seat not in it.pool.seats and it.up())

    asyncio.run(story())


def test_workers_are_replaced_by_age(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1, worker_tasks=3) as it:
            it.explained = True
            pids = set()
            for _ in range(9):
                await async_until(lambda: any(seat.takes(Lane.SYNC) for seat in it.up()))
                seat = next(seat for seat in it.up() if seat.takes(Lane.SYNC))
                pids.add(seat.pid)
                id = it.run(seat, "echo")
                await async_until(lambda id=id: it.done(id))
            assert len(pids) == 3
            assert {status.code for _, status in it.deaths} == {0}

    asyncio.run(story())


def test_memory_over_a_tasks_limit_is_told(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            it.explained = True
            await async_until(it.up)
            it.pool.want_isolated(1)
            await async_until(it.pool.idle_isolated)
            own = it.pool.idle_isolated()[0]
            it.run(own, "grow", memory_limit=200 << 20)
            await async_until(lambda: it.grown)
            assert it.grown[0] is own

    asyncio.run(story())


def test_a_worker_that_has_grown_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool_module, "RECYCLE_LOOK", 0.02)
    monkeypatch.setattr(pool_module, "rss_of_tree", lambda _pid: 1 << 40)

    async def story() -> None:
        async with troupe(tmp_path, workers=1, worker_memory=1 << 30) as it:
            it.explained = True
            await async_until(it.up)
            (seat,) = it.up()
            id = it.run(seat, "echo")
            await async_until(lambda: it.done(id) and seat not in it.pool.seats and it.up())

    asyncio.run(story())


def test_a_look_at_memory_that_fails_is_not_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool_module, "RECYCLE_LOOK", 0.02)
    looks: list[int] = []

    def rss(_pid: int) -> int:
        looks.append(1)
        if len(looks) < 3:
            raise ValueError("a file in /proc that nobody understands")
        return 1 << 40

    monkeypatch.setattr(pool_module, "rss_of_tree", rss)

    async def story() -> None:
        async with troupe(tmp_path, workers=1, worker_memory=1 << 30) as it:
            it.explained = True
            await async_until(it.up)
            (seat,) = it.up()
            id = it.run(seat, "echo")
            await async_until(lambda: it.done(id) and seat not in it.pool.seats and it.up())

    asyncio.run(story())
    assert len(looks) >= 3


def test_an_app_that_does_not_load(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, "raise RuntimeError('broken')") as it:
            await async_until(lambda: it.hopeless)
            assert "broken" in str(it.hopeless[0])
            assert it.pool.app_ready.is_set()
            assert it.pool.seats == []

    asyncio.run(story())


def test_an_app_that_takes_too_long(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, "import time; time.sleep(60)", start_timeout=0.05) as it:
            await async_until(lambda: it.hopeless)
            assert "start_timeout=0.05" in str(it.hopeless[0])

    asyncio.run(story())


def test_an_app_is_not_given_up_because_everything_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        source = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        async with troupe(tmp_path, source, start_timeout=3600) as it:
            loop = asyncio.get_running_loop()
            before, due = loop.time, it.pool._load_due
            monkeypatch.setattr(loop, "time", lambda: before() + 3 * 3600)
            await async_until(lambda: it.pool._load_due is not due or it.hopeless)
            monkeypatch.setattr(loop, "time", before)
            (tmp_path / "go").touch()
            await async_until(it.pool.app_ready.is_set)
            assert it.hopeless == []

    asyncio.run(story())


def test_the_fork_server_is_replaced(tmp_path: Path):
    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            first = it.pool.fork_server_pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await async_until(lambda: it.pool.fork_server_pid not in {None, first})
            it.pool.want_isolated(1)
            await async_until(it.pool.idle_isolated)
            assert it.hopeless == []

    asyncio.run(story())


def test_a_fork_server_that_is_killed_while_it_loads_the_app_is_replaced(tmp_path: Path):
    async def story() -> None:
        begun = tmp_path / "begun"
        source = f"import pathlib, time\nwhile not (it := pathlib.Path({str(begun)!r})).exists():\n"
        async with troupe(tmp_path, source + "    it.touch()\n    time.sleep(600)\n", workers=1) as it:
            await async_until(begun.exists)
            assert it.pool.fork_server_pid is not None
            os.kill(it.pool.fork_server_pid, signal.SIGKILL)
            await async_until(it.up)
            assert it.hopeless == []

    asyncio.run(story())


def test_a_fork_server_that_is_killed_while_it_imports_more_modules_is_asked_again(tmp_path: Path):
    async def story() -> None:
        begun = tmp_path / "begun"
        (tmp_path / "sequel.py").write_text(
            f"import pathlib, time\nwhile not (it := pathlib.Path({str(begun)!r})).exists():\n"
            "    it.touch()\n    time.sleep(600)\n",
            encoding="utf-8",
        )
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            declared = asyncio.ensure_future(it.pool.declare(["sequel"]))
            await async_until(begun.exists)
            assert it.pool.fork_server_pid is not None
            os.kill(it.pool.fork_server_pid, signal.SIGKILL)
            await declared
            assert it.hopeless == []

    asyncio.run(story())


def test_one_that_stops_does_not_say_what_becomes_of_more_modules(tmp_path: Path):
    """Its clients lose the connection, and ask the next supervisor."""

    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            stopped = asyncio.ensure_future(it.pool.stop())
            declared = asyncio.ensure_future(it.pool.declare(["json"]))
            await stopped
            assert not declared.done()
            declared.cancel()
            with pytest.raises(asyncio.CancelledError):
                await declared

    asyncio.run(story())


def test_more_modules_wait_for_the_next_fork_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def story() -> None:
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            monkeypatch.setattr(pool_module, "SPAWN_AGAIN", 0.05)
            full = iter([OSError("no process is left")])
            start = Spawner.start
            monkeypatch.setattr(Spawner, "start", lambda self: _raise(next(full, None)) or start(self))
            first = it.pool.fork_server_pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await async_until(lambda: it.pool.fork_server_pid is None)
            await it.pool.declare(["json"])
            assert it.pool.fork_server_pid not in (None, first)

    asyncio.run(story())


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def test_more_modules(tmp_path: Path):
    async def story() -> None:
        (tmp_path / "later.py").write_text(
            "from understudy import task\n@task(name='late')\ndef late(): return None\n", encoding="utf-8"
        )
        async with troupe(tmp_path, workers=1) as it:
            await async_until(it.up)
            await it.pool.declare(["later"])
            assert "late" in it.tasks
            id = it.run(it.up()[0], "late")
            await async_until(lambda: it.done(id))
            with pytest.raises(AppFailed):
                await it.pool.declare(["no_such_module_anywhere"])

    asyncio.run(story())


@pytest.mark.parametrize("turns", [0, 1, 5, 50])
def test_it_can_be_stopped_at_any_moment(tmp_path: Path, turns: int):
    async def story() -> None:
        async with troupe(tmp_path, workers=4) as it:
            await async_until(it.pool.app_ready.is_set)
            it.pool.want_isolated(3)
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(15):
                await it.pool.stop()
            assert it.pool.seats == []

    asyncio.run(story())
