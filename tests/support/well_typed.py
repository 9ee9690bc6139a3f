"""Calls that type checkers accept, with the types that they must find. Never run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_type

from understudy import (
    Actor,
    ActorFuture,
    ActorProxy,
    ActorRef,
    ActorRegistry,
    AsyncActorRef,
    AsyncRuntime,
    AsyncTree,
    ChildSpec,
    ChildStatus,
    DeadLetter,
    Executor,
    RemoteError,
    Retry,
    Runtime,
    Supervisor,
    TaskInfo,
    TaskRecord,
    Tree,
    TreeStatus,
    UnknownPool,
    actor,
    aio,
    child,
    get_all,
    read_only,
    ready,
    step,
    task,
    ws,
)


@dataclass
class Point:
    x: int


def moved(by: int) -> Point:
    return Point(by)


async def move_async(point: Point) -> Point:
    return point


def steps() -> None:
    assert_type(step(moved, 7), Point)
    assert_type(step.options(name="n", key="k", retry=Retry(2))(moved, by=7), Point)


@dataclass
class Receipt:
    sum: int


@task
def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by)


@task(retry=3)
async def count(text: str) -> int:
    return len(text)


class Account(Actor, durable=True, idle=60, state_version=2, aliases=["bank:Account"]):
    transient = ("bank",)

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner, self.balance = owner, balance

    def deposit(self, n: int, *, note: str = "") -> Receipt:
        self.storage["last"] = n
        self.remind("statement", Account.report, delay=60)
        assert_type(self.message_id, str)
        self.actor_ref.cast(Account.report)
        return Receipt(n)

    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @read_only
    def peek(self) -> int:
        return self.balance

    def pay(self, to: ActorRef[Account], n: int) -> None:
        to.cast(Account.deposit, n, note="paid")

    def report(self) -> None: ...

    @classmethod
    def upgrade(cls, state: dict[str, Any], version: int) -> dict[str, Any]:
        return {**state, "balance": version}


class Savings(Account):
    def interest(self) -> float:
        return 0.1


def tasks(rt: Runtime) -> None:
    info = move.start(Point(1), by=2)
    assert_type(info, TaskInfo[Point])
    assert_type(info.result(), Point)
    assert_type(info.status(), TaskRecord)
    assert_type(rt.start(move, Point(1)), TaskInfo[Point])
    assert_type(rt.run(move, Point(1), timeout=3), Point)
    assert_type(rt.run(count, "x"), int)
    assert_type(count.start("x").result(), int)
    assert_type(rt.result(info), Point)
    assert_type(next(rt.results([info])), Point)
    assert_type(rt.start_many(move, [Point(1)]), list[TaskInfo[Point]])
    assert_type(rt.start_many([move.options(key="k").call(Point(1), by=3)]), list[TaskInfo[Point]])
    assert_type(rt.retry(info), TaskInfo[Point])
    executor = Executor(rt)
    assert_type(executor.submit(move, Point(1), by=2).result(), Point)
    assert_type(executor.submit(count, "x").result(), int)
    assert_type(executor.submit("m:f", 1).result(), Any)
    assert_type(move(Point(1)), Point)
    assert_type(rt.start("m:f", 1, 2), TaskInfo[Any])
    assert_type(rt.result(info.id), Any)
    assert_type(ws.Backoff(delay=1), ws.Backoff)


def actors(rt: Runtime, ref: ActorRef[Account], savings: ActorRef[Savings]) -> None:
    assert_type(rt.actor(Account, "ada", "Ada", balance=1), ActorRef[Account])
    assert_type(rt.actor("bank:Account", "ada", 1), ActorRef[Any])
    assert_type(rt.lookup(Account, "ada"), ActorRef[Account] | None)
    assert_type(rt.actors(Account), list[ActorRef[Account]])
    assert_type(rt.call("Account/ada", "deposit", 5), Any)
    assert_type(rt.dead_letters(ref), list[DeadLetter])
    assert_type(rt.redrive(ref), int)
    assert_type(Account.start("ada"), ActorRef[Account])
    assert_type(Account("ada").actor_ref, ActorRef[Account])
    assert_type(ActorRegistry.get_by_class(Account), list[ActorRef[Account]])
    assert_type(ActorRegistry.stop_all(), list[bool])
    assert_type(ref.actor_class, type[Account])
    assert_type(ref.name, str | None)
    assert_type(ref.call(Account.deposit, 5), Receipt)
    assert_type(ref.call(Account.deposit, n=5, note="x"), Receipt)
    assert_type(ref.call(Account.fetch, "x"), bytes)
    assert_type(ref.call(Account.peek), int)
    assert_type(ref.call("deposit", 5), Any)
    assert_type(ref.submit(Account.deposit, 5), ActorFuture[Receipt])
    assert_type(ref.submit(Account.fetch, "x").get(timeout=3), bytes)
    assert_type(ref.submit(Account.peek).map(str), ActorFuture[str])
    assert_type(ref.submit(Account.deposit, 5).join(ref.submit(Account.peek)), ActorFuture[list[Any]])
    assert_type(get_all([ref.submit(Account.peek)]), Sequence[int])
    assert_type(savings.call(Account.deposit, 5), Receipt)
    assert_type(savings.call(Savings.interest), float)
    assert_type(ref.options(key="k", timeout=3).call(Account.peek), int)
    assert_type(ref.ask({"q": 1}, timeout=5), Any)
    assert_type(ref.ask(1, block=False), ActorFuture[Any])
    assert_type(ref.tell(1, block=False), ActorFuture[None])
    assert_type(ref.stop(), bool)
    assert_type(ref.stop(block=False), ActorFuture[bool])
    assert_type(ref.is_alive(), bool)
    assert_type(ref.status(), TaskRecord)
    assert_type(ref.proxy(), ActorProxy[Account])
    assert_type(ref.proxy().deposit(5), Any)
    ref.proxy().balance = 5
    ref.cast(Account.deposit, 5)
    ref.call(Account.pay, savings, 1)
    future: ActorFuture[int] = ActorFuture()
    future.set(3)
    try:
        ref.call(Account.peek)
    except RemoteError as error:
        assert_type(error.error.message, str)


@task
def pay(n: int) -> Receipt:
    ref = actor(Account, "ada", "Ada")
    assert_type(ref, ActorRef[Account])
    assert_type(actor(Account, None, "Ada"), ActorRef[Account])
    return ref.call(Account.deposit, n)


async def async_calls(rt: AsyncRuntime, ref: ActorRef[Account]) -> None:
    assert_type(await rt.start(move, Point(1)), TaskInfo[Point])
    assert_type(await rt.run(count, "x"), int)
    assert_type(await aio.step(move_async, Point(1)), Point)
    assert_type(await aio.step.options(key="k", retry=3)(moved, 7), Point)
    assert_type(await aio.start(move, Point(1)), TaskInfo[Point])
    assert_type(await aio.result(await aio.start(move, Point(1))), Point)
    assert_type(await aio.actor(Account, "ada", "Ada"), AsyncActorRef[Account])
    assert_type(await count("x"), int)
    ada = await rt.actor(Account, "ada", "Ada")
    assert_type(ada, AsyncActorRef[Account])
    assert_type(AsyncActorRef(ref), AsyncActorRef[Account])
    assert_type(ada.sync, ActorRef[Account])
    assert_type(await rt.lookup(Account, "ada"), AsyncActorRef[Account] | None)
    assert_type(await ada.call(Account.deposit, 5), Receipt)
    assert_type(await ada.call(Account.fetch, "x"), bytes)
    assert_type(await ada.options(key="k").call(Account.peek), int)
    assert_type(await ada.submit(Account.deposit, 5), Receipt)
    assert_type(await ada.ask(1), Any)
    assert_type(await ada.stop(), bool)
    await ada.cast(Account.deposit, 5)
    await ada.tell(1)
    assert_type(await ref.submit(Account.fetch, "x"), bytes)
    assert_type(await ref.submit(Account.deposit, 5), Receipt)
    assert_type(await ref.ask(1, block=False), Any)


@task(timeout=None, pool="gpu")
def serve(path: str) -> None:
    ready()


class Desk(Actor, pool="gpu"):
    """An actor of a pool."""


def trees(rt: Runtime) -> None:
    assert_type(child("serve", serve, "/tmp", ready=True, shutdown=None, restart="transient"), ChildSpec)
    assert_type(child("serve", serve, kwargs={"path": "/tmp"}, fresh=True, start_timeout=3), ChildSpec)
    assert_type(child("desk", Desk), ChildSpec)
    assert_type(child("ada", Account, "Ada", 5), ChildSpec)
    assert_type(child("move", move.options(priority=3, pool="gpu"), Point(1)), ChildSpec)
    inner = Supervisor("inner", children=(child(f"w{n}", serve, "/") for n in range(4)), restart="temporary")
    outer = Supervisor(
        "outer",
        strategy="rest_for_one",
        intensity=5,
        period=10,
        auto_shutdown="any_significant",
        backoff=Retry(delay=0.5),
        children=[child("count", count, "x", restart="transient", significant=True), inner],
    )
    tree = rt.supervise(outer, timeout=5)
    assert_type(tree, Tree)
    assert_type(rt.tree_of("outer"), Tree)
    assert_type(rt.trees(), list[TreeStatus])
    assert_type(tree.id, str)
    assert_type(tree.status(), TreeStatus)
    assert_type(
        tree.status().state, Literal["starting", "running", "restarting", "stopping", "stopped", "failed"]
    )
    assert_type(tree.status().children, tuple[ChildStatus, ...])
    assert_type(tree.child("inner/w1"), ChildStatus)
    assert_type(tree.child("inner/w1").worker_pid, int | None)
    if (last := tree.child("count").last_exit) is not None:
        assert_type(last.kind, Literal["normal", "abnormal", "shutdown"])
    assert_type(tree.info("inner/w1"), TaskInfo[Any] | ActorRef[Any])
    assert_type(tree.start_child(child("more", serve, "/")), str)
    assert_type(tree.start_child(inner, timeout=3), str)
    tree.terminate_child("more")
    tree.restart_child("more", timeout=3)
    tree.delete_child("more")
    tree.restart()
    tree.stop(timeout=3)
    assert_type(tree.wait(3), TreeStatus)
    try:
        rt.supervise(outer)
    except UnknownPool as error:
        assert_type(error.pool, str)
        assert_type(error.pools, list[str])


async def async_trees(rt: AsyncRuntime) -> None:
    tree = await rt.supervise(Supervisor("s", children=[child("serve", serve, "/")]))
    assert_type(tree, AsyncTree)
    assert_type(await rt.tree_of("s"), AsyncTree)
    assert_type(tree.sync, Tree)
    assert_type(await tree.status(), TreeStatus)
    assert_type(await tree.child("serve"), ChildStatus)
    assert_type(await tree.info("serve"), TaskInfo[Any] | ActorRef[Any])
    assert_type(await tree.start_child(child("more", serve, "/")), str)
    await tree.terminate_child("more", timeout=3)
    await tree.restart_child("more")
    await tree.delete_child("more")
    await tree.restart()
    await tree.stop()
    assert_type(await tree.wait(timeout=3), TreeStatus)


def pools() -> None:
    with Runtime("jobs", pools={"gpu": 1}, pool_env={"gpu": {"A": "b"}}) as rt:
        assert_type(rt.run(move.options(pool="gpu"), Point(1)), Point)
        assert_type(rt.status(rt.start(count, "x").id).pool, str | None)
