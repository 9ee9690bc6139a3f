"""Tasks and actors of the conformance suite: what they do is the same in this process and in workers."""

from __future__ import annotations

import asyncio
from typing import Any

from understudy import (
    Actor,
    AsyncActorRef,
    Deadlock,
    Fail,
    Retry,
    RetryLater,
    TaskCancelled,
    actor,
    aio,
    cancelled,
    checkpoint,
    current,
    progress,
    read_only,
    receive,
    restore,
    send,
    sleep,
    task,
)

#: Seconds of a short wait.
SOON = 0.1


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(SOON)
    return a + b


@task
def failing(message: str) -> None:
    raise ValueError(message)


@task
def hopeless() -> None:
    raise Fail("never")


@task(retry=Retry(attempts=3, delay=SOON, backoff="exponential"))
def third_time() -> int:
    attempt = current().attempt
    if attempt < 3:
        raise ValueError(f"attempt {attempt}")
    return attempt


@task(retry=1)
def later() -> int:
    if current().attempt == 1:
        raise RetryLater(SOON)
    return current().attempt


@task(timeout=SOON, grace=5)
def slow() -> str:
    sleep(60)
    return "woke"


@task(timeout=SOON, grace=5)
async def slow_async() -> None:
    await aio.sleep(60)
    await aio.sleep(60)


@task(timeout=SOON, grace=SOON)
def stubborn() -> None:
    sleep(600, shield=True)


@task
def collect() -> list[Any]:
    """All messages up to the close of the mailbox."""
    messages = []
    while (message := receive()) is not None:
        messages.append(message)
    return messages


@task
async def collect_async() -> list[Any]:
    messages = []
    while (message := await aio.receive()) is not None:
        messages.append(message)
    return messages


@task
def patient() -> str:
    try:
        receive(SOON)
    except TimeoutError:
        return "timed out"
    return "got one"


@task(grace=30)
def until_cancelled() -> str:
    while True:
        message = receive()
        if message == {"$cancel": True}:
            return "told" if cancelled() else "untold"


@task(grace=30)
def cancelled_in_sleep() -> bool:
    return sleep(600)


@task(grace=30)
def waits_for_child(child: str) -> str:
    try:
        add.options(delay=600).start(1, 2).result()
    except TaskCancelled:
        return "cancelled"
    return child


@task(retry=3)
def counts() -> list[int]:
    """Adds up messages, with a checkpoint after each; the state is [sum, number of attempts and interruptions]."""
    total, starts = restore() or (0, 0)
    starts += 1
    while (message := receive()) is not None:
        total += message
        checkpoint([total, starts])
    return [total, starts]


@task
def relays(target: str) -> None:
    while (message := receive()) is not None:
        checkpoint(message, send=[(target, message * 10)])


@task
def family(children: int) -> int:
    return sum(child.result() for child in [add.start(n, n) for n in range(children)])


@task
async def family_async(children: int) -> int:
    started = [await aio.start(add, n, n) for n in range(children)]
    return sum([await aio.result(child) for child in started])


@task
def writes_to(target: str) -> str:
    send(target, {"from": current().id})
    progress(1, 2, "half")
    return current().stream_id


@task
def asks_an_actor(name: str) -> int:
    return actor(Account, name, "task").call(Account.deposit, 7)


@task
async def asks_an_actor_async(name: str) -> int:
    ref = await aio.actor(Account, name, "task")
    return await ref.call(Account.deposit, 7)


class Account(Actor, durable=True, idle=0.5):
    transient = ("starts",)

    def __init__(self, owner: str) -> None:
        self.owner, self.balance, self.order = owner, 0, []

    def on_start(self) -> None:
        self.starts = 1

    def deposit(self, n: int) -> int:
        self.balance += n
        return self.balance

    def note(self, n: int) -> None:
        self.order.append(n)

    def noted(self) -> list[int]:
        return self.order

    def overdraw(self, n: int) -> None:
        self.balance -= n
        self.storage["overdrawn"] = n
        raise ValueError("not enough")

    def keep(self, key: str, value: Any) -> int:
        self.storage[key] = value
        return len(self.storage)

    def kept(self) -> dict[str, Any]:
        return dict(self.storage)

    def move(self, other: str, n: int) -> int:
        actor(Account, other, other).tell({"n": n})
        self.balance -= n
        return self.balance

    def ask_other(self, other: str, n: int) -> int:
        return actor(Account, other, other).call(Account.deposit, n)

    def circle(self, names: list[str]) -> int:
        if not names:
            return self.balance
        return actor(Account, names[0], names[0]).call(Account.circle, names[1:])

    def pay_later(self, n: int) -> None:
        self.remind("pay", Account.deposit, n, delay=SOON)

    def pay_at(self, n: int, at: float) -> None:
        self.remind("pay", Account.deposit, n, at=at)

    def pay_often(self, n: int) -> None:
        self.remind("pay", Account.deposit, n, every=SOON)

    def stop_paying(self) -> bool:
        return self.forget("pay")

    @read_only
    def peek(self) -> int:
        return self.balance

    @read_only
    def meddle(self) -> None:
        self.balance = 0

    def on_receive(self, message: Any) -> int:
        self.balance += message["n"]
        return self.balance

    def on_stop(self) -> int:
        return self.balance


class Clerk(Actor, durable=True):
    """Has async methods."""

    def __init__(self) -> None:
        self.done = 0

    async def work(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.done += 1
        return self.done


class Narcissus(Actor, durable=True):
    """Asks itself, which is a circle."""

    def __init__(self) -> None:
        self.done = 0

    async def ask_itself(self) -> str:
        try:
            await AsyncActorRef(self.actor_ref).call(Narcissus.work)
        except Deadlock:
            return "refused"
        return "answered"

    def work(self) -> int:
        self.done += 1
        return self.done


class Sieve(Actor, durable=True, retry=Retry(attempts=1, delay=SOON)):
    """Fails at odd numbers; at those that end in 1 for ever."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.tries: dict[str, int] = {}

    def on_receive(self, message: int) -> None:
        if message % 2:
            raise ValueError(f"{message} is odd")
        self.taken.append(message)

    def seen(self) -> list[int]:
        return self.taken


class LoneSieve(Sieve, durable=True, isolate=True):
    """The same in a process of its own."""


class Sleeper(Actor, durable=True, timeout=SOON, grace=5):
    def nap(self, seconds: float) -> bool:
        return sleep(seconds) or sleep(seconds)


class Broken(Actor, durable=True):
    def __init__(self) -> None:
        raise RuntimeError("cannot be built")

    def use(self) -> None:
        pass


class Volatile(Actor):
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


@task(retry=10)
def relays_to(target: str, key: int) -> None:
    """Sends one message, exactly once."""
    if restore() is None:
        checkpoint(key, send=[(target, 1)])
