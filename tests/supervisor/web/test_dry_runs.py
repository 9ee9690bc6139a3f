from __future__ import annotations

import pytest

from understudy import BulkNotFound, BulkPlan
from understudy.actors.ids import id_text, new_id
from understudy.supervisor.web import dry_runs
from understudy.supervisor.web.dry_runs import KEPT_SECONDS, DryRuns


def plan(tasks: int) -> BulkPlan:
    made = BulkPlan(new_id(), "cancel", "task:*")
    made.add(new_id() for _ in range(tasks))
    return made


def test_a_dry_run_is_named_as_its_bulk_and_leaves_after_a_while():
    now = [0.0]
    runs = DryRuns(lambda: now[0])
    run = runs.keep(first := plan(3))
    assert (run.name, run.count) == (id_text(first.id), 3)
    now[0] = KEPT_SECONDS
    assert runs.take(run.name) is run
    now[0] += 1
    with pytest.raises(BulkNotFound, match=r"too old.*Nothing was changed") as caught:
        runs.take(run.name)
    assert caught.value.id == run.name
    runs.drop(run.name)


def test_the_oldest_make_room_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dry_runs, "KEPT_BYTES", 16 * 10)
    runs = DryRuns()
    first, second = runs.keep(plan(6)), runs.keep(plan(6))
    with pytest.raises(BulkNotFound):
        runs.take(first.name)
    assert runs.take(second.name).count == 6
    large = runs.keep(plan(100))
    assert runs.take(large.name).count == 100, "else the largest could never be applied"
    with pytest.raises(BulkNotFound):
        runs.take(second.name)
