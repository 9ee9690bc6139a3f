"""The root of the tree, in a process of its own: it boots, serves, drains and says what went wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from call_tasks import add, collect, nap
from puppets import end, program, said
from theatre import serving
from understudy import Runtime, State
from understudy.supervisor.home import Home
from understudy.supervisor.linux.processes import has_ended
from waiting import until


def test_it_serves_until_it_is_told_to_stop(home: Path):
    with serving(home, "call_tasks") as process:
        assert said(process) == ["ready"]
        assert Home(home).served() == process.pid
        with Runtime.connect(home) as rt:
            assert rt.run(add, 1, timeout=20) == 2
            tree = rt.tree()
            assert (tree["embedded"], tree["draining"], tree["disk_full"]) == (False, False, False)
            pids = [worker["pid"] for worker in tree["workers"]] + [tree["fork_server"]]
        process.send_signal(signal.SIGTERM)
        assert said(process) == ["stopped"]
        assert process.wait(20) == 0
        assert all(map(has_ended, pids))
        assert Home(home).served() is None
        assert not Home(home).socket_path.exists()


def test_a_drain_waits_for_running_tasks_and_a_second_signal_does_not(home: Path):
    with serving(home, "call_tasks", drain=60.0) as process:
        said(process)
        rt = Runtime.connect(home)
        parked = rt.start(collect)
        until(lambda: parked.status().state is State.RUNNING, 20)
        process.send_signal(signal.SIGINT)
        assert said(process) == ["stopped"], "a task that waits is interrupted at once"
        rt.close()
    with serving(home, "call_tasks", drain=60.0) as process:
        said(process)
        rt = Runtime.connect(home)
        assert rt.status(parked).interruptions >= 1
        rt.close_mailbox(parked)
        assert parked.id == rt.wait(parked, 20).id
        sleeper = rt.start(nap, 3600)
        until(lambda: sleeper.status().state is State.RUNNING, 20)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert said(process) == ["stopped"]
        rt.close()


def test_a_second_one_is_refused(home: Path):
    with serving(home, "call_tasks") as first:
        said(first)
        with serving(home, "call_tasks") as second:
            kind, message, pid = said(second)
            assert (kind, pid) == ("HomeInUse", first.pid)
            assert "served by another supervisor" in message
        with Runtime.connect(home) as rt:
            assert rt.supervisor_pid == first.pid


def test_an_app_that_cannot_be_loaded_ends_it(home: Path):
    with serving(home, "no_such_module_anywhere") as process:
        answers = [said(process), said(process)]
        assert answers[0] == ["ready"]
        assert answers[1][0] == "AppFailed"
        assert "no_such_module_anywhere" in answers[1][1]


def test_what_a_killed_one_left_is_taken_over(home: Path):
    with serving(home, "call_tasks") as first:
        said(first)
        rt = Runtime.connect(home)
        # Acknowledged by a checkpoint alone: what `receive` gave to a worker that is killed is given again.
        info = rt.start(collect.options(ack="checkpoint"))
        until(lambda: info.status().state is State.RUNNING, 20)
        info.send("kept")
        workers = [worker["pid"] for worker in rt.tree()["workers"]]
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with serving(home, "call_tasks") as second:
            assert said(second) == ["ready"]
            until(lambda: all(map(has_ended, workers)), 20)
            info.close()
            assert info.result(20) == ["kept"]
            assert info.status().interruptions == 1
            rt.close()


BOOT = """
import asyncio, threading
from pathlib import Path
from understudy.storage.environment import Environment
from understudy.supervisor.daemon import supervisor as root
from understudy.supervisor.app import AppSpec
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings

def fails(cookie):
    raise OSError(24, "Too many open files")

async def boot():
    await root.Supervisor(Home(sys.argv[1]), AppSpec.parse("stage_tasks"), Settings()).run()

root.kill_strays = fails
for _ in range(2):
    try:
        asyncio.run(boot())
    except OSError as error:
        print([str(error), threading.active_count()], flush=True)
    Environment(Path(sys.argv[1])).close()
"""


def test_a_boot_that_fails_lets_go_of_the_store(home: Path):
    """As in a program that runs a supervisor in a loop of its own, and tries again."""
    process = program(BOOT, str(home))
    try:
        for _ in range(2):
            assert said(process) == ["[Errno 24] Too many open files", 1]
        assert process.wait(20) == 0
    finally:
        end(process)
