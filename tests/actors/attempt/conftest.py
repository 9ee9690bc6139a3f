"""Stages for the turns of actors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from turns_actors import Account, Asker, AsyncAsker, answers
from turns_stage import Stage
from understudy.actors.attempt import turn as turn_module


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A busy machine ends no turn; and no stage is left behind."""
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 60.0)
    yield
    while Stage.made:
        Stage.made.pop().close()


@pytest.fixture
def account() -> Stage:
    return Stage(Account)


@pytest.fixture(params=[Asker, AsyncAsker], ids=["sync", "async"])
def asker(request: pytest.FixtureRequest) -> Stage:
    answers.clear()
    return Stage(request.param)
