from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.actors.ids import new_id
from understudy.actors.step_label import call_label, key_label
from understudy.storage.memory_store import MemoryStore
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.task_step_rows import step_key, steps_of
from understudy.supervisor.tasks.kept_steps import PAGE_BYTES, PAGE_ROWS, KeptSteps

LETTER, OTHER = b"\1" * 16, b"\2" * 16


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made: list[Any] = []
    store = MemoryStore.open(tmp_path, on_commit=made.append)
    store.flush = lambda: [store.seal(), *map(store.committed, made), made.clear()]  # type: ignore[attr-defined]
    return store


@pytest.fixture
def record() -> Record:
    id = new_id()
    return Record(id, "task", 1.0, id)


def label(number: int) -> bytes:
    return call_label(b"work", number)


def keep(steps: KeptSteps, record: Record, numbers: range, size: int = 1, letter: bytes = b"") -> None:
    for number in numbers:
        steps.keep(record, letter, label(number), 1.0, "work", bytes(size))


def all_of(page: Callable[[bytes], Any]) -> list[bytes]:
    """The labels of all pages, each read from behind the one before."""
    found: list[bytes] = []
    start, is_last = b"", False
    while not is_last:
        rows, is_last = page(start)
        assert rows or is_last
        found += [name for name, _ in rows]
        start = found[-1] + b"\0" if found else b""
    return found


@pytest.mark.parametrize("flushed", [0, 1, 2], ids=["pending", "half", "on disk"])
def test_pages(store: Any, record: Record, flushed: int) -> None:
    steps = KeptSteps(store, record.id)
    assert steps.page() == ([], True)
    assert steps.first_page(record) == (0, 0, [], True)
    count = PAGE_ROWS + 10
    keep(steps, record, range(1, count // 2))
    if flushed:
        store.flush()
    keep(steps, record, range(count // 2, count + 1))
    if flushed == 2:
        store.flush()
    assert record.steps == (count, count)
    rows, is_last = steps.page()
    assert (len(rows), is_last) == (PAGE_ROWS, False)
    assert all_of(steps.page) == [label(number) for number in range(1, count + 1)]
    assert steps.page(label(count)) == ([(label(count), b"\0")], True)
    assert steps.page(label(count + 1)) == ([], True)


@pytest.mark.parametrize("flushed", [0, 1, 2], ids=["pending", "half", "on disk"])
def test_large_values(store: Any, record: Record, flushed: int) -> None:
    """A page ends where it has as many bytes, with what is on its way to disk as well."""
    steps = KeptSteps(store, record.id)
    size = PAGE_BYTES // 3
    keep(steps, record, range(2, 11, 2), size)
    if flushed:
        store.flush()
    keep(steps, record, range(1, 11, 2), size)
    if flushed == 2:
        store.flush()
    assert all_of(steps.page) == [label(number) for number in range(1, 11)]
    assert len(steps.page()[0]) <= 4
    count, total, rows, is_last = steps.first_page(record)
    assert (count, total, len(rows), is_last) == (10, 10 * size, 3, False)


def test_a_value_larger_than_a_page(store: Any, record: Record) -> None:
    """It does not come with an assignment, only when it is asked for."""
    steps = KeptSteps(store, record.id)
    keep(steps, record, range(1, 2), PAGE_BYTES + 1)
    assert steps.first_page(record) == (1, PAGE_BYTES + 1, [], False)
    assert len(steps.page()[0]) == 1


def test_the_same_step_again(store: Any, record: Record) -> None:
    steps = KeptSteps(store, record.id)
    keep(steps, record, range(1, 2), 10)
    keep(steps, record, range(1, 2), 4)
    assert record.steps == (1, 4)


def test_drop(store: Any, record: Record) -> None:
    steps = KeptSteps(store, record.id)
    assert not steps.drop(record)
    keep(steps, record, range(1, PAGE_ROWS + 5))
    store.flush()
    assert steps.drop(record)
    assert record.steps is None
    assert steps.page() == ([], True)
    store.flush()
    assert store.scan(Table.ACTORS, *steps_of(record.id)) == []


def test_drop_those_of_letters(store: Any, record: Record) -> None:
    steps = KeptSteps(store, record.id)
    keep(steps, record, range(1, 4), 2, LETTER)
    keep(steps, record, range(1, 3), 2, OTHER)
    assert not steps.drop(record, [b"\3" * 16])
    assert steps.drop(record, [LETTER])
    assert record.steps == (2, 4)
    assert [name for name, _ in steps.page()[0]] == [OTHER + label(1), OTHER + label(2)]
    assert steps.drop(record, [LETTER, OTHER])
    assert record.steps is None


def test_copy(store: Any, record: Record) -> None:
    steps = KeptSteps(store, record.id)
    keep(steps, record, range(1, 4), 5)
    steps.keep(record, b"", key_label("k"), 2.0, "work", b"v")
    id = new_id()
    other = Record(id, "task", 1.0, id, retry_of=record.id)
    steps.copy(record, other)
    assert other.steps == record.steps == (4, 16)
    assert KeptSteps(store, id).page() == steps.page()


def test_a_damaged_row_is_no_value(store: Any, record: Record) -> None:
    """So the attempt fails by name, and the supervisor goes on."""
    steps = KeptSteps(store, record.id)
    keep(steps, record, range(1, 2))
    store.put(Table.ACTORS, step_key(record.id, label(1)), b"\xc1")
    assert steps.page() == ([(label(1), b"")], True)
    assert steps.drop(record)
    assert record.steps is None
