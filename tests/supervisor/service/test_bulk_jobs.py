"""Cancels and retries of many tasks: with an inline runtime, over crashes, and with real processes that are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

import shop_tasks as shop
from puppets import said
from theatre import PATIENCE, serving
from understudy import InvalidOption, InvalidQuery, Runtime, State, receive, task
from understudy.actors.ids import id_text, new_id
from understudy.storage.check import check
from understudy.storage.tables import bulk_rows
from understudy.storage.tables.bulk_rows import OUTCOMES, Bulk
from understudy.supervisor.service import bulk_jobs
from understudy.testing import InlineRuntime
from waiting import until


@task
def waits(number: int) -> None:
    receive()


@task
def breaks(number: int) -> None:
    raise ValueError(f"row {number}")


@task
def works(number: int) -> int:
    return number


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime() as runtime:
        yield runtime


def test_all_that_matched_are_cancelled_and_no_others(rt: InlineRuntime):
    rt.start_many(waits, range(7))
    rt.settle()
    made = rt.start_many(waits.options(delay=60), range(500))
    done = rt.start(works, 1)
    rt.settle()
    found = rt.bulk_ids("cancel", "task:*")
    assert len(found) == 507
    late = rt.start(waits.options(delay=60), 1)
    info = rt.start_bulk("cancel", "task:*", ids=found, by="ada")
    ended = rt.wait_bulk(info.id, timeout=60)
    assert (ended.state, ended.total, ended.done, ended.by) == ("completed", 507, 507, "ada")
    assert ended.outcomes == {"cancelled": 500, "asked to stop": 7}
    assert ended.changed == 507
    rt.settle()
    assert {rt.status(each).state for each in made} == {State.CANCELLED}
    assert rt.status(late).state is State.QUEUED
    assert rt.status(done).state is State.COMPLETED
    outcomes = rt.bulk_outcomes(info.id, limit=1000)
    assert [each.id for each in outcomes] == found
    assert rt.bulk_outcomes(info.id, after=350, limit=60) == outcomes[350:410]
    assert rt.bulk_outcomes(info.id, after=507) == []
    assert rt.bulks() == [ended]
    assert ended.as_dict()["outcomes"] == ended.outcomes
    (entry,) = rt.audit()
    assert (entry.who, entry.outcome) == ("ada", "completed: 500 cancelled, 7 asked to stop of 507")


def test_each_that_failed_is_retried_once(rt: InlineRuntime):
    failed = rt.start_many(breaks, range(5))
    rt.settle()
    before = rt.retry(failed[0])
    rt.settle()
    gone, fine = new_id(), rt.start(works, 1)
    rt.settle()
    info = rt.start_bulk("retry", ids=[*failed, fine, id_text(gone)])
    ended = rt.wait_bulk(info.id, timeout=60)
    assert ended.outcomes == {"retried before": 1, "retried": 5, "gone": 1}
    outcomes = rt.bulk_outcomes(info.id)
    assert [each.outcome for each in outcomes] == ["retried before"] + ["retried"] * 5 + ["gone"]
    rt.settle()
    for each in outcomes[1:6]:
        assert each.new_id is not None
        assert rt.status(each.new_id).retry_of == each.id
    assert rt.status(before).state is State.FAILED
    running_one = rt.start(waits, 1)
    rt.settle()
    again = rt.wait_bulk(rt.start_bulk("retry", ids=[running_one]).id, timeout=60)
    assert again.outcomes == {"refused": 1}
    assert "only an ended task can be retried" in again.problem


def test_it_can_be_cancelled_and_goes_on_after_a_crash(rt: InlineRuntime):
    made = rt.start_many(waits.options(delay=9999), range(3 * bulk_rows.PART))
    asked: list[bool] = []
    advance = bulk_jobs.BulkJobs._part

    def one_part(self: bulk_jobs.BulkJobs, bulk: Bulk) -> None:
        advance(self, bulk)
        if bulk.done == bulk_rows.PART:
            asked.append(self.act(bulk.id, "cancel"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_jobs.BulkJobs, "_part", one_part)
        info = rt.wait_bulk(rt.start_bulk("cancel", "task:*").id, timeout=60)
    assert asked == [True]
    assert (info.state, info.done) == ("cancelled", bulk_rows.PART)
    assert rt.bulk_outcomes(info.id, after=bulk_rows.PART)[0].outcome == "waits"
    assert not rt.cancel_bulk(info.id)
    left = [each for each in made if rt.status(each).state is State.QUEUED]
    assert len(left) == 2 * bulk_rows.PART
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_jobs.BulkJobs, "_work", lambda _: None)
        info = rt.start_bulk("cancel", "task:*")
        assert rt.bulk(info.id).done == 0
    rt.crash()
    ended = rt.wait_bulk(info.id, timeout=60)
    assert ended.outcomes == {"cancelled": 2 * bulk_rows.PART}
    assert rt.wait_bulk(rt.start_bulk("cancel", "task:*").id, timeout=60).total == 0


def test_what_cannot_be_is_refused(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidOption):
        rt.start_bulk("stop", "task:*")  # type: ignore[arg-type]
    with pytest.raises(InvalidQuery):
        rt.start_bulk("cancel", "state:faild")
    with pytest.raises(InvalidQuery):
        rt.start_bulk("cancel")
    with pytest.raises(InvalidOption, match="no bulk"):
        rt.bulk(str(rt.start(works, 1).id))
    with pytest.raises(InvalidOption, match="no bulk"):
        rt.cancel_bulk(str(rt.start(works, 1).id))
    monkeypatch.setattr(bulk_jobs, "MOST_TASKS", 3)
    with pytest.raises(InvalidOption, match="narrow the query"):
        rt.start_bulk("cancel", ids=rt.start_many(waits.options(delay=60), range(4)))
    monkeypatch.setattr(bulk_jobs, "MOST_AT_ONCE", 1)
    with pytest.raises(InvalidOption, match="are under way"):
        rt.start_bulk("cancel", "task:*")


def test_old_ones_are_removed(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_jobs, "KEPT", 2)
    infos = []
    for _ in range(4):
        made = rt.start_many(waits.options(delay=60), range(450))
        infos.append(rt.wait_bulk(rt.start_bulk("cancel", ids=made).id, timeout=60))
    rt.settle()
    assert [each.id for each in rt.bulks()] == [infos[3].id, infos[2].id]
    assert rt.bulk_outcomes(infos[0].id) == []


@pytest.mark.parametrize(
    "row",
    [b"", b"\xc1", msgpack.packb(7), msgpack.packb([]), Bulk(b"", "stop", "", "", False, 1.0).pack()],
)
def test_damaged_rows(row: bytes):
    with pytest.raises(ValueError, match="bulk"):
        bulk_rows.unpack_head(bulk_rows.head_key(b"x" * 16), row)
    with pytest.raises(ValueError, match="bulk"):
        bulk_rows.unpack_ends(row)
    with pytest.raises(ValueError, match="bulk"):
        bulk_rows.unpack_tasks(b"x" * 15)


def test_the_outcomes_have_their_places_on_disk():
    assert OUTCOMES == (
        "waits",
        "cancelled",
        "asked to stop",
        "had ended",
        "gone",
        "retried",
        "retried before",
        "refused",
    )
    ends = [(5, b"n" * 16), (3, None), (5, b"m" * 16)]
    assert bulk_rows.unpack_ends(bulk_rows.pack_ends(ends)) == [
        ("retried", b"n" * 16),
        ("had ended", None),
        ("retried", b"m" * 16),
    ]


def test_a_supervisor_that_is_killed_in_the_middle_loses_nothing(home: Path):
    """Each task gets its outcome once, whichever supervisor it was."""
    count = 4_000
    with serving(home, app="shop_tasks") as process:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            infos = rt.start_many(shop.later.options(delay=9999), range(count))
            info = rt.start_bulk("cancel", "task:*later")
            assert info.total == count
            until(lambda: rt.bulk(info.id).done > 0, PATIENCE)
            os.kill(rt.supervisor_pid, signal.SIGKILL)
            process.wait(PATIENCE)
            before = rt.bulk(info.id)
    with serving(home, app="shop_tasks") as process:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            ended = rt.wait_bulk(info.id, timeout=60)
            assert before.done <= ended.done == count
            assert ended.outcomes == {"cancelled": count}
            assert {rt.status(each).state for each in infos[:: count // 50]} == {State.CANCELLED}
            ids = {each.id for each in rt.bulk_outcomes(info.id, limit=count)}
            assert ids == {each.id for each in infos}
            rt.stop_supervisor()
        process.wait(PATIENCE)
    assert check(home).problems == []
