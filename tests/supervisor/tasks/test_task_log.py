"""A task's log on disk: in order, capped, and honest about what is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgpack

from understudy.actors.ids import new_id
from understudy.storage.tables.schema import Table, after_prefix, log_seq
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks.commit_loop import CommitLoop
from understudy.supervisor.tasks.task_log import ATTEMPT, NOTICE, TaskLog, attempt_mark


def opened(home: Path) -> CommitLoop:
    home.mkdir(mode=0o700, exist_ok=True)
    return CommitLoop(home, Settings(durability="os"))


def lines(commits: CommitLoop, id: bytes) -> list[tuple[int, str, str]]:
    return [
        (log_seq(key), level, text)
        for key, row in commits.scan(Table.LOGS, id, after_prefix(id))
        for _, level, text in msgpack.unpackb(row)
    ]


def test_lines_in_order(home: Path):
    async def story() -> None:
        commits, id = opened(home), new_id()
        tail = TaskLog(commits, id, 1 << 20, stored=False)
        tail.append([(1.0, "stdout", "one"), (2.0, "info", "two")])
        tail.append([(3.0, "stdout", "three")])
        await commits.settled()
        assert lines(commits, id) == [(1, "stdout", "one"), (1, "info", "two"), (2, "stdout", "three")]
        commits.close()

    asyncio.run(story())


def test_the_oldest_go_first_and_a_line_at_the_top_counts_them(home: Path):
    async def story() -> None:
        commits, id = opened(home), new_id()
        tail = TaskLog(commits, id, 1_000, stored=False)
        for n in range(200):
            tail.append([(float(n), "stdout", f"line {n}"), (float(n), "stdout", "x" * 50)])
            if n % 7 == 0:
                await commits.settled()
        await commits.settled()
        (number, level, text), *kept = lines(commits, id)
        assert (number, level) == (NOTICE, "notice")
        assert int(text.split()[0].replace(",", "")) + len(kept) == 400, "every line is there or counted"
        assert kept[-2][2] == "line 199"
        size = sum(
            len(row) for key, row in commits.scan(Table.LOGS, id, after_prefix(id)) if log_seq(key) != NOTICE
        )
        assert size <= 1_000
        commits.close()

    asyncio.run(story())


def test_the_next_supervisor_goes_on_where_the_last_one_stopped(home: Path):
    id, other = new_id(), new_id()

    async def write(start: int, *, stored: bool) -> None:
        commits = opened(home)
        tail = TaskLog(commits, id, 500, stored=stored)
        for n in range(start, start + 30):
            tail.append([(float(n), "stdout", f"line {n}")])
        TaskLog(commits, other, 500, stored=True).append([(0.0, "stdout", "of another task")])
        await commits.settled()
        commits.close()

    async def look() -> None:
        commits = opened(home)
        notice, *kept = lines(commits, id)
        assert int(notice[2].split()[0].replace(",", "")) + len(kept) == 90
        assert [text for _, _, text in kept] == [f"line {n}" for n in range(90 - len(kept), 90)]
        assert len(lines(commits, other)) == 3
        commits.close()

    asyncio.run(write(0, stored=False))
    asyncio.run(write(30, stored=True))
    asyncio.run(write(60, stored=True))
    asyncio.run(look())


def test_one_entry_larger_than_the_limit_stays(home: Path):
    async def story() -> None:
        commits, id = opened(home), new_id()
        tail = TaskLog(commits, id, 100, stored=False)
        tail.append([(0.0, "stdout", "x" * 500)])
        tail.append([(1.0, "stdout", "y" * 500)])
        await commits.settled()
        assert [text[0] for _, level, text in lines(commits, id) if level != "notice"] == ["y"]
        commits.close()

    asyncio.run(story())


def test_the_mark_of_an_attempt():
    assert attempt_mark(2, 4, 0) == (ATTEMPT, "--- attempt 2 of 4 ---")
    assert attempt_mark(1, 1, 1) == (ATTEMPT, "--- attempt 1 of 1, interrupted once ---")
    assert attempt_mark(2, 4, 3) == (ATTEMPT, "--- attempt 2 of 4, interrupted 3 times ---")
    # RetryLater may ask for more than the policy allows.
    assert attempt_mark(7, 1, 0) == (ATTEMPT, "--- attempt 7 ---")
