"""What the containers of a storm do: each says that it runs, prints numbered lines, and ends with a known code.

In the folder that all of them share, `ran` holds a line for each time that one has begun, and `calm` says that it is
time to end.
"""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from storm_journal import FOLDER
from understudy import BoxConf

#: The folder that they share, and where they find it.
SHARED = FOLDER / "boxes"
PLACE = "/storm"
#: The image, if there is an engine to run it.
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
    """What one container is to do."""

    token: str
    lines: int
    pause: float
    code: int
    lasts: bool = False
    """Whether it goes on after its lines until the storm is over."""
    timeout: int = 600

    def conf(self) -> BoxConf:
        """As it is started."""
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
        """As it is noted."""
        return asdict(self)


def some_part(chance: random.Random) -> Part:
    """One that ends well or badly, one that goes on until it is cancelled or the storm over, one that runs too long."""
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
