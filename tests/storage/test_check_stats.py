from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import EPOCH, add_task, new_id, put_new
from understudy.actors.state import State
from understudy.storage.check import check
from understudy.storage.tables.attempt_rows import Run, run_key
from understudy.storage.tables.failure_rows import Part, number_key, pack_number, task_key
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.step_rows import MARKS, Step, name_hash, pack_marks, step_key

MINUTE = int(EPOCH // 60 * 60)
ETL = name_hash("etl")


def step(number: int) -> bytes:
    return Step("etl", [number, 0, 0, 0, 0], Counter({9: number}), Counter({9: number})).pack()


@pytest.fixture
def problems(home: Path, open_desk: Any) -> Callable[[Callable[[Any, Record], object]], list[str]]:
    """The problems of a store with a failed task in its second attempt, and with steps, after a change of it."""

    def problems(damage: Callable[[Any, Record], object]) -> list[str]:
        desk = open_desk()
        add_task(desk.store, State.COMPLETED)
        record = Record(id := new_id(EPOCH), "etl", EPOCH, id)
        record.state, record.ended, record.error = State.FAILED, EPOCH + 1, ("ValueError", "no", "", {})
        record.attempt = 2
        put_new(desk.store, record)
        desk.store.put(Table.ATTEMPTS, run_key(id, 1), Run(1, "failed", 1.0, 2.0, 3, None).pack())
        for at in range(8):
            desk.store.put(Table.STATS, step_key(0, MINUTE + 10 * at, ETL), step(1))
        desk.store.put(Table.STATS, step_key(1, MINUTE - 60, ETL), step(7))  # its parts are gone
        desk.store.put(Table.STATS, step_key(1, MINUTE, ETL), step(6))
        desk.store.put(Table.STATS, MARKS, pack_marks((0, MINUTE + 60, 0, 0)))
        desk.flush()
        damage(desk.store, record)
        desk.flush()
        desk.store.close(10)
        return check(home).problems

    return problems


def test_a_sound_store_is_sound(problems):
    assert problems(lambda store, record: None) == []


def run(store: Any, record: Record, number: int, attempt: int = 1) -> None:
    store.put(Table.ATTEMPTS, run_key(record.id, number), Run(attempt, "failed", 1.0, 2.0, 3, None).pack())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s, r: run(s, r, 3), "of run 3"),
        (lambda s, r: run(s, r, 1, attempt=5), "(attempt 5)"),
        (lambda s, r: s.put(Table.ATTEMPTS, run_key(r.id, 1), b"?"), "not the row of an attempt"),
        (lambda s, r: s.put(Table.ATTEMPTS, run_key(bytes(16), 1), b"?"), "has no task"),
        (lambda s, r: s.put(Table.FAILURES, b"\x09", b""), "of the failures"),
        (
            lambda s, r: s.put(Table.FAILURES, task_key(bytes(8), 1.0, bytes(16)), b""),
            "by task are those of 2 tasks",
        ),
        (
            lambda s, r: s.put(Table.FAILURES, number_key(Part.HOUR, 1.0, bytes(8)), pack_number(4)),
            "by hour are those of 5 tasks, and the records have 1",
        ),
        (
            lambda s, r: (
                s.delete(Table.FAILURES, next(key for key, _ in s.scan(Table.FAILURES) if key[0] == 4)),
                s.put(Table.FAILURES, number_key(Part.TEN_SECONDS, 1.0, bytes(8)), pack_number(1)),
            ),
            "by ten seconds are those of 1 tasks, and the records have 1, but not the same ones",
        ),
        (
            lambda s, r: [s.delete(Table.FAILURES, key) for key, _ in s.scan(Table.FAILURES)],
            "by cause are those of 0 tasks",
        ),
        (lambda s, r: s.put(Table.STATS, step_key(0, MINUTE, ETL), b"?"), "not the row of a step"),
        (lambda s, r: s.put(Table.STATS, b"\x07", b"?"), "not the key of a step"),
        (lambda s, r: s.put(Table.STATS, step_key(0, MINUTE + 70, bytes(8)), step(1)), "has the name 'etl'"),
        (lambda s, r: s.put(Table.STATS, step_key(1, MINUTE, ETL), step(5)), "have 5 ends, and the shorter"),
        (lambda s, r: s.delete(Table.STATS, step_key(1, MINUTE, ETL)), "have 0 ends, and the shorter"),
        (
            lambda s, r: s.put(
                Table.STATS, step_key(1, MINUTE, ETL), Step("etl", [6, 0, 0, 0, 0], Counter({8: 6})).pack()
            ),
            "but not the same ones",
        ),
        (lambda s, r: s.put(Table.STATS, MARKS, b"?"), "marks of the steps are damaged"),
        (
            lambda s, r: s.put(Table.STATS, MARKS, pack_marks((0, 60, 600, 0))),
            "marks of the steps are damaged",
        ),
    ],
)
def test_each_difference_is_found(problems, damage, said: str):
    found = problems(damage)
    assert any(said in problem for problem in found), found
