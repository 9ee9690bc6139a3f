from __future__ import annotations

import msgpack
import pytest

from understudy.storage.tables.attempt_rows import (
    MESSAGE,
    OUTCOMES,
    TRACEBACK,
    Run,
    number_of,
    run_key,
    run_number,
)
from understudy.storage.tables.record import Record

ID = bytes(range(16))
ERROR = ("ValueError", "no", "Traceback", {"pid": 7})


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("error", [None, ERROR])
def test_a_run_comes_back(outcome: str, error: tuple[str, str, str, dict[str, int]] | None):
    run = Run(2, outcome, 1.5, 2.5, 4711, error)
    assert Run.unpack(run.pack()) == run


def test_a_long_error_is_cut():
    run = Run(1, "failed", None, 2.5, None, ("E", "m" * 5_000, "a" * 5_000 + "z" * TRACEBACK, {}))
    assert Run.unpack(run.pack()).error == ("E", "m" * MESSAGE, "z" * TRACEBACK, {})


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"?",
        msgpack.packb([1, 9, None, 1.0, None, None]),
        msgpack.packb([1, 0, None, 1.0, None]),
        msgpack.packb(["1", 0, None, 1.0, None, None]),
        msgpack.packb([1, 0, None, None, None, None]),
        msgpack.packb([1, 0, None, 1.0, None, ["E"]]),
    ],
)
def test_a_damaged_row_is_refused(row: bytes):
    with pytest.raises(ValueError, match="not the row of an attempt"):
        Run.unpack(row)


def test_runs_are_numbered_over_retries_and_interruptions():
    record = Record(ID, "etl", 1.0, ID)
    assert number_of(record) == 1
    record.attempt, record.interruptions = 3, 2
    assert number_of(record) == 5
    assert run_number(run_key(ID, 5)) == 5
    assert run_key(ID, 9) < run_key(ID, 10)
