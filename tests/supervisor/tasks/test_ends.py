"""Who is told of the end of a task."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from understudy.actors.ids import new_id
from understudy.actors.state import Event
from understudy.storage.tables.record import Record
from understudy.supervisor.tasks.ends import Ends
from understudy.supervisor.tasks.live_task import LiveTask


def task(**facts: Any) -> LiveTask:
    """A task whose record has these fields."""
    id = new_id()
    record = Record(id, "work", 1.0, id)
    record.__dict__.update(facts)
    return cast("LiveTask", SimpleNamespace(id=id, record=record))


def test_a_follower_hears_of_those_that_have_its_fact():
    ends, told = Ends(), []
    ends.follow("tree", lambda task, event, error: told.append((task.id, event, error)))
    ends.follow("links", lambda task, event, error: told.append(event))
    plain, child, both = task(), task(tree="shop/a"), task(tree="shop/b", links=True)
    ends.tell(plain, Event.COMPLETE, None)
    assert told == []
    error = ("ValueError", "no", "", {})
    ends.tell(child, Event.FAIL, error)
    assert told == [(child.id, Event.FAIL, error)]
    ends.tell(both, Event.CANCEL, None)
    assert told[1:] == [(both.id, Event.CANCEL, None), Event.CANCEL]


def test_a_follower_of_all_hears_of_all_for_as_long_as_it_wants():
    ends, told = Ends(), []

    def follower(ended: LiveTask, _event: object, _error: object) -> None:
        told.append(ended.id)

    first, second, third = task(), task(), task()
    ends.follow_all(follower, True)
    ends.follow_all(follower, True)
    ends.tell(first, Event.COMPLETE, None)
    assert told == [first.id], "once, however often it was asked"
    ends.follow_all(lambda *_: told.append(b"other"), True)
    ends.follow_all(follower, False)
    ends.tell(second, Event.COMPLETE, None)
    assert told == [first.id, b"other"]
    assert len(ends.of_all) == 1
    ends.follow_all(follower, False)
    ends.tell(third, Event.COMPLETE, None)
    assert told[2:] == [b"other"]


def test_an_error_of_one_follower_harms_nobody(caplog: pytest.LogCaptureFixture):
    ends, told = Ends(), []

    def broken(*_: object) -> None:
        raise LookupError("a bug")

    ends.follow_all(broken, True)
    ends.follow("tree", broken)
    ends.follow("links", lambda task, _event, _error: told.append(task.id))
    ended = task(tree="shop/a", links=True)
    with caplog.at_level(logging.ERROR, "understudy"):
        ends.tell(ended, Event.COMPLETE, None)
    assert told == [ended.id]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError] * 2


def test_clients_are_told_after_the_commit():
    ends, told = Ends(), []
    ends.written([task()])  # nobody waits
    ends.on_disk = told.extend
    ended = task()
    ends.written([ended])
    assert told == [ended]
