from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, new_id, put_new
from understudy.actors.errors import StoreCorrupt
from understudy.actors.state import State
from understudy.storage.reader import Reader
from understudy.storage.tables.attempt_rows import Run, run_key
from understudy.storage.tables.failure_rows import Part, number_key
from understudy.storage.tables.index_rows import Facet, facet_of_id
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.step_rows import MARKS, Step, name_hash, pack_marks, step_key

#: A time that no step of any level contains the middle of, and the end of the tasks there.
AT = EPOCH // 3_600 * 3_600


def failed(ended: float, message: str, name: str = "app:etl") -> Record:
    id = new_id(ended)
    record = Record(id, name, ended, id)
    record.state, record.ended, record.error = State.FAILED, ended, ("ValueError", message, "", {})
    return record


@pytest.fixture
def reader_of(home: Path, open_desk: Any) -> Callable[[Callable[[Any], object]], Reader]:
    readers: list[Reader] = []

    def reader_of(fill: Callable[[Any], object]) -> Reader:
        desk = open_desk()
        fill(desk.store)
        desk.flush()
        desk.store.close(10)
        readers.append(Reader(home))
        return readers[-1]

    yield reader_of
    for reader in readers:
        reader.close()


def test_failures_of_a_window_by_their_cause(reader_of):
    records = [failed(AT + 60 * at, f"row {at}") for at in range(300)]
    records += [failed(AT + 7_000 + at, "no header", "app:load") for at in range(3)]

    def fill(store: Any) -> None:
        for record in records:
            put_new(store, record)

    reader = reader_of(fill)
    for since in (AT, AT + 10, AT + 3_599, AT + 3_600, AT + 7_001, AT + 17_990, AT + 20_000):
        wanted = [record for record in records if record.ended >= since // 10 * 10]
        found = reader.failures(since, seconds=None)
        counts = Counter(record.name for record in wanted)
        assert {group.cause.task: group.count for group in found.groups} == counts
        assert [group.count for group in found.groups] == sorted(counts.values(), reverse=True)
        for group in found.groups:
            own = [record for record in wanted if record.name == group.cause.task]
            assert (group.first, group.last) == (own[0].ended, own[-1].ended)
            assert group.tasks == [record.id for record in own[:-6:-1]]
    assert [group.cause.message for group in reader.failures(0).groups] == ["row #", "no header"]


def test_the_most_frequent_causes_come_first_and_others_are_counted(reader_of):
    messages = ["a"] * 3 + ["b"] * 2 + ["c"]

    def fill(store: Any) -> None:
        for at, message in enumerate(messages):
            put_new(store, failed(AT + at, message))

    reader = reader_of(fill)
    found = reader.failures(AT, limit=2, examples=1)
    assert [(group.cause.message, len(group.tasks)) for group in found.groups] == [("a", 1), ("b", 1)]
    assert found.total == 3
    none = reader.failures(AT, fits=lambda name: name == "other")
    assert (none.groups, none.total, none.stopped) == ([], 0, None)


def test_a_look_that_takes_long_stops_and_says_where(reader_of):
    def fill(store: Any) -> None:
        for at in range(600):
            put_new(store, failed(AT + 3_600 * at, "a"))

    reader = reader_of(fill)
    found = reader.failures(0, seconds=0.0)
    assert found.stopped is not None
    (group,) = found.groups
    assert 0 < group.count < 600
    assert group.first == found.stopped


def test_what_has_ended_is_read_from_each_step_once(reader_of):
    marks = (0, AT + 600, AT + 600, AT)

    def fill(store: Any) -> None:
        for level, start, number in ((3, AT - 3_600, 1), (2, AT, 10), (0, AT + 600, 100)):
            for name in ("app:etl", "app:load"):
                step = Step(name, [number, 0, 0, 0, 0], Counter({1: number}), Counter({1: number}))
                store.put(Table.STATS, step_key(level, int(start), name_hash(name)), step.pack())
        # What is summed up must not be counted again.
        store.put(Table.STATS, step_key(0, int(AT), name_hash("app:etl")), Step("app:etl", [5] * 5).pack())
        store.put(Table.STATS, MARKS, pack_marks(tuple(map(int, marks))))

    reader = reader_of(fill)
    now = AT + 650
    since, steps = reader.ended(AT - 86_400 * 20, now)
    assert since == AT - 86_400 * 20
    assert {name: step.ended[0] for name, step in steps.items()} == {"app:etl": 111, "app:load": 111}
    _, steps = reader.ended(AT - 86_400 * 20, now, name="app:load")
    assert {name: step.ended[0] for name, step in steps.items()} == {"app:load": 111}
    _, steps = reader.ended(AT, now, fits=lambda name: name == "app:etl")
    assert {name: sum(step.runs.values()) for name, step in steps.items()} == {"app:etl": 110}


def test_runs_come_with_their_numbers(reader_of):
    run = Run(1, "failed", 1.0, 2.0, 7, ("E", "", "", {}))
    reader = reader_of(
        lambda store: [store.put(Table.ATTEMPTS, run_key(b"i" * 16, at), run.pack()) for at in (2, 1)]
    )
    assert reader.runs(b"i" * 16) == [(1, run), (2, run)]
    assert reader.runs(b"j" * 16) == []


def test_damaged_rows_are_named(reader_of):
    def fill(store: Any) -> None:
        store.put(Table.ATTEMPTS, run_key(b"i" * 16, 1), b"?")
        store.put(Table.FAILURES, number_key(Part.HOUR, AT, b"f" * 8), b"?")
        store.put(Table.STATS, step_key(0, int(AT), name_hash("etl")), b"?")

    reader = reader_of(fill)
    for read in (
        lambda: reader.runs(b"i" * 16),
        lambda: reader.failures(0),
        lambda: reader.ended(AT, AT + 10),
    ):
        with pytest.raises(StoreCorrupt, match="understudy check"):
            read()


def test_a_home_without_a_store_reads_as_an_empty_one(home: Path):
    with Reader(home) as reader:
        assert reader.runs(bytes(16)) == []
        assert reader.failures(0).groups == []
        assert reader.ended(0, 100)[1] == {}


def test_retries_of_tasks_that_share_a_facet_are_told_apart(reader_of):
    old = new_id(AT)
    twin = old[:8] + bytes((old[8] ^ 1,)) + old[9:]
    retry = Record(id := new_id(AT + 1), "etl", AT + 1, id, retry_of=old)
    reader = reader_of(lambda store: put_new(store, retry))
    assert facet_of_id(Facet.RETRY_OF, old) == facet_of_id(Facet.RETRY_OF, twin)
    assert reader.not_retried([old, twin]) == [twin]
