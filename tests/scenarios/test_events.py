"""Events under kills, on a full disk and over deploys: no event without its runs, no run without its event."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from pathlib import Path

import pytest

import event_tasks
from disks import fill_up, mounted
from theatre import PATIENCE, kill
from theatre import runtime as stage_runtime
from understudy import EventRecord, Runtime, State, StoreFull
from understudy.storage.reader import Reader
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until

APP = """
import os
from understudy import Event, on

{handlers}
"""
HANDLER = """
@on("{pattern}")
def {name}(event: Event) -> str:
    return event.id
"""


def runtime(home: Path, app: str = "event_tasks", **settings: object) -> Runtime:
    return stage_runtime(home, app=app, restarts=1000, **settings)


def events_of(rt: Runtime, name: str) -> list[EventRecord]:
    """All events of this name, of however many pages."""
    page = rt.events(name=name)
    found = list(page)
    while page.cursor is not None:
        page = rt.events(name=name, before=page.cursor)
        found += page
    return found


def assert_whole(home: Path) -> Counter[str]:
    """Every event has its runs, each run its event; how many events of each name there are."""
    with Reader(home) as reader:
        events = reader.events(limit=None, seconds=None).rows
        runs = {run: event for event in events for _, run in event.runs}
        assert len(runs) == sum(len(event.runs) for event in events), "a run of two events"
        ids = [event.id for event in events]
        assert len(set(ids)) == len(ids), "an id of two events"
        found = {record.id: record for record in reader.records(limit=None) if record.kind == "event"}
        assert found.keys() == runs.keys()
        for id, record in found.items():
            assert record.trigger == {"event_id": runs[id].id, "event": runs[id].name}
        return Counter(event.name for event in events)


@pytest.mark.parametrize(
    "moment", ["commit.before:2", "commit.after:2", "acknowledge.before:2", "answer.before:3"]
)
def test_an_emit_takes_effect_once_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"{moment}@{died}")
    with runtime(home) as rt:
        rt.ping()
        made = [rt.emit("audit.one", 1, id="once" if given else None) for given in (True, False)]
        until(died.exists, PATIENCE)
        made.append(rt.emit("audit.one", 2, id="once"))
        assert made[2] == made[0]
        for info in made:
            assert rt.result(info.runs[0], PATIENCE) == "audit.one"
    assert assert_whole(home) == {"audit.one": 2}


def test_nothing_is_lost_or_doubled_while_the_supervisor_is_killed(home: Path):
    with runtime(home, durability="os") as rt:
        listener = rt.start(event_tasks.sums_up, 60)
        until(lambda: listener.status().state is State.RUNNING, PATIENCE)
        until(lambda: _listens(home, 1), PATIENCE)
        emitters = [rt.start(event_tasks.emits_many, prefix, 30) for prefix in "ab"]
        acknowledged: list[str] = []
        over = threading.Event()

        def emits(prefix: str) -> None:
            for number in itertools.count():
                if over.is_set():
                    return
                made = rt.emit("audit.storm", number, id=f"{prefix}/{number}")
                assert len(made.runs) == 1
                acknowledged.append(made.id)

        threads = [threading.Thread(target=emits, args=(prefix,)) for prefix in "xy"]
        for thread in threads:
            thread.start()
        killed: set[int] = set()
        while len(killed) < 3:
            pid, before = rt.supervisor_pid, len(acknowledged)
            until(lambda before=before: len(acknowledged) >= before + 20, PATIENCE)
            kill(pid)
            killed.add(pid)
            until(lambda pid=pid: rt.supervisor_pid != pid, PATIENCE)
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        for emitter in emitters:
            assert emitter.result(PATIENCE) == 30
        # Each event came once to the listener, over all attempts of it and of the emitters.
        assert Counter(listener.result(PATIENCE)) == dict.fromkeys(range(30), 2)
        runs = [run for event in events_of(rt, "audit.storm") for _, run in event.runs]
        assert set(rt.results(runs, PATIENCE)) == {"audit.storm"}
        assert {event.id for event in events_of(rt, "audit.storm")} >= set(acknowledged)
    found = assert_whole(home)
    assert found["number.next"] == 60
    assert len(acknowledged) <= found["audit.storm"] <= len(acknowledged) + 2


def _listens(home: Path, count: int) -> bool:
    from understudy.storage.tables import event_rows
    from understudy.storage.tables.schema import Table

    with Reader(home) as reader, reader._read() as snapshot:
        return sum(1 for _ in snapshot.rows(Table.EVENTS, *event_rows.all_listens())) == count


def test_a_full_disk_refuses_an_event_with_all_its_runs(tmp_path: Path):
    with mounted(tmp_path / "disk") as folder:
        home, ballast = folder / "home", folder / "ballast"
        with runtime(home, map_size=1 << 20) as rt:
            first = rt.emit("audit.first", 1, id="first")
            assert rt.result(first.runs[0], PATIENCE) == "audit.first"
            fill_up(ballast)
            until(lambda: rt.tree()["disk_full"], PATIENCE)
            with pytest.raises(StoreFull):
                rt.emit("audit.second", 2, id="second")
            with pytest.raises(StoreFull):
                rt.replay("first")
            assert rt.emit_many([]) == []
            ballast.unlink()

            def goes_again() -> bool:
                try:
                    rt.emit("audit.second", 2, id="second")
                except StoreFull:
                    return False
                return True

            until(goes_again, PATIENCE)
            second = rt.event("second")
            assert rt.result(second.runs[0][1], PATIENCE) == "audit.second"
        assert assert_whole(home) == {"audit.first": 1, "audit.second": 1}


def test_a_deploy_adds_and_removes_handlers_while_events_flow(home: Path, tmp_path: Path):
    app = tmp_path / "shop.py"
    old, new = ("bill", "mail"), ("mail", "ship")
    over = threading.Event()
    names: list[str] = []

    def deploy(handlers: tuple[str, ...]) -> Runtime:
        text = "".join(HANDLER.format(pattern="order.*", name=name) for name in handlers)
        app.write_text(APP.format(handlers=text), encoding="utf-8")
        # A file of the same size and second would be taken from the bytecode of the last one.
        for compiled in tmp_path.glob("__pycache__/*"):
            compiled.unlink()
        return runtime(home, app=str(app))

    def emits() -> None:
        with Runtime.connect(home) as client:
            for number in itertools.count():
                if over.is_set():
                    return
                names.append(client.emit("order.paid", number, id=f"order/{number}").id)

    def emitted(more: int) -> None:
        count = len(names) + more
        until(lambda: len(names) >= count, PATIENCE)

    emitter = threading.Thread(target=emits)
    with deploy(old):
        emitter.start()
        emitted(20)
    with deploy(new) as rt:
        emitted(20)
        over.set()
        emitter.join(PATIENCE)
        events = events_of(rt, "order.paid")
        assert {event.id for event in events} == set(names)
        kinds = Counter(tuple(handler.partition(":")[2] for handler, _ in event.runs) for event in events)
        assert kinds.keys() == {old, new}
        runs = [(handler, run) for event in events for handler, run in event.runs]
        for handler, run in runs:
            if not handler.endswith(":bill"):
                assert rt.wait(run, PATIENCE).state is State.COMPLETED
            elif (left := rt.status(run)).state is not State.COMPLETED:
                assert left.waits_for == "code"
        # Nobody handles the removed pattern any more, and a replay goes by what there is now.
        first = rt.replay("order/0")
        assert sorted(rt.wait(run, PATIENCE).task.partition(":")[2] for run in first.runs) == list(new)


def test_a_handler_needs_no_import_of_events(home: Path, tmp_path: Path):
    app = tmp_path / "bare.py"
    app.write_text(
        "from understudy import on\n@on('number.*')\ndef handle(event):\n    return event.data\n",
        encoding="utf-8",
    )
    with runtime(home, app=str(app)) as rt:
        assert rt.result(rt.emit("number.one", 1).runs[0], PATIENCE) == 1
