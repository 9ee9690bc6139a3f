"""The benchmarks work and their results are right. Their times are nobody's concern here."""

from __future__ import annotations

import json
import subprocess
import sys

from checkout import ROOT


def test_throughput_measures_both_sides() -> None:
    program = ROOT / "benchmarks" / "throughput.py"
    ended = subprocess.run(
        [sys.executable, str(program), "--tasks", "400", "--rounds", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    found = json.loads(ended.stdout)
    assert found["tasks"] == 400
    assert set(found["per_second"]) == {"understudy", "multiprocessing.Pool"}
    assert all(rate > 0 for rate in found["per_second"].values())
    assert found["ratio"] > 0
