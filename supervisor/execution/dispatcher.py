"""The dispatcher: it hands ready tasks to free workers.

Quick tasks are handed out ahead of free slots, so that a worker need not wait for the supervisor between two of them.
Every 25 ms the dispatcher looks at tasks that were handed out and have not begun. If another worker has room, it takes
them back and hands them to that worker. So no task waits behind a busy worker while a slot is free.

Each pool has lanes and workers of its own, and the dispatcher does the same for each of them. The workers of all tasks
without a pool are one more.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ...storage.tables.schema import Lane
from ..channel.interface import HANDED
from ..settings import Settings
from ..tasks.alarm import Alarm
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.pool_lanes import AnyLane, lanes_of
from ..tasks.task_table import TaskTable
from ..tasks.turn_queue import TurnQueue
from .attempts import LOOK_AFTER, Attempts
from .worker_pool import TELL_AGAIN, WorkerPool
from .worker_seat import WorkerSeat

log = logging.getLogger("understudy")

#: Quick tasks given to one worker before the loads are compared again.
STRIDE: Final = 16
#: Delayed tasks released, and isolated workers asked for, in one go.
AT_ONCE: Final = 1_000
#: Seconds after which tasks that wait for code are reported, so that modules declared meanwhile count; the most tasks
#: that are counted; the most names in the report.
TELL_OF_ABSENT: Final = 1.0
COUNTED: Final = 100_000
NAMES_TOLD: Final = 5
#: Seconds until modules that could not be imported are tried again: at first, and at most.
IMPORT_AGAIN: Final = 0.25
IMPORT_AGAIN_MOST: Final = 60.0
#: Seconds between two looks for room on a disk that is nearly full.
ROOM_LOOK: Final = 1.0


class Dispatcher:
    """Hands out ready tasks whenever something has changed; owns the two timers that dispatching needs."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        attempts: Attempts,
        pool: WorkerPool,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = commits.clock
        self._store = commits.store
        self._table = table
        self._queues = table.queues
        self._attempts = attempts
        self._pool = pool
        self._settings = settings
        #: The pools, by their names; None stands for the workers of all tasks without one.
        self._pools = {
            name: _PoolRoom(
                name,
                lanes_of(name),
                {
                    Lane.SYNC: settings.slots_in(name),
                    Lane.ASYNC: settings.async_slots,
                    Lane.RUN: settings.run_slots,
                },
            )
            for name in settings.pool_names
        }
        #: Asks for a turn of the loop, in which `dispatch` is called.
        self._turn = turn
        self._look: asyncio.TimerHandle | None = None
        self._alarm = Alarm(commits.clock, turn)
        self._room_look: asyncio.TimerHandle | None = None
        self._absent_told: asyncio.TimerHandle | None = None
        #: What was reported last: tasks without code, and without a pool, by name.
        self._absent: tuple[dict[str, int], dict[str, int]] = {}, {}
        self._absent_at = 0.0
        table.on_absent = self._tell_of_absent_soon
        self._import_timer: asyncio.TimerHandle | None = None
        self._import: asyncio.Task[None] | None = None
        self._import_wait = IMPORT_AGAIN
        self._imported_at = 0.0
        table.on_unimportable = self._import_again_soon
        self.paused = False
        #: The id of the task after which a child of a supervision tree may begin; None if it may begin now.
        self.before: Callable[[LiveTask], bytes | None] = lambda _task: None

    @property
    def waits_for_room(self) -> bool:
        """Whether no queued task begins because the disk is nearly full."""
        return self._room_look is not None

    def stop(self) -> None:
        """Hand out nothing more."""
        self.paused = True
        for timer in (
            self._look, self._room_look, self._absent_told, self._import_timer, self._import,
        ):  # fmt: skip
            if timer is not None:
                timer.cancel()
        self._alarm.stop()
        self._queues.gate.stop()

    def clock_was_set(self) -> None:
        """The wall clock was set: delayed tasks begin at its times."""
        self._alarm.look()

    def dispatch(self) -> None:
        """Hand out what can be handed out now."""
        if self.paused or not self._pool.app_ready.is_set():
            # Until the app is loaded, the options of its tasks are not known.
            return
        # A task takes room when it ends. Once nothing was handed out, it takes more room to go on.
        if self._store.short if self._room_look is None else self._store.full:
            self._look_for_room()
        else:
            self._hand_out()
        if self._look is None and any(seat.handed[lane] for seat in self._pool.seats for lane in HANDED):
            self._look = self._loop.call_later(LOOK_AFTER, self._look_at_handed)

    def _look_for_room(self) -> None:
        if self._room_look is None:
            log.warning("the disk is nearly full: no queued task begins before there is room")
        elif self._room_look.when() > self._loop.time():
            return
        self._room_look = self._loop.call_later(ROOM_LOOK, self._turn)

    def _hand_out(self) -> None:
        if self._room_look is not None:
            self._room_look.cancel()
            self._room_look = None
            log.warning("the disk has room again: queued tasks begin")
        self._release_due()
        if self._queues.has_declared:
            self._table.queue_declared(AT_ONCE)
            self._turn()
        self._queues.gate.pump()
        for pool in self._pools.values():
            self._fill(pool)

    def _fill(self, pool: _PoolRoom) -> None:
        """Hand out what the workers of one pool can take now."""
        waits, lanes, room = self._queues.waits, pool.lanes, pool.room
        if waits(lanes[Lane.SYNC]) and (seats := self._seats(pool, Lane.SYNC)):
            self._fill_slots(lanes[Lane.SYNC], Lane.SYNC, room[Lane.SYNC], seats)
        if waits(lanes[Lane.ASYNC]) and (seats := self._seats(pool, Lane.ASYNC)):
            self._fill_loops(lanes[Lane.ASYNC], room[Lane.ASYNC], seats)
        if waits(lanes[Lane.RUN]) and (seats := self._seats(pool, Lane.RUN)):
            self._fill_slots(lanes[Lane.RUN], Lane.RUN, room[Lane.RUN], seats)
        if waits(lanes[Lane.RUN_ASYNC]) and (seats := self._seats(pool, Lane.ASYNC)):
            self._fill_loops(lanes[Lane.RUN_ASYNC], room[Lane.ASYNC] + room[Lane.RUN], seats)
        self._ask_for_isolated(pool)

    def _seats(self, pool: _PoolRoom, lane: Lane) -> list[WorkerSeat]:
        """The workers of a pool that any of its tasks in this lane may go to."""
        name = pool.name
        return [
            seat for seat in self._pool.seats if seat.pool == name and not seat.alone and seat.takes(lane)
        ]

    # --- sync tasks ---

    def _fill_slots(self, queue: AnyLane, lane: Lane, slots: int, seats: list[WorkerSeat]) -> None:
        """Tasks that wait in the lane `queue`, and are handed out in `lane`."""
        paces = self._attempts.paces
        # On a scarce disk nothing is handed out ahead: each task may take any amount of room when it ends.
        scarce = self._store.scarce
        loads = [_Load(seat, seat.working(lane), 0 if scarce else seat.channel.ahead) for seat in seats]
        open_loads = list(loads)
        held: list[LiveActor] = []
        while open_loads and self._queues.waits(queue):
            least = min(open_loads, key=_count)
            ahead = least.count - slots
            if ahead >= least.most_ahead:
                open_loads.remove(least)
                continue
            # Ahead of the slots the loads are evened out in strides, which saves looking at them for every task.
            tasks = self._take(queue, 1 if ahead < 0 else STRIDE)
            if tasks and isinstance(actor := tasks[0], LiveActor):
                home = self._home_of(actor, least, loads, slots)
                if home is None:
                    held.append(actor)
                    continue
                least, ahead = home, home.count - slots
            fit = len(tasks) if ahead < 0 else paces.fitting([task.record.name for task in tasks], ahead)
            least.count += fit
            least.tasks += tasks[:fit]
            if not tasks or fit < len(tasks):
                for task in reversed(tasks[fit:]):
                    self._queues.put_back(task)
                break
        for actor in reversed(held):
            self._queues.put_back(actor)
        for load in loads:
            if load.tasks:
                self._attempts.hand(load.seat, lane, load.tasks)

    def _home_of(self, actor: LiveActor, least: _Load, loads: list[_Load], slots: int) -> _Load | None:
        """Where an actor takes its turn: on the worker that has it in memory, unless that one is busy for long.

        None: it can be nowhere else, and that worker takes nothing now.
        """
        home = next((load for load in loads if load.seat is actor.seat), None)
        if actor.seat is None or (home is None and not actor.is_bound):
            return least
        if home is None or actor.is_bound:
            return home
        free, busy = least.count < slots, home.count >= slots
        quick = self._attempts.paces.is_quick(actor.record.name) and home.count < home.most_ahead
        return least if busy and free and not quick else home

    def _take(self, lane: AnyLane, count: int = 1) -> list[LiveTask]:
        """The first of a lane, taken out; what has changed its lane since it was stored moves on to that."""
        moved = 0
        while tasks := self._queues.take(lane, count):
            stay = [task for task in tasks if task.lane is lane and (task.group is None or task.passed)]
            if len(stay) < len(tasks):
                for task in tasks:
                    if task not in stay:
                        moved += 1
                        with self._table.one(task):
                            self._table.stand(task)
            if stay:
                return stay
            if moved >= AT_ONCE:
                # A lane full of tasks whose code is absent: the rest comes with the next turn.
                self._turn()
                break
        return []

    # --- tasks whose code is absent ---

    def _tell_of_absent_soon(self) -> None:
        if self._absent_told is None and not self.paused:
            wait = max(
                TELL_OF_ABSENT, self._absent_at + TELL_AGAIN - self._loop.time() if self._absent_at else 0
            )
            self._absent_told = self._loop.call_later(wait, self._tell_of_absent)

    def _tell_of_absent(self) -> None:
        self._absent_told = None
        # The log names a module that could not be imported, with the reason, when this happens.
        known = self._table.declared.tasks
        absent = {
            name: count
            for name, count in self._queues.absent(Lane.CODE, COUNTED).items()
            if name not in known
        }
        without_pool = self._queues.absent(Lane.NO_POOL, COUNTED)
        if (absent, without_pool) != self._absent and (absent or without_pool):
            self._absent_at = self._loop.time()
            if absent:
                log.warning("%s", told_of_absent(absent))
            if without_pool:
                log.warning("%s", told_of_pools(without_pool, self._table.declared.no_pool))
        self._absent = absent, without_pool

    def _import_again_soon(self) -> None:
        """Try modules that could not be imported again, after longer and longer waits."""
        if self._import_timer is not None or self.paused:
            return
        if self._loop.time() - self._imported_at > 2 * IMPORT_AGAIN_MOST:
            self._import_wait = IMPORT_AGAIN
        self._import_timer = self._loop.call_later(self._import_wait, self._import_again)
        self._import_wait = min(2 * self._import_wait, IMPORT_AGAIN_MOST)

    def _import_again(self) -> None:
        self._import = self._loop.create_task(self._import_now())

    async def _import_now(self) -> None:
        try:
            await self._pool.declare_again()
        finally:
            self._import_timer = None
            self._imported_at = self._loop.time()
            self._table.import_again()

    # --- async tasks ---

    def _fill_loops(self, lane: AnyLane, room: int, seats: list[WorkerSeat]) -> None:
        """Tasks of a lane whose tasks run on event loops, up to so many on each."""
        given: dict[WorkerSeat, list[LiveTask]] = {}
        held: list[LiveTask] = []
        behind: dict[bytes, LiveTask] = {}
        while tasks := self._take(lane):
            (task,) = tasks
            if isinstance(task, LiveActor) and task.seat is not None:
                # A loop has room for many: an actor stays where it is in memory.
                if task.seat in seats:
                    given.setdefault(task.seat, []).append(task)
                    continue
                if task.is_bound:
                    held.append(task)
                    continue
            if task.record.tree is not None and (before := self.before(task)) is not None:
                if behind.setdefault(before, task) is not task:
                    held.append(task)
                continue
            seat = min(seats, key=lambda seat: seat.counts[Lane.ASYNC] + len(given.get(seat, ())))
            if seat.working(Lane.ASYNC) + len(given.get(seat, ())) >= room:
                seat = min(seats, key=lambda seat: seat.working(Lane.ASYNC) + len(given.get(seat, ())))
                if seat.working(Lane.ASYNC) + len(given.get(seat, ())) >= room:
                    self._queues.put_back(task)
                    break
            given.setdefault(seat, []).append(task)
        if behind:
            self._follow(behind, given, room, seats)
            held += behind.values()
        for task in reversed(held):
            self._queues.put_back(task)
        for seat, tasks in given.items():
            self._attempts.hand(seat, Lane.ASYNC, tasks)

    def _follow(
        self,
        behind: dict[bytes, LiveTask],
        given: dict[WorkerSeat, list[LiveTask]],
        room: int,
        seats: list[WorkerSeat],
    ) -> None:
        """Give each task that may begin only after another one to the worker which has that one: it begins them in the
        order in which it gets them. `behind`: by the ids of those others; what cannot be given stays there."""
        homes = {task.id: seat for seat, tasks in given.items() for task in tasks}
        for first in list(behind):
            seat, before = homes.get(first), first
            if seat is None:
                seat = next((seat for seat in seats if first in seat.tasks), None)
            while seat is not None and before in behind:
                there = given.setdefault(seat, [])
                if seat.working(Lane.ASYNC) + len(there) >= room:
                    break
                task = behind.pop(before)
                there.append(task)
                homes[task.id], before = seat, task.id

    # --- tasks that need a worker of their own ---

    def _ask_for_isolated(self, pool: _PoolRoom) -> None:
        name, lane = pool.name, pool.lanes[Lane.ALONE]
        turns = self._queues.turns[lane]
        if turns:
            self._go_home(name, turns)
        for seat in self._pool.idle_isolated(name):
            tasks = self._take(lane)
            if tasks:
                self._attempts.hand(seat, Lane.SYNC, tasks)
            else:
                # The task it was started for has been cancelled meanwhile.
                self._pool.retire(seat)
        for task in self._take(lane):
            # A line counts what it has in memory, and reads on from the disk only when it is asked for the next one.
            self._queues.put_back(task)
            waiting = len(self._queues.lanes[lane]) + len(self._queues.turns[lane])
            self._pool.want_isolated(min(waiting, AT_ONCE), name)

    def _go_home(self, pool: str | None, turns: TurnQueue) -> None:
        """Hand isolated actors their turns where they are in memory."""
        room = self._pool.isolated_room(pool)
        for seat in self._pool.kept_isolated(pool):
            actor = next(iter(seat.residents))
            # Nothing else can run its `on_passivate`.
            if (room > 0 or actor.passivate) and actor in turns:
                turns.discard(actor)
                self._attempts.hand(seat, Lane.SYNC, [actor])
                room -= 1

    # --- what was handed out and has not begun ---

    def _look_at_handed(self) -> None:
        self._look = None
        if self.paused:
            return
        overdue = self._loop.time() - LOOK_AFTER
        try:
            for seat in list(self._pool.seats):
                for lane in HANDED:
                    if seat.handed[lane]:
                        self._look_at_lane(seat, lane, overdue)
        finally:
            # The next turn looks again, even after an error.
            self._turn()

    def note_begun(self) -> bool:
        """Note what has begun without waiting for the second look; whether there was anything.

        For a clock that stands still: no look would come.
        """
        noted = False
        for seat in list(self._pool.seats):
            for lane in HANDED:
                for task in seat.not_begun(lane)[0] if seat.handed[lane] else ():
                    self._attempts.begun(seat, lane, task)
                    noted = True
        if self._look is not None and not any(
            seat.handed[lane] for seat in self._pool.seats for lane in HANDED
        ):
            self._look.cancel()
            self._look = None
        if noted:
            self._turn()
        return noted

    def _look_at_lane(self, seat: WorkerSeat, lane: Lane, overdue: float) -> None:
        begun, not_begun = seat.not_begun(lane)
        for task in begun:
            # Only at the second look: most have ended by then and need not be written as running.
            attempt = task.attempt
            if attempt is not None and not attempt.seen:
                attempt.seen = True
            else:
                self._attempts.begun(seat, lane, task)
        first = not_begun[0].attempt if not_begun else None
        if first is not None and first.handed_at <= overdue and self._room_elsewhere(seat, lane):
            self._attempts.take_back(seat, lane)

    def _room_elsewhere(self, busy: WorkerSeat, lane: Lane) -> bool:
        if busy.alone:
            # A worker that was started for this one task, and has not come up yet.
            return False
        pool = self._pools[busy.pool]
        most = pool.room[lane]
        return any(seat is not busy and seat.working(lane) < most for seat in self._seats(pool, lane))

    # --- delayed tasks ---

    def _release_due(self) -> None:
        released = self._table.release_due(self._clock.time(), AT_ONCE)
        if released == AT_ONCE:
            self._turn()
        due = self._queues.next_due()
        if due is not None:
            self._alarm.set(due)


