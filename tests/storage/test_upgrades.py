"""Upgrades of a store that the release before the upgrade has made and filled."""

from __future__ import annotations

import gzip
import signal
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from understudy.actors.errors import StoreVersion
from understudy.actors.state import State
from understudy.storage import reindex, upgrades
from understudy.storage.backup import backup, compact_offline
from understudy.storage.batch import Batch
from understudy.storage.check import check
from understudy.storage.environment import Environment
from understudy.storage.file import header
from understudy.storage.file.header import inspect
from understudy.storage.file.names import store_file
from understudy.storage.reader import Reader
from understudy.storage.tables.counts import by_state, unpack_counts
from understudy.storage.tables.failure_rows import has_failed, keys_of, share_of
from understudy.storage.tables.index_rows import FACET_BYTES, ids_in
from understudy.storage.tables.moves import Moves
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import OLDEST_SCHEMA, SCHEMA_VERSION, UPGRADE_ROW, Lane, Table
from understudy.storage.upgrades import STEPS

Program = Callable[..., subprocess.Popen[str]]
Rows = dict[str, dict[bytes, bytes]]

#: A store of version 2 with five tasks: one completed, one failed, one cancelled, one delayed and with a message, one
#: interrupted by a drain and with a checkpoint. It was compacted afterwards.
OLD = gzip.decompress((Path(__file__).parents[1] / "support" / "store_of_version_2.gz").read_bytes())

#: A store of version 3: tasks that completed, failed and were cancelled, one that another task has started, one that
#: waits for a retry, one delayed with a key and a message, one interrupted by a drain, and an actor.
OLD_3 = gzip.decompress((Path(__file__).parents[1] / "support" / "store_of_version_3.gz").read_bytes())

#: A store of version 4: tasks that completed and failed, one delayed, three at a limit of which one was interrupted,
#: and a supervision tree with two children that were interrupted, too.
OLD_4 = gzip.decompress((Path(__file__).parents[1] / "support" / "store_of_version_4.gz").read_bytes())

#: The tables that came with version 4, and those of them that are made of the tasks' records.
NEW_IN_4 = ("index", "counts", "events", "items", "attempts", "failures", "stats")
DERIVED = ("index", "counts", "failures")


@pytest.fixture
def old(home: Path) -> Path:
    """A home with a store of version 2."""
    home.mkdir(mode=0o700)
    store_file(home).write_bytes(OLD)
    return home


@pytest.fixture
def old_3(home: Path) -> Path:
    """A home with a store of version 3."""
    home.mkdir(mode=0o700)
    store_file(home).write_bytes(OLD_3)
    return home


@pytest.fixture
def old_4(home: Path) -> Path:
    """A home with a store of version 4."""
    home.mkdir(mode=0o700)
    store_file(home).write_bytes(OLD_4)
    return home


def make_old(home: Path, tasks: int) -> list[bytes]:
    """A store of version 3 with this many tasks of three names, and their ids."""
    ids = [(0x19A00000000 + 7 * at).to_bytes(6, "big") + at.to_bytes(10, "big") for at in range(tasks)]
    with closing(Environment(home, 1 << 20, "os")) as environment:
        rows = Batch()
        for at, id in enumerate(ids):
            record = Record(id, f"jobs:{at % 3}", at, ids[0] if at % 100 == 1 else id)
            record.ended, record.state = at + 0.5, State.FAILED if at % 10 == 0 else State.COMPLETED
            if at % 10 == 0:
                record.error = ("ValueError", f"number {at}", "", {})
            rows.put(Table.TASKS, id, record.pack())
        environment.commit(rows)
    with lmdb.open(str(store_file(home)), subdir=False, lock=False, max_dbs=20, map_size=1 << 28) as env:
        meta = env.open_db(b"meta")
        tables = [env.open_db(name.encode()) for name in NEW_IN_4]
        with env.begin(write=True) as transaction:
            for table in tables:
                transaction.drop(table)
            transaction.put(b"schema", b"3", db=meta)
    return ids


def rows_of(home: Path) -> Rows:
    """All rows of all tables in the file, read without Understudy."""
    with lmdb.open(str(store_file(home)), subdir=False, lock=False, readonly=True, max_dbs=20) as env:
        with env.begin() as transaction:
            names = [name for name, _ in transaction.cursor()]
        tables = {name.decode(): env.open_db(name, create=False) for name in names}
        with env.begin() as transaction:
            return {name: dict(transaction.cursor(table)) for name, table in tables.items()}


def without_derived(rows: Rows) -> Rows:
    """The rows, with none in the tables that are made of the tasks' records."""
    return {**rows, **{name: {} for name in DERIVED if name in rows}}


