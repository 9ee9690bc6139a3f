"""`understudy.testing`: the public names of the test kit; see docs/testing.md."""

from __future__ import annotations

from .inline_runtime import InlineRuntime
from .processes import kill_supervisor, kill_worker, wait_until
from .virtual_clock import VirtualClock

__all__ = ["InlineRuntime", "VirtualClock", "kill_supervisor", "kill_worker", "wait_until"]
