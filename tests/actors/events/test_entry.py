from __future__ import annotations

import pytest

from understudy import ErrorInfo, InvalidOption, WatchEntry
from understudy.actors import values
from understudy.actors.events.entry import cursor_numbers, cursor_text
from understudy.actors.ids import id_text, new_id

STREAM = bytes.fromhex("01a2255e207a70b5b3f5460ecc7789f5")


def test_a_cursor_names_its_place():
    numbers = (1, 0, 2**64 - 1, 17, 3, 1)
    assert cursor_numbers(cursor_text(STREAM, numbers), STREAM, 6) == numbers


@pytest.mark.parametrize(
    "wrong",
    ["", "x", 7, b"1", STREAM.hex(), f"{STREAM.hex()}.1", f"{STREAM.hex()}.1.2.3.4.5.-6", f"{STREAM.hex()}.1.2.3.4.5.",
     f"{STREAM.hex()}.1.2.3.4.5.g", f"{STREAM.hex()}.1.2.3.4.5.10000000000000000", "ab.1.2.3.4.5.6", "ü"],
)  # fmt: skip
def test_what_is_no_cursor(wrong: object):
    with pytest.raises(InvalidOption, match="cursor"):
        cursor_numbers(wrong, STREAM, 6)


def test_a_cursor_of_another_stream():
    with pytest.raises(InvalidOption, match="is of stream"):
        cursor_numbers(cursor_text(new_id(), (0,) * 6), STREAM, 6)


def test_entries_as_plain_data():
    id = id_text(STREAM)
    item = WatchEntry("item", "c", 1.0, id, id, 2, 1, 7, "token", values.pack([1]))
    assert item.value == [1]
    assert item.as_dict() == {
        "kind": "item", "cursor": "c", "time": 1.0, "stream_id": id, "task_id": id, "attempt": 2, "interruptions": 1,
        "number": 7, "name": "token", "value": [1],
    }  # fmt: skip
    line = WatchEntry("log", "c", 1.0, id, id, 1, name="stdout", text="hello")
    assert (line.as_dict()["level"], line.as_dict()["text"], line.value) == ("stdout", "hello", None)
    end = WatchEntry("end", "c", 1.0, id, id, 1, name="failed", error=ErrorInfo("OSError", "no"))
    assert (end.as_dict()["state"], end.as_dict()["error"]) == (
        "failed",
        {"type": "OSError", "message": "no"},
    )
    notice = WatchEntry("notice", "c", 1.0, id, items=3, lines=4)
    assert (notice.as_dict()["items"], notice.as_dict()["lines"]) == (3, 4)
