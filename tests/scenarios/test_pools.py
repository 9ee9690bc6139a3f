"""Pools with real processes: who runs where, with which environment, beside what, and after which deaths."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

import pool_tasks as tasks
from theatre import PATIENCE, gone, kill, ready, runtime
from understudy import AsyncRuntime, InvalidOption, Runtime, State, Supervisor, UnknownPool, child
from understudy.testing import kill_supervisor, kill_worker
from waiting import until

GPU = {"pools": {"gpu": 1}, "pool_env": {"gpu": {tasks.VARIABLE: "3"}}}


def pooled(home: Path, **settings: Any) -> Runtime:
    return runtime(home, app="pool_tasks", **{**GPU, **settings})


def pids(rt: Runtime, pool: str | None) -> set[int]:
    """The workers that run tasks of this pool, once they are up."""

    def found() -> set[int]:
        seats = [worker for worker in rt.tree()["workers"] if worker["pool"] == pool and not worker["alone"]]
        up = {worker["pid"] for worker in seats if worker["pid"] and not worker["retiring"]}
        return up if len(up) == len(seats) else set()

    return until(found, PATIENCE)


def test_every_kind_of_task_of_a_pool_runs_on_its_workers_with_their_environment(home: Path):
    with pooled(home) as rt:
        (gpu,), (other,) = pids(rt, "gpu"), pids(rt, None)
        assert rt.run(tasks.render, 7) == [gpu, "3", 7]
        assert rt.run(tasks.render_async) == [gpu, "3"]
        assert rt.run(tasks.plain) == [other, None]
        assert rt.run(tasks.plain.options(pool="gpu")) == [gpu, "3"]
        assert rt.run(tasks.render.options(pool=None))[:2] == [other, None]
        assert rt.run(tasks.render_one) == [gpu, "3"]
        assert rt.actor(tasks.Camera, "left").proxy().shoot().get() == [gpu, "3", 1]
        assert rt.actor(tasks.Lens).proxy().look().get() == [gpu, "3"]
        event = rt.emit("pooled.now")
        (run,) = until(lambda: rt.list(stream=event.stream_id), PATIENCE)
        assert rt.result(run.id, timeout=PATIENCE) == [gpu, "3"]
        alone = rt.run(tasks.render_alone)
        assert alone[0] not in (gpu, other)
        assert alone[1] == "3"
        assert pids(rt, "gpu") == {gpu}
        record = rt.status(rt.start(tasks.render).id)
        assert record.pool == "gpu"
        assert rt.run(tasks.parent) == "3"
        assert rt.tree()["pools"] == {"gpu": {"workers": 1, "slots": 8}}


def test_a_pool_has_the_slots_and_the_workers_that_it_is_given(home: Path, tmp_path: Path):
    with pooled(home, pools={"gpu": 2, "io": 1}, pool_slots={"gpu": 1}) as rt:
        assert len(pids(rt, "gpu")) == 2
        assert len(pids(rt, "io")) == 1
        infos = rt.start_many(tasks.render_slow, [(str(tmp_path), n) for n in range(60)])
        assert list(rt.results(infos, timeout=PATIENCE)) == list(range(60))
        workers, io = pids(rt, "gpu"), pids(rt, "io")
    under_way: dict[str, int] = {}
    for line in tasks.notes(tmp_path):
        what, pid, _ = line.split()
        under_way[pid] = under_way.get(pid, 0) + (1 if what == "+" else -1)
        # A worker that begins the next task in a row notes that before the other thread has ended.
        assert under_way[pid] <= 2
    assert {int(pid) for pid in under_way} == workers
    assert not io & workers


def test_a_full_default_pool_delays_no_task_of_a_pool(home: Path):
    with pooled(home, slots=2) as rt:
        (gpu,), (other,) = pids(rt, "gpu"), pids(rt, None)
        rt.run(tasks.render)
        hogs = [rt.start(tasks.hog, 8.0) for _ in range(20)]
        many = rt.start_many(tasks.keyed.options(priority=50), [(f"k{n}", 0.0) for n in range(9_000)])
        until(lambda: sum(info.status().state is State.RUNNING for info in hogs) == 2, PATIENCE)
        waits = []
        for number in range(20):
            begun = time.monotonic()
            assert rt.run(tasks.render, number) == [gpu, "3", number]
            waits.append(time.monotonic() - begun)
        # On a machine with other loads as well: the least of them is what the runtime takes.
        assert min(waits) < 0.1
        assert rt.run(tasks.render_one)[0] == gpu
        assert any(info.status().state is State.QUEUED for info in many)
        assert sum(info.status().state is State.QUEUED for info in hogs) == 18
        for info in hogs:
            info.cancel()
        kill(other)


def test_a_full_pool_delays_no_other_task(home: Path):
    with pooled(home, pool_slots={"gpu": 1}) as rt:
        rt.run(tasks.plain)
        hogs = [rt.start(tasks.hog.options(pool="gpu"), 8.0) for _ in range(20)]
        until(lambda: hogs[0].status().state is State.RUNNING, PATIENCE)
        waits = []
        for _ in range(20):
            begun = time.monotonic()
            rt.run(tasks.plain)
            waits.append(time.monotonic() - begun)
        assert min(waits) < 0.1
        assert sum(info.status().state is State.QUEUED for info in hogs) == 19
        for info in hogs[1:]:
            assert info.cancel()
        kill_worker(hogs[0])


def test_twenty_restarts_lose_nothing(home: Path, tmp_path: Path):
    with pooled(home, pools={"gpu": 2}, max_crashes=1000, restarts=1_000) as rt:
        many = rt.start_many(tasks.render_slow.options(retry=50), [(str(tmp_path), n) for n in range(400)])
        steps = tmp_path / "steps"
        steps.mkdir()
        counted = rt.start(tasks.render_counted.options(retry=50), str(steps), 150)
        for restart in range(20):
            # A program that calls nothing starts no other supervisor.
            until(lambda n=restart: rt.tree() and len(tasks.notes(steps)) >= 5 * n, PATIENCE)
            if restart % 2:
                kill_supervisor(rt)
            else:
                kill(min(pids(rt, "gpu")))
        assert counted.result(60) == list(range(150))
        assert [info.result(60) for info in many] == list(range(400))
        other = pids(rt, None)
    assert not other & {int(line.split()[1]) for line in tasks.notes(tmp_path)}


def test_a_death_is_blamed_on_a_task_of_the_pool_alone_in_the_pool(home: Path, tmp_path: Path):
    with pooled(home) as rt:
        (other,) = pids(rt, None)
        bystanders = [rt.start(tasks.render_waits) for _ in range(3)]
        until(lambda: all(info.status().state is State.RUNNING for info in bystanders), PATIENCE)
        killing = rt.start(tasks.render_killing.options(retry=3), str(tmp_path))
        last = killing.result(PATIENCE)
        told = [int(line) for line in tasks.notes(tmp_path)]
        assert len(set(told)) == 3
        assert told[-1] == last
        assert pids(rt, None) == {other}
        for info in bystanders:
            rt.send(info.id, "on")
        for info in bystanders:
            assert info.result(PATIENCE)[1] == "3"
            assert info.status().interruptions >= 1


def test_retries_limits_and_priorities_hold_in_a_pool(home: Path, tmp_path: Path):
    with pooled(home) as rt:
        (gpu,) = pids(rt, "gpu")
        again = tmp_path / "again"
        again.mkdir()
        assert rt.run(tasks.render_again, str(again)) == gpu
        infos = rt.start_many(tasks.render_limited, [(str(tmp_path), 0.02) for _ in range(20)])
        assert set(rt.results(infos, timeout=PATIENCE)) == {gpu}
        later = rt.start(tasks.render.options(delay=0.2), 1)
        assert later.status().waits_for == "time"
        assert later.result(PATIENCE) == [gpu, "3", 1]
    under_way = most = 0
    for line in tasks.notes(tmp_path):
        under_way += 1 if line[0] == "+" else -1
        most = max(most, under_way)
    assert most == 2


def test_a_drain_and_a_grown_worker_are_as_elsewhere(home: Path):
    with pooled(home, worker_tasks=5) as rt:
        found = {next(iter(rt.run(tasks.render, n))) for n in range(30)}
        assert len(found) >= 3
        waiting = rt.start(tasks.render_waits)
        until(lambda: waiting.status().state is State.RUNNING, PATIENCE)
    with pooled(home) as rt:
        assert rt.status(waiting.id).interruptions == 1
        rt.send(waiting.id, "on")
        assert rt.result(waiting.id, timeout=PATIENCE)[0] in pids(rt, "gpu")


# --- no such pool ---


def test_no_such_pool_at_every_door(home: Path):
    with runtime(home, app="pool_tasks", pools={"gpx": 1, "io": 1}) as rt:
        tree = Supervisor("rack", children=[child("one", tasks.render)])
        before = rt.run(tasks.plain.options(pool="io"))[0]
        doors = {
            "start": lambda: rt.start(tasks.render),
            "start by name": lambda: rt.start("pool_tasks:render"),
            "options": lambda: rt.start(tasks.plain.options(pool="gpu")),
            "start_many": lambda: rt.start_many(tasks.render, range(3)),
            "mixed": lambda: rt.start_many([tasks.plain.call(), tasks.plain.options(pool="gpu").call()]),
            "run": lambda: rt.run(tasks.render),
            "schedule": lambda: rt.schedule(tasks.render, every=3600),
            "actor": lambda: rt.actor(tasks.Camera, "left"),
            "supervise": lambda: rt.supervise(tree),
        }
        for door, enter in doors.items():
            with pytest.raises(UnknownPool, match=r"no such pool.*gpx, io.*serve --pool gpu=1") as refused:
                enter()
            assert (refused.value.pool, refused.value.pools) == ("gpu", ["gpx", "io"]), door
        assert rt.run(tasks.parent) == "UnknownPool"
        assert [record.task.split(":")[1] for record in rt.list()] == ["parent", "plain"]
        assert {record.task for record in rt.list(state="completed")} == {
            "pool_tasks:plain",
            "pool_tasks:parent",
        }
        assert rt.run(tasks.render.options(pool="io"))[0] == before

        async def door() -> None:
            async with AsyncRuntime.connect(home) as other:
                with pytest.raises(UnknownPool):
                    await other.start(tasks.render)

        asyncio.run(door())


def test_bad_names_are_refused_where_they_are_written(home: Path):
    for bad in ("", "a b", "-x", "x" * 65, 7, "gpu=1", "gpu:a", "ä"):
        with pytest.raises(InvalidOption, match="pool"):
            tasks.plain.options(pool=bad)
        with pytest.raises(InvalidOption, match="pool"):
            Runtime(home, pools={bad: 1})
    from understudy import BoxConf, box

    with pytest.raises(InvalidOption, match="pool is not an option of a container"):
        box.call(BoxConf(image="alpine"), pool="gpu")


def test_a_task_whose_pool_is_gone_waits_and_says_so(home: Path):
    with pooled(home) as rt:
        waiting = [rt.start(tasks.render_waits) for _ in range(2)]
        until(lambda: all(info.status().state is State.RUNNING for info in waiting), PATIENCE)
        assert rt.actor(tasks.Camera, "left").proxy().shoot().get()[2] == 1
        delayed = rt.start(tasks.render.options(delay=0.5), 1)
        held = rt.start_many(tasks.render_one.options(delay=0.5), [() for _ in range(3)])
        hogs = [rt.start(tasks.hog.options(pool="gpu"), 60.0) for _ in range(8)]
        queued = rt.start_many(tasks.render.options(retry=1), range(100))
        ids = [info.id for info in (*waiting, delayed, *held, *queued)]
        for info in hogs:
            info.cancel()
        kill(min(pids(rt, "gpu")))
    with runtime(home, app="pool_tasks") as rt:
        assert rt.run(tasks.plain)[1] is None
        until(lambda: {rt.status(id).waits_for for id in ids} == {"pool"}, PATIENCE)
        assert {rt.status(id).pool for id in ids} == {"gpu"}
        tree = rt.tree()
        assert tree["pools"] == {}
        assert tree["waits_for_pool"]["pool_tasks:render_waits"] == 2
        assert sum(tree["waits_for_pool"].values()) >= len(ids)
        # A run of an event does not make its event fail: it waits with the others.
        event = rt.emit("pooled.later")
        (run,) = until(lambda: rt.list(stream=event.stream_id), PATIENCE)
        assert run.waits_for == "pool"
        # Nothing of a shared limit is held by tasks that cannot begin.
        assert {limit.used for limit in rt.limits() if limit.name == "of the pool"} <= {0}
        rt.actor(tasks.Camera, "left").proxy().shoot.defer()
        until(lambda: rt.tree()["waits_for_pool"].get("pool_tasks:Camera"), PATIENCE)
        assert rt.cancel(ids[-1])
        assert rt.status(ids[-1]).state is State.CANCELLED
        failed = rt.start(tasks.render.options(pool=None), 1)
        failed.result(PATIENCE)
        kill_supervisor(rt)
        until(lambda: {rt.status(id).waits_for for id in ids[:-1]} == {"pool"}, PATIENCE)
    with pooled(home) as rt:
        (gpu,) = pids(rt, "gpu")
        for info in waiting:
            rt.send(info.id, "on")
        results = [rt.result(id, timeout=PATIENCE) for id in ids[:-1]]
        assert {tuple(result[:2]) for result in results} == {(gpu, "3")}
        assert rt.result(run.id, timeout=PATIENCE) == [gpu, "3"]
        assert rt.actor(tasks.Camera, "left").proxy().shoot().get(timeout=PATIENCE)[2] == 3
        assert rt.tree()["waits_for_pool"] == {}


def test_tasks_leave_a_pool_that_is_gone_when_their_code_names_another(
    home: Path, tmp_path: Path, monkeypatch
):
    code = "from understudy import task\n@task(pool={pool!r})\ndef moves(n): return n\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    app = tmp_path / "pool_moves.py"
    app.write_text(code.format(pool="old"))
    with runtime(home, app="pool_moves", pools={"old": 1}) as rt:
        infos = [rt.start("pool_moves:moves", n) for n in range(3)]
        assert [info.result(PATIENCE) for info in infos] == [0, 1, 2]
        later = [
            rt.start(type(tasks.plain).named("pool_moves:moves").options(delay=0.3), n) for n in range(5)
        ]
    for pool, pools in (("old", {}), ("new", {"new": 1})):
        app.write_text(code.format(pool=pool))
        with runtime(home, app="pool_moves", pools=pools) as rt:
            if not pools:
                until(lambda: {rt.status(info.id).waits_for for info in later} == {"pool"}, PATIENCE)
                continue
            assert [rt.result(info.id, timeout=PATIENCE) for info in later] == list(range(5))
            assert {rt.status(info.id).pool for info in later} == {"new"}


def test_an_idle_worker_of_a_pool_costs_what_another_one_does(home: Path):
    with pooled(home, workers=1) as rt:
        rt.run(tasks.render)
        rt.run(tasks.plain)
        (gpu,), (other,) = pids(rt, "gpu"), pids(rt, None)

        def ticks(pid: int) -> int:
            fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = {pid: ticks(pid) for pid in (gpu, other, rt.supervisor_pid)}
        end = time.monotonic() + 2
        until(lambda: time.monotonic() > end, PATIENCE)
        spent = {pid: ticks(pid) - at for pid, at in before.items()}
        # A hundredth of a second is a tick.
        assert spent[gpu] <= spent[other] + 2
        assert spent[rt.supervisor_pid] <= 10


def test_the_workers_of_a_pool_end_with_their_supervisor(home: Path):
    with pooled(home) as rt:
        found = ready(rt, 2)
        assert rt.run(tasks.render)[0] in found
    gone(found)
    assert os.environ.get(tasks.VARIABLE) is None
