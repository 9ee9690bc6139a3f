from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from desk import Desk
from tasks import EPOCH, new_id
from understudy.actors.state import State
from understudy.storage.check_stats import step_problems
from understudy.storage.memory_store import MemoryStore
from understudy.storage.tables.record import CODES, Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.step_rows import (
    ENDS,
    KEPT,
    MARKS,
    PERIODS,
    RETRIED,
    Step,
    all_sums,
    cover,
    first_key,
    step_in,
    unpack_marks,
)
from understudy.supervisor.tasks.tallies import Ended, Tallies


@pytest.fixture
def desk(home: Path) -> Desk:
    return Desk(MemoryStore, home)


def task(
    at: float, state: State = State.COMPLETED, name: str = "etl", wait: float = 1.0, run: float = 2.0
) -> Record:
    id = new_id(at)
    record = Record(id, name, at, id)
    record.state, record.started, record.ended = state, at + wait, at + wait + run
    return record


def ends(*records: Record) -> Ended:
    found: dict[tuple[str, int, str | None], list[Record]] = {}
    for record in records:
        found.setdefault((record.name, CODES[record.state], None), []).append(record)
    return found


def window(desk: Desk, age: float, now: float) -> dict[str, Step]:
    """What a reader finds in the last `age` seconds."""
    desk.flush()
    marks = unpack_marks(desk.store.get(Table.STATS, MARKS))
    found: dict[str, Step] = {}
    for level, start, stop in cover(now - age, now, marks):
        for _, row in desk.store.scan(Table.STATS, first_key(level, start), first_key(level, stop)):
            step = Step.unpack(row)
            found.setdefault(step.name, Step(step.name)).add(step)
    return found


def levels(desk: Desk) -> Counter[int]:
    return Counter(step_in(key)[0] for key, _ in desk.store.scan(Table.STATS) if key != MARKS)


def problems(desk: Desk) -> list[str]:
    return list(step_problems(desk.store.scan(Table.STATS), desk.store.get(Table.STATS, MARKS)))


def sum_up(desk: Desk, tallies: Tallies, now: float, most: int = 1_000) -> None:
    while tallies.sum_up(now, most):
        desk.flush()


def test_ends_and_times_are_counted_by_name(desk: Desk):
    tallies = Tallies(desk.store)
    tallies.write(
        ends(task(EPOCH), task(EPOCH), task(EPOCH, State.FAILED), task(EPOCH, name="load", run=8.0)),
        EPOCH + 3,
    )
    found = window(desk, 60, EPOCH + 3)
    assert found["etl"].ended == [2, 1, 0, 0, 0]
    assert (found["etl"].waits.total(), found["etl"].runs.total()) == (3, 3)
    assert found["load"].ended == [1, 0, 0, 0, 0]


def test_a_commit_writes_one_row_for_each_name(desk: Desk):
    tallies = Tallies(desk.store)
    for at in range(3):
        tallies.write(ends(*(task(EPOCH, name=name) for name in "abc" for _ in range(20))), EPOCH + at)
        assert len(desk.store.batch.rows[Table.STATS]) == 3
        desk.flush()
    assert window(desk, 60, EPOCH + 3)["a"].ended[0] == 60
    tallies.write({}, EPOCH + 4)
    assert desk.store.batch.empty


def test_times_of_cancelled_tasks_and_actors_do_not_count(desk: Desk):
    tallies = Tallies(desk.store)
    actor = task(EPOCH, name="Actor")
    actor.actor = "ada"
    never = task(EPOCH, State.CANCELLED)
    never.started = None
    tallies.write(ends(actor, never, task(EPOCH, State.CANCELLED)), EPOCH)
    found = window(desk, 60, EPOCH)
    assert found["Actor"].ended[0] == 1
    assert found["etl"].ended[ENDS.index(State.CANCELLED)] == 2
    assert not found["etl"].runs
    assert not found["Actor"].waits


def test_a_task_that_failed_without_an_attempt_hides_no_other(desk: Desk):
    tallies = Tallies(desk.store)
    never = task(EPOCH, State.FAILED)
    never.started = None
    tallies.write(ends(never, task(EPOCH, State.FAILED)), EPOCH)
    found = window(desk, 60, EPOCH)["etl"]
    assert (found.ended[1], found.waits.total(), found.runs.total()) == (2, 1, 1)


def test_an_attempt_waits_from_the_time_at_which_it_could_begin(desk: Desk):
    tallies = Tallies(desk.store)
    record = task(EPOCH, wait=100.0)
    record.ready = EPOCH + 96.0
    tallies.write(ends(record), EPOCH)
    tallies.retried(record, EPOCH + 164)
    tallies.write({}, EPOCH)
    found = window(desk, 60, EPOCH)["etl"]
    assert list(found.waits.values()) == [2], "both have waited 4 s"
    assert found.ended[RETRIED] == 1
    assert len(found.runs) == 2


