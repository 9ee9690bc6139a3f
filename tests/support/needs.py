"""What a test needs from the machine. Without it the test is skipped; in CI it fails."""

from __future__ import annotations

import os

import pytest


def require(condition: object, reason: str) -> None:
    """Skip the test unless `condition`. With CI=true a missing service is a failure, never a silent skip."""
    __tracebackhide__ = True
    if condition:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"missing in CI: {reason}", pytrace=False)
    pytest.skip(reason)
