from __future__ import annotations

from typing import Any

import pytest

from understudy.actors.errors import ErrorInfo
from understudy.actors.ids import id_text
from understudy.actors.state import State
from understudy.actors.task.handles import Progress, TaskRecord
from understudy.actors.task.trigger import Kind, Trigger
from understudy.storage.tie_reader import LISTED, Ties
from understudy.supervisor.cli.display import task_text

NOW = 1_900_000_000.0


def record(state: State = State.RUNNING, **fields: Any) -> TaskRecord:
    known = {"id": "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d", "stream_id": "s", "task": "app:x", "attempt": 1}
    return TaskRecord(**{**known, "interruptions": 0, "created": NOW - 60, "state": state, **fields})


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (record(), ""),
        (record(State.QUEUED, next_attempt=NOW + 60, error=ErrorInfo("E", "m")), "due in 1m00s, E: m"),
        (record(State.QUEUED, next_attempt=NOW - 1), ""),
        (record(cancel_requested=True), "asked to stop"),
        (record(progress=Progress(3, 10, "a\x1b[H")), "3/10 (30%), a\\x1b[H"),
        (record(State.FAILED, error=ErrorInfo("E", "two\nlines")), "E: two … lines"),
        (
            record(
                State.FAILED,
                error=ErrorInfo(
                    "E", "it said:\nTraceback (most recent call last):\n  File\nOSError: no disk\n\n"
                ),
            ),
            "E: OSError: no disk",
        ),
        (record(State.COMPLETED, error=ErrorInfo("E", "an earlier attempt's"), progress=Progress(1)), ""),
    ],
)
def test_the_detail_says_what_the_state_does_not(shown: TaskRecord, text: str):
    assert task_text.detail(shown, NOW) == text


@pytest.mark.parametrize(
    ("kind", "trigger", "shown"),
    [
        ("task", None, None),
        ("call", None, "call"),
        ("event", Trigger("stripe/\x1b", "order.paid"), "event order.paid (stripe/\\x1b)"),
        (
            "schedule",
            Trigger(schedule="ship/7", scheduled_at=0.0),
            "schedule ship/7, due at 1970-01-01T00:00:00.000+00:00",
        ),
    ],
)
def test_what_has_triggered_a_run(kind: Kind, trigger: Trigger | None, shown: str | None):
    assert task_text.run(record(kind=kind, trigger=trigger)) == shown


def test_progress_with_and_without_a_total():
    assert task_text.progress(Progress(1234)) == "1,234"
    assert task_text.progress(Progress(0.5, 0)) == "0.50/0"


def test_the_run_time_is_that_of_the_last_attempt():
    assert task_text.run_time(record(started=NOW - 5), NOW) == 5
    assert task_text.run_time(record(State.COMPLETED, started=NOW - 5, ended=NOW - 2), NOW) == 3
    assert task_text.run_time(record(State.QUEUED, started=NOW - 5), NOW) is None
    assert task_text.run_time(record(), NOW) is None


@pytest.mark.parametrize(
    ("attempt", "tries", "shown"), [(1, 1, "1"), (3, 4, "3 of 4"), (4, 4, "4 of 4"), (7, 1, "7"), (5, 4, "5")]
)
def test_tries_count_the_first_one(attempt: int, tries: int, shown: str):
    assert task_text.tries(attempt, tries) == shown


def test_links_and_monitors_are_counted():
    ids = [bytes([number]) * 16 for number in range(1, 6)]
    texts = [id_text(id) for id in ids]
    shown = record(origin_run=texts[0])
    found = Ties(ids[1:2], ids, [])
    assert task_text.ties(shown, True, found) == [
        ("linked to", texts[0]),
        ("linked", texts[1]),
        ("monitors", f"{' '.join(texts[:3])} and 2 more"),
    ]
    assert task_text.ties(shown, False, Ties([], [], [])) == []
    many = Ties([], [], ids[:1] * LISTED)
    assert task_text.ties(shown, False, many)[0][1].endswith("and more than 997 others")
    assert task_text.ties_document(shown, True, found) == {
        "linked_to": texts[0],
        "linked": texts[1:2],
        "monitors": texts,
        "monitored_by": [],
    }
