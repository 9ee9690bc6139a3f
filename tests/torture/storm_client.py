"""A client in the storm: it does one thing after the other until it is killed, and records acknowledgements.

    python storm_client.py NAME SEED sync|async|embedded

Every record is one write to the client's own journal: before each call, and with its outcome. If the client
is killed between the two, the call may or may not have taken effect. The checker accepts both.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import random
import sys
from typing import Any

import storm_actors as players
import storm_boxes as boxes
import storm_gates as gates
import storm_sessions as sessions
import storm_tasks as stage
import storm_ties as ties
import storm_trees as trees
from storm_actor_deeds import ActorDeeds
from storm_event_deeds import EventDeeds
from storm_journal import FOLDER, trace
from understudy import (
    AsyncRuntime,
    MailboxClosed,
    MailboxFull,
    NotRunning,
    Runtime,
    SupervisorLost,
    TaskEnded,
    box,
)
from understudy.actors.box.conf import BOX

SETTINGS = json.loads(os.environ.get("UNDERSTUDY_STORM_SETTINGS", "{}"))

#: The calls, and their weights.
DEEDS = [
    *["start"] * 4,
    *["start_many"] * 2,
    *["pass_gates"] * 4,
    *["tie"] * 4,
    "start_again",
    *["collect"] * 2,
    "pipeline",
    *["feed"] * 2,
    *["act"] * 16,
    *["happen"] * 12,
    *["tend"] * 2,
    "errand",
    *["send"] * 14,
    "close",
    *["cancel"] * 2,
    *["wait"] * 3,
    "look",
]
#: Further calls where containers can be run.
WITH_CONTAINERS = [*["box"] * 3, "cancel_box"]
#: Containers, queued or running, above which clients start no more.
CONTAINERS = 8
#: Queued tasks above which clients start no more.
BACKLOG = 300
PLAIN = [stage.double, stage.double_async, stage.falter, stage.steps, stage.parent, stage.double_alone]
#: Tasks that run until they are cancelled.
RESTLESS = [stage.rest, stage.rest_async, stage.toil, *sessions.HOLDERS]
STOPPABLE = [*RESTLESS, stage.steps, ties.guardian, ties.watcher, ties.mapper]
CONSUMERS = [stage.collect, stage.collect_async, stage.listen, *sessions.GATEWAYS]


class Client:
    """`me` is the name under which it sends; no two clients of a storm have the same name."""

    def __init__(self, rt: Any, me: str, seed: str, journal: int) -> None:
        self.rt = rt
        self.me = me
        self.chance = random.Random(seed)
        self._journal = journal
        self._numbers: dict[str, int] = {}
        self._keys: list[tuple[str, int]] = []
        self._started: list[str] = []
        self._stoppable: list[str] = []
        self._boxes: list[str] = []
        #: Consumers that this client may close, and all tasks to which it sends.
        self._open: list[str] = []
        self._receivers: list[str] = []
        self._actors = ActorDeeds(self.call, me, self.chance, self.note)
        self._trees = trees.TreeDeeds(self.call, self.chance, self.note)
        self._events = EventDeeds(rt, self.call, me, self.chance, self.note)
        self._ties = itertools.cycle(ties.ALL)
        #: The first things of all, the last one first, so that each storm has some of them.
        self._first = ["happen", *["note"] * 3, "feed", "pass_gates", *["tie"] * len(ties.ALL), "tend"]

    def note(self, *row: Any) -> None:
        os.write(self._journal, json.dumps(row).encode() + b"\n")

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """A call of the runtime, blocking or awaitable."""
        value = getattr(self.rt, name)(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value

    async def go_on(self) -> None:
        deeds = [*DEEDS, *WITH_CONTAINERS] if boxes.IMAGE else DEEDS
        while not _is_calm():
            await asyncio.sleep(self.chance.uniform(0, 0.01))
            deed = self._first[-1] if self._first else self.chance.choice(deeds)
            try:
                await getattr(self, f"_{deed}")()
                if self._first:
                    self._first.pop()
                    if not self._first:
                        (FOLDER / "all deeds").touch()
            except NotRunning:
                await asyncio.sleep(0.02)
            except SupervisorLost:
                pass
        await self._events.watch_in_the_calm()

    # --- deeds ---

    async def _start(self) -> None:
        task = self.chance.choice([*PLAIN, *STOPPABLE]) if self.chance.random() < 0.98 else stage.stubborn
        delay = self.chance.choice([None, None, None, 0.05, 0.5])
        options: dict[str, Any] = {"delay": delay} if delay else {}
        if self.chance.random() < 0.2:
            options["pool"] = trees.POOL
        info = await self.call("start", task.options(**options) if options else task, *self._args(task))
        self._took(task, info.id)

    def _args(self, task: Any) -> list[int]:
        if task in RESTLESS or task is stage.stubborn:
            return []
        most = {
            stage.parent: 4,
            stage.steps: 30,
            stage.falter: 3,
            ties.guardian: 7,
            ties.watcher: 40,
            ties.mapper: 20,
        }.get(task, 1000)
        return [self.chance.randrange(1, most)]

    def _took(self, task: Any, id: str) -> None:
        self.note("started", id, task.name)
        self._started.append(id)
        if task in STOPPABLE:
            self._stoppable.append(id)

    async def _start_many(self) -> None:
        task = self.chance.choice([stage.double, stage.double_async])
        for info in await self.call("start_many", task, range(self.chance.randrange(1, 20))):
            self._took(task, info.id)

    async def _pass_gates(self) -> None:
        """Tasks at limits, and unique ones: the answer may be the same task again."""
        task, key = self.chance.choice(gates.ALL), self.chance.choice(gates.KEYS)
        calls = [(key, self.chance.randrange(1000)) for _ in range(self.chance.choice([1, 1, 5]))]
        delay = self.chance.choice([None, None, 0.05])
        for info in await self.call("start_many", task.options(delay=delay) if delay else task, calls):
            self._took(task, info.id)

    async def _tie(self) -> None:
        """A task with steps, one with linked children, one that monitors others, or one that maps."""
        task = next(self._ties)
        info = await self.call("start", task, self.chance.randrange(1, 7))
        self._took(task, info.id)

    async def _start_again(self) -> None:
        """With a key that may have been used before; then the answer is the same task."""
        if not self._keys or self.chance.random() < 0.5:
            self._keys.append((f"{self.me}-{len(self._keys)}", self.chance.randrange(1000)))
        key, number = self.chance.choice(self._keys)
        info = await self.call("start", stage.double.options(key=key), number)
        self.note("keyed", key, info.id, number)

    async def _collect(self) -> None:
        if len(self._open) < 6:
            task = self.chance.choice(CONSUMERS)
            info = await self.call("start", task)
            self.note("consumer", info.id, task.name)
            self._open.append(info.id)
            self._receivers.append(info.id)

    async def _pipeline(self) -> None:
        if len(self._open) < 6:
            sink = await self.call("start", stage.collect)
            self.note("consumer", sink.id, stage.collect.name)
            head = await self.call("start", stage.relay, sink.id)
            self.note("relay", head.id, sink.id)
            self._open.append(head.id)
            self._receivers.append(head.id)

    async def _feed(self) -> None:
        sink = await self.call("start", stage.collect)
        self.note("consumer", sink.id, stage.collect.name)
        task, count = self.chance.choice(sessions.FEEDS), self.chance.randrange(10, 60)
        feed = await self.call("start", task, sink.id, count)
        self.note("feed", feed.id, task.name, sink.id, count)

    async def _act(self) -> None:
        await self._actors.act()

    async def _note(self) -> None:
        await self._actors.act("note")

    async def _happen(self) -> None:
        await self._events.act()

    async def _tend(self) -> None:
        await self._trees.act()

    async def _errand(self) -> None:
        info = await self.call("start", players.errand, f"a{self.chance.randrange(players.NAMES)}")
        self._took(players.errand, info.id)

    async def _box(self) -> None:
        living = await self.call("list", state=["queued", "running"], task=BOX, limit=CONTAINERS)
        if len(living) == CONTAINERS:
            return
        part = boxes.some_part(self.chance)
        task, args = box.call(part.conf(), grace=0.3)
        info = await self.call("start", task, *args)
        self.note("box", info.id, part.row())
        self._boxes.append(info.id)
        self._started.append(info.id)

    async def _cancel_box(self) -> None:
        if self._boxes and self.chance.random() < 0.3:
            await self._end(self._boxes.pop(self.chance.randrange(len(self._boxes))))

    async def _send(self) -> None:
        if not self._receivers:
            return
        id = self.chance.choice(self._receivers)
        first = self._numbers.get(id, 0) + 1
        last = first + self.chance.choice([0, 0, 0, 3, 20])
        self._numbers[id] = last
        self.note("sending", id, self.me, first, last)
        try:
            if first == last:
                await self.call("send", id, [self.me, first])
            else:
                await self.call("send_many", [(id, [self.me, n]) for n in range(first, last + 1)])
        except (MailboxClosed, MailboxFull) as error:
            self.note("refused", id, self.me, first, last, type(error).__name__)
            if isinstance(error, MailboxClosed):
                self._receivers.remove(id)
        else:
            self.note("sent", id, self.me, first, last)

    async def _close(self) -> None:
        if len(self._open) > 2:
            id = self._open.pop(self.chance.randrange(len(self._open)))
            self.note("closing", id)
            await self.call("close", id)

    async def _cancel(self) -> None:
        ids = self._stoppable if self.chance.random() < 0.8 else self._started
        if ids:
            await self._end(self.chance.choice(ids[-20:]))

    async def _end(self, id: str) -> None:
        self.note("cancelling", id)
        self.note("cancelled", id, await self.call("cancel", id))

    async def _wait(self) -> None:
        if not self._started:
            return
        id = self.chance.choice(self._started[-50:])
        try:
            value = await self.call("result", id, timeout=self.chance.uniform(0, 0.3))
        except TimeoutError:
            return
        except TaskEnded:
            value = None
        record = await self.call("status", id)
        self.note("saw", id, str(record.state), record.attempt, record.interruptions, record.ended, value)

    async def _look(self) -> None:
        """And rest while much work is queued: the remaining work must be done after the storm."""
        while len(await self.call("list", state="queued", limit=BACKLOG)) == BACKLOG and not _is_calm():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def perform(name: str, seed: str, kind: str) -> None:
    home = FOLDER / "home"
    descriptor = os.open(FOLDER / f"client-{name}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if kind == "async":
            async with await _attach(lambda: AsyncRuntime.connect(home)) as rt:
                clients = [Client(rt, f"{name}.{n}", f"{seed}.{n}", descriptor) for n in range(4)]
                await asyncio.gather(*(client.go_on() for client in clients))
        else:
            embed = lambda: Runtime(home, app=stage.__file__, **SETTINGS)  # noqa: E731
            with await _attach(embed if kind == "embedded" else lambda: Runtime.connect(home)) as rt:
                await Client(rt, name, seed, descriptor).go_on()
    except Exception as error:
        # Any error of a client in the storm is one that it can handle.
        trace("wrong", f"client {name} ended with {error!r}")
        raise


def _is_calm() -> bool:
    return (FOLDER / "calm").exists()


async def _attach(make: Any) -> Any:
    """Wait for a supervisor, unless this client starts one."""
    while True:
        try:
            rt = make()
            if isinstance(rt, AsyncRuntime):
                await rt.ping(timeout=1)
            else:
                rt.ping(timeout=1)
            return rt
        except NotRunning:
            if _is_calm():
                sys.exit(0)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(perform(*sys.argv[1:4]))
