"""Resources that run out: descriptors, processes, threads. Nothing is lost, and it recovers."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import stage_tasks
from puppets import said
from shim import shim
from theatre import PATIENCE, gone, kill, ready, serving
from understudy import Runtime, State
from understudy.actors.errors import UnderstudyError
from understudy.actors.ids import id_text
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.supervisor.client import reconnecting
from understudy.supervisor.client.runtime import attached
from understudy.supervisor.service import requests as service_module
from understudy.supervisor.wire.codec import VERSION, Decoder, encode
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def served(home: Path, **settings: Any) -> Iterator[tuple[Runtime, int]]:
    """An own supervisor, a client of it, and its pid. The store is sound at the end."""
    with serving(home, **settings) as process:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, settings.get("workers", 1))
            yield rt, process.pid
        process.send_signal(signal.SIGTERM)
        assert said(process) == ["stopped"]
    assert check(home).problems == []


def greeted(home: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(home / "supervisor.sock"))
    sock.sendall(encode((Ask.HELLO, VERSION)))
    return sock


def first_answer(sock: socket.socket) -> Any:
    decoder = Decoder(1 << 20)
    while data := sock.recv(65536):
        for frame in decoder.feed(data):
            return frame
    return None


def test_without_a_descriptor_left_it_serves_and_comes_back(home: Path):
    with served(home, slots=4) as (rt, pid):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard, "it allows itself as many as it may"
        tree = rt.tree()
        assert resource.prlimit(tree["fork_server"], resource.RLIMIT_NOFILE) == resource.getrlimit(
            resource.RLIMIT_NOFILE
        ), "tasks get what the supervisor was started with"
        # No descriptor is left: every further opening is refused.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
        kill(tree["workers"][0]["pid"])
        kill(tree["fork_server"])
        gone([tree["workers"][0]["pid"], tree["fork_server"]])
        until(lambda: not any(worker["pid"] for worker in rt.tree()["workers"]), PATIENCE)
        late, reader = rt.start(stage_tasks.add, 3, 4), rt.start(stage_tasks.total)
        rt.send(reader.id, 5)
        assert late.status().state is State.QUEUED
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert late.result(PATIENCE) == 7
        reader.close()
        assert reader.result(PATIENCE) == 5
        until(lambda: rt.tree()["fork_server"], PATIENCE)


def test_a_thousand_connections_that_say_half_of_something(home: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with served(home) as (rt, pid), ExitStack() as stack:
            before = descriptors(pid)
            rss = _rss(pid)
            hello = encode((Ask.HELLO, VERSION))
            halves = [
                b"",
                hello[:1],
                hello,
                hello + encode((Ask.START, 1, []))[:-1],
                hello + b"\xdc\x9c\x40" * 1_000,
            ]
            for number in range(1_000):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(str(home / "supervisor.sock"))
                sock.sendall(halves[number % len(halves)])
            begin = time.monotonic()
            assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
            assert time.monotonic() - begin < 5
            until(lambda: descriptors(pid) >= before + 1_000, PATIENCE)
            assert _rss(pid) - rss < 100 << 20
            stack.close()
            until(lambda: descriptors(pid) <= before + 2, PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_clients_leave_descriptors_for_workers(home: Path):
    files = service_module.OWN_FILES + 3 * service_module.WORKER_FILES + 40
    limit = textwrap.dedent(
        f"""
        import os, resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
        """
    )
    serve = ["serve", "stage_tasks", "--app-dir", str(Path(stage_tasks.__file__).parent)]
    few = ["--workers", "1", "--isolated", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", limit, "-m", "understudy.supervisor.cli", "--home", str(home), *serve, *few],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving")
        with Runtime.connect(home) as rt, ExitStack() as stack:
            rt.ping(timeout=PATIENCE)
            socks = [stack.enter_context(greeted(home)) for _ in range(60)]
            answers = [first_answer(sock) for sock in socks]
            refused = [answer for answer in answers if answer[0] == Answer.ERROR]
            assert len(refused) == 21, "one of forty places is ours"
            assert {answer[2] for answer in refused} == {"NotRunning"}
            assert "ulimit" in refused[0][3]
            with pytest.raises(UnderstudyError, match="no more clients"):
                attached(home)
            (first,) = ready(rt, 1)
            kill(first)
            assert rt.run(stage_tasks.pid, timeout=PATIENCE) != first
            stack.close()
            until(lambda: _connects(home), PATIENCE)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def _connects(home: Path) -> bool:
    try:
        attached(home).close()
    except UnderstudyError:
        return False
    return True


def test_forks_that_fail_are_tried_again(home: Path, tmp_path: Path):
    with shim(tmp_path) as system, served(home) as (rt, _):
        (worker,) = ready(rt, 1)
        system.fail_fork(errno.EAGAIN)
        kill(worker)
        gone([worker])
        late = rt.start(stage_tasks.add, 3, 4)
        until(lambda: not any(each["pid"] for each in rt.tree()["workers"]), PATIENCE)
        system.fail_fork(0)
        assert late.result(PATIENCE) == 7


@contextmanager
def cgroup(pid: int) -> Iterator[Path]:
    """A control group that limits processes, with one process in it; only root can make one."""
    roots = [Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    for root in roots:
        group = root / f"understudy-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / "pids.max").exists():
                (group / "cgroup.procs").write_text(str(pid))
                yield group
                return
        finally:
            with suppress(OSError):
                for member in (group / "cgroup.procs").read_text().split():
                    (root / "cgroup.procs").write_text(member)
            group.rmdir()
    pytest.skip("limiting the number of processes takes root and a cgroup of its own")


def test_without_a_process_or_thread_left_timeouts_end_and_workers_come_back(home: Path, tmp_path: Path):
    with serving(home, slots=4) as process, cgroup(process.pid) as group:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            (worker,) = ready(rt, 1)
            # The process has been moved before it starts others, so these are in the group as well.
            members = (group / "cgroup.procs").read_text().split()
            for pid in (rt.tree()["fork_server"], worker):
                if str(pid) not in members:
                    (group / "cgroup.procs").write_text(str(pid))
            spinning = rt.start(stage_tasks.spins.options(timeout=0.2, grace=0.0), str(tmp_path))
            until(lambda: spinning.status().started is not None, PATIENCE)
            (group / "pids.max").write_text("1")
            assert spinning.wait(PATIENCE).state is State.TIMED_OUT
            gone([worker])
            late = rt.start_many(stage_tasks.add, [(n, 1) for n in range(20)])
            until(lambda: not any(each["pid"] for each in rt.tree()["workers"]), PATIENCE)
            assert all(info.status().state is State.QUEUED for info in late)
            (group / "pids.max").write_text("max")
            assert list(rt.results(late, PATIENCE)) == [n + 1 for n in range(20)]
        process.send_signal(signal.SIGTERM)
        assert said(process) == ["stopped"]
        process.wait(PATIENCE)


def test_without_address_space_it_ends_and_has_lost_nothing(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnecting, "PATIENCE", 0.5)
    with serving(home, map_size=1 << 20) as process:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            ready(rt, 1)
            size = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(process.pid, resource.RLIMIT_AS, (size + (16 << 20),) * 2)
            sure = []
            with pytest.raises(UnderstudyError):  # noqa: PT012 - started until the map cannot grow
                while True:
                    sure.append(rt.start(stage_tasks.same.options(delay=1000), "x" * 200_000).id)
            kind, message, _ = said(process)
            assert kind == "StoreError"
            assert "ulimit -v" in message
        process.wait(PATIENCE)
    assert check(home).problems == []
    with Reader(home) as reader:
        assert set(sure) <= {id_text(record.id) for record in reader.records(limit=None)}
