"""What handlers may return."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption, Response, TaskNotFound, accepted, live
from understudy.actors import values
from understudy.actors.ids import id_text, new_id


def test_they_come_back_as_they_were():
    response = Response(201, {"Location": "/a"}, b"\xff")
    handover = live(id_text(new_id()))
    assert values.unpack(values.pack([response, handover])) == [response, handover]


@pytest.mark.parametrize(
    "wrong",
    [
        (99,), (600,), (True,), ("200",), (200, {"a b": "c"}), (200, {"a": "b\r\nc: d"}), (200, {"a": 1}),
        (200, {"Content-Length": "3"}), (200, {"Transfer-Encoding": "chunked"}), (200, {}, 7), (204, {}, b"x"),
        (200, ["a"]), (200, {"a": "…"}),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused(wrong: tuple[Any, ...]):
    with pytest.raises(InvalidOption):
        Response(*wrong)


def test_only_a_task_can_answer():
    id = id_text(new_id())
    assert (accepted(id).kind, accepted(id).task_id) == ("accepted", id)
    with pytest.raises(TaskNotFound):
        live("no id")
