"""What a start of a unique task does, for each task that may be there."""

from __future__ import annotations

import pytest

from understudy.actors.task.options import CONFLICTS, OnConflict
from understudy.supervisor.rules.uniqueness import There, Wanted, is_held, judge

NOW = 1000.0
QUEUED, BEGUN, ENDED = There(False, False, 990.0), There(False, True, 990.0), There(True, True, 990.0)
CANCELLED_BEFORE = There(True, False, 990.0)


@pytest.mark.parametrize("unique", [True, 20.0])
@pytest.mark.parametrize("on_conflict", CONFLICTS)
def test_none_is_there(unique: float | bool, on_conflict: OnConflict):
    assert judge(None, unique, on_conflict, NOW) is Wanted.START


@pytest.mark.parametrize(
    ("there", "unique", "is_there"),
    [
        (QUEUED, True, True),
        (BEGUN, True, True),
        (ENDED, True, False),
        (CANCELLED_BEFORE, True, False),
        *[(there, 20.0, True) for there in (QUEUED, BEGUN, ENDED, CANCELLED_BEFORE)],
        *[(there, 10.0, False) for there in (QUEUED, BEGUN, ENDED, CANCELLED_BEFORE)],
        (There(True, True, 1500.0), 20.0, True),
    ],
)
def test_while_one_is_there(there: There, unique: float | bool, is_there: bool):
    assert is_held(there, unique, NOW) is is_there
    for on_conflict in CONFLICTS:
        wanted = judge(there, unique, on_conflict, NOW)  # type: ignore[arg-type]
        assert (wanted is Wanted.START) is not is_there


@pytest.mark.parametrize(
    ("there", "unique", "on_conflict", "wanted"),
    [
        (QUEUED, True, "return", Wanted.RETURN),
        (BEGUN, True, "return", Wanted.RETURN),
        (ENDED, 20.0, "return", Wanted.RETURN),
        (QUEUED, True, "raise", Wanted.REFUSE),
        (ENDED, 20.0, "raise", Wanted.REFUSE),
        (QUEUED, True, "replace", Wanted.REPLACE),
        (QUEUED, 20.0, "replace", Wanted.REPLACE),
        (BEGUN, True, "replace", Wanted.WAIT),
        (BEGUN, 20.0, "replace", Wanted.WAIT),
        (ENDED, 20.0, "replace", Wanted.WAIT),
        (CANCELLED_BEFORE, 20.0, "replace", Wanted.WAIT),
    ],
)
def test_what_a_conflict_leads_to(
    there: There, unique: float | bool, on_conflict: OnConflict, wanted: Wanted
):
    assert judge(there, unique, on_conflict, NOW) is wanted
