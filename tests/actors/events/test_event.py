from __future__ import annotations

from datetime import date

import pytest

from understudy.actors import values
from understudy.actors.errors import InvalidOption
from understudy.actors.events.event import Event, EventRecord, check_id

EVENT = Event("stripe/1", "order.paid", {"day": date(2026, 5, 1), "lines": [1, 2]}, 5.0, "s", "o")


def test_an_event_is_a_value():
    assert values.unpack(values.pack([EVENT])) == [EVENT]


def test_a_record_shows_its_data_and_its_runs():
    record = EventRecord(
        "stripe/1", "order.paid", 5.0, "s", None, (("bill", "r1"), ("audit", "r2")), values.pack(EVENT)
    )
    assert record.data == EVENT.data
    assert record.as_dict() == {
        "id": "stripe/1",
        "name": "order.paid",
        "time": 5.0,
        "stream_id": "s",
        "origin_run": None,
        "runs": [{"handler": "bill", "id": "r1"}, {"handler": "audit", "id": "r2"}],
        "data": EVENT.data,
    }


@pytest.mark.parametrize("id", ["a", "stripe/evt_1", "~" * 255])
def test_ids(id: str):
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "a b", "ä", "a\n", "~" * 256, 7, None, b"a"])
def test_no_ids(id: object):
    with pytest.raises(InvalidOption, match="id of an event"):
        check_id(id)
