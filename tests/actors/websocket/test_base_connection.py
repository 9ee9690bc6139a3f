from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from understudy.actors.errors import Interrupted, TaskCancelled
from understudy.actors.websocket.base_connection import farewell, mailbox


@pytest.mark.parametrize(
    ("error", "signal", "code"),
    [
        (None, None, 1000),
        (None, "cancel", 1001),
        (ValueError(), None, 1011),
        (ValueError(), "timeout", 1001),
        (Interrupted(), None, 1001),
        (asyncio.CancelledError(), None, 1001),
        (TaskCancelled("x"), "cancel", 1001),
    ],
)
def test_farewell(error: BaseException | None, signal: str | None, code: int) -> None:
    actor: Any = SimpleNamespace(signal=signal)
    assert farewell(error, actor)[0] == code


def test_the_mailbox_has_a_name() -> None:
    assert repr(mailbox) == "mailbox"
