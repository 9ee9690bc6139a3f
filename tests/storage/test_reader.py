from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tasks import EPOCH, add_actor, add_task
from understudy.actors.errors import StoreCorrupt, StoreError
from understudy.actors.state import State
from understudy.storage.reader import Reader
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, live_key, log_key, mail_key

Fill = Callable[[Callable[[Any], object]], None]


@pytest.fixture
def fill(open_desk) -> Fill:
    """Writes to the store and closes it, for a reader of this process may not share it with a writer."""

    def fill(write: Callable[[Any], object]) -> None:
        desk = open_desk()
        write(desk.store)
        assert desk.store.close(10) is None

    return fill


@pytest.fixture
def reader(home: Path):
    with Reader(home) as reader:
        yield reader


@pytest.fixture
def cast(fill: Fill) -> list[Record]:
    """One task of each state twice, oldest first, 10 s apart, names in turn."""
    records: list[Record] = []

    def write(store: Any) -> None:
        for number, state in enumerate(list(State) * 2):
            record = add_task(store, state, EPOCH + 10 * number, name=("etl", "mail")[number % 2])
            records.append(record)

    fill(write)
    return records


def ids(records: list[Record]) -> list[bytes]:
    return [record.id for record in records]


def test_a_home_without_a_store_reads_as_empty(home: Path, reader: Reader):
    some = bytes(16)
    assert reader.record(some) is None
    assert reader.records() == reader.records(states=[State.RUNNING]) == []
    assert reader.result(some) is reader.args(some) is reader.checkpoint(some) is None
    assert reader.mailbox_depth(some) == 0
    assert reader.logs(some) == reader.resolve("00") == []
    assert reader.count(Table.TASKS) == 0
    assert not home.exists()


def test_a_task_and_its_values(fill: Fill, reader: Reader):
    made: list[Record] = []
    fill(lambda store: made.append(add_task(store, State.COMPLETED, key="nightly")))
    (task,) = made
    found = reader.record(task.id)
    assert found is not None
    assert found.pack() == task.pack()
    assert reader.result(task.id) == b"result"
    assert reader.args(task.id) == b"args"
    assert reader.checkpoint(task.id) == b"checkpoint"


def test_records_come_newest_first(cast: list[Record], reader: Reader):
    assert ids(reader.records()) == ids(cast)[::-1]
    assert ids(reader.records(limit=3)) == ids(cast)[::-1][:3]
    assert reader.records(limit=0) == []
    assert len(reader.records(limit=None)) == len(cast)


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize(
    "states",
    [
        None,
        [State.QUEUED],
        [State.IDLE],
        [State.QUEUED, State.RUNNING],
        [State.QUEUED, State.RUNNING, State.IDLE],
        [State.FAILED, State.RUNNING],
    ],
)
def test_pages_join_to_the_whole(cast: list[Record], reader: Reader, limit: int, states):
    pages: list[Record] = []
    while page := reader.records(states=states, limit=limit, before=pages[-1].id if pages else None):
        pages += page
    assert ids(pages) == ids([task for task in cast if states is None or task.state in states])[::-1]


@pytest.mark.parametrize("states", [None, *([state] for state in State), [State.QUEUED, State.RUNNING], []])
def test_every_filter_picks_what_it_says(cast: list[Record], reader: Reader, states):
    stream = cast[3].stream
    for filters, fits in [
        ({"name": "mail"}, lambda task: task.name == "mail"),
        ({"stream": stream}, lambda task: task.stream == stream),
        ({"older_than": EPOCH + 50}, lambda task: task.created < EPOCH + 50),
        ({"newer_than": EPOCH + 50}, lambda task: task.created > EPOCH + 50),
        (
            {"newer_than": EPOCH + 20, "older_than": EPOCH + 90, "name": "etl"},
            lambda task: EPOCH + 20 < task.created < EPOCH + 90 and task.name == "etl",
        ),
        ({"before": cast[6].id}, lambda task: task.id < cast[6].id),
    ]:
        expected = [task for task in cast if fits(task) and (states is None or task.state in states)]
        for limit in (None, 2):
            assert ids(reader.records(states=states, limit=limit, **filters)) == ids(expected)[::-1][:limit]


