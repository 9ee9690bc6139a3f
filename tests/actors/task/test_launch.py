from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from understudy.actors.errors import InvalidOption, InvalidValue
from understudy.actors.task.declaration import task
from understudy.actors.task.launch import DELAY_LIMIT, KEY_LIMIT

STREAM = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


@task
def plain(a: int, b: int = 2) -> int:
    return a + b


LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    "launch",
    [
        {"key": ""},
        {"key": "x" * (KEY_LIMIT + 1)},
        {"key": "ü" * (KEY_LIMIT // 2 + 1)},
        {"key": "\ud800"},
        {"key": 3},
        {"key": b"x"},
        {"delay": -1},
        {"delay": DELAY_LIMIT + 1},
        {"delay": float("nan")},
        {"delay": True},
        {"delay": "3"},
        {"delay": timedelta(seconds=3)},
        {"at": -1},
        {"at": float("nan")},
        {"at": float("inf")},
        {"at": True},
        {"at": "tomorrow"},
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001 - the mistake that is tried
        {"at": LATER.date()},
        {"at": LATER.timetz()},
        {"at": time.time() + DELAY_LIMIT + 1000},
        {"delay": 1, "at": LATER},
    ],
)
def test_bad_launches(launch: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=r"|".join(launch)):
        plain.options(**launch)


def test_a_bad_stream_id() -> None:
    with pytest.raises(InvalidValue, match="is not a task id"):
        plain.options(stream_id="mine")


def test_good_launches() -> None:
    assert plain.options(key="x" * KEY_LIMIT, delay=DELAY_LIMIT).launch.due(5) == 5 + DELAY_LIMIT
    assert plain.options(at=LATER).launch.due(5) == LATER.timestamp()
    assert plain.options(at=3).launch.due(5) == 3.0
    assert plain.options(delay=0).launch.due(5) == 5
    assert plain.launch.due(5) is None


def test_what_to_do_when_the_task_of_a_key_has_ended() -> None:
    assert plain.options(key="k").launch.packed_key() == "k"
    assert plain.options(key="k", on_ended="start").launch.packed_key() == ("k", "start")
    assert plain.options(key="k", on_ended="start").options(priority=1).launch.packed_key() == (
        "k",
        "start",
    )
    with pytest.raises(InvalidOption, match="on_ended"):
        plain.options(key="k", on_ended="again")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="needs key"):
        plain.options(on_ended="start")
