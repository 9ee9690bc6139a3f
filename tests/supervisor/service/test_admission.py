"""The door: ids, and what a start asked twice costs. What it refuses, and all-or-nothing, is in test_service.py."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from room import room
from understudy.actors import values
from understudy.actors.box.conf import BOX
from understudy.actors.errors import InvalidOption, InvalidValue, MailboxClosed, UnknownTask, ValueTooLarge
from understudy.actors.ids import new_id
from understudy.storage.tables.schema import Table
from understudy.supervisor.service.admission import Admission


def row(id: bytes, key: str | None = None) -> tuple[object, ...]:
    return (id, "quick", None, None, key, None, id, None)


def test_values(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            admission.check_values([], "it")
            admission.check_values([bytes(10), b""], "it")
            with pytest.raises(ValueTooLarge, match="11 bytes") as caught:
                admission.check_values([b"", bytes(11)], "it")
            assert (caught.value.size, caught.value.limit) == (11, 10)
            with pytest.raises(InvalidValue, match="not str"):
                admission.check_values([b"", "text"], "it")

    asyncio.run(story())


def test_an_id_older_than_the_newest_is_looked_up(home: Path):
    """Another client's clock may be behind: such an id is new all the same, and one that is on disk is not."""

    async def first() -> bytes:
        async with room(home, workers=0) as it:
            id = it.add()
            it.attempts.cancel(id)
            await it.settle()
            return id

    async def second(id: bytes) -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            older = id[:5] + bytes((max(0, id[5] - 1),)) + id[6:]
            assert admission.start([row(id)]) is None
            assert admission.start([row(older)]) is None
            await it.settle()
            assert it.record(id).terminal
            assert not it.record(older).terminal

    asyncio.run(second(asyncio.run(first())))


def test_many_keys_that_are_there_already_are_no_work_in_proportion_to_their_square(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            first = [row(new_id(), f"key {n}") for n in range(5_000)]
            assert admission.start(first) is None
            await it.settle()
            again = [row(new_id(), f"key {n // 2 if n % 2 else n}") for n in range(5_000)]
            started = time.process_time()
            there = admission.start([*again, *again])
            assert time.process_time() - started < 2
            assert there is not None
            assert set(there) <= {one[0] for one in first}
            await it.settle()
            assert it.commits.store.count(Table.TASKS) == 5_000

    asyncio.run(story())


def test_a_container_without_standard_input_takes_no_messages(home: Path):
    def args(**conf: object) -> bytes:
        return values.pack([[{"image": "alpine", **conf}, 10.0], {}], "arguments", 1000)

    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 1000)
            reads, deaf = new_id(), new_id()
            both = ((reads, args(stdin=True)), (deaf, args()))
            admission.start([(id, BOX, packed, None, None, None, id, None) for id, packed in both])
            assert [it.record(id).closed for id in (reads, deaf)] == [False, True]
            it.mailboxes.send([(reads, b"x")])
            with pytest.raises(MailboxClosed, match=r"BoxConf\(stdin=True\)"):
                it.mailboxes.send([(deaf, b"x")])
            it.attempts.cancel(deaf)
            again = new_id()
            admission.retry(deaf, again, from_scratch=False)
            assert it.record(again).closed

    asyncio.run(story())


def test_what_was_started_is_not_checked_again(home: Path):
    """The answer to the first start was lost, and the next supervisor serves another app: it stays started."""

    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            first, second, again = row(new_id()), row(new_id(), "key"), new_id()
            assert admission.start([first, second]) is None
            await it.settle()
            it.table.declared.tasks.clear()
            assert admission.start([first]) is None
            assert admission.start([second, row(again, "key")]) == [second[0], second[0]]
            with pytest.raises(UnknownTask):
                admission.start([first, row(again)])
            await it.settle()
            assert it.table.record(again) is None

    asyncio.run(story())


def test_metadata_is_kept_apart_from_the_options(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            one, two, three = (new_id() for _ in range(3))
            both = {"priority": 1, "metadata": {"a": "b"}}
            alone = {"metadata": {"c": "d"}}
            rows = [
                (id, "quick", None, options, None, None, id, None)
                for id, options in ((one, both), (two, alone))
            ]
            assert admission.start([*rows, row(three)]) is None
            await it.settle()
            assert (it.record(one).metadata, it.record(one).options) == ({"a": "b"}, {"priority": 1})
            assert (it.record(two).metadata, it.record(two).options) == ({"c": "d"}, None)
            assert "metadata" not in vars(it.record(three)), "tasks without it pay nothing"
            with pytest.raises(InvalidOption, match="metadata"):
                admission.start([(new_id(), "quick", None, {"metadata": {"a": 1}}, None, None, one, None)])

    asyncio.run(story())


def test_the_kinds_that_a_client_may_give(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            admission = Admission(it.commits, it.table, 10)
            id = new_id()
            for kind in ("event", "schedule", "", None, 7):
                with pytest.raises(InvalidOption, match="of the kind"):
                    admission.start([row(id)], kind)
            assert it.table.record(id) is None
            admission.start([row(id)], "call")
            await it.settle()
            assert it.record(id).kind == "call"

    asyncio.run(story())
