"""The short form of the load: growth with each task shows within seconds."""

from __future__ import annotations

from pathlib import Path

import load

SECONDS = 4.0


def test_nothing_grows(home: Path) -> None:
    samples, wrong = load.run(home, SECONDS, seed=1, clients=2, prune_every=1.0)
    assert wrong == []
    assert samples.rows[-1]["done"] > 0
    assert len(samples.rows) > 20
