"""One home in several containers, under a cleaner of temporary files, and with several users."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import stage_tasks
from containers import container
from disks import fill_up, mounted
from puppets import end, program, said
from theatre import PATIENCE, runtime, serving
from understudy import HomeInUse, NotRunning, Runtime, State, StoreFull
from understudy.storage.backup import compact_offline
from understudy.storage.file.names import store_file
from understudy.storage.reader import Reader
from understudy.supervisor.home import Home, task_folder
from users import ALICE, BOB, CREW, as_user, open_folder, owners
from waiting import until

SERVE = """
import asyncio
from understudy.supervisor.app import AppSpec
from understudy.supervisor.daemon.supervisor import Supervisor
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings

async def serve():
    supervisor = Supervisor(Home(sys.argv[1]), AppSpec.parse("stage_tasks"), Settings(workers=1, drain=1.0))
    await supervisor.run(lambda: print(["ready"], flush=True))

try:
    asyncio.run(serve())
    print(["stopped"], flush=True)
except Exception as error:
    print([type(error).__name__, str(error)], flush=True)
"""

#: A client that does everything that it can do, then waits; prints what it has seen.
CLIENT = """
import os
from understudy import Runtime
with Runtime.connect(sys.argv[1]) as rt:
    info = rt.start("stage_tasks:add", 20, 22)
    value = rt.result(info, timeout=20)
    record = rt.wait(info, timeout=20)
    rt.status(info)
    listed = len(rt.list())
    print([os.getpid(), value, record.state.value, listed, [line.text for line in rt.logs(info)]], flush=True)
    sys.stdin.read()
