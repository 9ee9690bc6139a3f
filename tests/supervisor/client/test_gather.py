"""The waits for several tasks, without a supervisor."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption, TaskCancelled, TaskFailed
from understudy.actors import values
from understudy.actors.ids import id_text, new_id
from understudy.supervisor.client.gather import Arrivals, FirstErrorWait, gathered, wait_of
from understudy.supervisor.client.wait import EndsWait, Row

IDS = [new_id() for _ in range(4)]


def completed(id: bytes, value: Any = None) -> Row:
    return id, "completed", None if value is None else values.pack(value), None


def failed(id: bytes) -> Row:
    return id, "failed", None, ("ValueError", "no", "", {})


# --- all values ---


def test_the_wait_is_over_with_the_last_one_or_with_the_first_that_failed():
    wait = FirstErrorWait(IDS)
    wait.take([completed(IDS[0])])
    assert not wait.future.done()
    wait.take([completed(IDS[1]), failed(IDS[2])])
    assert wait.future.done()
    wait.take([completed(IDS[3])])  # one that was under way changes nothing
    assert wait.future.result() is None
    patient = EndsWait(IDS[:2])
    patient.take([failed(IDS[0])])
    assert not patient.future.done()
    whole = FirstErrorWait(IDS[:1])
    whole.take([failed(IDS[0])])
    assert whole.future.result() is None


def test_which_wait_for_which_word():
    assert wait_of("raise") is FirstErrorWait
    assert wait_of("return") is EndsWait
    with pytest.raises(InvalidOption, match=r"errors.*'raise'|raise, return"):
        wait_of("ignore")  # type: ignore[arg-type]


def test_values_come_in_the_order_given_and_as_often():
    rows = {row[0]: row for row in (completed(IDS[1], "b"), completed(IDS[0], "a"))}
    keys = [IDS[0], IDS[1], IDS[0]]
    ids = [id_text(key) for key in keys]
    assert gathered(ids, keys, rows, "raise") == ["a", "b", "a"]
    assert gathered([], [], {}, "raise") == []


def test_the_error_of_the_first_in_this_order_is_raised():
    rows = {row[0]: row for row in (failed(IDS[2]), (IDS[1], "cancelled", None, None))}
    ids = [id_text(key) for key in IDS]
    with pytest.raises(TaskCancelled):
        gathered(ids, IDS, rows, "raise")
    rows |= {key: completed(key, "v") for key in (IDS[0], IDS[3])}
    with pytest.raises(TaskCancelled):
        gathered(ids, IDS, rows, "raise")
    first, second, third, last = gathered(ids, IDS, rows, "return")
    assert (first, last) == ("v", "v")
    assert isinstance(second, TaskCancelled)
    assert isinstance(third, TaskFailed)


# --- one by one ---


def test_ends_come_one_by_one_each_once():
    arrivals = Arrivals(IDS)
    news = arrivals.pending()
    assert news is not None
    assert not news.done()
    arrivals.take([completed(IDS[2], "v"), failed(IDS[0])])
    assert news.done()
    arrivals.take([completed(IDS[2], "v")])  # told again by the next supervisor
    assert arrivals.pending() is None
    assert [arrivals.pop(), arrivals.pop()] == [IDS[2], IDS[0]]
    assert arrivals.pending() is not None
    arrivals.take([completed(IDS[1]), completed(IDS[3])])
    assert [arrivals.pop(), arrivals.pop()] == [IDS[1], IDS[3]]
    assert [row[2:] for row in arrivals.rows.values()] == [(None, None)] * 4, "values are not kept"


def test_an_error_of_the_wait_is_raised_behind_what_has_come():
    arrivals = Arrivals(IDS)
    arrivals.take([completed(IDS[1])])
    arrivals.fail(LookupError("gone"))
    assert arrivals.pending() is None
    assert arrivals.pop() == IDS[1]
    with pytest.raises(LookupError):
        arrivals.pending()
