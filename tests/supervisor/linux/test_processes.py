"""Trees, strays and names, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from puppets import all_ended, end, program, said
from understudy.supervisor.linux import processes
from understudy.supervisor.linux.processes import (
    COOKIE,
    ExitStatus,
    children_of,
    has_ended,
    hold,
    kill_strays,
    kill_tree,
    rss_of_tree,
    strays,
    tree_of,
)
from waiting import until

#: Two levels of children, some in sessions of their own, some daemonised; tells how many when all are there.
FAMILY = """
import os, signal
from understudy.supervisor.linux.processes import become_subreaper, tree_of
become_subreaper()
reader, writer = os.pipe()
def wait_for_ever():
    os.write(writer, b".")
    while True:
        signal.pause()
def child(depth):
    if os.fork():
        return
    if depth % 2:
        os.setsid()
    for _ in range(3 if depth else 0):
        child(depth - 1)
    daemon()
    wait_for_ever()
def daemon():
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    wait_for_ever()
for _ in range(3):
    child(1)
for _ in range(3 + 9 + 12):
    os.read(reader, 1)
print(tree_of([os.getpid()]), flush=True)
wait_for_ever()
"""

#: Forks from two threads as fast as it can, children that fork in turn; bounded, lest a failing test ends the machine.
BOMB = """
import os, signal, sys, threading, time
from understudy.supervisor.linux.processes import become_subreaper
become_subreaper()
def burst(count, depth):
    for _ in range(count):
        if os.fork() == 0:
            if depth:
                os.setsid()
                burst(4, depth - 1)
                if os.fork():
                    os._exit(0)
            while True:
                signal.pause()
        time.sleep(0.0005)
threads = [threading.Thread(target=burst, args=(60, 1)) for _ in range(2)]
for thread in threads:
    thread.start()
print("1", flush=True)
for thread in threads:
    thread.join()
while True:
    signal.pause()
"""


@contextmanager
def running(source: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = program(source, **options)
    try:
        yield process
    finally:
        end(process)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(code=3), "exit code 3"),
        (ExitStatus(signal=11), "SIGSEGV"),
        (ExitStatus(signal=signal.SIGRTMIN + 6), f"signal {signal.SIGRTMIN + 6}"),
        (ExitStatus(), "unknown exit status"),
    ],
)
def test_an_end_in_words(status: ExitStatus, text: str):
    assert str(status) == text


def test_an_end_as_a_return_code():
    assert ExitStatus(code=3).returncode == 3
    assert ExitStatus(signal=9).returncode == -9
    assert ExitStatus().returncode != 0


@pytest.mark.parametrize("by_kernel", [True, False], ids=["proc", "psutil"])
def test_children(by_kernel: bool, monkeypatch: pytest.MonkeyPatch):
    if not by_kernel:
        monkeypatch.setattr(processes, "_HAS_CHILDREN_FILE", False)
    # Forked by a thread: the kernel lists children by thread.
    source = """
    import os, signal, threading, time
    pids = []
    def fork():
        pids.append(os.fork())
        if pids[-1] == 0:
            signal.pause()
        if len(pids) == 1:
            stay.wait()
    stay = threading.Event()
    threading.Thread(target=fork, daemon=True).start()
    while not pids:
        time.sleep(0.001)
    fork()
    print(pids, flush=True)
    signal.pause()
    """
    with running(source) as process:
        pids = said(process)
        assert sorted(children_of(process.pid)) == sorted(pids)
        assert tree_of([process.pid])[0] == process.pid
        assert rss_of_tree(process.pid) > 3 * 1024 * 1024
        kill_tree(process.pid)
    # It may take longer to end than its children.
    until(lambda: all_ended([*pids, process.pid]) and children_of(process.pid) == [])
    assert rss_of_tree(process.pid) == 0


def test_a_whole_family_dies_with_sessions_and_daemons():
    with running(FAMILY) as process:
        family = said(process)
        assert len(family) == 25
        killed = kill_tree(process.pid)
        assert killed[0] == process.pid
        assert set(killed) == set(family)
        until(lambda: all_ended(family), timeout=2)
        assert process.wait() == -signal.SIGKILL


def test_a_family_that_keeps_forking_dies_without_a_leak():
    cookie = uuid.uuid4().hex
    with running(BOMB, env={**os.environ, COOKIE: cookie}) as process:
        said(process)
        until(lambda: len(tree_of([process.pid])) > 20)
        kill_tree(process.pid)
        process.wait()
        until(lambda: not strays(cookie), timeout=2)


def test_a_tree_that_is_gone_is_no_error():
    with running("") as process:
        process.wait()
        assert kill_tree(process.pid) == []


def test_with_a_pidfd_no_other_process_is_killed_that_has_got_the_pid():
    """The process ends and is reaped after it was asked to be killed; its pid is another one's then."""
    with running("") as process, running("import signal\nprint(1, flush=True)\nsignal.pause()") as other:
        said(other)
        gone = hold(process.pid)
        try:
            process.wait()
            assert kill_tree(other.pid, gone) == []
            assert not has_ended(other.pid)
            held = hold(other.pid)
            assert kill_tree(other.pid, held) == [other.pid]
            os.close(held)
        finally:
            os.close(gone)
        assert other.wait() == -signal.SIGKILL