"""


@contextmanager
def contained(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program as pid 1 of a container."""
    prefix = container()
    head = f"import sys; sys.path[:] = {[os.path.abspath(path) for path in sys.path]!r}\n"
    process = subprocess.Popen(
        [*prefix, sys.executable, "-P", "-c", head + source, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


class TestContainers:
    def test_clients_that_are_pid_1_like_the_supervisor_read_the_store(self, home: Path):
        with contained(SERVE, str(home)) as supervisor:
            assert said(supervisor) == ["ready"]
            with contained(CLIENT, str(home)) as web, contained(CLIENT, str(home)) as other:
                assert said(web)[:3] == [1, 42, "completed"]
                assert said(other)[:3] == [1, 42, "completed"]

    def test_a_supervisor_starts_while_such_a_client_has_the_store_open(self, home: Path):
        with contained(SERVE, str(home)) as first:
            assert said(first) == ["ready"]
            with contained(CLIENT, str(home)) as web:
                assert said(web)[0] == 1
                first.kill()
                first.wait()
                until(lambda: Home(home).server() is None)
                with contained(SERVE, str(home)) as second:
                    assert said(second) == ["ready"]
                    with contained(CLIENT, str(home)) as third:
                        assert said(third)[:4] == [1, 42, "completed", 2]

    def test_a_second_supervisor_is_refused_and_told_where_the_first_one_is(self, home: Path):
        with contained(SERVE, str(home)) as first:
            assert said(first) == ["ready"]
            with contained(SERVE, str(home)) as second:
                kind, text = said(second)
                assert kind == "HomeInUse"
                assert "pid 1 in another PID namespace" in text
            with Runtime.connect(home) as rt:
                assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3

    @pytest.mark.parametrize("now", [[], ["--now"]])
    def test_stop_returns_when_the_supervisor_of_another_container_has_ended(
        self, home: Path, now: list[str]
    ):
        stop = "from understudy.supervisor.cli.main import main; main()"
        with contained(SERVE, str(home)) as supervisor:
            assert said(supervisor) == ["ready"]
            with Runtime.connect(home) as rt:
                info = rt.start(stage_tasks.parked, 3600)
                until(lambda: info.status().state is State.RUNNING, PATIENCE)
            done = program(stop, "--home", str(home), "stop", *now, stderr=subprocess.PIPE)
            _, told = done.communicate(timeout=PATIENCE)
            assert done.returncode == 0, told
            assert "(pid 1 in another PID namespace" in told
            assert said(supervisor) == ["stopped"]
            assert Home(home).server() is None


class TestSweptFiles:
    @pytest.mark.parametrize(
        "missing", ["supervisor.lock", "supervisor.sock", "store.mdb-lock", "store.voucher"]
    )
    def test_there_is_never_a_second_supervisor_nor_one_that_nobody_reaches(self, home: Path, missing: str):
        with runtime(home) as rt:
            info = rt.start(stage_tasks.add, 1, 2)
            assert info.result(PATIENCE) == 3
            (home / missing).unlink()
            with serving(home) as second:
                assert said(second)[0] == "HomeInUse"
            until(lambda: reached(home), PATIENCE)
            with Runtime.connect(home) as other:
                assert other.supervisor_pid == rt.supervisor_pid
                assert other.status(info).state is State.COMPLETED
            until((home / "supervisor.lock").exists, PATIENCE)
            until(lambda: Home(home).served() == rt.supervisor_pid, PATIENCE)

    def test_the_store_itself_is_there_again_with_everything(self, home: Path):
        with runtime(home) as rt:
            infos = rt.start_many(stage_tasks.add, [(number, 1) for number in range(50)])
            assert list(rt.results(infos, PATIENCE)) == [number + 1 for number in range(50)]
            store_file(home).unlink()
            until(store_file(home).exists, PATIENCE)
            with Reader(home) as reader:
                assert len(reader.records()) == 50
            assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
        with runtime(home) as rt:
            assert len(rt.list()) == 51

    def test_a_reader_goes_on_while_everything_beside_the_store_is_removed_again_and_again(self, home: Path):
        with runtime(home) as rt, Reader(home) as reader:
            for number in range(100):
                info = rt.start(stage_tasks.add, number, 1)
                assert info.result(PATIENCE) == number + 1
                for name in ("store.mdb-lock", "store.voucher", "supervisor.lock"):
                    (home / name).unlink(missing_ok=True)
                record = reader.record(bytes.fromhex(info.id.replace("-", "")))
                assert record is not None
                assert record.state is State.COMPLETED

    def test_a_served_home_that_is_removed_ends_the_supervisor(self, home: Path):
        with serving(home) as process:
            assert said(process) == ["ready"]
            while home.exists():
                for file in home.iterdir():
                    file.unlink(missing_ok=True)
                try:
                    home.rmdir()
                except OSError:
                    continue
            kind, text, *_ = said(process)
            assert kind == "HomeError"
            assert "was removed" in text

    def test_the_message_says_what_is_wrong_meanwhile(self, home: Path):
        with runtime(home) as rt:
            pid = rt.supervisor_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                (home / "supervisor.sock").unlink()
                with Runtime.connect(home) as other, pytest.raises(NotRunning, match=f"pid {pid}.*socket"):
                    other.ping(timeout=0.2)
            finally:
                os.kill(pid, signal.SIGCONT)
            until(lambda: reached(home), PATIENCE)


def reached(home: Path) -> bool:
    with Runtime.connect(home) as rt:
        try:
            rt.ping(timeout=0.2)
        except (NotRunning, TimeoutError):
            return False
        return True


def of_alice(home: Path) -> None:
    """A home of Alice's, with a store."""
    home.mkdir(mode=0o700)
    os.chown(home, ALICE, ALICE)
    assert as_user(ALICE, [], lambda: use(home)) is None


def use(home: Path) -> None:
    """What a supervisor does with the files of a home."""
    stage = Home(home)
    stage.create()
    with stage.lock(), stage.listen():
        compact_or_make(home)


def compact_or_make(home: Path) -> None:
    from understudy.storage.environment import Environment

    environment = Environment(home)
    environment.compact()
    environment.close()


class TestUsers:
    @pytest.fixture
    def home(self) -> Iterator[Path]:
        with open_folder() as folder:
            yield folder / "home"

    def test_what_root_does_leaves_nothing_that_the_owner_cannot_use(self, home: Path):
        of_alice(home)
        before = owners(home)
        with Reader(home) as reader:
            assert reader.records() == []
        assert Home(home).served() is None
        assert owners(home) == before
        with Home(home).lock():
            compact_offline(home)
        use(home)
        (home / "boxes").mkdir(mode=0o700)
        with runtime(home) as rt:
            assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
            assert {owner for owner, *_ in owners(home).values()} >= {ALICE}
            seen = {
                name: found for name, found in owners(home).items() if name not in ("boxes", "store.mdb-lock")
            }
            assert {owner[:2] for owner in seen.values()} == {(ALICE, ALICE)}, seen
        assert as_user(ALICE, [], lambda: use(home)) is None

    def test_what_root_cannot_do_on_a_full_disk_leaves_the_owner_its_files(self):
        with open_folder() as folder, mounted(folder / "disk") as disk:
            home, ballast = disk / "home", disk / "ballast"
            disk.chmod(0o777)
            of_alice(home)
            before = owners(home)
            with Home(home).lock():
                fill_up(ballast)
                with pytest.raises(StoreFull):
                    compact_offline(home)
            assert owners(home) == before
            ballast.unlink()
            assert as_user(ALICE, [], lambda: use(home)) is None

    def test_a_group_shares_a_home(self, home: Path):
        with runtime(home, group=str(CREW)) as rt:
            assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
            found = owners(home)
            assert found.pop("home")[1:] == (CREW, 0o770)
            found.pop("store.mdb-lock")
            assert {owner[1:] for owner in found.values()} == {(CREW, 0o660)}, found

            def work() -> Any:
                with Runtime.connect(home) as mine:
                    info = mine.start("stage_tasks:add", 20, 22)
                    return mine.result(info, timeout=PATIENCE), info.status().state.value

            assert as_user(BOB, [CREW], work) == (42, "completed")
            assert as_user(BOB, [], work).startswith("HomeError")

    def test_files_of_a_group_stay_its_own_after_a_kill_and_on_a_full_disk(self):
        def theirs(home: Path) -> bool:
            found = owners(home)
            del found["store.mdb-lock"]
            return {(group, mode) for _, group, mode in found.values()} == {(CREW, 0o770), (CREW, 0o660)}

        with open_folder() as folder, mounted(folder / "disk") as disk:
            disk.chmod(0o777)
            home, ballast = disk / "home", disk / "ballast"
            with runtime(home, group=str(CREW), map_size=1 << 20) as rt:
                info = rt.start(stage_tasks.parked)
                until(lambda: info.status().state is State.RUNNING, PATIENCE)
                fill_up(ballast)
                until(lambda: rt.tree()["disk_full"], PATIENCE)
                for change in (rt.compact, lambda: rt.start(stage_tasks.add, 1, 2)):
                    with pytest.raises(StoreFull):
                        change()
                (home / "supervisor.lock").unlink()
                until((home / "supervisor.lock").exists, PATIENCE)
                assert theirs(home)
                pid = rt.supervisor_pid
                ballast.unlink()
                os.kill(pid, signal.SIGKILL)
                until(lambda: rt.supervisor_pid != pid, PATIENCE)
                until(lambda: info.status().interruptions == 1, PATIENCE)
                rt.compact()
                assert theirs(home)

                def work() -> Any:
                    with Runtime.connect(home) as mine:
                        return mine.cancel(info.id), mine.run("stage_tasks:add", 1, 2, timeout=PATIENCE)

                assert as_user(BOB, [CREW], work) == (True, 3)

    def test_members_use_each_others_folders_for_files(self, home: Path):
        home.mkdir(mode=0o700)
        stage = Home(home)
        stage.create(str(CREW))
        stage.lock().close()
        path = task_folder(home, "first")
        assert as_user(
            BOB, [CREW], lambda: (path / "new").mkdir() or str(task_folder(home, "second"))
        ) == str(home / "files" / "second")
        assert {stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)} == {0o770}

    def test_only_members_get_in_even_where_the_doors_stand_open(self, home: Path):
        with runtime(home, group=str(CREW)):
            home.chmod(0o777)
            (home / "supervisor.sock").chmod(0o777)
            for groups, answer in (([CREW], True), ([], False)):
                assert as_user(BOB, groups, lambda: answers(home)) is answer

    def test_members_take_turns_at_serving_it(self, home: Path):
        home.parent.chmod(0o777)

        def serve(group: str) -> Callable[[], None]:
            def serve() -> None:
                stage = Home(home)
                stage.create(group)
                with stage.lock(), stage.listen():
                    compact_or_make(home)

            return serve

        assert as_user(ALICE, [CREW], serve(str(CREW))) is None
        assert stat.S_IMODE(home.stat().st_mode) == 0o770
        assert as_user(BOB, [CREW], serve(str(CREW))) is None
        assert store_file(home).stat().st_uid == BOB
        assert as_user(ALICE, [CREW], serve(str(CREW))) is None
        # It is private again once its owner asks for no group.
        assert "chmod 700" in as_user(BOB, [CREW], serve(""))
        assert as_user(ALICE, [CREW], serve("")) is None
        assert owners(home)["home"][2] == 0o700
        assert {mode for name, (_, _, mode) in owners(home).items() if name != "home"} == {0o600}
        assert as_user(BOB, [CREW], serve(str(CREW))).startswith("HomeError")


def answers(home: Path) -> bool:
    from understudy.supervisor.wire.codec import VERSION, encode
    from understudy.supervisor.wire.messages import Ask

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(home / "supervisor.sock"))
        try:
            sock.sendall(encode((Ask.HELLO, VERSION)))
            return bool(sock.recv(100))
        except (BrokenPipeError, ConnectionResetError):
            return False


def test_a_group_that_does_not_exist_is_refused(home: Path):
    from understudy import InvalidOption

    with pytest.raises(InvalidOption, match="does not exist"):
        runtime(home, group="no-such-group-anywhere")
    assert not home.exists()


def test_another_supervisor_on_a_home_is_refused_by_the_store_as_well(home: Path):
    with runtime(home), pytest.raises(HomeInUse):
        compact_or_make(home)
