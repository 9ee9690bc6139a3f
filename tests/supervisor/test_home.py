"""The home folder: rights, the lock against real processes, the socket."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from needs import require
from puppets import end, program, said
from understudy.actors.errors import HomeError, HomeInUse, InvalidOption, NotRunning
from understudy.supervisor import home as home_module
from understudy.supervisor.home import Home, group_id, peer_uid_ok
from waiting import until

HOLDER = """
import signal, sys
from understudy.supervisor.home import Home
home = Home(sys.argv[1])
home.create()
lock = home.lock()
"""


@contextmanager
def holder(path: Path, and_then: str = "print(1, flush=True)\nsignal.pause()") -> Iterator[object]:
    process = program(HOLDER + and_then, str(path))
    try:
        process.first = said(process)  # type: ignore[attr-defined]
        yield process
    finally:
        end(process)


@contextmanager
def as_nobody() -> Iterator[None]:
    """With the rights of a user who owns nothing; only root can lend them."""
    require(os.geteuid() == 0, "root, to become another user for a moment")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestPath:
    def test_is_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        assert Home("a/../jobs").path == tmp_path / "jobs"
        assert Home(Path("jobs")).path == tmp_path / "jobs"

    def test_by_default_is_a_folder_here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("UNDERSTUDY_HOME", raising=False)
        assert Home(None).path == tmp_path / ".understudy"
        monkeypatch.setenv("UNDERSTUDY_HOME", "~/stage")
        monkeypatch.setenv("HOME", "/somewhere")
        assert Home().path == Path("/somewhere/stage")

    def test_the_object_alone_touches_nothing(self, home: Path):
        assert Home(home).served() is None
        assert not home.exists()


class TestCreate:
    def test_is_private_whatever_the_umask(self, home: Path):
        before = os.umask(0)
        try:
            Home(home / "deeper").create()
        finally:
            os.umask(before)
        assert mode(home / "deeper") == 0o700

    def test_twice_is_fine(self, home: Path):
        Home(home).create()
        Home(home).create()

    @pytest.mark.parametrize("inside", [None, "supervisor.lock", "store.mdb"])
    def test_tightens_its_own(self, home: Path, inside: str | None):
        home.mkdir(mode=0o755)
        if inside:
            (home / inside).touch()
            (home / "notes.txt").touch()
        Home(home).create()
        assert mode(home) == 0o700

    def test_never_closes_a_folder_of_other_things(self, home: Path):
        home.mkdir()
        home.chmod(0o755)
        (home / "main.py").touch()
        with pytest.raises(HomeError, match="a folder of its own"):
            Home(home).create()
        assert mode(home) == 0o755

    def test_leaves_a_private_folder_of_other_things(self, home: Path):
        home.mkdir(mode=0o700)
        (home / "main.py").touch()
        Home(home).create()

    def test_refuses_what_is_open_and_not_ours(self, home: Path, monkeypatch: pytest.MonkeyPatch):
        home.mkdir()
        home.chmod(0o755)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(HomeError, match=r"mode 0755.*chmod 700") as caught:
            Home(home).create()
        assert caught.value.home == str(home)
        assert mode(home) == 0o755

    def test_refuses_a_file(self, home: Path):
        home.write_text("")
        for path in (home, home / "below"):
            for door in (Home(path).create, Home(path).checked):
                with pytest.raises(HomeError) as caught:
                    door()
                assert str(caught.value) == (
                    f"home {path} cannot be used: {home} is not a folder; choose another home"
                )

    def test_says_that_a_file_system_takes_no_folders(self):
        with pytest.raises(HomeError, match="no folder can be made in /proc; choose another home"):
            Home("/proc/home").create()
        assert Home("/proc/home").checked().path == Path("/proc/home"), "a reader may find it later"

    def test_says_that_it_has_no_rights(self, home: Path):
        home.mkdir(mode=0o700)
        with as_nobody(), pytest.raises(HomeError, match="no permission"):
            Home(home).create()
        with as_nobody(), pytest.raises(HomeError, match="no permission"):
            Home(home / "below").create()

    @pytest.mark.parametrize("there_already", [True, False])
    def test_says_that_the_file_system_is_read_only(
        self, home: Path, there_already: bool, monkeypatch: pytest.MonkeyPatch
    ):
        if there_already:
            home.mkdir(mode=0o700)
            monkeypatch.setattr(os, "access", lambda *_, **__: False)
            real = os.statvfs(home)
            fields = (*real[:8], os.ST_RDONLY, real[9])
            monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
        else:
            monkeypatch.setattr(os, "mkdir", _read_only)
        with pytest.raises(HomeError, match="read-only"):
            Home(home).create()


def _read_only(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


class TestLock:
    def test_a_second_supervisor_is_refused(self, home: Path):
        with holder(home) as process:
            with pytest.raises(HomeInUse, match=str(process.pid)) as caught:
                Home(home).lock()
            assert caught.value.pid == process.pid
            assert caught.value.home == str(home)
            assert Home(home).served() == process.pid

    def test_a_second_one_in_the_same_process_too(self, home: Path):
        Home(home).create()
        with Home(home).lock(), pytest.raises(HomeInUse):
            Home(home).lock()

    def test_is_free_after_close(self, home: Path):
        Home(home).create()
        lock = Home(home).lock()
        assert Home(home).served() == os.getpid()
        lock.close()
        lock.close()
        assert lock.closed
        assert Home(home).served() is None
        Home(home).lock().close()

    def test_sigkill_frees_it_though_children_live(self, home: Path):
        fork_and_exec = """
