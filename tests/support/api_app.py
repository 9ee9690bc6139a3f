"""The app of the API's tests: something of everything. Tests name it and do not import it, because it has schedules."""

from __future__ import annotations

import call_tasks  # noqa: F401 - declared by being imported, as the others are
import kit_tasks  # noqa: F401
import limit_tasks  # noqa: F401
import shop_schedules  # noqa: F401
import tree_tasks  # noqa: F401
