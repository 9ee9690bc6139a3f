"""Tasks that are linked to the one that starts them: they are cancelled when it has ended, and not before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tie_tasks as app
from room import room
from understudy import (
    BoxConf,
    InvalidOption,
    MailboxClosed,
    NotInTask,
    State,
    Supervisor,
    SupervisorLost,
    box,
    child,
)
from understudy.actors.ids import new_id
from understudy.storage.tables.link_rows import LINK
from understudy.storage.tables.schema import Table, after_prefix
from understudy.supervisor.tasks import links as links_module
from understudy.testing import InlineRuntime


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime() as runtime:
        yield runtime


def family(rt: InlineRuntime, task: Any = app.parent, *args: Any) -> tuple[str, list[str]]:
    """A parent that runs, and its children."""
    id = rt.start(task, *args).id
    rt.settle()
    return id, rt.restore(id)


def states(rt: InlineRuntime, ids: list[str]) -> set[State]:
    rt.settle()
    return {rt.status(id).state for id in ids}


def rows(rt: InlineRuntime) -> int:
    """The links on disk."""
    rt.settle()
    return len(rt._rows.scan(Table.ACTORS, LINK, after_prefix(LINK)))


# --- ends of the parent ---


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ("return", "completed"),
        ("raise", "failed"),
        ("fail", "failed"),
        ("cancel", "cancelled"),
        ("hang", "timed_out"),
    ],
)
def test_children_are_cancelled_when_the_parent_has_ended(rt: InlineRuntime, how: str, state: str):
    task = app.parent.options(timeout=100, grace=1)
    parent, children = family(rt, task, 3)
    assert rows(rt) == 3
    assert states(rt, children) == {State.RUNNING}
    rt.cancel(parent) if how == "cancel" else rt.send(parent, how)
    assert rt.wait(parent, 500).state == state
    assert states(rt, children) == {State.CANCELLED}
    assert [rt.status(id).options for id in children] == [{}] * 3
    assert rows(rt) == 0


def test_children_are_cancelled_when_the_parent_is_poisoned():
    with InlineRuntime(max_crashes=2) as rt:
        parent, children = family(rt)
        rt.kill_worker(parent)
        rt.settle()
        assert rt.status(parent).state == "running"
        assert states(rt, children) == {State.RUNNING}, "an interruption or a death is no end"
        for _ in range(4):
            if rt.status(parent).ended_already:
                break
            rt.kill_worker(parent)
            rt.settle()
        assert rt.status(parent).error.type == "Poisoned"
        assert states(rt, children) == {State.CANCELLED}


def test_children_live_on_while_the_parent_is_retried(rt: InlineRuntime):
    parent, children = family(rt, app.parent.options(retry=app.RETRY))
    rt.send(parent, "raise")
    rt.settle()
    assert (rt.status(parent).state, rt.status(parent).attempt) == ("queued", 2)
    assert states(rt, children) == {State.RUNNING}
    rt.clock.advance(60)
    assert (rt.status(parent).state, rt.status(parent).attempt) == ("running", 2)
    rt.send(parent, "later")
    rt.settle()
    assert states(rt, children) == {State.RUNNING}
    rt.send(parent, "return")
    assert rt.result(parent, 10) == "returned"
    assert states(rt, children) == {State.CANCELLED}


def test_children_live_on_over_a_crash_of_the_supervisor(rt: InlineRuntime):
    parent, children = family(rt)
    rt.crash()
    rt.settle()
    assert states(rt, [parent, *children]) == {State.RUNNING}
    rt.send(parent, "return")
    assert rt.result(parent, 10) == "returned"
    assert states(rt, children) == {State.CANCELLED}


@pytest.mark.parametrize(
    "point",
    [
        f"{point}.{side}"
        for point in ("unlink", "commit", "acknowledge", "result")
        for side in ("before", "after")
    ],
)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_children_are_cancelled_wherever_the_supervisor_dies(rt: InlineRuntime, point: str, nth: int):
    parent, children = family(rt, app.parent, 5)
    rt.crash_at(point, nth)
    try:
        rt.send(parent, "return")
    except SupervisorLost:
        with suppress(MailboxClosed):
            rt.send(parent, "return")
    assert rt.result(parent, 10) == "returned"
    assert states(rt, children) == {State.CANCELLED}
    assert rows(rt) == 0


@pytest.mark.parametrize("point", ["link.before", "link.after", "commit.before", "commit.after"])
def test_a_start_that_is_cut_off_makes_no_child_that_nobody_ends(rt: InlineRuntime, point: str):
    rt.crash_at(point, 1)
    parent = rt.start(app.parent, 1, "only").id
    rt.settle()
    children = [record.id for record in rt.list(task="ties:rest")]
    assert len(children) == 1, "it has a key, and the parent has started again"
    rt.send(parent, "return")
    assert rt.result(parent, 10) == "returned"
    assert states(rt, children) == {State.CANCELLED}


def test_a_queued_child_is_cancelled_at_once():
    with InlineRuntime(slots=1, workers=1) as rt:
        parent = rt.start(app.parent, 1).id
        rt.settle()
        (waiting,) = rt.restore(parent)
        delayed = rt.start(app.starts_delayed)
        (later,) = rt.result(delayed, 10)
        assert rt.status(later).state == "cancelled"
        assert rt.status(later).started is None
        assert rt.status(waiting).state == "running"


def test_the_children_of_children_follow(rt: InlineRuntime):
    ids = [rt.start(app.family, 6).id]
    rt.settle()
    while rt.restore(ids[-1]):
        ids += rt.restore(ids[-1])
    assert len(ids) == 7
    assert states(rt, ids) == {State.RUNNING}
    rt.send(ids[0], "end")
    assert states(rt, ids[1:]) == {State.CANCELLED}
    assert rows(rt) == 0


def test_many_children_are_cancelled_in_parts(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(links_module, "AT_ONCE", 3)
    parent, children = family(rt, app.parent, 10)
    other, others = family(rt, app.parent, 7)
    rt.crash_at("unlink.after", 2)
    rt.send(parent, "return")
    rt.send(other, "return")
    assert states(rt, children + others) == {State.CANCELLED}
    assert rows(rt) == 0


def test_children_of_an_actor_end_with_it(rt: InlineRuntime):
    boss = rt.actor(app.Boss, "ada")
    child = boss.call("hire")
    rt.clock.advance(60)
    assert rt.status(boss.id).worker_pid is None
    assert states(rt, [child]) == {State.RUNNING}, "a passive actor has not ended"
    rt.crash()
    other = boss.call("hire")
    assert states(rt, [child, other]) == {State.RUNNING}
    boss.stop()
    assert states(rt, [child, other]) == {State.CANCELLED}


def test_a_child_may_end_first(rt: InlineRuntime):
    parent, (first, second) = family(rt)
    rt.close(first)
    assert rt.result(first, 10) == "closed"
    assert rows(rt) == 1
    rt.send(parent, "return")
    assert states(rt, [second]) == {State.CANCELLED}
    assert rt.status(first).state == "completed"


def test_containers_and_async_tasks_are_linked_as_well(rt: InlineRuntime):
    starter = rt.start(app.starts_async)
    (id,) = rt.result(starter, 10)
    assert states(rt, [id]) == {State.CANCELLED}
    task, _ = box.call(BoxConf(image="alpine"), link=True)
    assert task.launch.link is True


def test_start_many_and_calls_are_linked(rt: InlineRuntime):
    starter = rt.start(app.starts_many)
    ids = rt.result(starter, 10)
    assert len(ids) == 4
    assert states(rt, ids[:3]) == {State.CANCELLED}
    assert rt.status(ids[3]).state == "running", "that one is not linked"


def test_a_child_that_is_there_is_not_linked_anew(rt: InlineRuntime):
    there = rt.start(app.rest.options(key="there")).id
    parent = rt.start(app.parent, 1, "there").id
    rt.settle()
    assert rt.restore(parent) == [there]
    rt.send(parent, "return")
    assert rt.result(parent, 10) == "returned"
    assert states(rt, [there]) == {State.RUNNING}


def test_a_retry_of_a_child_is_a_task_of_its_own(rt: InlineRuntime):
    parent, children = family(rt)
    rt.send(parent, "return")
    assert states(rt, children) == {State.CANCELLED}
    again = rt.retry(children[0])
    assert states(rt, [again.id]) == {State.RUNNING}


def test_link_says_which_of_several_options_holds():
    assert app.rest.options(link=True).options(priority=1).launch.link is True
    assert app.rest.options(link=True).options(link=False).launch.link is False
    assert app.rest.options(link=True).launch.extras() == {"linked": True}
    assert app.rest.options(link=False).packed_changes() is None


# --- what is refused ---


def test_only_a_task_has_linked_children(rt: InlineRuntime):
    linked = app.rest.options(link=True)
    for start in (
        lambda: rt.start(linked),
        lambda: rt.run(linked),
        lambda: rt.start_many(linked, [()]),
        lambda: rt.start_many([linked.call()]),
    ):
        with pytest.raises(NotInTask, match="link=True works only inside a running task"):
            start()
    assert rt.list() == []


def test_what_is_started_by_others_cannot_be_linked(rt: InlineRuntime):
    with pytest.raises(InvalidOption, match="started by its schedule"):
        rt.schedule(app.rest.options(link=True), every=60)
    with pytest.raises(InvalidOption, match=r"child 'a'.*its tree's"):
        Supervisor("shop", children=[child("a", app.rest.options(link=True))])
    with pytest.raises(InvalidOption, match="link must be True or False: 'yes'"):
        app.rest.options(link="yes")


# --- what only the supervisor sees ---


def test_a_parent_that_has_ended_before_the_start(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            parent, gone = it.add(), new_id()
            it.attempts.cancel(parent)
            await it.settle()
            admission = it.service._admission
            ids = [new_id() for _ in range(3)]
            options = {"linked": True}
            admission.start(
                [
                    (ids[0], "quick", None, options, None, None, ids[0], parent),
                    (ids[1], "quick", None, options, None, None, ids[1], gone),
                    (ids[2], "quick", None, None, None, None, ids[2], parent),
                ]
            )
            await it.settle()
            assert [str(it.state(id)) for id in ids] == ["cancelled", "cancelled", "queued"]
            assert it.rows(Table.ACTORS, LINK) == []
            for bad, why in (
                ({"linked": 1}, "link must be True or False"),
                ({"linked": True}, "that another one starts"),
            ):
                id = new_id()
                with pytest.raises(InvalidOption, match=why):
                    admission.start([(id, "quick", None, bad, "key", None, id, None)])
                assert it.table.record(id) is None
                assert it.commits.get(Table.KEYS, b"key") is None
            with pytest.raises(InvalidOption, match="started by a schedule"):
                admission.check_task("quick", None, options)

    asyncio.run(story())


def test_one_child_that_cannot_be_cancelled_keeps_no_other(home: Path, caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        async with room(home, workers=0) as it:
            parent = it.add()
            ids = sorted(new_id() for _ in range(3))
            it.service._admission.start(
                [(id, "quick", None, {"linked": True}, None, None, id, parent) for id in ids]
            )
            cancel = it.core.aftermath._cancel

            def broken(id: bytes) -> bool:
                if id == ids[1]:
                    raise ValueError("damaged")
                return cancel(id)

            it.core.aftermath._cancel = broken
            with caplog.at_level(logging.ERROR, "understudy"):
                it.attempts.cancel(parent)
                await it.settle()
                await it.settle()
            assert [str(it.state(id)) for id in ids] == ["cancelled", "queued", "cancelled"]
            assert "is not cancelled" in caplog.text
        async with room(home, workers=0) as it:  # the next supervisor tries it again
            it.core.recover()
            await it.settle()
            assert str(it.state(ids[1])) == "cancelled"
            assert it.rows(Table.ACTORS, LINK) == []

    asyncio.run(story())


def test_nothing_is_cancelled_after_the_stop(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            parent, id = it.add(), new_id()
            it.service._admission.start([(id, "quick", None, {"linked": True}, None, None, id, parent)])
            it.attempts.cancel(parent)
            it.core.aftermath.stop()
            await it.settle()
            assert str(it.state(id)) == "queued"
        async with room(home, workers=0) as it:
            it.core.recover()
            it.core.aftermath.stop()
            it.core.aftermath.stop()  # a second time, too
            await it.settle()
            assert str(it.state(id)) == "queued"

    asyncio.run(story())


def test_few_children_do_not_wait_for_many_others(monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.setattr(links_module, "AT_ONCE", 2)

    async def story() -> None:
        async with room(home, workers=0) as it:
            many, few = it.add(), it.add()
            children = {parent: [new_id() for _ in range(count)] for parent, count in ((many, 20), (few, 1))}
            ended: list[bytes] = []
            cancel = it.core.aftermath._cancel
            it.core.aftermath._cancel = lambda id: (ended.append(id), cancel(id))[1]
            for parent, ids in children.items():
                it.service._admission.start(
                    [(id, "quick", None, {"linked": True}, None, None, id, parent) for id in ids]
                )
                it.attempts.cancel(parent)
            await it.until(lambda: len(ended) == 21)
            assert ended.index(children[few][0]) < 6

    asyncio.run(story())


def test_what_fails_keeps_nothing_else(home: Path, caplog: pytest.LogCaptureFixture):
    async def story() -> None:
        async with room(home, workers=0) as it:
            parent, id = it.add(), new_id()
            it.service._admission.start([(id, "quick", None, {"linked": True}, None, None, id, parent)])
            with caplog.at_level(logging.ERROR, "understudy"):
                it.core.aftermath.begin(iter(map(_breaks, [0])))
                it.attempts.cancel(parent)
                await it.until(lambda: str(it.state(id)) == "cancelled")
            assert "is not done before the next start" in caplog.text

    asyncio.run(story())


def _breaks(_: int) -> None:
    raise ValueError("damaged")
