"""A stop interrupts and loses nothing: with SIGTERM, with a second one, and when the owner is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import stage_tasks as stage
from puppets import end, program, said
from theatre import PATIENCE, cookie, gone, kill, parked, processes_of, ready, runtime, seen, serving
from understudy import Runtime
from waiting import until


def test_a_drain_interrupts_and_the_next_supervisor_goes_on(home: Path, tmp_path: Path) -> None:
    with serving(home, slots=4) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, 1)
            waits = [stage.total.start(), stage.total_async.start(), stage.parked.start()]
            book = stage.ledger.start(str(tmp_path))
            rt.send_many((book.id, n) for n in range(5))
            until(lambda: rt.restore(book.id) == [0, 1, 2, 3, 4], PATIENCE)
            parked([*waits, book], rt)
            works = [stage.working.start(str(tmp_path), f"works-{n}") for n in range(4)]
            for n in range(4):
                seen(tmp_path, f"works-{n}")
            queued = [stage.add.start(n, 1) for n in range(3)]
            delayed = stage.add.options(delay=3600).start(1, 1)
            mark = cookie(rt)
            supervisor.send_signal(signal.SIGTERM)
            # Waiting tasks stop at once; working tasks continue until the end of the drain.
            until(lambda: all(info.status().state == "queued" for info in [*waits, book]), PATIENCE)
            assert [info.status().state for info in works] == ["running"] * 4
            (tmp_path / "go").touch()
            assert said(supervisor) == ["stopped"]
        assert supervisor.wait(PATIENCE) == 0
        until(lambda: not processes_of(mark), PATIENCE)
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            assert [rt.result(info.id, PATIENCE) for info in queued] == [1, 2, 3]
            assert [rt.status(info.id).interruptions for info in queued] == [0, 0, 0]
            assert [rt.result(info.id, PATIENCE) for info in works] == [[1, 0]] * 4
            for info in waits[:2]:
                rt.send(info.id, 4)
                rt.close(info.id)
                assert rt.result(info.id, PATIENCE) == 4
            rt.send(book.id, 5)
            rt.close(book.id)
            assert rt.result(book.id, PATIENCE) == [0, 1, 2, 3, 4, 5]
            records = [rt.status(info.id) for info in [*waits, book]]
            assert {(record.attempt, record.interruptions) for record in records} == {(1, 1)}
            assert rt.status(delayed.id).next_attempt is not None
            assert rt.cancel(delayed.id)
            assert rt.cancel(waits[2].id)


def test_a_signal_to_all_processes_is_a_drain(home: Path, tmp_path: Path) -> None:
    """systemd stops a unit by signalling all its processes at once."""
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, 1)
            works, waits = stage.working.start(str(tmp_path), "works"), stage.total.start()
            seen(tmp_path, "works")
            parked([waits], rt)
            for pid in [*processes_of(cookie(rt)), supervisor.pid]:
                os.kill(pid, signal.SIGTERM)
            until(lambda: waits.status().state == "queued", PATIENCE)
            (tmp_path / "go").touch()
            assert said(supervisor) == ["stopped"]
            assert (works.status().state, works.status().interruptions) == ("completed", 0)
    with runtime(home) as rt:
        assert rt.cancel(waits.id)


def test_a_lost_terminal_is_a_drain(home: Path, tmp_path: Path) -> None:
    """SIGHUP comes twice, from the kernel and from the shell, and the second one must not cut the drain short."""
    with serving(home, drain=60.0) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, 1)
            works, waits = stage.working.start(str(tmp_path), "works"), stage.total.start()
            seen(tmp_path, "works")
            parked([waits], rt)
            supervisor.send_signal(signal.SIGHUP)
            until(lambda: rt.tree()["draining"], PATIENCE)
            supervisor.send_signal(signal.SIGHUP)
            until(lambda: waits.status().state == "queued", PATIENCE)
            (tmp_path / "go").touch()
            assert said(supervisor) == ["stopped"]
            assert (works.status().state, works.status().interruptions) == ("completed", 0)
        assert supervisor.wait(PATIENCE) == 0
    with runtime(home) as rt:
        assert rt.cancel(waits.id)


def test_a_second_signal_does_not_wait(home: Path, tmp_path: Path) -> None:
    with serving(home, drain=60.0) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, 1)
            info = stage.working.start(str(tmp_path), "works")
            asyncs = stage.sleeps_async.start(str(tmp_path))
            seen(tmp_path, "works")
            seen(tmp_path, "begun")
            supervisor.send_signal(signal.SIGTERM)
            until(lambda: rt.tree()["draining"], PATIENCE)
            begun = time.monotonic()
            supervisor.send_signal(signal.SIGINT)
            assert said(supervisor) == ["stopped"]
            assert time.monotonic() - begun < 5
    (tmp_path / "go").touch()
    with runtime(home) as rt:
        assert rt.result(info.id, PATIENCE) == [1, 1]
        assert rt.cancel(asyncs.id)


def test_a_drain_that_runs_out_of_time_interrupts_the_rest(home: Path, tmp_path: Path) -> None:
    with runtime(home, drain=0.2):
        info = stage.working.start(str(tmp_path), "works")
        seen(tmp_path, "works")
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    (tmp_path / "go").touch()
    with runtime(home) as rt:
        assert rt.result(info.id, PATIENCE) == [1, 1]
        assert rt.result(rt.start(stage.add, 1, 1)) == 2


OWNER = """
import stage_tasks as stage
from theatre import cookie, ready, runtime, seen
from pathlib import Path

