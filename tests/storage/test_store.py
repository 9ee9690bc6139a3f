"""What any store does, on the disk and in memory alike; then what only the one on the disk can be asked for."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from lmdb import verify

from desk import Desk
from understudy.actors.errors import StoreError, StoreFull
from understudy.storage import environment
from understudy.storage import store as module
from understudy.storage.batch import Batch
from understudy.storage.file.names import store_file
from understudy.storage.memory_store import MemoryStore
from understudy.storage.store import Store
from understudy.storage.tables.schema import SCHEMA_VERSION, Table, after_prefix, mail_key
from waiting import until

OpenDesk = Callable[..., Desk]


@pytest.fixture(params=[Store, MemoryStore])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def any_desk(kind: Any, open_desk: OpenDesk) -> Desk:
    return open_desk(kind)


class TestAnyStore:
    """The conformance suite: passes for both."""

    def test_a_new_store_has_a_schema_and_an_identity(self, any_desk: Desk):
        schema = b"%d" % SCHEMA_VERSION
        assert any_desk.store.scan(Table.META) == [(b"home", any_desk.store.home_id), (b"schema", schema)]
        assert len(any_desk.store.home_id) == 16

    def test_reading_sees_what_was_written_at_every_stage(self, any_desk: Desk):
        store = any_desk.store
        store.put(Table.TASKS, b"a", b"1")
        store.put(Table.TASKS, b"b", b"1")
        assert store.get(Table.TASKS, b"a") == b"1"
        assert store.seal()
        assert store.get(Table.TASKS, b"a") == b"1"
        store.put(Table.TASKS, b"a", b"2")
        store.delete(Table.TASKS, b"b")
        assert store.get(Table.TASKS, b"a") == b"2"
        assert store.get(Table.TASKS, b"b") is None
        until(lambda: not any_desk.commits.empty())
        assert store.get(Table.TASKS, b"a") == b"2"
        store.committed(any_desk.commits.get())
        assert store.get(Table.TASKS, b"a") == b"2"
        assert store.get(Table.TASKS, b"b") is None
        any_desk.flush()
        assert store.get(Table.TASKS, b"a") == b"2"
        assert store.get(Table.TASKS, b"b") is None
        assert store.get(Table.ARGS, b"a") is None

    def test_a_scan_sees_committed_rows_only(self, any_desk: Desk):
        store = any_desk.store
        store.put(Table.TASKS, b"a", b"1")
        assert store.scan(Table.TASKS) == []
        assert store.count(Table.TASKS) == 0
        any_desk.flush()
        store.delete(Table.TASKS, b"a")
        assert store.scan(Table.TASKS) == [(b"a", b"1")]
        assert store.count(Table.TASKS) == 1
        any_desk.flush()
        assert store.scan(Table.TASKS) == []

    def test_scans_take_ranges_limits_and_both_directions(self, any_desk: Desk):
        store = any_desk.store
        rows = [(mail_key(bytes([id]) * 16, seq), b"%d" % seq) for id in (1, 2, 255) for seq in range(3)]
        for key, value in random.sample(rows, len(rows)):
            store.put(Table.MAIL, key, value)
        any_desk.flush()
        assert store.scan(Table.MAIL) == rows
        assert store.scan(Table.MAIL, reverse=True) == rows[::-1]
        second = b"\2" * 16
        assert store.scan(Table.MAIL, second, after_prefix(second)) == rows[3:6]
        assert store.scan(Table.MAIL, second, after_prefix(second), reverse=True) == rows[3:6][::-1]
        assert store.scan(Table.MAIL, second, limit=2) == rows[3:5]
        assert store.scan(Table.MAIL, stop=rows[4][0], limit=1, reverse=True) == [rows[3]]
        assert store.scan(Table.MAIL, rows[-1][0]) == rows[-1:]
        last = b"\xff" * 16
        assert store.scan(Table.MAIL, last, after_prefix(last)) == rows[6:]
        assert store.scan(Table.MAIL, limit=0) == []
        assert store.scan(Table.MAIL, rows[5][0], rows[3][0]) == []
        assert store.scan(Table.MAIL, stop=rows[0][0], reverse=True) == []
        assert store.scan(Table.LOGS) == store.scan(Table.LOGS, b"a", b"b", 5, reverse=True) == []

    def test_one_batch_is_in_flight_at_most(self, any_desk: Desk):
        store = any_desk.store
        assert not store.seal()
        store.put(Table.TASKS, b"a", b"1")
        assert not store.busy
        assert store.seal()
        assert store.busy
        store.put(Table.TASKS, b"b", b"1")
        assert not store.seal()
        batch = until(any_desk.commits.get)
        assert store.busy
        store.committed(batch)
        assert not store.busy
        assert store.seal()

    def test_a_commit_is_done_when_it_returns(self, any_desk: Desk):
        store = any_desk.store
        assert store.commit() is None
        told: list[str] = []
        store.put(Table.TASKS, b"a", b"1")
        store.after_commit(lambda: told.append("a"))
        batch = store.commit()
        assert batch is not None
        assert store.busy
        assert store.commit() is None
        assert any_desk.commits.empty()
        store.committed(batch)
        assert not store.busy
        assert store.scan(Table.TASKS) == [(b"a", b"1")]
        for ack in batch.acks:
            ack()
        assert told == ["a"]
        assert store.commit() is None

    def test_acks_travel_with_the_batch_they_were_given_with(self, any_desk: Desk):
        store = any_desk.store
        told: list[str] = []
        store.put(Table.TASKS, b"a", b"1")
        store.after_commit(lambda: told.append("first"))
        store.after_commit(lambda: told.append("second"))
        store.seal()
        store.after_commit(lambda: told.append("third"))
        assert told == []
        any_desk.flush()
        assert told == ["first", "second", "third"]

    def test_pending_bytes_are_those_not_on_disk(self, any_desk: Desk):
        store = any_desk.store
        assert store.pending_bytes == 0
        store.put(Table.TASKS, b"a", b"123")
        assert store.pending_bytes == 4
        store.seal()
        store.put(Table.TASKS, b"b", b"1")
        assert store.pending_bytes == 6
        any_desk.flush()
        assert store.pending_bytes == 0

    def test_pending_puts_are_those_a_scan_may_miss(self, any_desk: Desk):
        store = any_desk.store
        store.put(Table.LOGS, b"open", b"")
        store.put(Table.LOGS, b"deleted", b"")
        store.delete(Table.LOGS, b"deleted")
        assert store.pending_puts(Table.LOGS) == [b"open"]
        any_desk.flush()
        assert store.pending_puts(Table.LOGS) == []

    def test_only_the_batch_in_flight_can_be_committed(self, any_desk: Desk):
        with pytest.raises(ValueError, match="batch"):
            any_desk.store.committed(Batch())

    def test_closing_writes_what_is_left_and_may_come_twice(self, any_desk: Desk):
        store = any_desk.store
        store.put(Table.TASKS, b"a", b"1")
        store.seal()
        store.put(Table.TASKS, b"b", b"1")
        assert store.close(10) is None
        assert store.close(10) is None
        written = {}
        while not any_desk.commits.empty():
            written.update(any_desk.commits.get().rows[Table.TASKS])
        assert written == {b"a": b"1", b"b": b"1"}
        store.put(Table.TASKS, b"c", b"1")
        store._in_flight = None
        with pytest.raises(StoreError, match="closed"):
            store.seal()

    def test_compacting_keeps_every_row(self, any_desk: Desk):
        store = any_desk.store
        store.put(Table.TASKS, b"a", b"1")
        any_desk.flush()
        store.put(Table.TASKS, b"b", b"1")
        assert any_desk.compact() is None
        any_desk.flush()
        assert store.scan(Table.TASKS) == [(b"a", b"1"), (b"b", b"1")]


class StoreMachine(RuleBasedStateMachine):
    """Any order of calls leaves what a dict would hold, in both stores."""

    kind: Any = Store
    keys = st.sampled_from([b"a", b"b", b"c", b"\xff"])
    tables = st.sampled_from([Table.TASKS, Table.LIVE])

    @initialize()
    def open(self) -> None:
        self.folder = type(self).folders()
        self.desk = Desk(self.kind, self.folder, map_size=1 << 20, durability="os")
        self.expected: dict[tuple[Table, bytes], bytes] = {}

    @rule(table=tables, key=keys, value=st.binary(max_size=3))
    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.desk.store.put(table, key, value)
        self.expected[table, key] = value

    @rule(table=tables, key=keys)
    def delete(self, table: Table, key: bytes) -> None:
        self.desk.store.delete(table, key)
        self.expected.pop((table, key), None)

    @rule()
    def pump(self) -> None:
        self.desk.pump()

    @rule()
    def flush(self) -> None:
        self.desk.flush()
        for table in (Table.TASKS, Table.LIVE):
            rows = sorted((key, value) for (of, key), value in self.expected.items() if of is table)
            assert self.desk.store.scan(table) == rows

    @rule()
    def compact(self) -> None:
        assert self.desk.compact() is None

    @invariant()
    def reads_its_writes(self) -> None:
        if hasattr(self, "desk"):
            for table in (Table.TASKS, Table.LIVE):
                for key in (b"a", b"b", b"c", b"\xff"):
                    assert self.desk.store.get(table, key) == self.expected.get((table, key))

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            assert self.desk.store.close(10) is None

    folders: Callable[[], Path]


def test_any_order_of_calls(kind: Any, tmp_path: Path):
    def folders() -> Iterator[Path]:
        number = 0
        while True:
            number += 1
            yield tmp_path / str(number)

    names = folders()
    machine = type("Machine", (StoreMachine,), {"kind": kind, "folders": staticmethod(lambda: next(names))})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )


# Only on the disk.


def test_rows_outlive_the_store(home: Path, open_desk: OpenDesk):
    first = open_desk()
    first.store.put(Table.TASKS, b"a", b"1")
    assert first.store.close(10) is None
    again = open_desk()
    assert again.store.get(Table.TASKS, b"a") == b"1"
    assert again.store.home_id == first.store.home_id
    again.store.close(10)
    assert verify.verify(str(store_file(home))) == []


def test_the_map_grows_while_the_loop_reads(open_desk: OpenDesk):
    desk = open_desk(map_size=1 << 20)
    store = desk.store
    written: dict[bytes, bytes] = {}
    for number in range(3000):
        key, value = os.urandom(16), os.urandom(random.choice([10, 1000, 20_000]))
        store.put(Table.RESULTS, key, value)
        written[key] = value
        if number % 20 == 0:
            desk.pump()
            probe = random.choice(list(written))
            assert store.get(Table.RESULTS, probe) == written[probe]
            store.scan(Table.RESULTS, limit=50)
    desk.flush()
    assert dict(store.scan(Table.RESULTS)) == written
    assert not desk.troubles


def test_compacting_gives_space_back_while_the_loop_reads_and_writes(home: Path, open_desk: OpenDesk):
    desk = open_desk()
    store = desk.store
    for number in range(5000):
        store.put(Table.RESULTS, b"%05d" % number, bytes(1000))
    desk.flush()
    for number in range(5000):
        store.delete(Table.RESULTS, b"%05d" % number)
    desk.flush()
    before = store_file(home).stat().st_size
    for turn in range(4):
        done: list[object] = []
        store.compact(done.append)
        written = 0
        while not done:
            if written < 1000:
                store.put(Table.TASKS, b"%d:%05d" % (turn, written), b"x")
                written += 1
            desk.pump()
            assert store.get(Table.TASKS, b"%d:%05d" % (turn, random.randrange(written))) == b"x"
        assert done == [None]
    desk.flush()
    count = store.count(Table.TASKS)
    assert count >= 4
    assert store_file(home).stat().st_size < before
    store.close(10)
    assert verify.verify(str(store_file(home))) == []
    assert open_desk().store.count(Table.TASKS) == count


def test_a_compaction_without_room_leaves_the_store_as_it_was(small_disk: Path, open_desk: OpenDesk):
    desk = open_desk(place=small_disk / "home")
    desk.store.put(Table.RESULTS, b"a", os.urandom(1 << 20))
    desk.flush()
    (small_disk / "ballast").write_bytes(bytes(5 << 19))
    assert isinstance(desk.compact(), StoreFull)
    assert not list((small_disk / "home").glob("*.draft"))
    desk.store.put(Table.TASKS, b"a", b"1")
    desk.flush()
    assert len(desk.store.get(Table.RESULTS, b"a") or b"") == 1 << 20


def test_a_disk_that_fails_in_the_swap_is_fatal(desk: Desk, monkeypatch):
    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(environment, "sync_folder", broken)
    assert "Input/output" in str(desk.compact())
    until(lambda: desk.failures)


def test_a_real_full_disk_stops_nothing_but_writes(small_disk: Path, open_desk: OpenDesk):
    ballast = small_disk / "ballast"
    desk = open_desk(place=small_disk / "home")
    store = desk.store
    store.put(Table.TASKS, b"before", b"1")
    desk.flush()
    assert not store.full
    ballast.write_bytes(bytes(3 << 20))
    told: list[int] = []
    store.put(Table.RESULTS, b"large", os.urandom(2 << 20))
    store.after_commit(lambda: told.append(1))
    store.seal()
    until(lambda: desk.troubles)
    assert isinstance(desk.troubles[0], StoreFull)
    assert store.full
    assert store.busy
    assert store.get(Table.TASKS, b"before") == b"1"
    assert len(store.get(Table.RESULTS, b"large") or b"") == 2 << 20
    store.put(Table.TASKS, b"meanwhile", b"2")
    assert not told
    ballast.unlink()
    desk.flush()
    assert told == [1]
    assert desk.recoveries == 1
    until(lambda: not store.full)
    assert len(desk.troubles) == 1
    store.close(10)
    again = open_desk(place=small_disk / "home").store
    assert len(again.get(Table.RESULTS, b"large") or b"") == 2 << 20
    assert again.get(Table.TASKS, b"meanwhile") == b"2"


def test_a_store_that_is_closed_on_a_full_disk_says_so_and_is_sound(small_disk: Path, open_desk: OpenDesk):
    desk = open_desk(place=small_disk / "home")
    desk.store.put(Table.TASKS, b"before", b"1")
    desk.flush()
    (small_disk / "ballast").write_bytes(bytes(3 << 20))
    desk.store.put(Table.RESULTS, b"large", os.urandom(2 << 20))
    desk.store.seal()
    until(lambda: desk.troubles)
    assert isinstance(desk.store.close(0.3), StoreError)
    until(lambda: desk.store._writer.stopped)
    desk.store.close(1)
    again = open_desk(place=small_disk / "home").store
    assert again.get(Table.TASKS, b"before") == b"1"
    assert again.get(Table.RESULTS, b"large") is None


def test_a_size_limit_is_a_full_disk_that_ends_when_it_is_raised(home: Path, program):
    process = program(
        """
        import os, resource, sys
        from pathlib import Path
        from desk import Desk
        from understudy.storage.tables.schema import Table
        from understudy.storage.store import Store
        from waiting import until

        desk = Desk(Store, Path(sys.argv[1]))
        desk.store.put(Table.TASKS, b"before", b"1")
        desk.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        for number in range(100):
            desk.store.put(Table.RESULTS, b"%d" % number, os.urandom(10_000))
        desk.store.seal()
        until(lambda: desk.troubles)
        print(type(desk.troubles[0]).__name__, desk.store.full, desk.store.get(Table.TASKS, b"before"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        desk.flush()
        print(desk.store.count(Table.RESULTS), desk.recoveries, desk.store.close(5))
        """,
        home,
    )
    output = process.communicate()[0].splitlines()
    assert output == ["StoreFull True b'1'", "100 1 None"]


def test_the_reserve_counts_as_full_and_is_asked_for_rarely(desk: Desk, monkeypatch):
    asked: list[float] = []
    room = [-1]

    def room_and_reserve(path: Path) -> tuple[int, int]:
        asked.append(time.monotonic())
        return room[0], 1000

    monkeypatch.setattr(environment, "room_and_reserve", room_and_reserve)
    until(lambda: desk.store.full)
    count = len(asked)
    monkeypatch.setattr(module, "RESERVE_CHECK", 3600.0)
    assert all(desk.store.full for _ in range(100))
    room[0] = 0
    assert desk.store.full
    assert len(asked) == count
    monkeypatch.setattr(module, "RESERVE_CHECK", 0.0)
    assert not desk.store.full
    assert len(asked) > count


def test_what_has_come_since_the_disk_was_asked_counts(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "RESERVE_CHECK", 3600.0)
    monkeypatch.setattr(environment, "room_and_reserve", lambda path: (10_000, 1000))
    desk.store._room_asked = -3600.0
    assert not desk.store.full
    desk.store.put(Table.RESULTS, b"a" * 16, b"x" * 3_000)
    assert not desk.store.full
    desk.flush()
    assert not desk.store.full
    desk.store.put(Table.RESULTS, b"b" * 16, b"x" * 3_000)
    assert desk.store.full
    # Asked again, the disk knows of what is on it, and not of what is on its way.
    monkeypatch.setattr(module, "RESERVE_CHECK", 0.0)
    assert not desk.store.full
    desk.store.put(Table.RESULTS, b"c" * 16, b"x" * 3_000)
    assert desk.store.full
    desk.flush()
    assert not desk.store.full


def test_how_much_room_there_is(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "RESERVE_CHECK", 0.0)
    seen = []
    for room in (module.PLENTY + 10_000, module.PLENTY - 10_000, 0, -400, -600):
        monkeypatch.setattr(environment, "room_and_reserve", lambda path, room=room: (room, 1000))
        seen.append((desk.store.scarce, desk.store.full, desk.store.short))
    assert seen == [
        (False,) * 3,
        (True, False, False),
        (True, False, False),
        (True, True, False),
        (True,) * 3,
    ]


def test_room_that_deleted_rows_have_left_in_the_file_counts(desk: Desk, monkeypatch):
    monkeypatch.setattr(module, "RESERVE_CHECK", 0.0)
    monkeypatch.setattr(environment, "room_and_reserve", lambda path: (-100_000, 200_000))
    for number in range(100):
        desk.store.put(Table.RESULTS, b"%016d" % number, bytes(10_000))
    desk.flush()
    assert desk.store.full
    for number in range(100):
        desk.store.delete(Table.RESULTS, b"%016d" % number)
    desk.flush()
    assert not desk.store.full


def test_what_was_told_as_committed_survives_sigkill(home: Path, program, open_desk: OpenDesk):
    """Kills a writer at random points. Each batch writes one number to two tables and says so after the commit."""
    last = -1
    for _ in range(8):
        process = program(
            """
            import os, sys
            from pathlib import Path
            from desk import Desk
            from understudy.storage.tables.schema import Table
            from understudy.storage.store import Store

            desk = Desk(Store, Path(sys.argv[1]), map_size=1 << 20)
            number = int(sys.argv[2])
            while True:
                number += 1
                desk.store.put(Table.TASKS, b"%08d" % number, b"x" * (number % 3000))
                desk.store.put(Table.ARGS, b"last", b"%d" % number)
                desk.store.delete(Table.TASKS, b"%08d" % (number - 400))
                desk.store.after_commit(lambda number=number: os.write(1, b"%d\\n" % number))
                desk.pump()
                if number % 700 == 0:
                    desk.store.compact(lambda error: None)
            """,
            home,
            last,
        )
        assert process.stdout is not None
        for _ in range(random.randrange(1, 1500)):
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        # The pipe may hold more that was told before the death.
        last = max(last, *map(int, process.communicate()[0].split()), -1)
        assert verify.verify(str(store_file(home))) == []
        desk = open_desk()
        stored = int(desk.store.get(Table.ARGS, b"last") or b"")
        assert stored >= last
        rows = desk.store.scan(Table.TASKS)
        assert [key for key, _ in rows] == [
            b"%08d" % number for number in range(max(0, stored - 399), stored + 1)
        ]
        assert all(len(value) == int(key) % 3000 for key, value in rows)
        assert desk.store.close(10) is None
        last = stored
