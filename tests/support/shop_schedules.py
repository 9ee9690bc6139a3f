"""The tasks of the shop with its schedules, for a supervisor.

A test that imported them would have an `InlineRuntime` run them, as it runs all that its process declares.
"""

from __future__ import annotations

import shop_tasks  # noqa: F401 - the app is both
from understudy import cron, every, task


@cron("0 9 * * mon-fri", tz="Europe/Zurich")
@task
def report() -> None: ...


@every(3600)
def sweep() -> None: ...
