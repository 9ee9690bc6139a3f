"""Calls that type checkers must refuse: each line with the mark, and no other. Never run."""

from __future__ import annotations

import understudy
from understudy import (
    Actor,
    ActorFuture,
    ActorRef,
    AsyncRuntime,
    Executor,
    Runtime,
    Supervisor,
    TaskInfo,
    actor,
    aio,
    child,
    step,
    ws,
)
from well_typed import Account, Point, Savings, count, move


class Other(Actor):
    def other(self) -> int:
        return 1


def takes_text(text: str) -> None: ...


def takes_points(info: TaskInfo[Point]) -> None: ...


def takes_savings(ref: ActorRef[Savings]) -> None: ...


def tasks(rt: Runtime) -> None:
    move.start(1)  # refused
    move.start(Point(1), by="x")  # refused
    move.options(priority=1).start()  # refused
    move.call(Point(1), 2, 3)  # refused
    count.start(5)  # refused
    rt.start(move, 1)  # refused
    Executor(rt).submit(move, 1)  # refused
    Executor(rt).submit(len, "x")  # refused
    takes_text(rt.run(move, Point(1)))  # refused
    takes_points(rt.start(count, "x"))  # refused
    understudy.no_such_name()  # refused
    ws.no_such_name()  # refused


def actors(rt: Runtime, ref: ActorRef[Account], future: ActorFuture[int]) -> None:
    rt.actor(Account, "ada", 1)  # refused
    rt.actor(Account, 5, "Ada")  # refused
    actor(Account, "ada")  # refused
    ref.call(Account.deposit, "x")  # refused
    ref.call(Account.deposit)  # refused
    ref.call(Account.deposit, 5, wrong=1)  # refused
    ref.call(Account.no_such_method)  # refused
    ref.call(Account.pay, "bob", 1)  # refused
    ref.submit(Account.fetch, 5)  # refused
    ref.cast(Account.deposit, None)  # refused
    ref.call(Other.other)  # refused
    ref.call(Savings.interest)  # refused
    ref.options(name="x")  # refused
    ref.ask(1, blocking=False)  # refused
    takes_text(ref.call(Account.peek))  # refused
    takes_text(ref.call(Account.fetch, "x"))  # refused
    takes_text(ref.submit(Account.peek))  # refused
    takes_savings(ref)  # refused
    rt.actor(Account, "ada", "Ada").peek()  # refused
    rt.lookup(Account, "ada").call(Account.peek)  # refused
    future.set("x")  # refused


async def async_calls(rt: AsyncRuntime, ref: ActorRef[Account]) -> None:
    ada = await rt.actor(Account, "ada", "Ada")
    await rt.start(move, "x")  # refused
    await aio.start(count, 1)  # refused
    await aio.step(len, 5)  # refused
    step(len, 5)  # refused
    step.options(keys="k")  # refused
    await rt.actor(Account, "ada")  # refused
    await aio.actor(Account, "ada", 5)  # refused
    await ada.call(Account.deposit, "x")  # refused
    takes_text(await ada.call(Account.deposit, 5))  # refused
    takes_text(ada.call(Account.fetch, "x"))  # refused
    await ref.submit(Account.deposit, "x")  # refused
    await ref.call(Account.peek)  # refused
    await ada.sync.call(Account.peek)  # refused
    await aio.no_such_name()  # refused
    await aio.ws.no_such_name()  # refused
    await ada.tell(1, block=False)  # refused


def trees(rt: Runtime) -> None:
    child("move", len)  # refused
    child(5, move)  # refused
    child("move", move, restart="always")  # refused
    child("move", move, ready="yes")  # refused
    child("move", move, shutdown="soon")  # refused
    child("move", Point)  # refused
    Supervisor("s")  # refused
    Supervisor("s", children=[move])  # refused
    Supervisor("s", children=[], strategy="one_for_some")  # refused
    Supervisor("s", children=[], auto_shutdown="maybe")  # refused
    Supervisor("s", children=[], backoff=3)  # refused
    Supervisor("s", children=[], intensity="3")  # refused
    rt.supervise(child("move", move, Point(1)))  # refused
    rt.supervise(move)  # refused
    tree = rt.tree_of("s")
    rt.tree_of(5)  # refused
    tree.start_child(move)  # refused
    tree.restart_child(5)  # refused
    tree.wait("x")  # refused
    takes_text(tree.status())  # refused
    takes_text(tree.child("move").restarts)  # refused
    takes_points(tree.info("move"))  # refused
    tree.no_such_name()  # refused


async def async_trees(rt: AsyncRuntime) -> None:
    tree = await rt.tree_of("s")
    await rt.supervise(child("move", move, Point(1)))  # refused
    takes_text(await tree.status())  # refused
    takes_text(tree.start_child(child("move", move, Point(1))))  # refused
    await tree.start_child(move)  # refused
    await tree.wait("x")  # refused
    tree.sync.wait("x")  # refused
