"""The work of a storm's containers: each records its start, prints numbered lines, and ends with a known code.

All of them share a folder. Its file `ran` holds a line for each start. Its file `calm` tells them to end.
"""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from storm_journal import FOLDER
from understudy import BoxConf

#: The folder that they share, and its path inside.
SHARED = FOLDER / "boxes"
PLACE = "/storm"
#: The image, if there is an engine.
IMAGE = os.environ.get("UNDERSTUDY_STORM_IMAGE", "")

SCRIPT = f"""
echo "$TOKEN $HOSTNAME" >>{PLACE}/ran
n=0
while [ $n -lt $LINES ] || [ "$LASTS" -a ! -e {PLACE}/calm ]; do
    n=$((n + 1))
    echo "out $n"
    echo "err $n" >&2
    sleep $PAUSE
done
exit $CODE
"""


@dataclass(frozen=True)
class Part:
    """The plan of one container."""

    token: str
    lines: int
    pause: float
    code: int
    lasts: bool = False
    """Whether it continues after its lines until the end of the storm."""
    timeout: int = 600

    def conf(self) -> BoxConf:
        """Its BoxConf."""
        return BoxConf(
            IMAGE,
            script=SCRIPT,
            size="nano",
            memory=64,
            timeout=self.timeout,
            pull="never",
            env={
                "TOKEN": self.token,
                "LINES": str(self.lines),
                "PAUSE": f"{self.pause:.2f}",
                "CODE": str(self.code),
                "LASTS": "1" if self.lasts else "",
            },
            mounts={PLACE: f"{SHARED}:rw"},
        )

    def row(self) -> dict[str, Any]:
        """Its row in the journal."""
        return asdict(self)


def some_part(chance: random.Random) -> Part:
    """One that ends well or badly, one that runs until a cancel or the end of the storm, one that runs too long."""
    token = uuid.uuid4().hex
    match chance.choices(["ends", "lasts", "overruns"], [6, 2, 2])[0]:
        case "ends":
            return Part(
                token, chance.randrange(1, 30), chance.uniform(0, 0.1), chance.choice([0, 0, 0, 1, 3, 42])
            )
        case "lasts":
            return Part(token, 1, 0.2, 0, lasts=True)
        case _:
            return Part(token, 1, 0.2, 0, lasts=True, timeout=1)
