"""Actor classes for tests of the client, and tasks that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy import Actor, ActorRef, actor, aio, read_only, task
from waiting import until


class Account(Actor, durable=True):
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner, self.balance = owner, balance

    def on_receive(self, message: Any) -> None:
        self.balance += message["deposit"]

    def deposit(self, n: int) -> int:
        self.balance += n
        return self.balance

    @read_only
    def peek(self) -> int:
        return self.balance

    def refuse(self, why: str) -> None:
        raise LookupError(why)

    def refuse_unless(self, file: str) -> None:
        """Raise LookupError unless this file exists."""
        if not Path(file).exists():
            raise LookupError(file)
        self.balance += 100

    def me(self) -> ActorRef[Any]:
        return self.actor_ref


class Feed(Actor, name="news-feed", aliases=["old-news-feed"]):
    async def follow(self, url: str) -> str:
        return url


class Witness(Actor):
    """Answers without the disk."""

    def here(self) -> str:
        return "here"


class Slow(Actor, durable=True):
    def __init__(self) -> None:
        self.calls = 0

    def wait_for(self, file: str) -> int:
        until(Path(file).exists)
        self.calls += 1
        return self.calls


@task
def pays(name: str, n: int) -> int:
    return actor(Account, name, name).call(Account.deposit, n)


@task
async def pays_async(name: str, n: int) -> int:
    ref = await aio.actor(Account, name, name)
    return await ref.call(Account.deposit, n)