@dataclass(frozen=True, slots=True)
class _PoolRoom:
    """What the workers of one pool take."""

    name: str | None
    lanes: Mapping[Lane, AnyLane]
    """Where its tasks wait, by the lane in which they would wait without a pool."""
    room: Mapping[Lane, int]
    """How many tasks may be at work on one worker, by the lane in which they are handed out."""


@dataclass(slots=True)
class _Load:
    """What a worker has and is to get of one lane."""

    seat: WorkerSeat
    count: int
    most_ahead: int
    tasks: list[LiveTask] = field(default_factory=list)


_count = operator.attrgetter("count")


def told_of_absent(absent: dict[str, int]) -> str:
    """The report on queued tasks whose code is absent: how many of each name."""
    return (
        f"{_many(absent)} for code that this app does not declare: {_listed(absent)}. They begin when an app that "
        "declares them serves this home; @task(aliases=[...]) gives a renamed task its former names"
    )


def told_of_pools(absent: dict[str, int], pools: Mapping[str, str]) -> str:
    """The report on queued tasks whose pool is absent: how many of each name, and the pools that the app declares."""
    named = sorted({pools[name] for name in absent if name in pools})
    return (
        f"{_many(absent)} for a pool that this supervisor does not have{': ' if named else ''}{', '.join(named)} "
        f"({_listed(absent)}). They begin when a supervisor that has it serves this home (serve --pool NAME=WORKERS), "
        "or an app that declares another pool"
    )


def _many(absent: dict[str, int]) -> str:
    total = sum(absent.values())
    return f"{total:,} queued task{'s wait' if total != 1 else ' waits'}"


def _listed(absent: dict[str, int]) -> str:
    names = [f"{name} ({count:,})" for name, count in list(absent.items())[:NAMES_TOLD]]
    if len(absent) > NAMES_TOLD:
        names.append(f"{len(absent) - NAMES_TOLD} more names")
    return ", ".join(names)
