from __future__ import annotations

from collections.abc import Iterator

import pytest

from understudy.actors.task.declaration import registry


@pytest.fixture
def registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)