def upgraded(rows: Rows) -> Rows:
    """What a store with these rows holds after its upgrade, `without_derived`."""
    return {
        "actors": {},
        **without_derived(rows),
        **{name: {} for name in NEW_IN_4},
        "meta": {**rows["meta"], b"schema": b"%d" % SCHEMA_VERSION},
    }


Facts = tuple[dict[bytes, set[bytes]], dict[str, dict[State, int]], dict[bytes, int]]


def facts_of(home: Path) -> Facts:
    """What index, counters and failures say: the ids by facet, the numbers of tasks by name and state, and failures."""
    rows = rows_of(home)
    ids: dict[bytes, set[bytes]] = {}
    for key, value in rows["index"].items():
        found = ids_in(key, value)
        facet = ids.setdefault(key[:FACET_BYTES], set())
        assert facet.isdisjoint(found)
        facet.update(found)
    counted = dict(map(unpack_counts, rows["counts"].values()))
    failures = {key: share_of(key, value) for key, value in rows["failures"].items()}
    return ids, {name: by_state(counts) for name, counts in counted.items()}, failures


def assert_right(home: Path) -> None:
    """Index, counters and failures say what the records say."""
    moves = Moves()
    failures: Counter[bytes] = Counter()
    for id, row in rows_of(home)["tasks"].items():
        record = Record.unpack(id, row)
        moves.take_in(record)
        failures.update(keys_of(record) if has_failed(record) else ())
    ids: dict[bytes, set[bytes]] = {}
    for key, value in moves.rows().items():
        ids.setdefault(key[:FACET_BYTES], set()).update(ids_in(key, value or b""))
    counted = {name: by_state(counts) for name, counts in moves.counted().items()}
    assert facts_of(home) == (ids, counted, failures)


def test_every_version_has_a_step_to_the_next():
    assert sorted(STEPS) == list(range(OLDEST_SCHEMA, SCHEMA_VERSION))


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_opening_upgrades_and_changes_no_row(old: Path, durability):
    before = rows_of(old)
    assert before["meta"][b"schema"] == b"2"
    assert (len(before["tasks"]), len(before["live"]), len(before["mail"])) == (5, 2, 1)
    with closing(Environment(old, 1 << 20, durability)) as environment:
        assert environment.count(Table.ACTORS) == 0
        change = Batch()
        change.put(Table.ACTORS, b"key", b"value")
        environment.commit(change)
        environment.refresh()
        assert environment.get(Table.ACTORS, b"key") == b"value"
        change = Batch()
        change.delete(Table.ACTORS, b"key")
        environment.commit(change)
    assert without_derived(rows_of(old)) == upgraded(before)
    Environment(old, 1 << 20).close()
    assert without_derived(rows_of(old)) == upgraded(before)
    assert check(old).problems == []


def test_a_store_that_lacks_more_tables_gets_them_all(old: Path):
    with lmdb.open(str(store_file(old)), subdir=False, lock=False, max_dbs=20) as env:
        for name in (b"schedules", b"results"):
            table = env.open_db(name)
            with env.begin(write=True) as transaction:
                transaction.drop(table)
    Environment(old, 1 << 20).close()
    assert rows_of(old).keys() == set(Table)


def test_readers_read_the_old_version_and_leave_it_alone(old: Path, tmp_path: Path):
    with Reader(old) as reader:
        found = {str(task.state): task for task in reader.records()}
        assert sorted(found) == ["cancelled", "completed", "failed", "queued"]
        assert reader.result(found["completed"].id) is not None
        assert reader.logs(found["completed"].id)
        assert reader.count(Table.ACTORS) == 0
        delayed, interrupted = sorted(
            reader.records(states=[found["queued"].state]), key=lambda task: task.id
        )
        assert (delayed.key, reader.record_and_depth(delayed.id)[1]) == ("later", 1)
        assert reader.checkpoint(interrupted.id) is not None
    assert check(old).problems == []
    assert store_file(old).read_bytes() == OLD
    backup(old, tmp_path / "copy")
    assert rows_of(tmp_path / "copy") == rows_of(old)
    assert store_file(old).read_bytes() == OLD


WRITER = """
    import sys
    from pathlib import Path
    from understudy.storage.batch import Batch
    from understudy.storage.environment import Environment
    from understudy.storage.tables.schema import Table

    environment = Environment(Path(sys.argv[1]), 1 << 20)
    change = Batch()
    change.put(Table.ACTORS, b"key", b"value")
    environment.commit(change)
    print("written")
    sys.stdin.read()
"""


