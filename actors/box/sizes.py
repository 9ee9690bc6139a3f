"""The table of container sizes, and their aliases."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..errors import InvalidOption


class Size(NamedTuple):
    """The limits of one container size."""

    memory: int
    """MB of memory; swap adds nothing."""
    cpu: int
    """Percent of one processor."""
    tmp: int
    """MB of /tmp, which counts towards the memory."""
    data: int
    """MB of /data."""
    timeout: float
    """Seconds that the container may run, unless its BoxConf sets a timeout."""


SIZES: Final[dict[str, Size]] = {
    "nano": Size(64, 10, 32, 256, 60),
    "micro": Size(128, 25, 64, 512, 60),
    "small": Size(256, 25, 128, 1_024, 60),
    "medium": Size(512, 50, 256, 5_120, 300),
    "large": Size(1_024, 75, 500, 10_240, 600),
    "xlarge": Size(2_048, 100, 1_024, 20_480, 1_800),
    "2xlarge": Size(4_096, 100, 2_048, 51_200, 3_600),
    "4xlarge": Size(8_192, 100, 4_096, 51_200, 7_200),
}
#: The size of a container whose BoxConf names none.
DEFAULT_SIZE: Final = "small"
#: Other names of sizes.
ALIASES: Final = {"sm": "small", "md": "medium", "lg": "large", "xl": "xlarge", "xxl": "2xlarge"}


def size_name(name: object) -> str:
    """The size's own name, from that name or an alias; InvalidOption if there is no such size."""
    found = ALIASES.get(name, name) if isinstance(name, str) else name
    if not isinstance(found, str) or found not in SIZES:
        raise InvalidOption(
            f"there is no size {name!r:.80}; the sizes are {', '.join(SIZES)}, also called {', '.join(ALIASES)}"
        )
    return found
