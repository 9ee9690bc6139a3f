"""The plugin for pytest, which finds it by itself. It imports nothing else before its fixture is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .inline_runtime import InlineRuntime


@pytest.fixture
def understudy_runtime() -> Iterator[InlineRuntime]:
    """An `InlineRuntime`, which tasks and actors use as the ambient one; closed at the end of the test."""
    from .inline_runtime import InlineRuntime

    with InlineRuntime() as runtime:
        yield runtime