def test_live_tasks_are_found_without_reading_those_that_ended(
    cast: list[Record], reader: Reader, monkeypatch
):
    def no_walk(*_: object) -> State:
        raise AssertionError("read an ended task")

    monkeypatch.setattr("understudy.storage.reader.end_of", no_walk)
    assert len(reader.records(states=[State.RUNNING])) == 2


def test_counts(cast: list[Record], reader: Reader):
    assert reader.count(Table.TASKS) == 14
    assert reader.count(Table.META) == 2


def test_mail_and_logs_are_the_tasks_own(fill: Fill, reader: Reader):
    made: list[Record] = []

    def write(store: Any) -> None:
        for number in range(3):
            record = add_task(store, at=EPOCH + number)
            made.append(record)
            for seq in range(number):
                store.put(Table.MAIL, mail_key(record.id, seq), b"m")
            for seq in range(1, 4):
                lines = [[EPOCH + seq, "info", f"line {seq}"], [EPOCH + seq, "error", "ü"]]
                store.put(Table.LOGS, log_key(record.id, seq), msgpack.packb(lines))

    fill(write)
    assert [reader.mailbox_depth(record.id) for record in made] == [0, 1, 2]
    chunks = reader.logs(made[1].id)
    assert [seq for seq, _ in chunks] == [1, 2, 3]
    assert chunks[0][1] == [(EPOCH + 1, "info", "line 1"), (EPOCH + 1, "error", "ü")]
    assert [seq for seq, _ in reader.logs(made[1].id, after=1)] == [2, 3]
    assert [seq for seq, _ in reader.logs(made[1].id, after=1, limit=1)] == [2]
    assert reader.logs(made[2].id, after=3) == []


def test_the_notice_before_the_first_chunk_is_part_of_the_whole_log_only(fill: Fill, reader: Reader):
    id = b"\1" * 16

    def write(store: Any) -> None:
        store.put(
            Table.LOGS, log_key(id, 0), msgpack.packb([[EPOCH, "notice", "7 earlier lines were dropped"]])
        )
        store.put(Table.LOGS, log_key(id, 8), msgpack.packb([[EPOCH, "info", "the eighth"]]))

    fill(write)
    assert [seq for seq, _ in reader.logs(id)] == [0, 8]
    assert [seq for seq, _ in reader.logs(id, after=7)] == [8]


def test_ids_are_found_by_the_beginning_of_their_uuid(cast: list[Record], reader: Reader):
    for task in cast:
        text = str(uuid.UUID(bytes=task.id))
        for prefix in (text, text.replace("-", ""), text.upper(), text[:20], text.replace("-", "")[:27]):
            assert task.id in reader.resolve(prefix)
        assert reader.resolve(text) == [task.id]
    common = str(uuid.UUID(bytes=cast[0].id))[:3]
    assert reader.resolve(common) == ids(cast)[:10]
    assert reader.resolve(common, limit=2) == ids(cast)[:2]


def test_ids_are_found_by_their_end_newest_first(cast: list[Record], reader: Reader):
    for task in cast:
        text = str(uuid.UUID(bytes=task.id))
        for end in (text, text.upper(), text[-20:], text[-15:]):
            assert task.id in reader.resolve_end(end)
    last = cast[0].id.hex()[-1]
    alike = sorted((task.id for task in cast if task.id.hex().endswith(last)), reverse=True)
    assert reader.resolve_end(last, limit=2) == alike[:2]
    for other in ("", "-", "xyz", "0" * 33):
        assert reader.resolve_end(other) == []


@pytest.mark.parametrize("prefix", ["", "-", "xyz", "f" * 32, "0" * 33, "../etc"])
def test_other_prefixes_find_nothing(cast: list[Record], reader: Reader, prefix: str):
    assert reader.resolve(prefix) == []


@pytest.mark.parametrize("table", [Table.TASKS, Table.LIVE, Table.LOGS])
def test_damaged_rows_are_told_as_such(fill: Fill, reader: Reader, table: Table):
    id = b"\1" * 16
    rows = {
        Table.TASKS: (id, b"no record"),
        Table.LIVE: (live_key(Lane.RUNNING, 0, id), b""),
        Table.LOGS: (log_key(id, 1), b"\xc1"),
    }
    fill(lambda store: store.put(table, *rows[table]))
    asks: dict[Table, list[Callable[[], object]]] = {
        Table.TASKS: [lambda: reader.record(id), reader.records],
        Table.LIVE: [lambda: reader.records(states=[State.RUNNING])],
        Table.LOGS: [lambda: reader.logs(id)],
    }
    for ask in asks[table]:
        with pytest.raises(StoreCorrupt, match="understudy check"):
            ask()


