"""Actor classes for tests of the client."""

from __future__ import annotations

from understudy import Actor, read_only


class Account(Actor, durable=True):
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner, self.balance = owner, balance

    def deposit(self, n: int) -> int:
        self.balance += n
        return self.balance

    @read_only
    def peek(self) -> int:
        return self.balance

    def refuse(self, why: str) -> None:
        raise LookupError(why)


class Feed(Actor, name="news-feed", aliases=["old-news-feed"]):
    async def follow(self, url: str) -> str:
        return url
