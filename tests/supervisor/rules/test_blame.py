"""Whose fault a worker's death is: every mix of working and waiting tasks."""

from __future__ import annotations

from collections import Counter

import pytest

from understudy.supervisor.rules.blame import Share, blame


@pytest.mark.parametrize("working", range(4))
@pytest.mark.parametrize("waiting", range(4))
def test_the_grid(working: int, waiting: int):
    works = [f"works {n}" for n in range(working)]
    waits = [f"waits {n}" for n in range(waiting)]
    shares = blame(works, waits).shares
    assert sorted(task for task, _ in shares) == sorted(works + waits), "each task has one share"
    of = dict(shares)
    kinds = Counter(of.values())
    if working == 1:
        assert of[works[0]] is Share.CULPRIT
        assert all(of[task] is Share.BYSTANDER for task in waits)
    elif working > 1:
        assert all(of[task] is Share.SUSPECT for task in works)
        assert all(of[task] is Share.BYSTANDER for task in waits)
    elif waiting == 1:
        assert of[waits[0]] is Share.CULPRIT
    else:
        assert all(of[task] is Share.WITNESS for task in waits)
    assert kinds[Share.CULPRIT] <= 1
    assert not (kinds[Share.CULPRIT] and kinds[Share.SUSPECT])


def test_nobody_there_nobody_to_blame():
    assert blame([], []).shares == ()
