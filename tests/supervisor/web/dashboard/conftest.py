"""One browser for all tests of pages in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import browsers


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browsers.browser() as browser:
        yield browser
