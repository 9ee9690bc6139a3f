"""The name of a pool: workers of their own, for tasks that name it."""

from __future__ import annotations

import re
from typing import Any, Final

from ..errors import InvalidOption

#: Characters of the name of a pool.
POOL_NAME_LIMIT: Final = 64

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def checked_pool(name: object) -> Any:
    """The name of a pool, or None for the workers of all tasks without one; InvalidOption for anything else."""
    if name is None or (isinstance(name, str) and len(name) <= POOL_NAME_LIMIT and _NAME.fullmatch(name)):
        return name
    raise InvalidOption(
        f"the name of a pool is 1 to {POOL_NAME_LIMIT} letters, digits, '_', '-' and '.', and does not begin with "
        f"'-' or '.': {name!r:.80}"
    )
