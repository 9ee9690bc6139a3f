"""Queued tasks whose code the serving app lacks: they wait, are shown as waiting, and run when their code is there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from theatre import PATIENCE, runtime
from understudy import Runtime, State
from understudy.actors.task.declaration import Task, registry
from understudy.storage.store import Store
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, due_sort, live_id, live_key
from waiting import until

OLD = """
    from understudy import Actor, task
    class Till(Actor, durable=True):
        def __init__(self): self.sum = 0
        def on_receive(self, n): self.sum += n
        def add(self, n):
            self.sum += n
            return self.sum
    @task
    def charge(n): return ["old", n]
    @task(isolate=True)
    def alone(n): return n
    @task
    async def loops(n): return n
"""
NEW = """
    from understudy import task
    @task(aliases=["till_old:charge"])
    def collect(n): return ["new", n]
"""
OTHER = """
    import os
    from understudy import task
    @task
    def pid(): return os.getpid()
"""
NAMES = ("till_old:charge", "till_old:alone", "till_old:loops")


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in (("till_old", OLD), ("till_new", NEW), ("till_other", OTHER)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("till_")]:
        del sys.modules[name]
    for name in [
        name for name, task in registry.items() if task.body and task.body.__module__.startswith("till_")
    ]:
        del registry[name]


def leave_queued(home: Path) -> list[str]:
    """The ids of tasks of the old app that have not begun; its supervisor has ended."""
    with runtime(home, app="till_old") as rt:
        ids = []
        for name in NAMES:
            ids += [info.id for info in rt.start_many(Task.named(name).options(delay=3600), range(3))]
    make_due(home)
    return ids


def make_due(home: Path) -> None:
    """Let the delayed tasks of a home that nobody serves be due now."""
    store = Store.open(
        home,
        on_commit=lambda _: None,
        on_trouble=lambda _: None,
        on_recovered=lambda: None,
        on_fatal=lambda _: None,
    )
    for key, _ in store.scan(Table.LIVE):
        id = live_id(key)
        row = store.get(Table.TASKS, id)
        assert row is not None
        record = Record.unpack(id, row)
        record.due = 1.0
        record.place = (Lane.DELAYED, due_sort(1.0))
        store.delete(Table.LIVE, key)
        store.put(Table.LIVE, live_key(*record.place, id), b"")
        store.put(Table.TASKS, id, record.pack())
    store.close(10)


def waiting(rt: Runtime, ids: list[str]) -> bool:
    return {rt.status(id).waits_for for id in ids} == {"code"}


def understudy(home: Path, *args: str) -> str:
    """What a command says, on both of its outputs."""
    with begun(home, *args) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def begun(home: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "understudy.supervisor.cli", "--home", str(home), *args]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=wide)


def test_tasks_of_another_app_wait_and_then_run(home: Path, apps: Path):
    ids = leave_queued(home)
    with runtime(home, app="till_other") as rt:
        until(lambda: waiting(rt, ids), PATIENCE)
        assert rt.tree()["waits_for_code"] == dict.fromkeys(NAMES, 3)
        assert "waits for code" in understudy(home, "ps")
        assert "the app does not declare it" in understudy(home, "show", ids[0])
        assert rt.cancel(ids[0])
        assert rt.status(ids[0]).state is State.CANCELLED
        again = rt.retry(ids[0])
        until(lambda: again.status().waits_for == "code", PATIENCE)
    with runtime(home, app="till_old") as rt:
        assert [rt.result(id, PATIENCE) for id in ids[1:3]] == [["old", 1], ["old", 2]]
        assert [rt.result(id, PATIENCE) for id in ids[3:]] == [0, 1, 2] * 2
        assert rt.result(again.id, PATIENCE) == ["old", 0]
        record = rt.status(ids[1])
        assert (record.attempt, record.interruptions, record.waits_for) == (1, 0, None)


def test_a_renamed_task_runs_what_is_stored_under_its_former_name(home: Path, apps: Path):
    ids = leave_queued(home)[:3]
    with runtime(home, app="till_new") as rt:
        assert [rt.result(id, PATIENCE) for id in ids] == [["new", n] for n in range(3)]
        assert {rt.status(id).task for id in ids} == {"till_new:collect"}
        assert rt.run("till_old:charge", 7, timeout=PATIENCE) == ["new", 7]
        assert rt.retry(ids[0]).result(PATIENCE) == ["new", 0]


def test_a_module_that_is_declared_later_brings_its_tasks_to_run(home: Path, apps: Path):
    ids = leave_queued(home)
    with runtime(home, app="till_other") as rt:
        until(lambda: waiting(rt, ids), PATIENCE)
        import till_old

        assert rt.run(till_old.charge, 9, timeout=PATIENCE) == ["old", 9]
        assert [rt.result(id, PATIENCE) for id in ids[:3]] == [["old", n] for n in range(3)]
        assert [rt.result(id, PATIENCE) for id in ids[3:]] == [0, 1, 2] * 2


def test_actors_of_another_app_wait_and_the_command_line_says_so(home: Path, apps: Path):
    with runtime(home, app="till_old") as rt:
        ref = rt.actor("till_old:Till", "ada")
        assert ref.call("add", 1) == 1
    waits = "its code: the app does not declare it"
    with runtime(home, app="till_other") as rt:
        assert f"till_old:Till/ada waits for {waits}" in understudy(home, "actor", "tell", "Till/ada", "2")
        assert rt.tree()["waits_for_code"] == {"till_old:Till": 1}
        assert "1 tasks wait for code" in understudy(home, "tree")
        for command in ("ps", "actor ls"):
            assert f"actors of till_old:Till wait for {waits}" in understudy(home, *command.split())
        for command in ("show", "actor show"):
            assert waits in understudy(home, *command.split(), ref.id)
        with begun(home, "actor", "call", "Till/ada", "add", "4") as call:
            assert call.stdout is not None
            assert f"till_old:Till/ada waits for {waits}" in call.stdout.readline()
            import till_old  # noqa: F401 - its code comes

            rt.actor("till_old:Till", "bob")
            assert call.communicate(timeout=PATIENCE)[0] == "7\n"
        assert rt.tree()["waits_for_code"] == {}
        assert waits not in understudy(home, "ps")


def test_serve_says_how_many_wait(home: Path, apps: Path):
    leave_queued(home)
    command = [sys.executable, "-m", "understudy.supervisor.cli", "--home", str(home), "serve", "till_other"]
    with subprocess.Popen(
        command, cwd=apps, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as it:
        assert it.stderr is not None
        told = next(line for line in it.stderr if "wait for code" in line)
        it.terminate()
        it.stderr.read()
    assert "9 queued tasks wait for code" in told
    assert all(f"{name} (3)" in told for name in NAMES)


def test_tasks_of_a_late_module_that_cannot_be_imported_wait_until_it_can(home: Path, apps: Path):
    broken = apps / "broken"
    (apps / "till_late.py").write_text(
        textwrap.dedent(f"""
            import os
            from understudy import task
            if os.path.exists({str(broken)!r}):
                raise ValueError("the import breaks here")
            @task(name="a name of its own")
            def late(n): return n
        """)
    )
    with runtime(home, app="till_other") as rt:
        worker = rt.run("till_other:pid", timeout=PATIENCE)
        import till_late

        first = rt.start(till_late.late.options(delay=3600), 1)
        broken.touch()
        tried = rt.start(till_late.late, 2)
        until(lambda: tried.status().error is not None, PATIENCE)
        record = tried.status()
        assert (record.state, record.attempt) == (State.QUEUED, 1)
        assert record.error is not None
        assert "the import breaks here" in record.error.message
        assert "till_late.py" in record.error.traceback
        later = rt.start(till_late.late, 3)
        until(lambda: later.status().waits_for == "code", PATIENCE)
        assert "cannot be imported: ValueError: the import breaks here" in understudy(home, "show", later.id)
        assert rt.run("till_other:pid", timeout=PATIENCE) == worker
        broken.unlink()
        assert [info.result(PATIENCE) for info in (tried, later)] == [2, 3], "its name is that of no module"
        assert tried.status().error is None
        assert rt.run("till_other:pid", timeout=PATIENCE) == worker
        assert first.cancel()
