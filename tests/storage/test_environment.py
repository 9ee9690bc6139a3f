from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from lmdb import verify

from understudy.actors.errors import HomeError, InvalidOption, StoreCorrupt, StoreError, StoreFull
from understudy.storage.batch import Batch
from understudy.storage.environment import Environment
from understudy.storage.file.names import lock_file, store_file
from understudy.storage.tables.schema import Table
from waiting import until

Open = Callable[..., Environment]


def batch(rows: dict[bytes, bytes | None], table: Table = Table.TASKS) -> Batch:
    made = Batch()
    for key, value in rows.items():
        if value is None:
            made.delete(table, key)
        else:
            made.put(table, key, value)
    return made


def test_a_new_store_is_private_and_has_an_identity_that_stays(home: Path, open_environment: Open):
    environment = open_environment()
    assert home.stat().st_mode & 0o777 == 0o700
    assert sorted(file.name for file in home.iterdir()) == ["store.mdb", "store.mdb-lock", "store.voucher"]
    for file in home.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    identity = environment.home_id
    environment.close()
    assert open_environment().home_id == identity


def test_an_empty_file_becomes_a_store(home: Path, open_environment: Open):
    home.mkdir()
    store_file(home).touch()
    lock_file(home).write_bytes(b"of somebody else")
    assert open_environment().count(Table.META) == 2


def test_rows_are_there_after_reopening(open_environment: Open):
    environment = open_environment()
    environment.commit(batch({b"a": b"1", b"b": b"2"}))
    environment.commit(batch({b"a": None, b"never": None}))
    environment.close()
    assert open_environment().scan(Table.TASKS) == [(b"b", b"2")]


def test_reads_keep_their_snapshot_until_refreshed(open_environment: Open):
    environment = open_environment()
    assert environment.get(Table.TASKS, b"a") is None
    environment.commit(batch({b"a": b"1"}))
    assert environment.get(Table.TASKS, b"a") is None
    environment.refresh()
    assert environment.get(Table.TASKS, b"a") == b"1"


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_a_commit_larger_than_the_map_grows_it_as_often_as_needed(open_environment: Open, durability: str):
    environment = open_environment(durability=durability)
    environment.get(Table.TASKS, b"a")  # a snapshot is open when the map moves
    rows = {os.urandom(16): os.urandom(100_000) for _ in range(100)}
    environment.commit(batch(rows))
    assert environment.map_size == 16 << 20
    environment.refresh()
    assert dict(environment.scan(Table.TASKS)) == rows
    environment.close()
    assert dict(open_environment().scan(Table.TASKS)) == rows  # opened with 1 MiB: takes the file's own size


def test_the_map_grows_under_concurrent_reads(open_environment: Open):
    environment = open_environment()
    first = {b"%016d" % number: os.urandom(100) for number in range(100)}
    environment.commit(batch(first))
    stop = threading.Event()
    wrong: list[object] = []
    reads = [0, 0, 0]

    def read(reader: int) -> None:
        while not stop.is_set():
            key = random.choice(list(first))
            if environment.get(Table.TASKS, key) != first[key]:
                wrong.append(key)
            if len(environment.scan(Table.TASKS, limit=100)) != 100:
                wrong.append("scan")
            if reader == 0:
                environment.refresh()
            reads[reader] += 1

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        environment.commit(batch({b"x%015d" % number: os.urandom(500_000)}))
    until(lambda: min(reads) > 10)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert environment.map_size >= 32 << 20


def test_a_full_disk_is_told_and_the_same_batch_goes_through_once_there_is_room(small_disk: Path):
    ballast = small_disk / "ballast"
    environment = Environment(small_disk / "home", 16 << 20)
    try:
        environment.commit(batch({b"before": b"1"}))
        ballast.write_bytes(bytes(3 << 20))
        large = batch({b"%016d" % number: os.urandom(1000) for number in range(2000)})
        for _ in range(3):
            with pytest.raises(StoreFull, match="Free space"):
                environment.commit(large)
        environment.refresh()
        assert environment.scan(Table.TASKS) == [(b"before", b"1")]
        ballast.unlink()
        environment.commit(large)
        environment.refresh()
        assert environment.count(Table.TASKS) == 2001
    finally:
        environment.close()
    assert verify.verify(str(store_file(small_disk / "home"))) == []


def test_small_rows_that_change_many_pages_meet_a_full_disk_not_a_broken_one(small_disk: Path):
    """LMDB says EIO for a write that was cut short; what it needed may be many times the size of the batch."""
    environment = Environment(small_disk / "home", 16 << 20)
    try:
        keys = [b"%016d" % number for number in range(10_000)]
        environment.commit(batch(dict.fromkeys(keys, bytes(100))))
        free = os.statvfs(small_disk).f_bavail * 4096
        (small_disk / "ballast").write_bytes(bytes(free - 1_170_000))
        with pytest.raises(StoreFull):
            environment.commit(batch(dict.fromkeys(keys[::20], b"new")))
        (small_disk / "ballast").unlink()
        environment.commit(batch(dict.fromkeys(keys[::20], b"new")))
    finally:
        environment.close()


