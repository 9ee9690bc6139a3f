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

#: The same for class actors.
ACTORS = """
from dataclasses import dataclass
from understudy import (
    Actor, ActorFuture, ActorRef, ActorRegistry, AsyncRuntime, Runtime, actor, get_all, read_only
)

@dataclass
class Receipt:
    sum: int

class Account(Actor, durable=True, idle=60, state_version=2):
    transient = ("bank",)

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner, self.balance = owner, balance

    def deposit(self, n: int, *, note: str = "") -> Receipt:
        self.storage["last"] = n
        self.remind("statement", Account.report, delay=60)
        reveal_type(self.message_id)  # str
        return Receipt(n)

    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @read_only
    def peek(self) -> int:
        return self.balance

    def report(self) -> None: ...

class Savings(Account):
    def interest(self) -> float:
        return 0.1

class Other(Actor):
    def other(self) -> int:
        return 1

def program(rt: Runtime, ref: ActorRef[Account], savings: ActorRef[Savings]) -> None:
    reveal_type(rt.actor(Account, "ada", "Ada", balance=1))  # ActorRef[Account]
    reveal_type(actor(Account, None, "Ada"))  # ActorRef[Account]
    reveal_type(rt.lookup(Account, "ada"))  # ActorRef[Account] | None
    reveal_type(rt.actors(Account))  # list[ActorRef[Account]]
    rt.actor(Account, "ada", 1)  # error
    actor(Account, "ada")  # error
    reveal_type(Account.start("ada"))  # ActorRef[Account]
    reveal_type(Account("ada").actor_ref)  # ActorRef[Account]
    reveal_type(ref.actor_class)  # type[Account]
    reveal_type(ref.call(Account.deposit, 5))  # Receipt
    reveal_type(ref.call(Account.deposit, n=5, note="x"))  # Receipt
    reveal_type(ref.call(Account.fetch, "x"))  # bytes
    reveal_type(ref.call(Account.peek))  # int
    reveal_type(ref.call("deposit", 5))  # Any
    reveal_type(ref.submit(Account.deposit, 5))  # ActorFuture[Receipt]
    reveal_type(ref.submit(Account.fetch, "x").get(timeout=3))  # bytes
    reveal_type(ref.submit(Account.peek).map(str))  # ActorFuture[str]
    reveal_type(ref.submit(Account.deposit, 5).join(ref.submit(Account.peek)))  # ActorFuture[list[Any]]
    reveal_type(get_all([ref.submit(Account.peek)]))  # Sequence[int]
    reveal_type(savings.call(Account.deposit, 5))  # Receipt
    reveal_type(savings.call(Savings.interest))  # float
    reveal_type(ref.options(key="k", timeout=3).call(Account.peek))  # int
    reveal_type(ref.ask({"q": 1}, timeout=5))  # Any
    reveal_type(ref.ask(1, block=False))  # ActorFuture[Any]
    reveal_type(ref.tell(1, block=False))  # ActorFuture[None]
    reveal_type(ref.stop())  # bool
    reveal_type(ref.stop(block=False))  # ActorFuture[bool]
    reveal_type(ref.is_alive())  # bool
    reveal_type(ref.proxy().deposit(5))  # Any
    reveal_type(ActorRegistry.get_by_class(Account))  # list[ActorRef[Account]]
    reveal_type(ActorRegistry.stop_all())  # list[bool]
    ref.cast(Account.deposit, 5)
    future: ActorFuture[int] = ActorFuture()
    future.set(3)
    ref.call(Account.deposit, "x")  # error
    ref.call(Account.deposit)  # error
    ref.call(Account.deposit, 5, wrong=1)  # error
    ref.submit(Account.fetch, 5)  # error
    ref.cast(Account.deposit, None)  # error
    ref.call(Other.other)  # error
    ref.call(Savings.interest)  # error
    ref.options(name="x")  # error
    ref.ask(1, blocking=False)  # error
    wrong: str = ref.call(Account.peek)  # error
    future.set("x")  # error

async def async_program(rt: AsyncRuntime, ref: ActorRef[Account]) -> None:
    ada = await rt.actor(Account, "ada", "Ada")
    reveal_type(await ada.call(Account.deposit, 5))  # Receipt
    await rt.actor(Account, "ada")  # error
    await ada.call(Account.deposit, "x")  # error
    reveal_type(await ref.submit(Account.fetch, "x"))  # bytes
    reveal_type(await ref.submit(Account.deposit, 5))  # Receipt
    await ref.submit(Account.deposit, "x")  # error
"""

PROGRAMS = {"tasks": PROGRAM, "actors": ACTORS}

CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--no-error-summary", "--no-incremental", "--cache-dir=/dev/null"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


def told(checker: str, text: str, folder: Path) -> dict[int, str]:
    """What it says of each line of the program."""
    program = folder / "program.py"
    program.write_text(text, encoding="utf-8")
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
    for number, said in re.findall(r"program\.py:(\d+):(?:\d+ -)?\s*(.*)", done.stdout):
        found[int(number)] = found.get(int(number), "") + said
    assert found, done.stdout + done.stderr
    return found


def plain(revealed: str) -> str:
    """The type in an answer of reveal_type, without the names of modules."""
    name = re.findall(r'"([^"]*)"', revealed)[-1]
    return re.sub(r"[\w.]+\.(?=\w)", "", name)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_type_checkers_say(checker: str, program: str, tmp_path: Path):
    if checker == "pyright" and shutil.which("pyright") is None:
        pytest.skip("pyright is not installed")
    found = told(checker, PROGRAMS[program], tmp_path)
    for number, line in enumerate(PROGRAMS[program].splitlines(), 1):
        _, _, comment = line.partition("  # ")
        if comment == "error":
            assert "error" in found.get(number, ""), line
        elif comment and "reveal_type" in line:
            assert plain(found.get(number, '""')) == comment, line
        else:
            assert "error" not in found.get(number, ""), f"{line}: {found[number]}"
