"""What a client of a storm does with events, schedules and watches, each call recorded with its outcome."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import storm_events as stage
from understudy import (
    EventNotFound,
    InvalidOption,
    NotRunning,
    ScheduleNotFound,
    SupervisorLost,
    TaskNotFound,
    WatchEntry,
)

#: The calls, and their weights.
DEEDS = [
    *["emit"] * 6,
    *["emit_again"] * 2,
    "emit_many",
    "replay",
    "listen",
    "close",
    *["publish"] * 2,
    *["watch"] * 8,
    *["schedule"] * 4,
    *["alter"] * 3,
]
#: Listeners that one client has open, and schedules that it makes.
LISTENERS = 3
SCHEDULES = 8
#: Entries that one watch reads, and seconds that it waits for each: in the storm, and in the calm after it.
ENTRIES = 30
WAIT = 0.05
CALM_WAIT = 2.0


class EventDeeds:
    """One client's part with events, schedules and watches."""

    def __init__(
        self, rt: Any, call: Callable[..., Any], me: str, chance: random.Random, journal: Callable[..., None]
    ) -> None:
        """`call` makes a call of the runtime `rt`; `journal` records one line."""
        self._rt = rt
        self._call = call
        self._me = me
        self._chance = chance
        self._journal = journal
        self._given = 0
        self._emitted: list[str] = []
        self._listeners: list[str] = []
        self._schedules: list[str] = []
        #: What it may watch, as arguments of `watch`, and the cursors that it has seen there.
        self._watched: list[tuple[dict[str, str], list[str | None]]] = []

    def _note(self, *row: Any) -> None:
        self._journal("event", *row)

    async def act(self) -> None:
        """One of the calls."""
        await getattr(self, f"_{self._chance.choice(DEEDS)}")()

    # --- events ---

    def _new_id(self) -> str:
        self._given += 1
        return f"{self._me}/{self._given}"

    async def _emit(self) -> None:
        name = self._chance.choice(list(stage.HANDLED))
        id = self._new_id() if self._chance.random() < 0.7 else None
        began = time.time()
        if id is not None:
            self._note("emitting", id, name)
        self._took(name, began, await self._call("emit", name, [self._me, began], id=id))

    def _took(self, name: str, began: float, made: Any) -> None:
        self._note("emitted", made.id, name, made.stream_id, list(made.runs), began, time.time())
        self._emitted.append(made.id)
        self._watch_later({"stream": made.stream_id})

    async def _emit_again(self) -> None:
        """With an id that is known; then the answer is that of the first one."""
        if self._given:
            id, name = f"{self._me}/{self._chance.randrange(1, self._given + 1)}", "calm.one"
            self._note("emitting", id, name)
            made = await self._call("emit", name, id=id)
            self._note("again", made.id, made.stream_id, list(made.runs))

    async def _emit_many(self) -> None:
        name, began = "storm.two.again", time.time()
        ids = [self._new_id() for _ in range(self._chance.randrange(1, 6))]
        for id in ids:
            self._note("emitting", id, name)
        for made in await self._call("emit_many", [(name, began, id) for id in ids]):
            self._took(name, began, made)

    async def _replay(self) -> None:
        if self._emitted and self._chance.random() < 0.5:
            id = self._chance.choice(self._emitted)
            try:
                made = await self._call("replay", id)
            except EventNotFound:
                self._note("lost", id)
            else:
                self._note("replayed", made.id, list(made.runs))

    async def _listen(self) -> None:
        if len(self._listeners) < LISTENERS:
            info = await self._call("start", stage.listens)
            self._note("started", info.id, stage.listens.name)
            self._listeners.append(info.id)

    async def _close(self) -> None:
        if len(self._listeners) > 1:
            id = self._listeners.pop(self._chance.randrange(len(self._listeners)))
            self._note("closing", id, time.time())
            await self._call("close", id)

    # --- watches ---

    async def _publish(self) -> None:
        count = self._chance.randrange(1, 20)
        info = await self._call("start", stage.publishes, count)
        self._note("started", info.id, stage.publishes.name, count)
        self._watch_later({"task": info.id} if self._chance.random() < 0.5 else {"stream": info.id})

    def _watch_later(self, what: dict[str, str]) -> None:
        self._watched.append((what, [None]))
        del self._watched[:-20]

    async def _watch(self) -> None:
        """From the beginning, or from a cursor that an earlier watch has given."""
        if not self._watched:
            return
        what, cursors = self._chance.choice(self._watched)
        await self._look(what, cursors, self._chance.choice(cursors[-20:]), WAIT)

    async def watch_in_the_calm(self) -> None:
        """Until a watch has seen something: on a busy machine, a short storm may end before one has."""
        if not self._watched:
            with suppress(NotRunning, SupervisorLost):
                await self._emit()
        for what, cursors in self._watched:
            await self._look(what, cursors, None, CALM_WAIT)
            if len(cursors) > 1:
                return

    async def _look(
        self, what: dict[str, str], cursors: list[str | None], after: str | None, wait: float
    ) -> None:
        seen: list[WatchEntry] = []
        try:
            await self._read(self._rt.watch(**what, after=after), seen, wait)
        except (TaskNotFound, EventNotFound) as error:
            self._note("not there", what, str(error))
            return
        entries = [entry for entry in seen if entry.kind != "snapshot"]
        cursors += [entry.cursor for entry in entries]
        self._note("watched", what, after, [[entry.cursor, *told(entry)] for entry in entries])

    async def _read(self, watch: Any, seen: list[WatchEntry], wait: float) -> None:
        try:
            if hasattr(watch, "__aenter__"):
                async with watch:
                    while len(seen) < ENTRIES and (entry := await asyncio.wait_for(watch.next(), wait)):
                        seen.append(entry)
            else:
                with watch:
                    while len(seen) < ENTRIES and (entry := watch.next(timeout=wait)):
                        seen.append(entry)
        except TimeoutError:
            pass

    # --- schedules ---

    async def _schedule(self) -> None:
        if len(self._schedules) == SCHEDULES:
            return
        key = f"{self._me}-{len(self._schedules)}"
        options: dict[str, Any] = {
            "missed": self._chance.choice(["once", "all", "skip"]),
            "overlap": self._chance.choice(["skip", "queue", "allow", "cancel"]),
        }
        if self._chance.random() < 0.3:
            options["after"] = round(self._chance.uniform(0, 2), 3)
        else:
            options |= {"every": self._chance.choice([1, 1.5, 2]), "jitter": self._chance.choice([0, 0.2])}
            if self._chance.random() < 0.5:
                options["limit"] = self._chance.randrange(1, 6)
        self._note("scheduling", key, options)
        await self._call("schedule", stage.ticks, key=key, **options)
        self._schedules.append(key)
        self._note("scheduled", key)

    async def _alter(self) -> None:
        """One of the calls about a schedule."""
        if not self._schedules:
            return
        key = self._chance.choice(self._schedules)
        call = self._chance.choice(
            ["pause_schedule", "resume_schedule", "resume_schedule", "run_schedule", "cancel_schedule"]
        )
        if call == "cancel_schedule" and self._chance.random() < 0.7:
            return
        try:
            answer = await self._call(call, key)
        except InvalidOption:
            pass  # it has ended
        except ScheduleNotFound:
            self._note("lost schedule", key)
        else:
            if call == "run_schedule":
                self._note("run", key, answer)


def told(entry: WatchEntry) -> list[Any]:
    """What an entry says, as plain data; two watchers must see the same."""
    value = entry.value if entry.kind == "item" else None
    error = None if entry.error is None else entry.error.type
    return [
        entry.kind, entry.task_id, entry.attempt, entry.interruptions, entry.number, entry.name, value, entry.text,
        error, entry.items, entry.lines,
    ]  # fmt: skip
