from __future__ import annotations

import errno
import fcntl
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.errors import HomeInUse, StoreFull
from understudy.storage import environment as environment_module
from understudy.storage.batch import Batch
from understudy.storage.environment import Environment
from understudy.storage.file import locks
from understudy.storage.file.header import inspect
from understudy.storage.file.names import store_file
from understudy.storage.shared_view import release, view_of
from understudy.storage.tables.schema import Table
from waiting import until

Open = Callable[..., Environment]
Program = Callable[..., Any]

READS = int(os.environ.get("UNDERSTUDY_TEST_READS", "300"))
"""Reads of the storm below."""

#: Reads for as long as its standard input is open, then says which values its snapshot has.
READER = """
import sys
from pathlib import Path
from understudy.storage.shared_view import view_of
from understudy.storage.tables.schema import Table

with view_of(Path(sys.argv[1])).read() as snapshot:
    print("reads", flush=True)
    sys.stdin.read()
    rows = dict(snapshot.rows(Table.TASKS))
    print(len(rows), *{value[:1].decode() for value in rows.values()}, flush=True)
"""


@pytest.fixture
def pin_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit is pinned, however quickly it follows the one before."""
    monkeypatch.setattr(environment_module, "_PIN_FOR", 0.0)


def overwrite(environment: Environment, value: bytes) -> None:
    """Write 200 rows of a page each anew, which frees the pages of the last ones."""
    batch = Batch()
    for number in range(200):
        batch.put(Table.TASKS, b"%016d" % number, value * 1500)
    environment.commit(batch)


def reads(program: Program, home: Path) -> Any:
    process = program(READER, home)
    assert process.stdout.readline() == "reads\n"
    return process


def found(process: Any) -> list[str]:
    output, _ = process.communicate("")
    assert process.returncode == 0
    return list(output.split())


def test_what_a_reader_reads_stays_while_everything_is_written_anew(
    home: Path, open_environment: Open, program: Program
):
    environment = open_environment(64 << 20)
    overwrite(environment, b"a")
    overwrite(environment, b"b")
    first = reads(program, home)
    for value in (b"c", b"d", b"e"):
        overwrite(environment, value)
    second = reads(program, home)
    for value in (b"f", b"g", b"h"):
        overwrite(environment, value)
    assert found(first) == ["200", "b"]
    for value in (b"i", b"j"):
        overwrite(environment, value)
    assert found(second) == ["200", "e"]


def test_readers_that_come_and_go_let_pages_be_reused(home: Path, open_environment: Open, program: Program):
    environment = open_environment(64 << 20)
    overwrite(environment, b"a")
    readers = [reads(program, home)]
    for _ in range(5):
        # There is a reader at any time.
        overwrite(environment, b"b")
        readers.append(reads(program, home))
        overwrite(environment, b"c")
        assert found(readers.pop(0))[0] == "200"
    size = store_file(home).stat().st_size
    for _ in range(20):
        overwrite(environment, b"b")
        readers.append(reads(program, home))
        overwrite(environment, b"c")
        assert found(readers.pop(0))[0] == "200"
    assert store_file(home).stat().st_size < 1.5 * size
    assert found(readers.pop()) == ["200", "b"]


@pytest.mark.usefixtures("pin_each")
def test_a_reader_that_was_killed_does_not_keep_pages(home: Path, open_environment: Open, program: Program):
    environment = open_environment(64 << 20)
    overwrite(environment, b"a")
    reader = reads(program, home)
    overwrite(environment, b"b")
    kept = len(environment._pins)
    assert kept == 1
    overwrite(environment, b"c")
    assert len(environment._pins) == 2
    reader.kill()
    reader.wait()
    overwrite(environment, b"d")
    assert len(environment._pins) == 1


def test_what_is_read_while_the_map_grows_stays(
    home: Path, open_environment: Open, program: Program, monkeypatch
):
    monkeypatch.setattr(environment_module, "OLD_READERS", 0.05)
    environment = open_environment()
    overwrite(environment, b"a")
    reader = reads(program, home)
    before = environment.map_size
    for number in range(12):
        overwrite(environment, b"%d" % (number % 10))
        batch = Batch()
        batch.put(Table.RESULTS, b"%016d" % number, bytes(1 << 18))
        environment.commit(batch)
    assert environment.map_size > before
    assert found(reader) == ["200", "a"]
    environment.refresh()
    assert environment.count(Table.TASKS) == 200


def test_what_is_read_stays_when_the_next_writer_has_taken_over(
    home: Path, open_environment: Open, program: Program, monkeypatch
):
    monkeypatch.setattr(environment_module, "OLD_READERS", 0.05)
    environment = open_environment()
    overwrite(environment, b"a")
    reader = reads(program, home)
    overwrite(environment, b"b")
    environment.close()
    environment = open_environment()
    assert environment.exposed
    for value in (b"c", b"d", b"e"):
        overwrite(environment, value)
    assert not environment.exposed
    assert found(reader) == ["200", "a"]
    environment.close()
    last = reads(program, home)
    assert found(last) == ["200", "e"]


def test_the_next_writer_waits_for_a_reader_that_is_about_to_end(
    home: Path, open_environment: Open, program: Program, monkeypatch
):
    monkeypatch.setattr(environment_module, "OLD_READERS", 30.0)
    environment = open_environment()
    overwrite(environment, b"a")
    reader = reads(program, home)
    overwrite(environment, b"b")
    environment.close()
    inode = store_file(home).stat().st_ino
    environment = open_environment()
    commit = threading.Thread(target=overwrite, args=(environment, b"c"))
    commit.start()
    assert found(reader) == ["200", "a"]
    commit.join()
    assert store_file(home).stat().st_ino == inode


def test_a_commit_is_not_read_before_it_is_on_disk(home: Path, open_environment: Open, monkeypatch):
    environment = open_environment()
    overwrite(environment, b"a")
    environment.close()
    writer = os.open(store_file(home), os.O_RDWR)
    header = inspect(store_file(home))
    assert header is not None
    view, reads = view_of(home), []

    def read() -> None:
        with view.read() as snapshot:
            reads.append(snapshot.count(Table.TASKS))

    read()
    # As though the disk still worked on the newest commit.
    locks.begin_commit(writer, header.txnid)
    monkeypatch.setattr(locks, "SYNC_PATIENCE", 60.0)
    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: view._reads)
    assert reads == [200]
    locks.end_commit(writer)
    reader.join()
    assert reads == [200, 200]
    # A disk that hangs, or a writer that was stopped, does not stop reading for ever.
    monkeypatch.setattr(locks, "SYNC_PATIENCE", 0.01)
    locks.begin_commit(writer, header.txnid)
    with view.read() as snapshot:
        assert snapshot.count(Table.TASKS) == 200
        # This state may be taken away by an error of the disk. So the next writer must not write over it.
        assert locks.is_read(writer, 0, header.txnid - 1)
    release(view)
    os.close(writer)


def test_a_state_that_an_error_of_the_disk_took_away_is_not_written_over_while_it_is_read(
    home: Path, open_environment: Open, monkeypatch
):
    environment = open_environment()
    overwrite(environment, b"a")
    environment.close()
    header = inspect(store_file(home))
    assert header is not None
    reader = os.open(store_file(home), os.O_RDONLY)
    # As though it read the commit after the newest one, which was there a moment ago.
    assert locks._lock(reader, fcntl.F_RDLCK, header.txnid + 1)
    environment = open_environment()
    assert environment.exposed
    batch = Batch()
    batch.put(Table.TASKS, b"b", b"b")
    assert not environment.commit(batch, patient=False)
    assert environment.get(Table.TASKS, b"b") is None
    monkeypatch.setattr(environment_module, "OLD_READERS", 0.05)
    assert environment.commit(batch)
    assert os.fstat(reader).st_nlink == 0
    os.close(reader)
    environment.refresh()
    assert environment.get(Table.TASKS, b"b") == b"b"


def test_who_cannot_wait_does_not_grow_the_map_under_a_reader(
    home: Path, open_environment: Open, program: Program
):
    environment = open_environment()
    overwrite(environment, b"a")
    reader = reads(program, home)
    overwrite(environment, b"b")
    before = environment.map_size
    batch = Batch()
    batch.put(Table.RESULTS, b"r" * 16, bytes(before))
    assert not environment.commit(batch, patient=False)
    assert environment.map_size == before
    assert found(reader) == ["200", "a"]
    assert environment.commit(batch, patient=False)
    assert environment.map_size > before


def test_a_swap_that_fails_leaves_the_writer_its_locks(
    home: Path, open_environment: Open, program: Program, monkeypatch
):
    environment = open_environment(64 << 20)
    overwrite(environment, b"a")
    reader = reads(program, home)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_room)
        with pytest.raises(StoreFull):
            environment.compact()
    for value in (b"b", b"c", b"d"):
        overwrite(environment, value)
    assert locks.claimed(store_file(home))
    assert found(reader) == ["200", "a"]


def test_a_second_writer_is_refused_and_the_first_one_goes_on(
    home: Path, open_environment: Open, program: Program
):
    environment = open_environment()
    second = """
    import sys
    from pathlib import Path
    from understudy.actors.errors import HomeInUse
    from understudy.storage.environment import Environment

    try:
        Environment(Path(sys.argv[1]))
    except HomeInUse as error:
        print("refused:", error)
    """
    assert program(second, home).communicate()[0].startswith("refused: another process writes")
    overwrite(environment, b"a")
    with pytest.raises(HomeInUse):
        Environment(home)
    assert environment.count(Table.TASKS) == 200


@pytest.mark.usefixtures("pin_each")
def test_a_fork_does_not_keep_the_locks_of_its_parent(home: Path, open_environment: Open, program: Program):
    environment = open_environment(64 << 20)
    overwrite(environment, b"a")
    parent = program(
        """
        import os, sys, threading
        from pathlib import Path
        from understudy.storage import shared_view

        shared_view._FORK_PATIENCE = 0.01
        with shared_view.view_of(Path(sys.argv[1])).read():
            if os.fork():
                sys.stdin.read()
            else:
                print("forked", flush=True)
                os.read(int(sys.argv[2]), 1)
        """,
        home,
        0,
    )
    assert parent.stdout.readline() == "forked\n"
    overwrite(environment, b"b")
    overwrite(environment, b"c")
    assert len(environment._pins) == 2
    os.kill(parent.pid, 9)
    parent.wait()
    # The child still lives: it reads the same standard input.
    overwrite(environment, b"d")
    assert len(environment._pins) == 1


#: Reads all rows again and again, slowly at times, in two threads and in forks; adds a line to a file for each read.
STORMY_READER = """
import os, random, sys, threading, time
from pathlib import Path
from understudy.storage.shared_view import view_of
from understudy.storage.tables.schema import Table

