"""Attempts, failures and windows of a home that is killed at any moment: they say what the records say."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import stage_tasks as stage
from theatre import PATIENCE, kill, ready, runtime
from understudy import AsyncRuntime, Retry, Runtime, State
from understudy.storage.check import check
from waiting import until


def agree(home: Path, rt: Runtime) -> None:
    """What is counted equals what the records say, nothing being pruned."""
    records = rt.list(limit=100_000)
    by_name = Counter((record.task, record.state) for record in records)
    found = rt.stats(3_600)
    for name, each in found.tasks.items():
        own = [record for record in records if record.task == name]
        ended = {state: by_name[name, state] for state in State if by_name[name, state] and state in ENDED}
        assert each.ended == ended, name
        assert each.retried == sum(record.attempt - 1 for record in own), name
        timed = sum(record.state is not State.CANCELLED for record in own if record.ended)
        assert each.run.count == each.wait.count == timed + each.retried, name
    assert sum(found.ended.values()) == sum(record.ended is not None for record in records)
    failed = [record for record in records if record.state in (State.FAILED, State.TIMED_OUT)]
    groups = rt.errors(3_600)
    assert sum(group.count for group in groups) == len(failed)
    assert {id for group in groups for id in group.tasks} <= {record.id for record in failed}
    for record in records:
        runs = rt.attempts(record.id)
        # One that was cancelled in its queue has not run.
        ran = record.attempt + record.interruptions if record.started is not None else 0
        assert len(runs) + runs.dropped == ran
    assert check(home).problems == []


ENDED = (State.COMPLETED, State.FAILED, State.TIMED_OUT, State.CANCELLED)


def test_after_random_kills_everything_counted_equals_the_records(home: Path):
    chance = random.Random(11)
    with runtime(home, workers=2, durability="os") as rt:
        infos = []
        for _ in range(4):
            infos += rt.start_many(stage.add, [(at, 1) for at in range(100)])
            infos += rt.start_many(
                stage.add.options(retry=Retry(attempts=2)), [(f"{at}", 1) for at in range(30)]
            )
            doomed = [rt.start(stage.add.options(delay=3_600), 1, 1) for _ in range(10)]
            for victim in chance.sample(["supervisor", "worker", "worker"], 2):
                kill(rt.supervisor_pid if victim == "supervisor" else chance.choice(ready(rt, 2)))
                rt.ping(timeout=PATIENCE)
            for info in doomed:
                rt.cancel(info.id)
        for info in infos:
            rt.wait(info.id, PATIENCE)
        agree(home, rt)
        # A killed worker may have run one task alone, which then has failed with it.
        assert {group.type for group in rt.errors(3_600)} - {"WorkerDied"} == {"TypeError"}
        assert rt.prune(all=True) >= len(infos)
        assert list(rt.errors(3_600)) == []
        assert sum(rt.stats(3_600).ended.values()) == len(infos) + 40, "windows keep what is pruned"
    assert check(home).problems == []


PROGRAM = """
import sys
from understudy import Runtime
with Runtime.connect(sys.argv[1]) as rt:
    print("begun", flush=True)
    getattr(rt, sys.argv[2])(sys.argv[3])
"""


@pytest.mark.parametrize("call", ["cancel_where", "retry_where"])
@pytest.mark.parametrize("moment", ["early", "late"])
def test_a_client_that_is_killed_leaves_nothing_half_done(home: Path, call: str, moment: str):
    """The supervisor dies with it. All of it happens, or nothing."""
    many = 1_200
    with runtime(home, durability="os") as rt:
        if call == "cancel_where":
            infos = rt.start_many(stage.add.options(delay=3_600), [(at, 1) for at in range(many)])
            query = "task:add state:queued"
        else:
            infos = rt.start_many(stage.add, [(str(at), 1) for at in range(many)])
            for info in infos:
                rt.wait(info.id, PATIENCE)
            query = "task:add error:TypeError"
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home), call, query], stdout=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        if moment == "late":
            until(lambda: any(bulk.done for bulk in rt.bulks()), PATIENCE)
        program.send_signal(signal.SIGKILL)
        program.communicate(timeout=PATIENCE)
        kill(rt.supervisor_pid)
        bulks = rt.bulks()
        assert len(bulks) == 1 or moment == "early"
        for bulk in bulks:
            ended = rt.wait_bulk(bulk.id, PATIENCE)
            assert (ended.state, ended.changed) == ("completed", many)
        changed = {each.id for bulk in bulks for each in rt.bulk_outcomes(bulk.id, limit=many)}
        assert changed == ({info.id for info in infos} if bulks else set())
        if call == "retry_where":
            olds = [record.retry_of for record in rt.list(limit=100_000) if record.retry_of]
            assert len(olds) == len(set(olds)), "each task is retried once"
            assert set(olds) == changed
        else:
            assert rt.counts()[stage.add.name].get(State.CANCELLED, 0) == len(changed)
            assert rt.cancel_where(query) == many - len(changed), "made again, it does the rest"
        until(lambda: State.QUEUED not in rt.counts()[stage.add.name], PATIENCE)
    assert check(home).problems == []


def test_an_asyncio_program_asks_the_same(home: Path):
    async def story() -> None:
        async with AsyncRuntime(home, app="stage_tasks", workers=1) as rt:
            info = await rt.start(stage.add, "a", 1)
            await rt.wait(info.id, PATIENCE)
            assert [run.state for run in await rt.attempts(info.id)] == ["failed"]
            assert [group.type for group in await rt.errors()] == ["TypeError"]
            assert (await rt.stats(60)).ended == {State.FAILED: 1}
            assert await rt.retry_where("task:add", dry_run=True) == 1
            assert await rt.retry_where("task:add") == 1
            await rt.start(stage.add.options(delay=60), 1, 1)
            assert await rt.cancel_where("task:add state:queued") >= 1

    asyncio.run(story())
