"""Clients of real actors: races for a name, asks through the deaths of a supervisor, keys, dead letters."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actor_tasks import Account, Feed, Slow, pays, pays_async
from theatre import PATIENCE, kill
from understudy import (
    ActorDeadError,
    ActorRef,
    AskTimeout,
    AsyncActorRef,
    AsyncRuntime,
    RemoteError,
    Runtime,
)
from waiting import until

#: Threads that ask at once, and asks of each.
THREADS = 8
ASKS = 50


@pytest.fixture
def rt(home: Path) -> Iterator[Runtime]:
    with Runtime(home, app="actor_tasks", workers=2, drain=1.0) as runtime:
        yield runtime


def at_once(call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, range(THREADS)))


def test_one_actor_for_a_name(rt: Runtime):
    refs = at_once(lambda number: rt.actor(Account, "ada", f"Ada {number}", balance=number))
    assert len({ref.id for ref in refs}) == 1
    assert rt.lookup(Account, "ada") == refs[0]
    assert rt.actor("actor_tasks:Account", "ada", "x") == refs[0]
    assert refs[0].call(Account.peek) in range(THREADS)
    assert rt.actors(Account) == [refs[0]]
    assert refs[0].stop()
    assert rt.lookup(Account, "ada") is None
    assert not refs[0].stop()
    with pytest.raises(ActorDeadError):
        refs[0].call(Account.peek)
    assert rt.actor(Account, "ada", "anew") != refs[0]


def test_calls_with_and_without_the_class(rt: Runtime):
    ref = rt.actor(Account, "ada", "Ada")
    assert ref.call(Account.deposit, 5) == 5
    assert rt.call("Account/ada", "deposit", 5) == 10
    assert rt.call("actor_tasks:Account/ada", "deposit", n=5) == 15
    assert rt.call(ref.id, "peek") == 15
    with pytest.raises(RemoteError, match="no such thing") as caught:
        rt.call(ref, "refuse", "no such thing")
    assert isinstance(caught.value, LookupError)
    feed = rt.actor(Feed, "news")
    assert feed.call(Feed.follow, "url") == "url"
    assert ref.proxy().deposit(1).get(timeout=PATIENCE) == 16
    assert ref.status().task == "actor_tasks:Account"


def test_asks_through_the_deaths_of_the_supervisor(rt: Runtime):
    ref = rt.actor(Account, "ada", "Ada")
    done: list[int] = []

    def ask(_: int) -> None:
        for _ in range(ASKS):
            balance = ref.call(Account.deposit, 1)
            done.append(balance)

    def keyed(number: int) -> None:
        for ask in range(ASKS):
            ref.options(key=f"{number}/{ask}").tell({"deposit": 1})

    def kills() -> None:
        for after in (50, 100, 150):
            until(lambda after=after: len(done) > after, PATIENCE)
            kill(rt.supervisor_pid)

    killing = threading.Thread(target=kills)
    killing.start()
    at_once(ask)
    killing.join(PATIENCE)
    assert sorted(done) == list(range(1, THREADS * ASKS + 1))
    at_once(keyed)
    until(lambda: ref.call(Account.peek) == 2 * THREADS * ASKS, PATIENCE)


def test_the_same_key_is_the_same_message(rt: Runtime):
    ref = rt.actor(Account, "ada", "Ada").options(key="order-17")
    assert [ref.call(Account.deposit, 5) for _ in range(3)] == [5, 5, 5]
    kill(rt.supervisor_pid)
    assert ref.call(Account.deposit, 5) == 5
    for _ in range(3):
        ref.options(key="order-18").tell({"deposit": 1})
    assert rt.call("Account/ada", "peek") == 6


def test_after_a_timeout_the_same_key_gets_the_answer(rt: Runtime, tmp_path: Path):
    ref = rt.actor(Slow, "slow").options(key="k")
    with pytest.raises(AskTimeout):
        ref.options(timeout=0.05).call(Slow.wait_for, str(tmp_path / "go"))
    (tmp_path / "go").touch()
    assert ref.call(Slow.wait_for, str(tmp_path / "go")) == 1


def test_dead_letters_are_told_and_sent_again(rt: Runtime, tmp_path: Path):
    ref, file = rt.actor(Account, "ada", "Ada"), tmp_path / "go"
    ref.cast(Account.refuse_unless, str(file))
    until(lambda: rt.dead_letters(ref), PATIENCE)
    (dead,) = rt.dead_letters("Account/ada")
    assert dead.message == {"method": "refuse_unless", "args": [str(file)], "kwargs": {}}
    assert (dead.error.type, dead.error.message) == ("LookupError", str(file))
    file.touch()
    assert rt.redrive(ref, dead.id) == 1
    assert rt.redrive(ref) == 0
    until(lambda: ref.call(Account.peek) == 100, PATIENCE)
    assert rt.dead_letters(ref) == []


def test_tasks_and_their_actors(rt: Runtime):
    assert rt.run(pays, "ada", 5, timeout=PATIENCE) == 5
    assert rt.run(pays_async, "ada", 5, timeout=PATIENCE) == 10


def test_an_async_program(home: Path):
    async def main() -> None:
        async with AsyncRuntime(home, app="actor_tasks", workers=1, drain=1.0) as rt:
            ref = await rt.actor(Account, "ada", "Ada")
            assert isinstance(ref, AsyncActorRef)
            assert await ref.call(Account.deposit, 5) == 5
            assert sorted(await asyncio.gather(*(ref.call(Account.deposit, 1) for _ in range(50)))) == list(
                range(6, 56)
            )
            assert await rt.call("Account/ada", "peek") == 55
            assert await ref.submit(Account.peek) == 55
            await ref.tell({"deposit": 1})
            assert await ref.call(Account.peek) == 56
            assert await rt.lookup(Account, "ada") == ref
            assert await rt.actors(Account) == [ref]
            with pytest.raises(RemoteError):
                await ref.call(Account.refuse, "no")
            assert await ref.stop()
            assert not await ref.is_alive()

    asyncio.run(main())


def test_a_reference_goes_through_values(rt: Runtime):
    ref = rt.actor(Account, "ada", "Ada")
    sent: ActorRef[Account] = ref.call(Account.me)
    assert sent == ref
    assert rt.call(sent, "deposit", 1) == 1
