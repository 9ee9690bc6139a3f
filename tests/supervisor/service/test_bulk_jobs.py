"""Cancels and retries of many tasks: with an inline runtime, over crashes, and with real processes that are killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

import shop_tasks as shop
from puppets import said
from theatre import PATIENCE, serving
from understudy import (
    BulkNotFound,
    InvalidOption,
    InvalidQuery,
    Runtime,
    State,
    UnderstudyError,
    receive,
    task,
)
from understudy.actors.ids import id_text, new_id
from understudy.storage.check import check
from understudy.storage.tables import bulk_rows
from understudy.storage.tables.bulk_rows import OUTCOMES, Bulk
from understudy.storage.tables.schema import Table
from understudy.supervisor.client import bulk_calls
from understudy.supervisor.client.bulk_calls import BulkCalls
from understudy.supervisor.execution.attempts import Attempts
from understudy.supervisor.service import bulk_jobs
from understudy.supervisor.service.bulk_jobs import BulkJobs
from understudy.supervisor.testing.crash_points import VARIABLE
from understudy.testing import InlineRuntime
from waiting import until


@task
def waits(number: int) -> None:
    receive()


@task
def breaks(number: int, text: str = "") -> None:
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
    advance = BulkJobs._piece

    def one_part(self: BulkJobs, bulk: Bulk) -> None:
        advance(self, bulk)
        if bulk.done == bulk_rows.PART:
            asked.append(self.act(bulk.id, "cancel"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BulkJobs, "_piece", one_part)
        info = rt.wait_bulk(rt.start_bulk("cancel", "task:*").id, timeout=60)
    assert asked == [True]
    assert (info.state, info.done) == ("cancelled", bulk_rows.PART)
    assert rt.bulk_outcomes(info.id, after=bulk_rows.PART)[0].outcome == "waits"
    assert not rt.cancel_bulk(info.id)
    left = [each for each in made if rt.status(each).state is State.QUEUED]
    assert len(left) == 2 * bulk_rows.PART
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BulkJobs, "_work", lambda _: None)
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
    other = rt.start(works, 1).id
    for call in (rt.bulk, rt.cancel_bulk, rt.wait_bulk):
        for id in (other, "x"):
            with pytest.raises(BulkNotFound, match="no bulk"):
                call(id)
    with pytest.raises(BulkNotFound, match="no bulk"):
        rt.bulks(before="x")
    many = rt.start_many(waits.options(delay=60), range(4))
    monkeypatch.setattr(bulk_jobs, "MOST_TASKS", 3)
    with pytest.raises(InvalidOption, match="narrow the query"):
        rt.start_bulk("cancel", ids=many)
    monkeypatch.setattr(bulk_calls, "MOST_TASKS", 3)
    for call in (rt.cancel_where, lambda query: rt.cancel_where(query, dry_run=True)):
        with pytest.raises(InvalidOption, match="narrow the query"):
            call("task:waits")
    monkeypatch.setattr(bulk_jobs, "MOST_AT_ONCE", 0)
    with pytest.raises(InvalidOption, match="are under way"):
        rt.start_bulk("cancel", ids=many[:1])
    assert {rt.status(each).state for each in many} == {State.QUEUED}
    assert rt.bulks() == [], "one that was refused is given up at once"


def test_a_task_is_dealt_with_once(rt: InlineRuntime):
    (info,) = rt.start_many(waits.options(delay=60), range(1))
    bulk = rt.wait_bulk(rt.start_bulk("cancel", ids=[info, info.id, info]).id)
    assert (bulk.total, bulk.outcomes) == (1, {"cancelled": 1})


def test_a_plan_is_carried_out_once(rt: InlineRuntime):
    rt.start_many(waits.options(delay=60), range(5))
    plan = rt.plan_bulk("cancel", "task:waits")
    late = rt.start(waits.options(delay=60), 1)
    assert (len(plan), plan.first(2)) == (5, rt.bulk_ids("cancel", "task:waits")[1:3])
    first, second = rt.start_plan(plan), rt.start_plan(plan)
    ended = rt.wait_bulk(first.id)
    assert (first.id, ended.outcomes) == (second.id, {"cancelled": 5})
    assert rt.start_plan(plan) == ended, "also after its end"
    assert rt.bulks() == [ended]
    assert rt.status(late).state is State.QUEUED


def test_it_leaves_when_a_task_would(rt: InlineRuntime):
    infos = []
    for _ in range(3):
        made = rt.start_many(waits.options(delay=9e6), range(450))
        infos.append(rt.wait_bulk(rt.start_bulk("cancel", ids=made).id))
        rt.clock.advance(86_400)
    assert [each.id for each in rt.bulks()] == [each.id for each in reversed(infos)]
    assert [each.id for each in rt.bulks(limit=1, before=infos[2].id)] == [infos[1].id]
    rt.clock.advance(4.5 * 86_400)
    assert rt.bulks() == [infos[2], infos[1]], "it has ended more than seven days ago"
    assert rt.bulk_outcomes(infos[0].id) == []
    assert rows_of(rt) == 2 * (1 + 3 + 3)
    rt.prune(all=True)
    assert rt.bulks() == []
    assert rows_of(rt) == 0


def rows_of(rt: InlineRuntime) -> int:
    """How many rows of bulks are on disk."""
    with rt._reader._read() as snapshot:
        return sum(1 for _ in snapshot.rows(Table.META, *bulk_rows.all_rows()))


def test_no_more_are_kept_than_so_many(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk_jobs, "KEPT", 2)
    infos = [
        rt.wait_bulk(rt.start_bulk("cancel", ids=rt.start_many(waits.options(delay=60), range(450))).id)
        for _ in range(4)
    ]
    rt.crash()
    rt.clock.advance(61)
    assert rt.bulks() == [infos[3], infos[2]]
    assert rows_of(rt) == 2 * (1 + 3 + 3)


def test_what_was_never_begun_leaves_nothing(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    made = rt.start_many(waits.options(delay=9e6), range(450))
    plan = rt.plan_bulk("cancel", "task:waits")

    def dies(self: BulkCalls, id: bytes) -> None:
        raise KeyboardInterrupt  # as if its process had been killed in front of the last request

    with monkeypatch.context() as patch:
        patch.setattr(BulkCalls, "read", dies)
        patch.setattr(BulkJobs, "_begin", lambda _self, _id: None)
        with pytest.raises(KeyboardInterrupt):
            rt.start_plan(plan)
    assert rt.bulks() == []
    assert rows_of(rt) == 1 + 3
    rt.crash()
    rt.clock.advance(bulk_jobs.ABANDONED - 60)
    assert rows_of(rt) == 1 + 3, "its client may still go on, after a crash, too"
    rt.clock.advance(200)
    assert rows_of(rt) == 0
    with pytest.raises(BulkNotFound, match="no bulk"):
        rt.cancel_bulk(id_text(plan.id))
    assert {rt.status(each).state for each in made} == {State.QUEUED}


def pieces(patch: pytest.MonkeyPatch, seen: Callable[[BulkJobs, Bulk], None]) -> None:
    """Have each piece seen once it is done."""
    piece = BulkJobs._piece

    def watched(self: BulkJobs, bulk: Bulk) -> None:
        piece(self, bulk)
        seen(self, bulk)

    patch.setattr(BulkJobs, "_piece", watched)


def test_a_short_one_does_not_wait_for_a_long_one(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    rt.start_many(waits.options(delay=9e6), range(20 * bulk_rows.PART))
    few = rt.start_many(works.options(delay=9e6), range(3))
    order: list[str] = []

    def seen(jobs: BulkJobs, bulk: Bulk) -> None:
        if not order:
            jobs.act(short.id, "begin")
        order.append("long" if bulk.total > 3 else "short")

    short = rt.plan_bulk("cancel", "task:works")
    with monkeypatch.context() as patch:
        patch.setattr(BulkJobs, "_begin", lambda _self, _id: None)
        patch.setattr(BulkCalls, "read", lambda _self, _id: None)
        rt.start_plan(short)
    pieces(monkeypatch, seen)
    assert rt.cancel_where("task:waits") == 20 * bulk_rows.PART
    assert order.index("short") <= 2
    assert order.count("long") == 20
    assert {rt.status(each).state for each in few} == {State.CANCELLED}


def test_others_have_their_turn_between_two_pieces(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    """Counted in turns of the loop and rows of a commit, because times say nothing on a busy machine."""
    rt.start_many(waits.options(delay=9e6), range(10 * bulk_rows.PART))
    turns = [0]
    at: list[int] = []
    tasks: list[int] = []

    def turn(loop: asyncio.AbstractEventLoop) -> None:
        turns[0] += 1
        if len(at) < 10:
            loop.call_soon(turn, loop)

    def seen(_jobs: BulkJobs, bulk: Bulk) -> None:
        if not at:
            turn(asyncio.get_running_loop())
        at.append(turns[0])
        tasks.append(bulk.done)

    pieces(monkeypatch, seen)
    assert rt.cancel_where("task:waits") == 10 * bulk_rows.PART
    assert tasks == [bulk_rows.PART * (each + 1) for each in range(10)], "so many in one commit"
    assert all(later > earlier for earlier, later in itertools.pairwise(at))


def test_large_tasks_are_retried_in_small_pieces_over_a_crash(
    rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bulk_jobs, "PIECE_BYTES", 100_000)
    large, count = 30_000, 20
    failed = rt.start_many(breaks, [(number, "x" * large) for number in range(count)])
    rt.settle()
    sizes: list[int] = []

    def seen(jobs: BulkJobs, bulk: Bulk) -> None:
        sizes.append(jobs._commits.store.batch.size)
        if len(sizes) == 2:
            patch.setattr(BulkJobs, "_next", lambda _self: None)  # it gets no further before the crash

    with pytest.MonkeyPatch.context() as patch:
        pieces(patch, seen)
        info = rt.start_bulk("retry", "task:breaks")
        rt.settle()
        half = rt.bulk(info.id)
        assert 0 < half.done < count < bulk_rows.PART
        outcomes = rt.bulk_outcomes(info.id)
        assert [each.outcome for each in outcomes] == ["retried"] * half.done + ["waits"] * (
            count - half.done
        )
        rt.crash()
    pieces(monkeypatch, lambda jobs, _bulk: sizes.append(jobs._commits.store.batch.size))
    rt.crash()
    assert rt.wait_bulk(info.id).outcomes == {"retried": count}
    assert len(sizes) >= count * large // (100_000 + large)
    assert max(sizes) <= 100_000 + large + 10_000
    assert rt.bulk_outcomes(info.id)[: half.done] == outcomes[: half.done]
    new = {rt.status(each.new_id or "").retry_of for each in rt.bulk_outcomes(info.id)}
    assert new == {each.id for each in failed}


def test_what_goes_wrong_with_one_task_is_its_outcome(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    infos = rt.start_many(waits.options(delay=60), range(3))
    cancel = Attempts.cancel

    def breaks_once(self: Attempts, id: bytes) -> bool:
        if id == infos[1].id_bytes:
            raise RuntimeError("a defect")
        return cancel(self, id)

    monkeypatch.setattr(Attempts, "cancel", breaks_once)
    ended = rt.wait_bulk(rt.start_bulk("cancel", ids=infos).id)
    assert (ended.state, ended.outcomes) == ("completed", {"cancelled": 2, "refused": 1})
    assert (ended.problem, ended.changed) == ("a defect", 2)
    assert [each.outcome for each in rt.bulk_outcomes(ended.id)] == ["cancelled", "refused", "cancelled"]


def test_one_whose_rows_are_damaged_has_failed(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    infos = rt.start_many(waits.options(delay=60), range(3))
    monkeypatch.setattr(BulkJobs, "_ends", lambda _self, _id, _part: [(1, None)])
    ended = rt.wait_bulk(rt.start_bulk("cancel", ids=infos).id)
    assert (ended.state, ended.done) == ("failed", 0)
    assert "1 outcomes, not 0" in ended.problem
    with pytest.raises(UnderstudyError, match=r"after 0 of 3 tasks.*1 outcomes"):
        rt.cancel_where("task:*")


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


@pytest.mark.parametrize("where", ["bulk.before:1", "bulk.after:1", "bulk.before:3", "bulk.after:3"])
def test_a_death_at_a_piece(where: str, home: Path, monkeypatch: pytest.MonkeyPatch):
    """One call goes over it, and each task has its outcome once."""
    died = home.parent / "died"
    monkeypatch.setenv(VARIABLE, f"{where}@{died}")
    count = 4 * bulk_rows.PART
    with Runtime(home, app=shop.__file__, workers=1, restarts=100, durability="os") as rt:
        infos = rt.start_many(shop.later.options(delay=9999), range(count))
        assert rt.cancel_where("task:*later") == count
        assert died.exists(), "or it never came to this point"
        (ended,) = rt.bulks()
        assert ended.outcomes == {"cancelled": count}
        told = [each.id for each in rt.bulk_outcomes(ended.id, limit=count)]
        assert sorted(told) == sorted(info.id for info in infos)
        assert {rt.status(id).state for id in told} == {State.CANCELLED}
    assert check(home).problems == []
