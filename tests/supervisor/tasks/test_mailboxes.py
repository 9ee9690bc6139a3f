"""Mailboxes: numbers, limits, what a worker is given ahead, what is acknowledged and what comes again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, room
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import MailboxClosed, MailboxFull, TaskNotFound
from understudy.actors.ids import new_id
from understudy.storage.tables.schema import Table, mail_key, mail_seq
from understudy.supervisor.tasks import mailboxes as mail_module
from understudy.supervisor.tasks.mailboxes import MailboxState
from understudy.supervisor.wire.messages import Order, Report


def numbers(it: Room, id: bytes) -> list[int]:
    return [mail_seq(key) for key, _ in it.rows(Table.MAIL, id)]


def accounts(it: Room, id: bytes) -> None:
    """What is in memory about a mailbox is what is on disk."""
    mail = it.mailboxes.mailbox_of(it.entry(id))
    rows = it.rows(Table.MAIL, id)
    sizes = {mail_seq(key): len(value) for key, value in rows}
    assert list(sizes) == list(range(mail.first, mail.last + 1))
    assert mail.count == len(sizes)
    assert mail.bytes == sum(sizes.values())
    assert mail.ahead == sum(sizes.get(n, 0) for n in range(mail.taken + 1, mail.given + 1))


async def running(it: Room, name: str = "quick") -> tuple[bytes, Puppet]:
    id = it.add(name)
    await it.settle()
    (assignment,) = it.workers[0].begin()
    assert assignment.id == id
    return id, it.workers[0]


def test_messages_wait_for_a_task_that_has_not_begun(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            id = it.add()
            it.mailboxes.send([(id, b"one"), (id, b"two")])
            await it.settle()
            assert numbers(it, id) == [1, 2]
            it.hire()
            await it.settle()
            assert it.workers[0].messages(id) == [(1, b"one"), (2, b"two")]
            it.mailboxes.send([(id, b"three")])
            await it.settle()
            assert it.workers[0].messages(id)[2:] == [(3, b"three")]
            accounts(it, id)

    asyncio.run(story())


def test_acknowledged_ones_go_and_the_others_come_again(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, b"%d" % n) for n in range(1, 6)])
            await it.settle()
            worker.report(Report.TAKEN, [(id, 3, 2)])
            await it.settle()
            assert numbers(it, id) == [3, 4, 5]
            accounts(it, id)
            worker.done(id, Ending.INTERRUPTED, acked=3)
            await it.settle()
            assert numbers(it, id) == [4, 5]
            before = len(worker.messages(id))
            assert worker.messages(id)[before - 2 :] == [(4, b"4"), (5, b"5")]
            accounts(it, id)

    asyncio.run(story())


def test_a_mailbox_survives_its_supervisor(home: Path):
    async def first() -> bytes:
        async with room(home) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, b"%d" % n) for n in range(1, 4)])
            worker.report(Report.TAKEN, [(id, 1, 1)])
            await it.until(lambda: it.attempt(id).begun)
            await it.settle()
            return id

    async def second(id: bytes) -> None:
        async with room(home) as it:
            it.attempts.recover()
            it.mailboxes.send([(id, b"4")])
            await it.settle()
            assert it.workers[0].messages(id) == [(2, b"2"), (3, b"3"), (4, b"4")]
            accounts(it, id)

    asyncio.run(second(asyncio.run(first())))


def test_only_so_much_is_given_ahead(home: Path, monkeypatch: Any):
    monkeypatch.setattr(mail_module, "AHEAD_MESSAGES", 10)
    monkeypatch.setattr(mail_module, "AHEAD_BYTES", 1_000)

    async def story() -> None:
        async with room(home) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, b"%d" % n) for n in range(1, 101)])
            await it.settle()
            assert len(worker.messages(id)) == 10
            taken = 0
            while taken < 100:
                given = len(worker.messages(id))
                assert given - taken <= 10
                assert given > taken, "a task that takes what it was given gets more"
                taken = given
                worker.report(Report.TAKEN, [(id, taken, 0)])
                await it.settle()
                accounts(it, id)
            assert [number for number, _ in worker.messages(id)] == list(range(1, 101))
            it.mailboxes.send([(id, bytes(600)) for _ in range(5)])
            await it.settle()
            assert len(worker.messages(id)) == 102, "600 bytes are below the limit, 1,200 are not"

    asyncio.run(story())


def test_all_letters_are_posted_or_none(home: Path):
    async def story() -> None:
        async with room(home, workers=0, mailbox_messages=3, mailbox_bytes=100) as it:
            open_, closed, ended = it.add(), it.add(), it.add()
            it.mailboxes.close(it.entry(closed))
            it.attempts.cancel(ended)
            unknown = new_id()
            refusals: list[tuple[Any, bytes, bytes]] = [
                (MailboxClosed, closed, b"x"),
                (MailboxClosed, ended, b"x"),
                (TaskNotFound, unknown, b"x"),
                (MailboxFull, open_, bytes(101)),
            ]
            for kind, id, value in refusals:
                with pytest.raises(kind) as caught:
                    it.mailboxes.send([(open_, b"first"), (id, value)])
                assert caught.value.id.replace("-", "") == id.hex()
            with pytest.raises(MailboxFull):
                it.mailboxes.send([(open_, b"x")] * 4)
            it.mailboxes.send([(open_, b"x")] * 3)
            with pytest.raises(MailboxFull) as caught:
                it.mailboxes.send([(open_, b"x")])
            assert (caught.value.messages, caught.value.bytes) == (3, 3)
            await it.settle()
            assert len(it.rows(Table.MAIL)) == 3

    asyncio.run(story())


def test_the_limit_of_bytes_counts_what_waits(home: Path):
    async def story() -> None:
        async with room(home, mailbox_bytes=100) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, bytes(60)), (id, bytes(40))])
            with pytest.raises(MailboxFull):
                it.mailboxes.send([(id, b"x")])
            worker.report(Report.TAKEN, [(id, 1, 1)])
            it.mailboxes.send([(id, bytes(60))])
            with pytest.raises(MailboxFull):
                it.mailboxes.send([(id, b"x")])

    asyncio.run(story())


@pytest.mark.parametrize("when", ["before it began", "while it runs"])
def test_a_closed_mailbox_ends_after_its_last_message(home: Path, when: str, monkeypatch: Any):
    monkeypatch.setattr(mail_module, "AHEAD_MESSAGES", 2)

    async def story() -> None:
        async with room(home, workers=0) as it:
            id = it.add()
            if when == "while it runs":
                it.hire()
                await it.settle()
            it.mailboxes.send([(id, b"%d" % n) for n in range(1, 5)])
            it.mailboxes.close(it.entry(id))
            it.mailboxes.close(it.entry(id))
            with pytest.raises(MailboxClosed):
                it.mailboxes.send([(id, b"late")])
            if when == "before it began":
                it.hire()
            await it.settle()
            worker = it.workers[0]
            assert worker.told(Order.CLOSE) == []
            worker.report(Report.TAKEN, [(id, 2, 0)])
            await it.settle()
            assert [number for number, _ in worker.messages(id)] == [1, 2, 3, 4]
            kinds = [frame[0] for frame in worker.orders]
            assert kinds.index(Order.CLOSE) > max(n for n, kind in enumerate(kinds) if kind == Order.MESSAGES)

    asyncio.run(story())


def test_what_an_attempt_was_told_of_a_close_does_not_reach_the_next_one(home: Path, monkeypatch: Any):
    """The next attempt may begin within the same turn, on the same worker, and get the messages in portions again."""
    monkeypatch.setattr(mail_module, "AHEAD_MESSAGES", 2)

    async def story() -> None:
        async with room(home) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, b"%d" % n) for n in range(1, 5)])
            it.mailboxes.close(it.entry(id))
            await it.settle()
            worker.report(Report.TAKEN, [(id, 2, 0)])
            await it.settle()
            assert len(worker.told(Order.CLOSE)) == 1
            worker.orders.clear()
            # It has taken the rest, acknowledged nothing, and is interrupted: all that in one turn.
            worker.report(Report.TAKEN, [(id, 4, 0)])
            worker.done(id, Ending.INTERRUPTED)
            await it.settle()
            assert len(worker.begin()) == 1
            assert worker.messages(id) == [(1, b"1"), (2, b"2")]
            assert worker.told(Order.CLOSE) == []
            worker.report(Report.TAKEN, [(id, 2, 0)])
            await it.settle()
            assert worker.messages(id)[2:] == [(3, b"3"), (4, b"4")]
            assert worker.told(Order.CLOSE) == [(Order.CLOSE, id)]

    asyncio.run(story())


def test_an_empty_mailbox_that_was_closed_before_the_task_began(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            id = it.add()
            it.mailboxes.close(it.entry(id))
            await it.settle()
            it.hire()
            await it.settle()
            assert it.workers[0].told(Order.CLOSE) == [(Order.CLOSE, id)]

    asyncio.run(story())


def test_claims_beyond_what_was_given_are_cut(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id, worker = await running(it)
            it.mailboxes.send([(id, b"1"), (id, b"2")])
            await it.settle()
            worker.report(Report.TAKEN, [(id, 99, 99)])
            await it.settle()
            accounts(it, id)
            it.mailboxes.send([(id, b"3")])
            await it.settle()
            assert worker.messages(id)[-1] == (3, b"3")
            accounts(it, id)

    asyncio.run(story())


def test_a_checkpoint_acknowledges_and_posts_in_one_commit(home: Path):
    async def story() -> None:
        async with room(home, workers=1) as it:
            other = it.add(due=1e11)
            id, worker = await running(it)
            it.mailboxes.send([(id, b"1"), (id, b"2")])
            await it.settle()
            worker.report(Report.CHECKPOINT, 7, id, b"state", 1, [[(other, b"hello")]])
            await it.settle()
            assert worker.told(Order.OK) == [(Order.OK, 7, None)]
            assert numbers(it, id) == [2]
            assert numbers(it, other) == [1]
            assert it.rows(Table.CHECKPOINTS) == [(id, b"state")]
            worker.report(Report.CHECKPOINT, 8, id, b"newer", 2, [[(new_id(), b"lost")]])
            await it.settle()
            (refused,) = worker.told(Order.ERROR)
            assert refused[1:3] == (8, "TaskNotFound")
            assert numbers(it, id) == [2], "nothing of a refused checkpoint has happened"
            assert it.rows(Table.CHECKPOINTS) == [(id, b"state")]

    asyncio.run(story())


def test_the_books_of_a_mailbox_that_much_goes_through(monkeypatch: Any):
    monkeypatch.setattr(mail_module, "AHEAD_MESSAGES", 50)
    monkeypatch.setattr(mail_module, "AHEAD_BYTES", 200)
    monkeypatch.setattr(mail_module, "FORGET_AFTER", 8)
    draw = random.Random(7)
    mail, sizes = MailboxState(), [0]
    for _ in range(3_000):
        new = [draw.randrange(40) for _ in range(draw.randrange(12))]
        mail.add(new)
        sizes += new
        expected, ahead = 0, sum(sizes[mail.taken + 1 : mail.given + 1])
        for number in range(mail.given + 1, min(mail.last, mail.taken + 50) + 1):
            if ahead >= 200:
                break
            ahead += sizes[number]
            expected += 1
        assert mail.fitting() == expected
        mail.given += expected
        mail.taken = draw.randint(mail.taken, mail.given)
        mail.acknowledged(draw.randint(mail.first - 1, mail.taken))
        if draw.random() < 0.01:
            mail.rewind()
        assert mail.last == len(sizes) - 1
        assert mail.bytes == sum(sizes[mail.first :])
        assert mail.ahead == sum(sizes[mail.taken + 1 : mail.given + 1])
        assert len(mail._totals) <= 2 * mail.count + 20


def test_a_mailbox_as_it_is_found_on_disk():
    assert (MailboxState.of({}).first, MailboxState.of({}).last, MailboxState.of({}).fitting()) == (1, 0, 0)
    mail = MailboxState.of({5: 10, 6: 20, 7: 30})
    assert (mail.first, mail.last, mail.given, mail.taken, mail.count, mail.bytes) == (5, 7, 4, 4, 3, 60)
    assert mail.fitting() == 3


def test_what_is_dealt_with_before_its_commit_is_not_written(home: Path, monkeypatch: Any):
    async def story() -> None:
        async with room(home) as it:
            id, worker = await running(it)
            written: list[dict[bytes, bytes | None]] = []
            commit = it.commits.store._environment.commit
            monkeypatch.setattr(
                it.commits.store._environment,
                "commit",
                lambda batch, **how: (written.append(dict(batch.rows[Table.MAIL])), commit(batch, **how))[1],
            )
            it.mailboxes.send([(id, b"1"), (id, b"2")])
            it.mailboxes.progress(it.entry(id), 1, 1)
            await it.settle()
            assert [key for rows in written for key in rows] == [mail_key(id, 2)]
            worker.report(Report.TAKEN, [(id, 2, 2)])
            await it.settle()
            assert written[-1] == {mail_key(id, 2): None}
            assert numbers(it, id) == []
            accounts(it, id)

    asyncio.run(story())
