"""The benchmarks work and their results are right. Their times are nobody's concern here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from suite.case import BEST_DURABLE, Case, Row, Target
from suite.catalogue import CASES
from suite.figures import number, outcome, quantile, spread, summary

BENCHMARKS = ROOT / "benchmarks"


def call(*command: str | Path, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=timeout, cwd=BENCHMARKS
    )


@pytest.mark.parametrize("name", CASES)
def test_a_case_in_its_short_form(name: str, tmp_path: Path, home: Path) -> None:
    figures, folder = tmp_path / "figures.json", home.parent  # which is short enough for a socket
    ended = call(f"{name}.py", "--short", "--json", figures, "--folder", folder)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(figures.read_text())
    for row, told in found["rows"].items():
        assert "understudy" in told["figures"], row
        for who, cell in told["figures"].items():
            assert cell["low"] <= cell["median"] <= cell["high"], f"{row}: {who}"
    assert found["targets"]
    assert list(folder.iterdir()) == [], "folders were left behind"


def test_the_runner_says_what_was_reached() -> None:
    ended = call("run.py", "--short", "--only", "throughput,idle")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "understudy to multiprocessing.Pool, 2 workers, pair by pair: median" in ended.stdout
    assert "targets reached" in ended.stdout


def test_figures_of_cases_that_are_not_run_stay(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert call("run.py", "--short", "--only", "start", "--json", figures).returncode == 0
    assert call("run.py", "--short", "--only", "idle", "--json", figures).returncode == 0
    assert list(json.loads(figures.read_text())["cases"]) == ["start", "idle"]


def test_an_unknown_case_is_refused() -> None:
    ended = call("run.py", "--only", "stat")
    assert ended.returncode == 2
    assert "no such case: stat" in ended.stderr


def test_a_peer_that_cannot_be_had_is_named() -> None:
    code = "from peers.drive import main; main('nobody', '.', '2')"
    ended = call("-c", code)
    assert json.loads(ended.stdout.splitlines()[0])["missing"].startswith("not installed: ")


def test_the_page_is_what_the_figures_make() -> None:
    ended = call("page.py", "--check")
    assert ended.returncode == 0, ended.stderr


# --- from rounds to figures ---


def rounds(**figures: list[float]) -> list[dict[str, dict[str, float]]]:
    return [
        {name: {"rate": value} for name, value in zip(figures, turn, strict=True)}
        for turn in zip(*figures.values(), strict=True)
    ]


def case(*targets: Target) -> Case:
    return Case("some", "Some", "About.", (Row("rate", "tasks/s", more=True),), {}, targets, {}, {})


def test_a_quantile_is_a_sample() -> None:
    samples = list(range(1, 101))
    assert [quantile(samples, share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert quantile([7], 0.99) == 7


def test_ratios_are_taken_within_a_round() -> None:
    # A machine that is slow in one round is slow for both: the medians alone would say something else.
    told = summary(case(), rounds(understudy=[10, 100, 30], floor=[20, 200, 20]), [])
    assert told["rows"]["rate"]["figures"]["floor"]["ours"] == {"median": 0.5, "low": 0.5, "high": 1.5}


@pytest.mark.parametrize(
    ("target", "reached", "median"),
    [
        (Target("", "rate", "at least", 2, "floor"), True, 2),
        (Target("", "rate", "at least", 2.1, "floor"), False, 2),
        (Target("", "rate", "at most", 20), True, 20),
        (Target("", "rate", "at most", 19), False, 20),
        (Target("", "rate", "at least", 4, BEST_DURABLE), True, 4),
        (Target("", "rate", "at least", 1, "nobody"), None, None),
        (Target("", "rate", "at least", 20, given=("floor", 10)), True, 20),
        (Target("", "rate", "at least", 1, given=("floor", 11)), None, 20),
        (Target("", "all", "at most", 1.2, flat_over=("rate",)), True, 1),
    ],
)
def test_targets(target: Target, reached: bool | None, median: float | None) -> None:
    done = rounds(
        understudy=[20, 20, 20], floor=[10, 10, 10], slow=[1, 1, 1], quick=[5, 5, 5], loose=[9, 9, 9]
    )
    found = outcome(case(target), target, done, ["slow", "quick"])
    assert found.reached is reached
    assert (found.measured and found.measured.median) == median


def test_peers_are_not_in_every_round() -> None:
    done = [*rounds(understudy=[20], floor=[10]), *rounds(understudy=[30], floor=[10], peer=[3])]
    target = Target("", "rate", "at least", 10, BEST_DURABLE)
    assert outcome(case(target), target, done, ["peer"]).reached
    assert not outcome(case(target), target, done, []).measured


def test_flat_takes_the_extremes() -> None:
    done = [{"understudy": {"1": 10.0, "2": 12.5, "4": 11.0}}]
    target = Target("", "all", "at most", 1.2, flat_over=("1", "2", "4"))
    found = outcome(case(target), target, done, [])
    assert (found.reached, found.measured) == (False, spread([1.25]))


def test_numbers_for_people() -> None:
    assert [number(n) for n in (123456, 999.6, 45.678, 1.5, 0.0912, 0.00001, 0)] == [
        "123,000",
        "1,000",
        "45.7",
        "1.5",
        "0.0912",
        "0",
        "0",
    ]
