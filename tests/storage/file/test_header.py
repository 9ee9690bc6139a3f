"""Files that are not, or no longer, a store: each is told apart, and none is touched."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path

import lmdb
import pytest

from understudy.actors.errors import HomeError, StoreCorrupt, StoreForeign, StoreVersion
from understudy.storage.environment import Environment
from understudy.storage.file import header
from understudy.storage.file.header import inspect
from understudy.storage.file.names import store_file
from understudy.storage.tables.schema import HOME_ROW, OLDEST_SCHEMA, SCHEMA_ROW, SCHEMA_VERSION, Table


@pytest.fixture
def path(home: Path) -> Path:
    home.mkdir()
    return store_file(home)


@pytest.fixture
def store(home: Path, path: Path) -> Path:
    environment = Environment(home, 1 << 20)
    environment.close()
    return path


def change(path: Path, rows: dict[bytes, bytes | None], tables: tuple[str, ...] = ()) -> None:
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=20, map_size=1 << 24) as env:
        meta = env.open_db(b"meta")
        for table in tables:
            env.open_db(table.encode())
        with env.begin(write=True) as transaction:
            for key, value in rows.items():
                if value is None:
                    transaction.delete(key, db=meta)
                else:
                    transaction.put(key, value, db=meta)


def refused(path: Path, kind: type[Exception]) -> Exception:
    """What opening raises; sees to it that nothing in the home has changed."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(kind) as caught:
        inspect(path)
    with pytest.raises(kind) as caught:
        Environment(path.parent, 1 << 20)
    assert type(caught.value) is kind
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    return caught.value


def test_no_file_and_an_empty_one_are_no_store_yet(path: Path):
    assert inspect(path) is None
    path.touch()
    assert inspect(path) is None


@pytest.mark.parametrize("count", [100, 5_000, 30_000])
def test_a_store_with_many_rows_in_its_meta_table_is_recognised(store: Path, count: int):
    """As an audit and bulks make them: on pages of several levels, before, between and behind its own, and large."""
    found = inspect(store)
    assert found is not None
    names = (b"bulk/%08d", b"home/%08d", b"i/%08d", b"web/audit/%08d")
    change(store, {names[n % 4] % n: bytes(100) for n in range(count)} | {b"bulk/big": bytes(50_000)})
    again = inspect(store)
    assert again is not None
    assert again.home_id == found.home_id
    Environment(store.parent, 1 << 20).close()


def test_a_store_is_recognised(store: Path):
    found = inspect(store)
    assert found is not None
    assert len(found.home_id) == 16
    assert found.page_size == 4096


@pytest.mark.parametrize("length", [1, 100, 5000, 100_000])
def test_random_bytes_are_foreign(path: Path, length: int):
    path.write_bytes(os.urandom(length))
    refused(path, StoreForeign)


def test_zeros_are_foreign(path: Path):
    path.write_bytes(bytes(8192))
    refused(path, StoreForeign)


def test_an_sqlite_file_is_foreign(path: Path):
    connection = sqlite3.connect(path)
    connection.execute("create table meta (x)")
    connection.commit()
    connection.close()
    refused(path, StoreForeign)


@pytest.mark.parametrize("names", [(), ("users",), ("meta",), tuple(f"table{n}" for n in range(100))])
def test_lmdb_files_of_others_are_foreign(path: Path, names: tuple[str, ...]):
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=300) as env:
        for name in names:
            env.open_db(name.encode())
    refused(path, StoreForeign)


def test_an_lmdb_file_with_plain_rows_is_foreign(path: Path):
    with lmdb.open(str(path), subdir=False, lock=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"meta", b"schema")
    refused(path, StoreForeign)


def test_an_lmdb_file_of_the_next_format_is_foreign(path: Path):
    with (
        lmdb.open(str(path), subdir=False, lock=False, lib_version=1) as env,
        env.begin(write=True) as transaction,
    ):
        transaction.put(b"a", b"b")
    refused(path, StoreForeign)


@pytest.mark.parametrize("rows", [{SCHEMA_ROW: None}, {HOME_ROW: None}, {HOME_ROW: b"short"}])
def test_a_file_without_our_meta_rows_is_foreign(store: Path, rows):
    change(store, rows)
    refused(store, StoreForeign)


def test_a_file_with_a_table_more_is_foreign(store: Path):
    change(store, {}, tables=("somebody else's",))
    refused(store, StoreForeign)


