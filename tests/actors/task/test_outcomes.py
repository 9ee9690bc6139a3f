from __future__ import annotations

import json

from understudy import ErrorGroup, ErrorGroups, State, TaskAttempt, TaskAttempts, TaskStats, Times
from understudy.actors.errors import ErrorInfo

RUN = TaskAttempt(1, "failed", 1.0, 2.0, 7, ErrorInfo("ValueError", "no"))
GROUP = ErrorGroup("ab", "etl", "ValueError", "jobs.py in etl", "row #", 3, 1.0, 2.0, ("id",))


def test_attempts_and_groups_are_sequences():
    runs = TaskAttempts((RUN, RUN), 3)
    assert (len(runs), runs[-1], runs[:1], list(runs), runs.dropped) == (2, RUN, (RUN,), [RUN, RUN], 3)
    assert not TaskAttempts((), 0)
    groups = ErrorGroups((GROUP,), 1, False, 0.0)
    assert (len(groups), groups[0], groups[:1], list(groups)) == (1, GROUP, (GROUP,), [GROUP])


def test_all_of_them_as_plain_data():
    assert RUN.as_dict()["error"] == {"type": "ValueError", "message": "no", "traceback": "", "details": {}}
    assert GROUP.as_dict() == {
        "fingerprint": "ab",
        "task": "etl",
        "type": "ValueError",
        "frame": "jobs.py in etl",
        "message": "row #",
        "count": 3,
        "first": 1.0,
        "last": 2.0,
        "tasks": ["id"],
    }
    one = TaskStats(0.0, 60.0, {State.FAILED: 2}, 1, 0.5, Times(), Times(3, 1.0, 2.0, 3.0))
    found = TaskStats(0.0, 60.0, {State.FAILED: 2}, 1, 0.5, Times(), Times(), {"etl": one}).as_dict()
    assert found["tasks"]["etl"]["run"] == {"count": 3, "p50": 1.0, "p90": 2.0, "p99": 3.0}
    assert json.loads(json.dumps(found))["ended"] == {"failed": 2}
