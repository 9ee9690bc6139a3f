from __future__ import annotations

from understudy.actors import values
from understudy.actors.task.trigger import Trigger


def test_only_what_is_known_is_packed():
    trigger = Trigger(event_id="stripe/evt_1", event="order.paid")
    assert trigger.pack() == {"event_id": "stripe/evt_1", "event": "order.paid"}
    assert Trigger.unpack(trigger.pack()) == trigger
    due = Trigger(schedule="report", scheduled_at=0.0)
    assert Trigger.unpack(due.pack()) == due


def test_fields_of_a_later_release_are_left_out():
    assert Trigger.unpack({"event": "a", "weather": "fair"}) == Trigger(event="a")


def test_a_trigger_is_a_value():
    trigger = Trigger(schedule="report", scheduled_at=5.0)
    assert values.unpack(values.pack({"why": trigger})) == {"why": trigger}
