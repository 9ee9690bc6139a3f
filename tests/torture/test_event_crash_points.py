"""The supervisor dies at points of the way of events: no event without its runs, no run without its event."""

from __future__ import annotations

from pathlib import Path

import pytest

import event_stage as stage
from understudy import Runtime
from understudy.storage.check import check
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until

PATIENCE = 50.0
EVENTS = 6
#: The call of the function at which the supervisor dies.
COUNTS = {"listen": 1, "emit": 3, "commit": 9, "acknowledge": 9}


@pytest.mark.parametrize("where", [f"{point}.{side}" for point in COUNTS for side in ("before", "after")])
def test_a_death_at(where: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = home.parent / "died"
    monkeypatch.setenv(VARIABLE, f"{where}:{COUNTS[where.partition('.')[0]]}@{died}")
    settings = {"workers": 1, "restarts": 100, "max_crashes": 100, "durability": "os"}
    with Runtime(home, app=stage.__file__, **settings) as rt:
        ship = rt.start(stage.ship, EVENTS - 1)
        until(lambda: ship.restore() is not None)  # it listens
        made = [rt.emit("order.paid", number, id=f"order/{number}") for number in range(EVENTS)]
        # An event that comes again, as from a client that does not know whether it has arrived, is the same one.
        assert rt.emit("order.paid", 0, id="order/0") == made[0]
        assert rt.result(ship, PATIENCE) == list(range(EVENTS)), "each event once, in order"
        assert [list(rt.results(list(info.runs))) for info in made] == [[number] for number in range(EVENTS)]
        runs = rt.search("kind:event", limit=100)
        assert {record.id for record in runs} == {run for info in made for run in info.runs}
        assert {event.id for event in rt.events()} == {info.id for info in made}
        assert died.exists(), "or it never came to this point"
    assert check(home).problems == []