def test_a_full_disk_at_the_making_leaves_no_half_store(small_disk: Path):
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(8 << 20))
    assert ballast.stat().st_size == 4 << 20
    home = small_disk / "home"
    home.mkdir()
    with pytest.raises(StoreFull):
        Environment(home)
    assert not store_file(home).exists()
    (small_disk / "ballast").unlink()
    environment = Environment(home)
    environment.close()
    assert not list(home.glob("*.draft"))


def test_a_panic_of_lmdb_is_mended_by_opening_anew(open_environment: Open, monkeypatch):
    environment = open_environment()
    environment.get(Table.TASKS, b"a")
    real = environment._apply
    tries = []

    def once(changes: Batch) -> None:
        tries.append(changes)
        if len(tries) == 1:
            raise lmdb.PanicError("mdb_txn_begin")
        real(changes)

    monkeypatch.setattr(environment, "_apply", once)
    environment.commit(batch({b"a": b"1"}))
    assert environment.get(Table.TASKS, b"a") == b"1"


def test_a_panic_that_stays_is_an_error(open_environment: Open, monkeypatch):
    environment = open_environment()

    def always(changes: Batch) -> None:
        raise lmdb.PanicError("mdb_txn_begin")

    monkeypatch.setattr(environment, "_apply", always)
    with pytest.raises(StoreError):
        environment.commit(batch({b"a": b"1"}))


def test_a_broken_disk_is_no_full_one(open_environment: Open, monkeypatch):
    environment = open_environment()

    def broken(changes: Batch) -> None:
        error = lmdb.Error("mdb_txn_commit: Input/output error")
        error.code = 5  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(environment, "_apply", broken)
    with pytest.raises(StoreError, match="Input/output") as caught:
        environment.commit(batch({b"a": b"1"}))
    assert type(caught.value) is StoreError


def test_a_map_that_cannot_grow_leaves_the_old_one_usable(open_environment: Open, monkeypatch):
    environment = open_environment()
    environment.commit(batch({b"a": b"1"}))
    real = environment._env

    class NoAddressSpace:
        def set_mapsize(self, size: int) -> None:
            raise lmdb.MemoryError("mdb_env_set_mapsize: Cannot allocate memory")

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(environment, "_env", NoAddressSpace())
    with pytest.raises(StoreError, match="grow"):
        environment._grow()
    assert environment.get(Table.TASKS, b"a") == b"1"
    environment.commit(batch({b"b": b"2"}))


def test_swapping_in_a_copy_keeps_the_rows_and_gives_space_back(home: Path, open_environment: Open):
    environment = open_environment()
    keep = {b"%016d" % number: os.urandom(100) for number in range(100)}
    environment.commit(batch({os.urandom(17): os.urandom(1000) for _ in range(3000)}))
    environment.refresh()
    environment.commit(batch({**{key: None for key, _ in environment.scan(Table.TASKS)}, **keep}))
    before = store_file(home).stat().st_size
    for _ in range(3):  # the number of the last transaction starts again in a copy: odd and even must both do
        environment.compact()
        assert dict(environment.scan(Table.TASKS)) == keep
        keep[os.urandom(16)] = b"new"
        environment.commit(batch(dict(keep)))
        environment.refresh()
    assert store_file(home).stat().st_size < before / 10
    environment.close()
    assert dict(open_environment().scan(Table.TASKS)) == keep
    assert verify.verify(str(store_file(home))) == []


def test_what_a_dead_process_left_in_the_making_is_removed(home: Path, open_environment: Open):
    home.mkdir()
    (home / "store.compact.999999999.draft").write_bytes(b"half")
    open_environment()
    assert not list(home.glob("*.draft"))


def test_a_home_that_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(HomeError, match="another path"):
            Environment(home)


def test_a_closed_store_says_so(open_environment: Open):
    environment = open_environment()
    environment.close()
    with pytest.raises(StoreError, match="closed"):
        environment.get(Table.TASKS, b"a")


def test_an_unknown_durability_is_refused_before_anything_is_made(home: Path):
    with pytest.raises(InvalidOption, match="durability"):
        Environment(home, durability="none")  # type: ignore[arg-type]
    assert not home.exists()


def test_damage_below_the_first_pages_is_an_error_of_ours(home: Path, open_environment: Open):
    environment = open_environment()
    environment.commit(batch({b"%016d" % number: os.urandom(1000) for number in range(500)}))
    environment.close()
    path = store_file(home)
    whole = bytearray(path.read_bytes())
    for page in range(4, len(whole) // 4096):
        if whole[page * 4096 + 10] == 1:  # branch pages: their flags say now that they are something else
            whole[page * 4096 + 10] = 4
    # While it is open: when it is opened, it is walked through and refused.
    environment = open_environment()
    with path.open("r+b") as file:
        file.write(whole)
    with pytest.raises(StoreCorrupt, match="check"):
        environment.scan(Table.TASKS)
    environment.close()
    with pytest.raises(StoreCorrupt, match="Restore the last backup"):
        open_environment()
