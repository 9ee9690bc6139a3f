"""Reading from outside while a writer in another process grows the map, compacts, dies; and over forks."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from churn import WRITER, consistent
from understudy.actors.errors import StoreError, StoreForeign
from understudy.storage import shared_view as module
from understudy.storage.file.names import store_file
from understudy.storage.shared_view import SharedView, release, view_of
from understudy.storage.tables.schema import Table
from waiting import until

Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def view(home: Path):
    view = view_of(home)
    yield view
    release(view)


def test_a_home_without_a_store_reads_as_empty_and_is_not_made(home: Path, view: SharedView):
    with view.read() as snapshot:
        assert snapshot.get(Table.TASKS, b"a") is None
        assert list(snapshot.rows(Table.TASKS)) == []
        assert snapshot.count(Table.TASKS) == 0
    assert not home.exists()


def test_reads_are_consistent_while_a_writer_grows_and_compacts(
    home: Path, view: SharedView, program: Program
):
    writer = program(WRITER, home, os.getpid())
    assert writer.stdout is not None
    writer.stdout.readline()
    wrong: list[BaseException] = []
    stop = threading.Event()
    seen = [0, 0, 0]

    def read(reader: int) -> None:
        try:
            while not stop.is_set():
                number = consistent(view)
                assert number >= seen[reader], "went back in time"
                seen[reader] = number
        except BaseException as error:  # noqa: BLE001 - a thread's errors are for the test to see
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: wrong or min(seen) > 400, 40, lambda: f"seen {seen}")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store_file(home).stat().st_size > 1 << 20


def test_many_readers_in_many_processes(home: Path, program: Program):
    writer = program(WRITER, home, os.getpid())
    assert writer.stdout is not None
    writer.stdout.readline()
    readers = [
        program(
            """
            import sys
            from pathlib import Path
            from churn import consistent
            from understudy.storage.shared_view import release, view_of

            last = reads = 0
            while last < 200:
                view = view_of(Path(sys.argv[1]))  # opened anew each time: hits the swap
                for _ in range(3):
                    number = consistent(view)
                    assert number >= last, (number, last)
                    last = number
                    reads += 1
                release(view)
            print(reads)
            """,
            home,
        )
        for _ in range(2)
    ]
    for reader in readers:
        output, _ = reader.communicate(timeout=50)
        assert reader.returncode == 0
        assert int(output) >= 3


def test_a_writer_that_died_leaves_a_readable_store(home: Path, view: SharedView, program: Program):
    for _ in range(3):
        writer = program(WRITER, home, os.getpid())
        assert writer.stdout is not None
        told = int(writer.stdout.readline())
        writer.kill()
        writer.wait()
        assert consistent(view) >= told


def test_one_environment_serves_all_users_of_a_home_until_the_last_has_gone(
    home: Path, tmp_path: Path, open_desk
):
    open_desk().store.close(5)
    link = tmp_path / "link"
    link.symlink_to(home)
    one, other = view_of(home), view_of(link)
    assert one is other
    consistent(one)
    release(one)
    assert other._env is not None
    consistent(other)
    release(other)
    assert other._env is None
    assert view_of(home) is not one
    release(view_of(home))
    release(module._views[str(home)])


def test_a_store_open_for_writing_in_this_process_is_refused_with_advice(desk, view: SharedView):
    desk.flush()
    with pytest.raises(StoreError, match="in this process already"):
        consistent(view)


def test_a_foreign_file_is_refused_and_found_good_once_it_is(home: Path, view: SharedView, open_desk):
    home.mkdir()
    store_file(home).write_bytes(b"hello" * 100)
    with pytest.raises(StoreForeign):
        consistent(view)
    store_file(home).unlink()
    open_desk().store.close(5)
    assert consistent(view) == 0


def test_a_removed_file_is_read_as_long_as_somebody_writes_it(home: Path, view: SharedView, program: Program):
    writer = program(
        """
        import signal, sys
        from pathlib import Path
        from desk import Desk
        from understudy.storage.store import Store
        from understudy.storage.tables.schema import Table

        desk = Desk(Store, Path(sys.argv[1]))
        for row in range(40):
            desk.store.put(Table.TASKS, b"%016d" % row, b"7")
            desk.store.put(Table.ARGS, b"%016d" % row, b"7")
        desk.flush()
        print("written")
        signal.pause()
        """,
        home,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    assert consistent(view) == 7
    store_file(home).unlink()
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda _: consistent(view), range(100))) == {7}
    writer.kill()
    writer.wait()
    until(lambda: consistent(view) == 0)


def test_a_fork_reads_with_an_environment_of_its_own(home: Path, view: SharedView, open_desk):
    desk = open_desk()
    for row in range(40):
        desk.store.put(Table.TASKS, b"%016d" % row, b"7")
        desk.store.put(Table.ARGS, b"%016d" % row, b"7")
    desk.store.close(5)
    assert consistent(view) == 7
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert consistent(view) == 7

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    assert view._env is None
                    assert consistent(view) == 7
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert consistent(view) == 7
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_fork_with_a_read_under_way_leaves_the_childs_copy_alone(view: SharedView, open_desk, monkeypatch):
    monkeypatch.setattr(module, "_FORK_PATIENCE", 0.01)
    open_desk().store.close(5)
    with view.read() as snapshot:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                consistent(view)
            except StoreError as error:
                code = 0 if "fork" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert snapshot.count(Table.META) == 2
    assert consistent(view) == 0