@pytest.mark.parametrize(("written", "found"), [(b"1", 1), (b"0", 0), (b"99", 99), (b"next", b"next")])
def test_another_schema_version_is_refused_and_named(store: Path, written: bytes, found: object):
    change(store, {SCHEMA_ROW: written}, tables=("a table of that version",))
    error = refused(store, StoreVersion)
    assert isinstance(error, StoreVersion)
    assert (error.found, error.supported) == (found, SCHEMA_VERSION)


def filled(path: Path) -> bytes:
    """A store with a megabyte of rows, as bytes."""
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=20, map_size=1 << 24) as env:
        tasks = env.open_db(Table.TASKS.encode())
        with env.begin(write=True) as transaction:
            for number in range(1000):
                transaction.put(b"%016d" % number, bytes(1000), db=tasks)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.001, 0.002, 0.003, 0.005, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_corrupt(store: Path, share: float):
    whole = filled(store)
    store.write_bytes(whole[: int(len(whole) * share)])
    error = refused(store, StoreCorrupt)
    assert isinstance(error, StoreCorrupt)
    assert error.problems


def test_a_file_of_less_than_its_first_page_header_is_foreign(store: Path):
    store.write_bytes(filled(store)[:100])
    refused(store, StoreForeign)


@pytest.mark.parametrize("sound", [True, False])
def test_a_tail_of_pages_that_hold_nothing_may_be_missing(store: Path, monkeypatch, sound: bool):
    # LMDB counts a page as used that was taken and given back in one transaction, and need not write it: whether
    # the missing pages matter is for the verifier to say.
    whole = bytearray(filled(store))
    for meta in (0, 4096):
        (last,) = struct.unpack_from("=Q", whole, meta + 16 + 120)
        struct.pack_into("=Q", whole, meta + 16 + 120, last + 1)
    store.write_bytes(whole)
    monkeypatch.setattr(header, "problems_of", lambda path: [] if sound else ["page 7 is beyond the end"])
    if sound:
        assert inspect(store) is not None
    else:
        refused(store, StoreCorrupt)


@pytest.mark.parametrize("offset", [16, 20, 40, 4096 + 16, 4096 + 20])
def test_a_damaged_meta_page_is_never_taken_for_a_store(store: Path, offset: int):
    whole = bytearray(filled(store))
    whole[offset : offset + 4] = b"\xff\xff\xff\xff"
    store.write_bytes(whole)
    with pytest.raises((StoreForeign, StoreCorrupt)):
        inspect(store)


def test_a_root_page_out_of_range_is_corrupt(store: Path):
    whole = bytearray(filled(store))
    for meta in (0, 4096):
        struct.pack_into("=Q", whole, meta + 16 + 72 + 40, 10**9)
    store.write_bytes(whole)
    refused(store, StoreCorrupt)


def test_flipped_bytes_never_get_past_with_anything_but_our_errors(store: Path):
    """Whatever the pages say that are looked at, looking ends in an answer."""
    whole = filled(store)
    found = inspect(store)
    assert found is not None
    root = found.main.root * found.page_size
    for place in [*range(160), *range(4096, 4096 + 160), *range(root, root + 4096)]:
        with store.open("r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 0xFF]))
            file.flush()
            with contextlib.suppress(StoreForeign, StoreCorrupt, StoreVersion):
                inspect(store)
            file.seek(place)
            file.write(whole[place : place + 1])


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_foreign(path: Path, make):
    make(path)
    with pytest.raises(StoreForeign, match="is no file"):
        inspect(path)


def test_a_file_that_may_not_be_read(store: Path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(HomeError, match="Permission denied"):
        inspect(store)


@pytest.mark.parametrize("version", range(OLDEST_SCHEMA, SCHEMA_VERSION))
def test_a_store_that_can_be_upgraded_is_recognised(store: Path, version: int):
    change(store, {SCHEMA_ROW: b"%d" % version})
    assert inspect(store) is not None


def test_a_store_of_this_version_without_one_of_its_tables_is_corrupt(store: Path):
    with lmdb.open(str(store), subdir=False, lock=False, max_dbs=20) as env:
        table = env.open_db(b"actors")
        with env.begin(write=True) as transaction:
            transaction.drop(table)
    error = refused(store, StoreCorrupt)
    assert "the table actors is missing" in str(error)
