"""What type checkers say of a program that uses the package: the results have types, wrong arguments are found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT

#: A line with a mark must have an error; a `reveal_type` must be of the type in its comment.
PROGRAM = """
from dataclasses import dataclass
from understudy import AsyncRuntime, Executor, Runtime, aio, task

@dataclass
class Point:
    x: int

@task
def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by)

@task(retry=3)
async def count(text: str) -> int:
    return len(text)

def program(rt: Runtime) -> None:
    info = move.start(Point(1), by=2)
    reveal_type(info)  # TaskInfo[Point]
    reveal_type(info.result())  # Point
    reveal_type(rt.start(move, Point(1)))  # TaskInfo[Point]
    reveal_type(rt.run(move, Point(1), timeout=3))  # Point
    reveal_type(rt.run(count, "x"))  # int
    reveal_type(count.start("x").result())  # int
    reveal_type(rt.result(info))  # Point
    reveal_type(next(rt.results([info])))  # Point
    reveal_type(rt.start_many(move, [Point(1)]))  # list[TaskInfo[Point]]
    reveal_type(rt.start_many([move.options(key="k").call(Point(1), by=3)]))  # list[TaskInfo[Point]]
    reveal_type(rt.retry(info))  # TaskInfo[Point]
    executor = Executor(rt)
    reveal_type(executor.submit(move, Point(1), by=2).result())  # Point
    reveal_type(executor.submit(count, "x").result())  # int
    reveal_type(executor.submit("m:f", 1).result())  # Any
    reveal_type(move(Point(1)))  # Point
    reveal_type(rt.start("m:f", 1, 2))  # TaskInfo[Any]
    reveal_type(rt.result(info.id))  # Any
    move.start(1)  # error
    move.start(Point(1), by="x")  # error
    move.options(priority=1).start()  # error
    move.call(Point(1), 2, 3)  # error
    count.start(5)  # error
    rt.start(move, 1)  # error
    executor.submit(move, 1)  # error
    executor.submit(len, "x")  # error
    wrong: int = rt.run(move, Point(1))  # error

async def async_program(rt: AsyncRuntime) -> None:
    reveal_type(await rt.start(move, Point(1)))  # TaskInfo[Point]
    reveal_type(await rt.run(count, "x"))  # int
    reveal_type(await aio.result(await aio.start(move, Point(1))))  # Point
    reveal_type(await count("x"))  # int
    await rt.start(move, "x")  # error
    await aio.start(count, 1)  # error
"""

CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--no-error-summary", "--no-incremental", "--cache-dir=/dev/null"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


def told(checker: str, folder: Path) -> dict[int, str]:
    """What it says of each line of the program."""
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [*CHECKERS[checker], str(program)],
        cwd=folder,
        env={
            "PATH": str(Path(sys.executable).parent),
            "MYPYPATH": str(ROOT / ".typing"),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    found: dict[int, str] = {}
    for number, text in re.findall(r"program\.py:(\d+):(?:\d+ -)?\s*(.*)", done.stdout):
        found[int(number)] = found.get(int(number), "") + text
    assert found, done.stdout + done.stderr
    return found


def plain(revealed: str) -> str:
    """The type in an answer of reveal_type, without the names of modules."""
    name = re.findall(r'"([^"]*)"', revealed)[-1]
    return re.sub(r"[\w.]+\.(?=\w)", "", name)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", CHECKERS)
def test_what_type_checkers_say(checker: str, tmp_path: Path):
    if checker == "pyright" and shutil.which("pyright") is None:
        pytest.skip("pyright is not installed")
    found = told(checker, tmp_path)
    for number, line in enumerate(PROGRAM.splitlines(), 1):
        _, _, comment = line.partition("  # ")
        if comment == "error":
            assert "error" in found.get(number, ""), line
        elif comment and "reveal_type" in line:
            assert plain(found.get(number, '""')) == comment, line
        else:
            assert "error" not in found.get(number, ""), f"{line}: {found[number]}"