view, told = view_of(Path(sys.argv[1])), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)

def read(chance):
    rows, values = 0, set()
    with view.read() as snapshot:
        if chance.random() < 0.03:
            time.sleep(1)
        for _, value in snapshot.rows(Table.TASKS):
            rows += 1
            values.add(value)
            if chance.random() < 0.01:
                time.sleep(0.02 * chance.random())
    value = values.pop()
    whole = rows == 200 and not values and value == value[:4] * (len(value) // 4)
    os.write(told, b"whole\\n" if whole else b"torn: %d rows\\n" % rows)

def read_on():
    chance = random.Random(os.urandom(4))
    while True:
        try:
            read(chance)
        except BaseException as error:
            os.write(told, b"torn: %r\\n" % error)
            raise

threading.Thread(target=read_on, daemon=True).start()
while True:
    for _ in range(20):
        read(random.Random(os.urandom(4)))
    if not (child := os.fork()):
        try:
            read(random.Random(os.urandom(4)))
        except BaseException as error:
            os.write(told, b"torn: %r\\n" % error)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_no_reader_sees_a_page_that_was_written_anew(
    home: Path, tmp_path: Path, open_environment: Open, program: Program, monkeypatch
):
    monkeypatch.setattr(environment_module, "OLD_READERS", 0.02)
    told = tmp_path / "told"
    told.touch()
    chance = random.Random(7)
    generation = written = kills = takeovers = 0
    environment = open_environment(64 << 20, durability="os")

    def write() -> None:
        nonlocal generation, written
        generation += 1
        batch = Batch()
        # Rows of another size each time, so that pages serve as leaves, as long rows and as inner nodes by turns.
        value = generation.to_bytes(4, "big") * chance.randrange(50, 2000)
        for number in range(200):
            batch.put(Table.TASKS, b"%016d" % number, value)
        environment.commit(batch)
        written += batch.size

    write()
    readers = [program(STORMY_READER, home, told) for _ in range(4)]
    while kills < 12 or not takeovers or told.stat().st_size < 6 * READS:
        write()
        assert "torn" not in told.read_text(encoding="utf-8")
        assert [reader.poll() for reader in readers] == [None] * len(readers)
        if told.stat().st_size > 6 * READS * kills // 12:
            victim = readers.pop(chance.randrange(len(readers)))
            victim.kill()
            victim.wait()
            readers.append(program(STORMY_READER, home, told))
            kills += 1
            if kills % 3 == 0:
                write()
                environment.close()
                environment = open_environment(64 << 20, durability="os")
                takeovers += environment.exposed
    # What was freed was used again, although somebody read at any time.
    assert written > 2 * store_file(home).stat().st_size
