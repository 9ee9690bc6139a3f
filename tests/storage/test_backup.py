from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from lmdb import verify

from churn import WRITER
from tasks import EPOCH, add_task
from understudy.actors.errors import HomeError, StoreForeign, StoreFull
from understudy.storage import backup as module
from understudy.storage.backup import backup, compact_offline
from understudy.storage.check import check
from understudy.storage.file.names import store_file
from understudy.storage.shared_view import release, view_of
from understudy.storage.tables.schema import Table


@pytest.fixture
def filled(home: Path, open_desk) -> Path:
    desk = open_desk()
    for number in range(100):
        add_task(desk.store, at=EPOCH + number)
    for number in range(2000):
        desk.store.put(Table.SCHEDULES, b"%d" % number, bytes(1000))
    desk.flush()
    for number in range(2000):
        desk.store.delete(Table.SCHEDULES, b"%d" % number)
    desk.store.close(10)
    return home


def test_a_backup_is_a_home(filled: Path, tmp_path: Path, open_desk):
    dest = tmp_path / "new" / "backup"
    size = backup(filled, dest)
    assert [file.name for file in dest.iterdir()] == ["store.mdb"]
    assert store_file(dest).stat().st_size == size < store_file(filled).stat().st_size
    assert dest.stat().st_mode & 0o777 == 0o700
    assert store_file(dest).stat().st_mode & 0o777 == 0o600
    assert check(dest).sound
    desk = open_desk(place=dest)
    assert desk.store.count(Table.TASKS) == 100
    desk.store.put(Table.TASKS, b"more", b"")
    desk.flush()


def test_a_backup_never_overwrites(filled: Path, tmp_path: Path):
    for make in (Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")):
        dest = tmp_path / "backup"
        make(dest)
        with pytest.raises(HomeError, match="never overwrites"):
            backup(filled, dest)
        dest.rmdir() if dest.is_dir() else dest.unlink()


def test_without_a_store_there_is_nothing_to_back_up_or_compact(home: Path, tmp_path: Path):
    with pytest.raises(HomeError, match="nothing to back up"):
        backup(home, tmp_path / "backup")
    with pytest.raises(HomeError, match="nothing to compact"):
        compact_offline(home)
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_fails_leaves_nothing(filled: Path, small_disk: Path):
    (small_disk / "ballast").write_bytes(bytes((4 << 20) - 16384))
    with pytest.raises(StoreFull):
        backup(filled, small_disk / "backup")
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]


def test_backups_are_consistent_while_a_writer_works(home: Path, tmp_path: Path, program: Callable):
    writer = program(WRITER, home, os.getpid())
    writer.stdout.readline()
    for number in range(5):
        dest = tmp_path / str(number)
        backup(home, dest)
        assert verify.verify(str(store_file(dest))) == []
        view = view_of(dest)
        with view.read() as snapshot:
            values = {value for table in (Table.TASKS, Table.ARGS) for _, value in snapshot.rows(table)}
        release(view)
        assert len(values) == 1


def test_compacting_offline_gives_space_back_and_keeps_every_row(filled: Path, open_desk):
    before, after = compact_offline(filled)
    assert after < before / 10
    assert store_file(filled).stat().st_size == after
    assert check(filled).sound
    assert open_desk().store.count(Table.TASKS) == 100


def test_a_compaction_that_fails_leaves_the_store_as_it_was(filled: Path, monkeypatch):
    whole = store_file(filled).read_bytes()

    def full(*_: object) -> None:
        raise StoreFull("full")

    monkeypatch.setattr(module.Environment, "copy", full)
    with pytest.raises(StoreFull):
        compact_offline(filled)
    assert store_file(filled).read_bytes() == whole
    assert not list(filled.glob("*.draft"))


def test_a_foreign_file_is_neither_backed_up_nor_compacted(home: Path, tmp_path: Path):
    home.mkdir()
    store_file(home).write_bytes(b"x" * 10_000)
    with pytest.raises(StoreForeign):
        backup(home, tmp_path / "backup")
    with pytest.raises(StoreForeign):
        compact_offline(home)
    assert store_file(home).read_bytes() == b"x" * 10_000