home, folder = Path(sys.argv[1]), Path(sys.argv[2])
with runtime(home, drain=60.0) as rt:
    ready(rt, 1)
    infos = [stage.breeds.start(str(folder)), stage.ledger.start(str(folder))]
    for name in ("child", "daemon", "begun", "begun-0"):
        seen(folder, name)
    rt.send(infos[1].id, 1)
    if sys.argv[3:]:
        import multiprocessing, time
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        (folder / "fork").write_text(str(child.pid))
    print([rt.supervisor_pid, cookie(rt), [info.id for info in infos]], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("forks", [False, True])
def test_everything_ends_with_the_owner(home: Path, tmp_path: Path, forks: bool) -> None:
    """Also if a fork of the owner, which has copies of its sockets, lives on."""
    owner = program(OWNER, str(home), str(tmp_path), *(["fork"] if forks else []))
    try:
        supervisor, mark, (breeds, book) = said(owner)
        began = time.monotonic()
        kill(owner.pid)
        gone([supervisor, *(int(seen(tmp_path, name)) for name in ("child", "daemon"))])
        until(lambda: not processes_of(mark), PATIENCE)
        assert time.monotonic() - began < 5
    finally:
        end(owner)
        if forks:
            kill(int(seen(tmp_path, "fork")))
    with runtime(home) as rt:
        assert rt.cancel(breeds)
        rt.send(book, 2)
        rt.close(book)
        assert rt.result(book, PATIENCE) == [1, 2]
        record = rt.status(book)
        assert (record.attempt, record.interruptions) == (1, 1)
        assert rt.wait(breeds, PATIENCE).state == "cancelled"


def test_a_supervisor_that_has_nothing_stops_at_once(home: Path) -> None:
    with runtime(home, drain=60.0) as rt:
        ready(rt, 1)
        info = stage.add.start(1, 1)
        assert info.result(PATIENCE) == 2
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_a_drain_of_a_task_group_is_an_interruption(home: Path, tmp_path: Path) -> None:
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            info = stage.nurse.start(str(tmp_path))
            seen(tmp_path, "nurse-0")
            parked([info], rt)
            supervisor.send_signal(signal.SIGTERM)
            assert said(supervisor) == ["stopped"]
        assert supervisor.wait(PATIENCE) == 0
    with serving(home) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            assert rt.result(info.id, PATIENCE) == 1
            assert rt.status(info.id).attempt == 1