def test_without_descriptors_a_tree_is_killed_by_its_pids(monkeypatch: pytest.MonkeyPatch):
    def none_left(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    with running(FAMILY) as process:
        family = said(process)
        monkeypatch.setattr(processes, "hold", none_left)
        assert set(kill_tree(process.pid)) == set(family)
        until(lambda: all_ended(family), timeout=2)


def test_killing_leaves_no_descriptor_open():
    before = len(os.listdir("/proc/self/fd"))
    with running(FAMILY) as process:
        said(process)
        between = len(os.listdir("/proc/self/fd"))
        kill_tree(process.pid)
        assert len(os.listdir("/proc/self/fd")) == between
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_caller_spares_itself():
    source = """
    import os, subprocess
    from understudy.supervisor.linux.processes import kill_tree
    child = subprocess.Popen(["sleep", "60"])
    print((child.pid, kill_tree(os.getpid()), child.wait()), flush=True)
    """
    with running(source) as process:
        pid, killed, code = said(process)
        assert killed == [pid]
        assert code == -signal.SIGKILL
        assert process.wait() == 0


@pytest.mark.parametrize("pid", [1, 0, -1])
def test_refuses_what_would_end_the_machine(pid: int):
    with pytest.raises(ValueError, match="refusing"):
        kill_tree(pid)


def test_dies_with_its_parent():
    source = r"""
    import os, signal
    from understudy.supervisor.linux.processes import die_with_parent, outlive_parent
    me = os.getpid()
    for outlive in (False, True):
        if os.fork() == 0:
            die_with_parent(me)
            if outlive:
                outlive_parent()
            os.write(1, b"%d\n" % os.getpid())  # In one piece, unlike print, for two write at once.
            break
    signal.pause()
    """
    with running(source) as process:
        pids = {said(process), said(process)}
        process.kill()
        process.wait()
        until(lambda: any(map(has_ended, pids)))
        (survivor,) = (pid for pid in pids if not has_ended(pid))
        os.kill(survivor, signal.SIGKILL)
        until(lambda: has_ended(survivor))


def test_a_parent_that_is_gone_already_counts():
    source = """
    import os
    from understudy.supervisor.linux.processes import die_with_parent
    die_with_parent(os.getppid() + 1)
    """
    with running(source) as process:
        assert process.wait() == -signal.SIGKILL


def test_a_subreaper_adopts():
    source = """
    import os, time
    from understudy.supervisor.linux.processes import become_subreaper, children_of
    become_subreaper()
    reader, writer = os.pipe()
    if (middle := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            while os.getppid() == middle: time.sleep(0.001)
            os._exit(0)
        os.write(writer, b"%d" % pid)
        os._exit(0)
    os.waitpid(middle, 0)
    pid = int(os.read(reader, 20))
    print(os.waitpid(pid, 0) == (pid, 0), flush=True)
    """
    with running(source) as process:
        assert said(process) is True


def test_a_name_shows_in_ps_and_leaves_the_environment_alone():
    source = """
    import signal
    from understudy.supervisor.linux.processes import set_name
    set_name("rehearsal: " + "x" * int(input()))
    print(1, flush=True)
    signal.pause()
    """
    for length, shown in ((3, b"rehearsal: xxx"), (9999, b"rehearsal: xxxx")):
        with running(source) as process:
            assert process.stdin is not None
            environ = Path(f"/proc/{process.pid}/environ")
            process.stdin.write(f"{length}\n")
            process.stdin.flush()
            said(process)
            assert Path(f"/proc/{process.pid}/comm").read_bytes() == b"rehearsal: xxxx"[: len(shown)] + b"\n"
            assert Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").startswith(shown)
            assert b"PATH=" in environ.read_bytes()
            assert b"xxx" not in environ.read_bytes()


def test_strays_are_found_by_their_cookie_through_exec_and_sessions():
    cookie = uuid.uuid4().hex
    source = """
    import subprocess, signal, os
    child = subprocess.Popen(["setsid", "sleep", "60"])
    wiped = subprocess.Popen(["sleep", "60"], env={})
    print((os.getpid(), child.pid, wiped.pid), flush=True)
    signal.pause()
    """
    with running(source, env={**os.environ, COOKIE: cookie}) as process:
        me, child, wiped = said(process)
        until(lambda: set(strays(cookie)) == {me, child})
        assert strays(cookie[:-1]) == []
        # Below a stray, even one with a wiped environment is found.
        assert set(kill_strays(cookie, timeout=5)) >= {me, wiped}
        assert strays(cookie) == []
        until(lambda: all_ended([me, child, wiped]))


def test_no_strays_is_quick_and_fine():
    assert kill_strays(uuid.uuid4().hex) == []


def test_a_stray_that_cannot_die_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "strays", lambda cookie: [2**22 + 1])
    assert kill_strays("x", timeout=0.05) == []
