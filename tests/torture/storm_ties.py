"""Steps, links, monitors and maps of a storm: what is done once, what ends with its parent, who is told of an end.

The tasks record what they see; `Ties` compares it with the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from storm_journal import AGAIN, on_stage, trace
from storm_known import Known, value_of
from understudy import (
    Fail,
    aio,
    cancelled,
    checkpoint,
    current,
    gather,
    map_tasks,
    monitor,
    receive,
    restore,
    sleep,
    step,
    task,
)
from understudy.actors.ids import id_bytes, id_text
from understudy.actors.state import State
from understudy.actors.task import current_runtime
from understudy.storage.shared_view import Snapshot
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table


def _draw(of: str, key: str) -> int:
    """The function of a step: another value each time."""
    time.sleep(random.uniform(0, 0.003))
    value = random.getrandbits(40)
    trace("step", "ran", of, key, value)
    return value


async def _draw_async(of: str, key: str) -> int:
    await aio.sleep(random.uniform(0, 0.003))
    value = random.getrandbits(40)
    trace("step", "ran", of, key, value)
    return value


def _order(count: int) -> list[str]:
    """The steps of an attempt: in another order each time, and with one of its own."""
    keys = [f"k{number}" for number in range(count)]
    random.shuffle(keys)
    return [*keys, f"new{current().attempt}.{current().interruptions}"]


@task(retry=AGAIN)
def stepwise(count: int) -> dict[str, int]:
    """Steps by keys, and two by their name."""
    with on_stage():
        of, values = current().id, {}
        for key in _order(count):
            values[key] = step.options(key=key)(_draw, of, key)
            trace("step", "has", of, key, values[key])
            if random.random() < 0.02:
                raise ValueError("at random")
        for call in (1, 2):
            key = f"call {call}"
            values[key] = step.options(name="drawn")(_draw, of, key)
            trace("step", "has", of, key, values[key])
        return values


@task(retry=AGAIN)
async def stepwise_async(count: int) -> dict[str, int]:
    """All of them at once."""
    with on_stage():
        of = current().id

        async def has(key: str) -> tuple[str, int]:
            value: int = await aio.step.options(key=key)(_draw_async, of, key)
            trace("step", "has", of, key, value)
            return key, value

        return dict(await asyncio.gather(*map(has, _order(count))))


@task(retry=AGAIN, timeout=None)
def ward() -> str:
    """Goes on until its parent has ended. No client cancels it."""
    with on_stage():
        while not cancelled():
            sleep(3600)
        return "stopped"


@task(retry=AGAIN)
def guardian(count: int) -> str:
    """Starts linked tasks, and ends in some way, or not before it is cancelled."""
    with on_stage():
        started, how = restore() or (0, random.choice(["return", "fail", "die", "wait"]))
        for number in range(started, count):
            ward.options(link=True).start()
            checkpoint((number + 1, how))
        match how:
            case "fail":
                raise Fail("told to")
            case "wait":
                sleep(3600)
            case "die" if current().attempt == 1:
                raise ValueError("for this attempt")
        return "returned"


@task
def ends(how: int) -> int:
    """What watchers monitor: it ends well or badly, now or later."""
    if how % 2:
        time.sleep(random.uniform(0, 0.02))
    if how % 3 == 0:
        raise Fail("told to")
    return how


@task(retry=AGAIN, ack="checkpoint")
def watcher(count: int) -> dict[str, Any]:
    """Monitors tasks, some of which have ended, and keeps what it is told of them, once each."""
    with on_stage():
        told: dict[str, Any] = restore() or {}
        own, rt = current().id, current_runtime.runtime()
        infos = [rt.start(ends.options(key=f"{own}/{number}", keep=None), number) for number in range(count)]
        for info in infos:
            if info.id not in told:
                monitor(info.id)
        while len(told) < count:
            message = receive()
            if message is None or "$cancel" in message:
                break
            if (id := message["$down"]) in told:
                trace("wrong", f"watcher {own} is told twice of {id}")
            told[id] = [message["state"], message["error"] and message["error"]["type"]]
            if random.random() < 0.5:
                checkpoint(told)
        return told


@task(retry=AGAIN)
def twin(number: int) -> list[Any]:
    """The child of a mapper."""
    if number % 3 == 0:
        time.sleep(random.uniform(0, 0.01))
    return [current().id, 2 * number]


@task(retry=AGAIN)
def mapper(count: int) -> int:
    """Maps a task over numbers, and gathers as many more: each attempt has the same children, and values in order."""
    with on_stage():
        own = current().id
        _children(own, "mapped", map_tasks(twin, range(count), limit=3))
        infos = [twin.options(key=f"{own}/{number}", keep=None).start(number) for number in range(count)]
        _children(own, "gathered", gather(infos))
        return count


def _children(own: str, how: str, values: Iterable[Any]) -> None:
    at = -1
    for at, (id, value) in enumerate(values):
        trace("child", f"{own}/{how}/{at}", id)
        if value != 2 * at:
            trace("wrong", f"mapper {own} has {value} at place {at} of what it has {how}")


STEPWISE = [stepwise, stepwise_async]
ALL = [stepwise, guardian, watcher, stepwise_async, mapper]
#: The possible ends of those that were not cancelled.
ENDS = {
    ward.name: {State.CANCELLED},
    guardian.name: {State.COMPLETED, State.FAILED},
    ends.name: {State.COMPLETED, State.FAILED},
    # They end with their parent at the latest.
    twin.name: {State.COMPLETED, State.CANCELLED},
}


class Ties:
    """What is known of them."""

    def __init__(self, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._fault = fault
        self._tally = tally
        #: By task and step: the value that it had; whether it has run.
        self._values: dict[str, dict[str, int]] = defaultdict(dict)

    def told(self, what: str, of: str, key: str, value: int) -> None:
        """A step has run, or has given a value."""
        had = self._values[of].get(key)
        if what == "ran":
            if had is not None:
                self._fault(f"step {key} of task {of} has run again, after it had the value {had}")
            return
        if had not in (None, value):
            self._fault(f"step {key} of task {of} had the value {had}, and has {value}")
        self._values[of][key] = value
        self._tally["values of steps"] += 1

    def look(self, snapshot: Snapshot, known: Known, record: Record) -> None:
        """A task that has ended: was it time for it?"""
        if record.name == ward.name:
            parent = None if record.origin is None else _record(snapshot, record.origin)
            at = None if parent is None else parent.ended
            if at is None or record.ended is None or record.ended < at:
                self._fault(f"ward {id_text(known.id)} has ended at {record.ended}, and its parent at {at}")
            self._tally["ended with their parents"] += 1
        elif record.name == watcher.name and record.state is State.COMPLETED:
            self._watched(snapshot, known)

    def completed(self, record: Record, value: Any) -> None:
        """What a task has returned."""
        if record.name in {each.name for each in STEPWISE}:
            id = id_text(record.id)
            had = self._values[id]
            if wrong := {key: had.get(key) for key in value if had.get(key) != value[key]}:
                self._fault(f"task {id} returned {value}, and its steps had {wrong}")

    def _watched(self, snapshot: Snapshot, known: Known) -> None:
        told = value_of(known.end[1]) if known.end else {}
        for id, (state, error) in told.items():
            record = _record(snapshot, id_bytes(id))
            found = record and [str(record.state), record.error and record.error[0]]
            if found != [state, error]:
                self._fault(
                    f"watcher {id_text(known.id)} was told {state}, {error} of {id}, which is {found}"
                )
            self._tally["ends told to monitors"] += 1


def _record(snapshot: Snapshot, id: bytes) -> Record | None:
    row = snapshot.get(Table.TASKS, id)
    return None if row is None else Record.unpack(id, row)