def test_a_new_supervisor_goes_on_with_the_step(desk: Desk):
    Tallies(desk.store).write(ends(task(EPOCH)), EPOCH)
    desk.flush()
    Tallies(desk.store).write(ends(task(EPOCH)), EPOCH)
    assert window(desk, 60, EPOCH)["etl"].ended[0] == 2
    assert levels(desk) == {0: 1}


@pytest.mark.parametrize("most", [1, 7, 1_000])
def test_longer_steps_are_sums_and_old_steps_go(desk: Desk, most: int):
    """Two days in which tasks end now and then, summed up in parts of any size."""
    tallies, chance = Tallies(desk.store), random.Random(3)
    counted: list[float] = []
    now = EPOCH
    while now < EPOCH + 2 * 86_400:
        now += chance.expovariate(1 / 900)
        tallies.write(ends(task(now)), now)
        counted.append(now)
        desk.flush()
        if chance.randrange(4) == 0:
            sum_up(desk, tallies, now, most)
            assert problems(desk) == []
    sum_up(desk, tallies, now, most)
    for age, precision in ((600, 10), (7_000, 10), (86_400, 60), (86_400 * 1.9, 60), (86_400 * 10, 600)):
        start = (now - age) // precision * precision
        wanted = sum(at >= start for at in counted)
        assert window(desk, age, now).get("etl", Step("")).ended[0] == wanted
    desk.flush()
    for level, kept in enumerate(KEPT):
        starts = [step_in(key)[1] for key, _ in desk.store.scan(Table.STATS) if key[0] == level]
        assert min(starts, default=now) >= now - kept - PERIODS[level], "older ones are deleted"
    assert problems(desk) == []


def test_a_clock_that_is_set_back_loses_and_doubles_nothing(desk: Desk):
    tallies, chance = Tallies(desk.store), random.Random(5)
    now, total = EPOCH, 0
    for _ in range(400):
        now += chance.choice([1, 5, 40, 700, 4_000, -3_000, -400])
        tallies.write(ends(task(now)), now)
        total += 1
        if chance.randrange(3) == 0:
            sum_up(desk, tallies, now)
    sum_up(desk, tallies, now)
    assert window(desk, KEPT[-1], now + 10)["etl"].ended[0] == total


def test_what_is_no_longer_kept_stays_in_the_sum_of_all(desk: Desk):
    tallies = Tallies(desk.store)
    for day in range(0, 900, 100):
        now = EPOCH + day * 86_400
        tallies.write(ends(task(now)), now)
        desk.flush()
        sum_up(desk, tallies, now + 7_200)
        desk.flush()
        assert problems(desk) == []
    kept = window(desk, KEPT[-1], now + 7_300)["etl"].ended[0]
    ((_, removed),) = desk.store.scan(Table.STATS, *all_sums())
    assert 0 < kept < 9
    assert Step.unpack(removed).ended[0] + kept == 9


def test_a_supervisor_without_work_writes_nothing(desk: Desk):
    tallies = Tallies(desk.store)
    tallies.write(ends(task(EPOCH)), EPOCH)
    desk.flush()
    sum_up(desk, tallies, EPOCH + 7_300)
    desk.flush()
    for hour in range(3):
        assert tallies.sum_up(EPOCH + 7_300 + 60 * hour, 1_000) == 0
        assert desk.store.batch.empty


def test_a_long_pause_takes_no_step_for_each_minute(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    tallies = Tallies(desk.store)
    tallies.write(ends(task(EPOCH)), EPOCH)
    desk.flush()
    looks: list[int] = []
    look: Callable[..., list[tuple[bytes, bytes]]] = desk.store.look
    monkeypatch.setattr(desk.store, "look", lambda *args, **more: (looks.append(1), look(*args, **more))[1])
    sum_up(desk, tallies, EPOCH + 300 * 86_400)
    assert len(looks) < 40
    assert window(desk, KEPT[-1], EPOCH + 300 * 86_400)["etl"].ended[0] == 1


def test_a_damaged_row_stops_nothing(desk: Desk):
    tallies = Tallies(desk.store)
    tallies.write(ends(task(EPOCH)), EPOCH)
    desk.flush()
    (key,) = (key for key, _ in desk.store.scan(Table.STATS))
    desk.store.put(Table.STATS, key, b"?")
    desk.store.put(Table.STATS, first_key(0, int(EPOCH)) + b"odd", b"?")
    desk.flush()
    again = Tallies(desk.store)
    sum_up(desk, again, EPOCH + 86_400)
    again.write(ends(task(EPOCH)), EPOCH + 86_400)
    assert window(desk, 60, EPOCH + 86_400)["etl"].ended[0] == 1
