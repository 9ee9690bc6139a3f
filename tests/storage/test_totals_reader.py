"""The oldest ready task of each name, among many."""

from __future__ import annotations

from pathlib import Path

import pytest

import letter_tasks as app
from letters import PATIENCE, runtime
from understudy import Runtime, State
from understudy.actors.ids import id_text
from understudy.storage import totals_reader
from understudy.storage.totals_reader import FRONT, ReadyAges
from waiting import until

MANY, OTHER = app.collect.name, app.hold_a_slot.name


def oldest(rt: Runtime, ages: ReadyAges) -> tuple[dict[str, str], set[str]]:
    names = [name for name, states in rt.counts().items() if states.get(State.QUEUED)]
    found, unknown = rt._reader.oldest_ready(ages, names)
    return {name: id_text(each.id) for name, each in found.items()}, unknown


def test_of_each_name_although_another_fills_the_queue(home: Path, monkeypatch: pytest.MonkeyPatch):
    ages = ReadyAges()
    with runtime(home, workers=1, slots=1) as rt:
        gate = rt.start(app.hold_a_slot)
        until(lambda: gate.status().state is State.RUNNING, PATIENCE)
        assert oldest(rt, ages) == ({}, set())
        rt.start(app.hold_a_slot.options(delay=3600))
        first, second = rt.start(app.collect), rt.start(app.hold_a_slot)
        assert oldest(rt, ages) == ({MANY: first.id, OTHER: second.id}, set())
        many = rt.start_many(app.collect, [()] * (FRONT + 20))
        second.cancel()
        behind = [rt.start(app.hold_a_slot) for _ in range(3)]
        assert oldest(rt, ages) == ({MANY: first.id, OTHER: behind[0].id}, set())
        behind[0].cancel()
        first.cancel()
        assert oldest(rt, ages) == ({MANY: many[0].id, OTHER: behind[1].id}, set())
        assert id_text(ages.ended[OTHER]) == behind[0].id, "it is passed over once"
        # One of a higher priority stands elsewhere.
        behind[1].cancel()
        behind[2].cancel()
        high = rt.start(app.hold_a_slot.options(priority=5))
        assert oldest(rt, ages)[0][OTHER] == high.id
        # What is not found in time is not told.
        monkeypatch.setattr(totals_reader, "WALKED", 1)
        assert oldest(rt, ReadyAges()) == ({MANY: many[0].id}, {OTHER})
        while OTHER not in oldest(rt, ages)[0]:
            pass  # each look goes on where the one before has stopped
        assert oldest(rt, ages)[0][OTHER] == high.id
