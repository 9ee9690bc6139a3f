"""Cancels and retries of all tasks that fit a query, with an inline runtime; killed half way in the scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from understudy import InvalidOption, InvalidQuery, Retry, State, current, receive, sleep, task
from understudy.actors.ids import id_bytes
from understudy.supervisor.client import bulk_calls
from understudy.testing import InlineRuntime


@task
def waits(number: int) -> None:
    receive()


@task
def breaks(number: int) -> None:
    raise ValueError(f"row {number}")


@task(timeout=1, grace=1)
def hangs() -> None:
    sleep(60)


@task(retry=Retry(attempts=1, delay=1))
def works(number: int) -> int:
    return current().attempt


@pytest.fixture
def rt(monkeypatch: pytest.MonkeyPatch) -> Iterator[InlineRuntime]:
    monkeypatch.setattr(bulk_calls, "PAGE", 7)
    with InlineRuntime() as runtime:
        yield runtime


def states(rt: InlineRuntime, query: str) -> dict[State, int]:
    found: dict[State, int] = {}
    for record in rt.search(query, limit=10_000):
        found[record.state] = found.get(record.state, 0) + 1
    return found


def test_all_that_fit_are_cancelled(rt: InlineRuntime) -> None:
    rt.start_many(waits, range(20))
    rt.start_many(waits.options(delay=60), range(20, 40))
    rt.start_many(works, range(5))
    assert rt.cancel_where("task:waits args.0:1?", dry_run=True) == 10
    assert states(rt, "state:cancelled") == {}
    assert rt.cancel_where("task:waits args.0:1?") == 10
    assert rt.cancel_where("task:waits args.0:1?") == 0, "there are none left"
    assert states(rt, "task:waits state:cancelled") == {State.CANCELLED: 10}
    assert rt.cancel_where("state:queued") == 20
    assert rt.cancel_where("task:*", dry_run=True) == rt.cancel_where("task:*") == 10
    assert states(rt, "task:works") == {State.COMPLETED: 5}


def test_failed_tasks_that_fit_are_retried_once(rt: InlineRuntime) -> None:
    infos = rt.start_many(breaks, range(20))
    rt.start_many(works, range(3))
    rt.start(hangs)
    rt.clock.advance(10)
    assert rt.retry_where("task:breaks", dry_run=True) == 20
    assert len(rt.search("task:breaks", limit=100)) == 20
    assert rt.retry_where("task:breaks") == 20
    new = [record for record in rt.search("task:breaks", limit=100) if record.retry_of]
    assert sorted(record.retry_of or "" for record in new) == sorted(info.id for info in infos)
    # The new ones have failed, too, and nothing retries them so far.
    assert rt.retry_where("task:breaks") == 20
    assert rt.retry_where("state:failed,timed_out", dry_run=True) == 21
    assert rt.retry_where("task:*") == 21


def test_other_states_are_retried_if_the_query_names_them(rt: InlineRuntime) -> None:
    rt.start_many(works, range(3))
    rt.start_many(waits, range(3))
    rt.cancel_where("args.0:0")
    assert rt.retry_where("task:*") == 0
    assert rt.retry_where("state:cancelled,running,queued") == 1
    assert rt.retry_where("state:completed task:works") == 3
    assert rt.retry_where("-state:completed", dry_run=True) == 0


def test_two_requests_for_one_task_make_one_retry(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    info = rt.start(breaks, 1)
    rt.clock.advance(1)
    # As if another program had read the same page.
    monkeypatch.setattr(rt._reader, "not_retried", lambda ids: [*ids, *ids, id_bytes(info.id)])
    assert rt.retry_where("task:breaks") == 1
    assert len(rt.search("task:breaks")) == 2


def test_a_retry_that_is_pruned_leaves_no_trace(rt: InlineRuntime) -> None:
    rt.start(breaks.options(keep=None), 1)
    rt.retry_where("task:breaks")
    rt.prune(all=True)
    assert rt.retry_where("task:breaks", dry_run=True) >= 1


@pytest.mark.parametrize("call", ["cancel_where", "retry_where"])
def test_a_mistake_is_pointed_at_and_changes_nothing(rt: InlineRuntime, call: str) -> None:
    rt.start_many(waits, range(3))
    do: Any = getattr(rt, call)
    with pytest.raises(InvalidQuery) as caught:
        do("task:waits state:wating")
    assert caught.value.column == 18
    for empty in ("", "  "):
        with pytest.raises(InvalidQuery, match=r"state:queued.*task:\* for all"):
            do(empty)
    for wrong in (1, "no"):
        with pytest.raises(InvalidOption, match="dry_run"):
            do("task:waits", dry_run=wrong)
    with pytest.raises(InvalidQuery, match="a query is a text"):
        do(None)
    assert states(rt, "task:waits") == {State.RUNNING: 3}


def test_a_retry_is_as_old_as_its_call(rt: InlineRuntime) -> None:
    rt.wait(rt.start(breaks, 1))
    rt.clock.advance(86_400)
    assert rt.retry_where("task:breaks") == 1
    assert len(rt.search("task:breaks newer:1h")) == 1