import os, subprocess
executed = subprocess.Popen(["sleep", "60"], close_fds=False)
if (forked := os.fork()) == 0:
    signal.pause()
print((executed.pid, forked), flush=True)
signal.pause()
"""
        with holder(home, fork_and_exec) as process:
            children = process.first
            process.kill()
            process.wait()
            try:
                until(lambda: Home(home).served() is None, timeout=2)
                Home(home).lock().close()
                assert all(Path(f"/proc/{pid}/stat").exists() for pid in children)
            finally:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)

    def test_asking_who_serves_does_not_keep_a_supervisor_out(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ):
        Home(home).create()
        asker = os.open(Home(home).lock_path, os.O_RDWR | os.O_CREAT)
        home_module.fcntl.flock(asker, home_module.fcntl.LOCK_SH)
        monkeypatch.setattr(home_module.time, "sleep", lambda _: os.close(asker))
        Home(home).lock().close()

    def test_needs_the_folder(self, home: Path):
        with pytest.raises(HomeError, match="does not exist"):
            Home(home).lock()

    def test_follows_no_link(self, home: Path, tmp_path: Path):
        Home(home).create()
        (home / "supervisor.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(HomeError):
            Home(home).lock()
        assert not (tmp_path / "elsewhere").exists()


class TestSocket:
    @pytest.mark.parametrize("length", [0, 200], ids=["short", "long"])
    def test_connects(self, home: Path, length: int):
        # Components of 50 bytes: the path may be long, a name in it may not.
        path = home.joinpath(*["x" * 50] * (length // 50))
        stage = Home(path)
        stage.create()
        with stage.lock(), stage.listen() as listener:
            assert mode(stage.socket_path) == 0o600
            assert not listener.getblocking()
            assert not listener.get_inheritable()
            with Home(path).connect(timeout=5) as client, listener.accept()[0] as server:
                assert client.getblocking()
                client.send(b"hello")
                assert server.recv(9) == b"hello"
                assert peer_uid_ok(server)
                assert peer_uid_ok(client)

    def test_is_private_whatever_the_umask(self, home: Path):
        stage = Home(home)
        stage.create()
        before = os.umask(0)
        try:
            with stage.lock(), stage.listen():
                assert mode(stage.socket_path) == 0o600
        finally:
            os.umask(before)

    def test_replaces_what_a_dead_supervisor_left(self, home: Path):
        with holder(home, "home.listen()\nprint(1, flush=True)\nsignal.pause()"):
            pass
        stage = Home(home)
        assert stage.socket_path.is_socket()
        with pytest.raises(NotRunning):
            stage.connect()
        with stage.lock(), stage.listen(), stage.connect():
            pass

    def test_is_removed_only_with_the_lock(self, home: Path):
        served = Home(home)
        served.create()
        with served.lock(), served.listen():
            Home(home).stop_listening()
            assert served.socket_path.exists()
            served.stop_listening()
            served.stop_listening()
            assert not served.socket_path.exists()

    def test_listens_only_with_the_lock(self, home: Path):
        stage = Home(home)
        stage.create()
        with pytest.raises(HomeError, match="lock"):
            stage.listen()
        stage.lock().close()
        with pytest.raises(HomeError, match="lock"):
            stage.listen()

    @pytest.mark.parametrize("length", [0, 200], ids=["short", "long"])
    def test_nobody_there(self, home: Path, length: int):
        path = home.joinpath(*["x" * 50] * (length // 50))
        with pytest.raises(NotRunning, match="understudy serve"):
            Home(path).connect()
        Home(path).create()
        with pytest.raises(NotRunning, match="understudy serve"):
            Home(path).connect()

    def test_a_supervisor_that_accepts_nobody(self, home: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(home_module, "_BACKLOG", 0)
        stage = Home(home)
        stage.create()
        with stage.lock(), stage.listen(), stage.connect(), pytest.raises(TimeoutError, match="accepts no"):
            stage.connect(timeout=0.05)

    def test_a_home_we_may_not_enter(self, home: Path):
        Home(home).create()
        with as_nobody(), pytest.raises(HomeError, match="no permission"):
            Home(home).connect()
        with as_nobody(), pytest.raises(HomeError, match="no permission"):
            Home(home).served()

    def test_a_stranger_is_told_apart(self, monkeypatch: pytest.MonkeyPatch):
        class Peer:
            def __init__(self, uid: int) -> None:
                self.uid = uid

            def getsockopt(self, *_: int) -> bytes:
                return struct.pack("=iII", 1, self.uid, 1)

        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert [peer_uid_ok(Peer(uid)) for uid in (1000, 0, 1001, 2**32 - 2)] == [True, True, False, False]  # type: ignore[arg-type]

    def test_credentials_are_the_kernels(self):
        one, other = socket.socketpair()
        with one, other:
            assert peer_uid_ok(one)


@pytest.mark.parametrize("name", ["no-such-group-anywhere", "²", "4294967295", "1" * 6000, "-1", "a\0b"])
def test_what_names_no_group_is_refused(name: str):
    with pytest.raises(InvalidOption, match="does not exist"):
        group_id(name)


def test_a_group_has_a_name_or_a_number():
    assert group_id("root") == group_id("0") == 0
