"""Named points: they exist, they are found by their names, and they cost nothing. What a death there does is tested
in tests/torture/test_crash_points.py."""

from __future__ import annotations

import dis
from pathlib import Path

import pytest

from puppets import end, program, said
from understudy.actors.errors import InvalidOption
from understudy.supervisor.testing import crash_points
from understudy.supervisor.testing.crash_points import ONE_WAY, POINTS, VARIABLE, Process, arm, find

#: Dies at the fifth of ten calls, or says which it has made.
CALLS = """
import os
from understudy.supervisor.testing import crash_points
from understudy.supervisor.testing.crash_points import Process, arm

class Stage:
    def play(self, number):
        print([number], flush=True)
        return -number

crash_points.POINTS["commit"] = (Process.SUPERVISOR, "x:Stage.play")
crash_points.find = lambda target: (Stage, "play")
arm(Process.WORKER)
assert "counted" not in repr(Stage.play)
arm(Process.SUPERVISOR)
print([Stage().play(n) for n in range(1, 11)], flush=True)
"""


@pytest.mark.parametrize("point", POINTS)
def test_it_is_the_name_of_a_function(point: str):
    owner, name = find(POINTS[point][1])
    assert callable(getattr(owner, name))


def test_it_costs_nothing_when_off():
    """There is nothing at the points in the code: nothing but the start of a process knows of this module."""
    for _, target in POINTS.values():
        owner, name = find(target)
        function = getattr(owner, name)
        assert function.__module__ != crash_points.__name__
        names = {str(step.argval) for step in dis.get_instructions(function)}
        assert not any("crash" in name for name in names)


@pytest.mark.parametrize(
    ("side", "count", "printed"),
    [("before", 1, []), ("before", 3, [[1], [2]]), ("after", 3, [[1], [2], [3]])],
)
def test_the_process_dies_there(
    side: str, count: int, printed: list[list[int]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, f"commit.{side}:{count}")
    process = program(CALLS)
    try:
        assert [said(process) for _ in printed] == printed
        assert process.wait(20) == -9
        assert process.stdout is not None
        assert process.stdout.read() == ""
    finally:
        end(process)


def test_once_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, f"commit.before:3@{tmp_path / 'died'}")
    for returncode in (-9, 0):
        process = program(CALLS)
        try:
            assert process.communicate(timeout=20)[0].count("[") == (2 if returncode else 11)
            assert process.returncode == returncode
            assert (tmp_path / "died").exists()
        finally:
            end(process)


@pytest.mark.parametrize(
    "wanted",
    [
        "commit",
        "commit.before",
        "commit.before:0",
        "commit.beside:1",
        "nowhere.before:1",
        "middleman.after:1",
    ],
)
def test_what_is_no_point_is_refused(wanted: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, wanted)
    with pytest.raises(InvalidOption, match="commit, acknowledge"):
        arm(Process.WORKER)


def test_nothing_is_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    before = [getattr(*find(target)) for _, target in POINTS.values()]
    for process in Process:
        arm(process)
    assert [getattr(*find(target)) for _, target in POINTS.values()] == before


def test_the_one_way_points_are_points():
    assert set(POINTS) > ONE_WAY