def test_a_closed_reader_says_so_and_others_go_on(cast: list[Record], home: Path, reader: Reader):
    other = Reader(home)
    other.close()
    other.close()
    with pytest.raises(StoreError, match="closed"):
        other.count(Table.TASKS)
    assert reader.count(Table.TASKS) == 14


def test_many_threads_may_ask(cast: list[Record], reader: Reader):
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(50):
            got = len(reader.records()), reader.count(Table.TASKS)
            wrong.extend([got] * (got != (14, 14)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def add_end(store: Any, number: int, state: State = State.COMPLETED) -> Record:
    """A task with a result of 6 bytes and an error, if it has ended."""
    record = add_task(store, state, EPOCH + number)
    record.result, record.error = 6, ("ValueError", "no", "", {})
    store.put(Table.TASKS, record.id, record.pack())
    return record


def test_the_end_of_a_task_and_of_those_after_it(fill: Fill, reader: Reader):
    made: list[Record] = []

    def write(store: Any) -> None:
        states = State.QUEUED, State.COMPLETED, State.RUNNING, State.COMPLETED, State.FAILED, State.COMPLETED
        made.extend(add_end(store, number, state) for number, state in enumerate(states))
        store.put(Table.TASKS, made[3].id, b"no record")

    fill(write)
    queued, first, running, damaged, failed, last = (record.id for record in made)
    assert (
        reader.ends(queued, 10, 100) == reader.ends(running, 10, 100) == reader.ends(bytes(16), 10, 100) == []
    )
    error = made[1].error
    ends = [(id, state, b"result", error) for id, state in ((first, "completed"), (failed, "failed"))]
    assert reader.ends(first) == ends[:1]
    needed = len(made[4].pack()) + 6
    both = needed + len(made[5].pack()) + 6
    assert (
        reader.ends(first, 4, both)
        == reader.ends(first, 10, needed)
        == reader.ends(first, 10, both - 1)
        == ends
    )
    assert reader.ends(first, 10, both) == [*ends, (last, "completed", b"result", error)]
    assert reader.ends(first, 10, 5) == ends[:1], "its own value is of any size"
    with pytest.raises(StoreCorrupt, match=damaged.hex()):
        reader.ends(damaged, 10, 100)


def test_an_end_without_its_value_is_not_told(fill: Fill, reader: Reader):
    made: list[Record] = []

    def write(store: Any) -> None:
        made.append(add_end(store, 0))
        store.delete(Table.RESULTS, made[0].id)

    fill(write)
    assert reader.ends(made[0].id) == []


def test_a_record_and_its_mailbox_come_from_one_snapshot(fill: Fill, reader: Reader):
    made: list[Record] = []

    def write(store: Any) -> None:
        made.append(add_task(store, State.RUNNING))
        for number in (1, 2):
            store.put(Table.MAIL, mail_key(made[0].id, number), b"message")

    fill(write)
    found = reader.record_and_depth(made[0].id)
    assert found is not None
    assert found[0].pack() == made[0].pack()
    assert found[1] == reader.mailbox_depth(made[0].id)
    assert reader.record_and_depth(bytes(16)) is None


def test_the_first_read_opens_the_store(cast: list[Record], reader: Reader):
    assert not reader.is_open
    reader.record(cast[0].id)
    assert reader.is_open


def test_idle_actors_are_counted_apart_from_tasks(fill: Fill, reader: Reader):
    def write(store: Any) -> None:
        for number in range(3):
            add_task(store, (State.QUEUED, State.RUNNING, State.COMPLETED)[number], EPOCH + number)
        for number in range(5):
            add_actor(store, at=EPOCH + number)

    assert reader.unended() == (0, 0)
    fill(write)
    assert reader.unended() == (2, 5)
    assert reader.unended(most=2) == (7, 0)
