from __future__ import annotations

from collections.abc import Iterator

import pytest

from fake_port import FakePort, fake_port


@pytest.fixture
def port() -> Iterator[FakePort]:
    with fake_port() as port:
        yield port