def test_a_reader_that_was_there_before_finds_what_came_with_the_upgrade(old: Path, program: Program):
    with Reader(old) as reader:
        assert reader.count(Table.TASKS) == 5
        assert reader.count(Table.ACTORS) == 0
        file = store_file(old).stat()
        writer = program(WRITER, old)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        assert store_file(old).stat().st_ino == file.st_ino
        assert reader.count(Table.ACTORS) == 1
        assert reader.count(Table.TASKS) == 5


def test_a_read_under_way_goes_on_in_the_old_version(old: Path, program: Program):
    reader = program(
        """
        import sys
        from pathlib import Path
        from understudy.storage.shared_view import view_of
        from understudy.storage.tables.schema import Table

        with view_of(Path(sys.argv[1])).read() as snapshot:
            print(snapshot.get(Table.META, b"schema").decode())
            sys.stdin.readline()
            print(snapshot.get(Table.META, b"schema").decode(), len(list(snapshot.rows(Table.TASKS))))
            print(len(list(snapshot.rows(Table.ACTORS))))
        with view_of(Path(sys.argv[1])).read() as snapshot:
            print(snapshot.get(Table.META, b"schema").decode())
        """,
        old,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "2\n"
    with closing(Environment(old, 1 << 20)) as environment:
        change = Batch()
        for number in range(1000):
            change.put(Table.ACTORS, b"%d" % number, bytes(1000))
        environment.commit(change)
        output, _ = reader.communicate("\n", timeout=30)
    assert output.split("\n") == ["2 5", "0", str(SCHEMA_VERSION), ""]


@pytest.mark.parametrize(
    ("point", "version"),
    [("upgrades.put_version", 2), ("environment.begin_commit", 2), ("environment.end_commit", 3)],
)
def test_a_kill_leaves_the_old_version_or_the_new_one(old: Path, program: Program, point: str, version: int):
    before = rows_of(old)
    writer = program(
        """
        import os, signal, sys
        from pathlib import Path
        from understudy.storage import environment, upgrades

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        where, name = sys.argv[2].split(".")
        if name == "put_version":
            step = upgrades.STEPS[2]
            upgrades.STEPS[2] = lambda *args: (step(*args), die())
        else:
            setattr(environment, name, die)
        environment.Environment(Path(sys.argv[1]), 1 << 20)
        """,
        old,
        point,
    )
    assert writer.wait(timeout=30) == -signal.SIGKILL
    assert (rows_of(old) == before) == (version == 2)
    with Reader(old) as reader:
        assert reader.count(Table.TASKS) == 5
    Environment(old, 1 << 20).close()
    assert without_derived(rows_of(old)) == upgraded(before)
    assert check(old).problems == []


def test_a_step_that_fails_leaves_the_old_version_and_no_claim(old: Path, monkeypatch):
    before = rows_of(old)

    def broken(env: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
        env.open_db(b"half", txn=transaction)
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setitem(upgrades.STEPS, 2, broken)
        with pytest.raises(ZeroDivisionError):
            Environment(old, 1 << 20)
    assert rows_of(old) == before
    Environment(old, 1 << 20).close()
    assert without_derived(rows_of(old)) == upgraded(before)


def test_the_map_grows_for_an_upgrade(old: Path):
    whole = bytearray(OLD)
    for meta in (0, 4096):
        struct.pack_into("=Q", whole, meta + 32, len(OLD))
    store_file(old).write_bytes(whole)
    with closing(Environment(old, 1)) as environment:
        assert environment.map_size > len(OLD)
    assert rows_of(old).keys() == set(Table)


def test_a_full_disk_refuses_the_upgrade_and_harms_nothing(old: Path, program: Program):
    before = rows_of(old)
    writer = program(
        """
        import resource, sys
        from pathlib import Path
        from understudy.actors.errors import StoreFull
        from understudy.storage.environment import Environment

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
        try:
            Environment(Path(sys.argv[1]), 1 << 20)
        except StoreFull:
            print("full")
        """,
        old,
        len(OLD),
    )
    output, _ = writer.communicate(timeout=30)
    assert output == "full\n"
    assert rows_of(old) == before
    Environment(old, 1 << 20).close()
    assert without_derived(rows_of(old)) == upgraded(before)


def test_compacting_offline_upgrades_first(old: Path):
    before = rows_of(old)
    compact_offline(old)
    assert without_derived(rows_of(old)) == upgraded(before)
    header = inspect(store_file(old))
    assert header is not None


# From 3 to 4: index and counters, in several commits.


def test_an_upgraded_store_finds_and_counts_its_tasks(old_3: Path):
    before = rows_of(old_3)
    assert before["meta"][b"schema"] == b"3"
    Environment(old_3, 1 << 20).close()
    assert without_derived(rows_of(old_3)) == upgraded(before)
    assert_right(old_3)
    ids, counted, _ = facts_of(old_3)
    assert {facet[0] for facet in ids} == {1, 2, 3, 4, 5, 6, 9}
    assert counted["jobs3:bad"] == {State.FAILED: 1}
    assert counted["jobs3:again"] == {State.QUEUED: 1}
    assert check(old_3).problems == []


@pytest.mark.parametrize("tasks", [0, 1, 250, 300, 301])
def test_parts_of_any_size_come_to_the_same(home: Path, monkeypatch, tasks: int):
    monkeypatch.setattr(reindex, "PART", 100)
    make_old(home, tasks)
    before = rows_of(home)
    Environment(home, 1 << 20).close()
    assert without_derived(rows_of(home)) == upgraded(before)
    assert_right(home)


@pytest.mark.parametrize("name", ["begin_commit", "end_commit", "index_part"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_kill_in_any_part_loses_nothing(home: Path, program: Program, name: str, number: int):
    make_old(home, 350)
    before = rows_of(home)
    writer = program(
        """
        import os, signal, sys
        from pathlib import Path
        from understudy.storage import environment, reindex, upgrades

        name, number = sys.argv[2], int(sys.argv[3])
        owner = upgrades if name == "index_part" else environment
        function = getattr(owner, name)
        calls = 0

        def counted(*args):
            global calls
            calls += 1
            if calls == number and name != "index_part":
                os.kill(os.getpid(), signal.SIGKILL)
            value = function(*args)
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        reindex.PART = 100
        setattr(owner, name, counted)
        environment.Environment(Path(sys.argv[1]), 1 << 20)
        """,
        home,
        name,
        number,
    )
    assert writer.wait(timeout=30) == -signal.SIGKILL
    with Reader(home) as reader:
        assert reader.count(Table.TASKS) == 350
        assert len(reader.records(limit=None)) == 350
    finished = (name, number) == ("end_commit", 4)
    assert rows_of(home)["meta"][b"schema"] == (b"4" if finished else b"3")
    committed = number if name == "end_commit" else number - 1
    assert (UPGRADE_ROW in rows_of(home)["meta"]) == (0 < committed < 4)
    Environment(home, 1 << 20).close()
    assert without_derived(rows_of(home)) == upgraded(before)
    assert_right(home)


def test_a_damaged_record_does_not_stop_the_upgrade(home: Path):
    ids = make_old(home, 10)
    with lmdb.open(str(store_file(home)), subdir=False, lock=False, max_dbs=20) as env:
        tasks = env.open_db(b"tasks")
        with env.begin(write=True) as transaction:
            transaction.put(ids[3], b"damaged", db=tasks)
    Environment(home, 1 << 20).close()
    assert sum(count for counts in facts_of(home)[1].values() for count in counts.values()) == 9


# --- from 4 to 5 ---


def with_number(rows: Rows, version: int) -> Rows:
    return {**rows, "meta": {**rows["meta"], b"schema": b"%d" % version}}


def test_from_4_to_5_only_the_number_changes(old_4: Path):
    before = rows_of(old_4)
    assert before["meta"][b"schema"] == b"4"
    with Reader(old_4) as reader:
        assert len(reader.records()) == 8, "it can be read before"
    Environment(old_4, 1 << 20).close()
    assert rows_of(old_4) == with_number(before, 5)
    assert check(old_4).problems == []
    assert {key[0] for key in rows_of(old_4)["live"]} >= {Lane.GATE, Lane.DELAYED}


@pytest.mark.parametrize(("point", "version"), [("step", 4), ("begin_commit", 4), ("end_commit", 5)])
def test_a_kill_between_4_and_5(old_4: Path, program: Program, point: str, version: int):
    before = rows_of(old_4)
    writer = program(
        """
        import os, signal, sys
        from pathlib import Path
        from understudy.storage import environment, upgrades

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        if sys.argv[2] == "step":
            upgrades.STEPS[4] = die
        else:
            setattr(environment, sys.argv[2], die)
        environment.Environment(Path(sys.argv[1]), 1 << 20)
        """,
        old_4,
        point,
    )
    assert writer.wait(timeout=30) == -signal.SIGKILL
    assert rows_of(old_4) == with_number(before, version)
    Environment(old_4, 1 << 20).close()
    assert rows_of(old_4) == with_number(before, 5)


def test_a_program_of_version_4_refuses_lanes_that_it_does_not_know(old_4: Path, monkeypatch):
    Environment(old_4, 1 << 20).close()
    # What a program of version 4 knows.
    monkeypatch.setattr(header, "_READABLE", {b"2", b"3", b"4"})
    with pytest.raises(StoreVersion) as refused, Reader(old_4) as reader:
        reader.records()
    assert refused.value.found == 5
