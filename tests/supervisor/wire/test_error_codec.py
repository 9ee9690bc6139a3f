"""Errors across a socket: every class arrives as itself, with its message and data."""

from __future__ import annotations

import inspect
from typing import Any

import msgpack
import pytest

from understudy.actors import errors
from understudy.actors.errors import ErrorInfo, UnderstudyError
from understudy.supervisor.wire.codec import Decoder, encode
from understudy.supervisor.wire.error_codec import error_fields, error_of, info_of
from understudy.supervisor.wire.messages import Answer

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UnderstudyError) and kind.__module__ == errors.__name__
]
VALUES: dict[str, Any] = {
    "path": "args[0]",
    "size": 7,
    "limit": 5,
    "name": "n",
    "id": "i",
    "messages": 3,
    "bytes": 9,
    "home": "/h",
    "pid": 12,
    "remote_traceback": "…",
    "found": 3,
    "supported": 1,
    "reason": "because",
    "delay": 2.5,
}


def across(error: UnderstudyError) -> UnderstudyError:
    frame = encode((Answer.ERROR, 1, *error_fields(error)))
    ((_, _, kind, message, data),) = Decoder(1024).feed(frame)
    return error_of(kind, message, data)


def make(kind: type[UnderstudyError]) -> UnderstudyError:
    given: dict[str, Any] = {}
    for name in inspect.signature(kind.__init__).parameters:
        if name in VALUES:
            given[name] = VALUES[name]
    if "message" in inspect.signature(kind.__init__).parameters or "reason" not in given:
        return kind("what to do next", **given)
    return kind(**given)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[UnderstudyError]):
    error = make(kind)
    arrived = across(error)
    assert type(arrived) is kind
    assert str(arrived) == str(error)
    assert arrived.args == error.args
    assert arrived.__dict__ == error.__dict__
    with pytest.raises(kind):
        raise arrived


def test_a_list_is_one_again():
    assert across(errors.StoreCorrupt("broken", ["a", "b"])).problems == ["a", "b"]  # type: ignore[attr-defined]


def test_an_unknown_class_becomes_the_root_one():
    error = error_of("OfALaterRelease", "message", {"extra": 1})
    assert type(error) is UnderstudyError
    assert (str(error), error.extra) == ("message", 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Interrupted", "ErrorInfo", "Exception", "math", "Any"])
def test_nothing_else_can_be_made_by_name(name: str):
    assert type(error_of(name, "message", {})) is UnderstudyError


def test_data_that_cannot_travel_is_left_out():
    error = errors.TaskFailed("it failed", "id")
    error.error = object()  # type: ignore[assignment]  # that is the point
    arrived = across(error)
    assert (arrived.id, hasattr(arrived, "error")) == ("id", False)  # type: ignore[attr-defined]


def test_what_another_error_says_travels():
    info = ErrorInfo("KeyError", "x", "Traceback …", {"pid": 3})
    assert across(errors.ActivationFailed("no", "id", info)).error == info  # type: ignore[attr-defined]


def test_text_that_is_no_text_is_escaped():
    arrived = across(errors.HomeError("home /tmp/\udcff cannot be used", "/tmp/\udcff"))
    assert "\\udcff" in str(arrived)


def test_an_error_without_arguments():
    assert across(UnderstudyError()).args == ("",)


def test_error_rows():
    assert info_of(None) is None
    row = msgpack.unpackb(msgpack.packb(("KeyError", "x", "Traceback …", {"pid": 3})), use_list=False)
    assert info_of(row) == ErrorInfo("KeyError", "x", "Traceback …", {"pid": 3})
