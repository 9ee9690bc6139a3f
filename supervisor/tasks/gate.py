"""The gate before the queues: a ready task that has a limit waits here until it may begin.

Such a task stands in the lane GATE until it runs: on disk, with those of the same limit and key side by side, by
priority and age. The gate lets the first ones in while there is room; these are in a queue for a worker, in memory
only, and hold a place until their attempt is over. Rules:

1. A place is held from the moment a task is let in, so more can never run than there are places.
2. What has been let in and is not known to have begun counts for a rate. The row of a rate's window is on disk before
   the task goes on to a worker, so the next supervisor knows of every attempt that may have begun.
3. Only what may be let in is looked at: a group is *eager* when a task came, a place became free, or its time has come.
4. After the start of a supervisor the gate walks once through the lane, from group to group, to find those that wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from ...actors.task.limit import Rate
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane, Table, live_key, ready_sort
from ..rules.argument_keys import key_of
from .catalog import TaskCatalog
from .commit_loop import CommitLoop
from .gate_group import GateGroup
from .group_times import GroupTimes
from .limits import LimitNumbers, Limits
from .live_task import LiveTask
from .pool_lanes import AnyLane
from .ready_queue import CROWD, START, ReadyQueue
from .stored_windows import StoredWindows
from .turn_queue import TurnQueue

#: Groups in memory; tasks of further ones are found by a walk.
GROUPS: Final = 65_536
#: Waiting tasks of one group in memory, and of all groups together.
GROUP_WINDOW: Final = 64
WAITING: Final = 65_536
#: Tasks that were let in and stand in a queue for a worker of one pool, above which no more are let in.
LET_IN: Final = 8_192
#: The share of them that is left when those are looked at again that did not fit.
LET_GO: Final = 0.5
#: Tasks and groups that one turn looks at.
AT_ONCE: Final = 1_000
#: Tasks read from disk with one that is let in, because they come next.
FETCHED: Final = 16

_START: Final = live_key(Lane.GATE, 0, b"")[:1]
_END: Final = bytes((Lane.GATE + 1,))
_BOX: Final = bytes((Lane.BOX,))
_BOX_END: Final = bytes((Lane.BOX + 1,))


class GroupState(NamedTuple):
    """What a limit does just now under one key."""

    name: str
    key: str | None
    sort: int
    concurrency: int | None
    rate: tuple[int, float] | None
    used: int
    #: Seconds until the next one may begin, where a rate says so.
    opens: float | None
    #: Of those used, the ones that the disk shows as waiting.
    shown_waiting: int


class Gate:
    """Lets tasks in. `at` finds the task of a key, `stand` puts a task where it belongs."""

    def __init__(
        self,
        commits: CommitLoop,
        tasks: Mapping[bytes, LiveTask],
        declared: TaskCatalog,
        turns: Mapping[AnyLane, TurnQueue],
        at: Callable[[bytes], LiveTask | None],
        fetch: Callable[[list[bytes]], None],
        stands: Callable[[bytes], bool],
        stand: Callable[[LiveTask], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._tasks = tasks
        self._declared = declared
        self._turns = turns
        self._at = at
        self._fetch = fetch
        self._stands = stands
        self._stand = stand
        #: Asks for a turn.
        self.turn: Callable[[], None] = lambda: None
        self._limits = Limits(commits, declared)
        self._groups: dict[tuple[str, str | None], GateGroup] = {}
        self._by_sort: dict[int, GateGroup] = {}
        self._eager: deque[GateGroup] = deque()
        #: The groups that have something to do at a time of the event loop.
        self._times = GroupTimes(self._came)
        self._windows = StoredWindows(commits)
        #: Where the walk goes on; None when every group that waits is known.
        self._walk: bytes | None = _BOX
        #: Whether tasks of groups that are not in memory have come since the walk began.
        self._missed = False
        #: The tasks of groups that are not in memory. All of them are on disk only.
        self.unknown = ReadyQueue(lambda _key, _count: [])
        #: How many tasks that were let in stand in a queue for a worker, by pool.
        self._let_in: Counter[str | None] = Counter()
        #: Groups whose next task is for a pool that takes no more.
        self._full: dict[str | None, dict[GateGroup, None]] = {}
        for group in self._windows.load(self._group):
            self._look_at(group)

    # --- the limits ---

    def declare(self) -> None:
        """The app's limits may have changed."""
        for numbers in self._limits.declare():
            self._look_at_all(numbers)

    def set_numbers(self, name: str, given: Mapping[str, Any]) -> None:
        """See `Limits.set`."""
        self._look_at_all(self._limits.set(name, given))
        self.turn()

    def states(self) -> list[GroupState]:
        """What each limit does just now; a limit that nothing holds has one entry without a key."""
        now = self._loop.time()
        states = [self._state_of(group, now) for group in self._groups.values()]
        there = {state.name for state in states}
        unused = (numbers for numbers in self._limits.declared() if numbers.name not in there)
        states.extend(self._state_of(self._new_group(numbers, None), now) for numbers in unused)
        return sorted(states, key=lambda state: (state.name, state.key or ""))

    def state_of(self, task: LiveTask) -> GroupState | None:
        """What the limit does at which this task waits; None if it does not wait at one."""
        group = task.group
        return None if group is None or task.passed else self._state_of(group, self._loop.time())

    def _state_of(self, group: GateGroup, now: float) -> GroupState:
        numbers, opens = group.numbers, None
        rate = numbers.rate
        if rate is not None and not group.window.room(rate, now):
            at = group.window.opens(rate)
            opens = None if at is None else max(0.0, at - now)
        return GroupState(
            numbers.name,
            group.key,
            group.sort,
            numbers.concurrency,
            None if rate is None else (rate.count, rate.per),
            len(group.holders),
            opens,
            sum(_waits_on_disk(task) for task in group.holders.values()),
        )

    # --- groups ---

    def group_of(self, record: Record, args: bytes | None) -> GateGroup | None:
        """The group at which a task waits; None if it has no limit."""
        found = self._declared.limits.get(record.name)
        if found is None:
            return None
        key = record.limit_key or (None if found.places is None else key_of(args, found.places))
        group = self._groups.get((found.limit.name, key))
        return self._group(found.limit.name, key) if group is None else group

    def _group(self, name: str, key: str | None) -> GateGroup:
        group = self._groups.get((name, key))
        return self._current(self._new_group(self._limits.of(name), key)) if group is None else group

    def _current(self, group: GateGroup) -> GateGroup:
        """The group in memory for this name and key: this one, unless there is another, if there is room."""
        found = self._groups.setdefault((group.numbers.name, group.key), group)
        if found is group and not self._is_known(group):
            if len(self._groups) > GROUPS:
                del self._groups[group.numbers.name, group.key]
                return group
            self._by_sort[group.sort] = group
            # Every group that waits on disk is known, unless a walk is under way.
            group.queue.horizon = None if self._walk is None else START
            self._look_at(group)
        return found

    def _new_group(self, numbers: LimitNumbers, key: str | None) -> GateGroup:
        window = max(8, min(GROUP_WINDOW, WAITING // (len(self._groups) + 1)))
        return GateGroup(numbers, key, self._reader_of, window)

    def _reader_of(self, sort: int) -> Callable[[bytes, int], list[bytes]]:
        first, end = live_key(Lane.GATE, sort, b""), live_key(Lane.GATE, sort + 256, b"")

        def read_after(key: bytes, count: int) -> list[bytes]:
            start = key + b"\0" if key else first
            return [row for row, _ in self._commits.scan(Table.LIVE, start, end, count)]

        return read_after

    def queue_of(self, task: LiveTask) -> ReadyQueue:
        """The queue in which a task that is not let in stands."""
        group = task.group
        return self.unknown if group is None or not self._is_known(group) else group.queue

    def queue_for(self, group: GateGroup) -> ReadyQueue:
        """The queue for new tasks of this group, which are then looked at."""
        if self._by_sort.get(group.sort) is not group:
            self._missed = True
            if self._walk is None:
                self._walk = _START
            return self.unknown
        self._look_at(group)
        return group.queue

    def _is_known(self, group: GateGroup) -> bool:
        return self._by_sort.get(group.sort) is group

    def _look_at(self, group: GateGroup) -> None:
        if not group.eager:
            group.eager = True
            self._eager.append(group)

    def _look_at_all(self, numbers: LimitNumbers) -> None:
        for group in self._groups.values():
            if group.numbers is numbers:
                self._look_at(group)

    # --- tasks come and go ---

    def push(self, task: LiveTask) -> None:
        """A ready task comes, or comes back without having begun."""
        assert task.group is not None
        assert task.key is not None
        task.group = group = self._current(task.group)
        if task.passed:
            self._note_ready(task, group)
            self._turns[task.lane].put_back(task)
        else:
            self.queue_for(group).push(task.key)

    def handed(self, task: LiveTask) -> None:
        """It is handed to a worker."""
        if task.group is not None and (ready := task.group.ready.pop(task.id, None)) is not None:
            self._goes_on(ready[1])

    def _note_ready(self, task: LiveTask, group: GateGroup) -> None:
        pool = task.options.pool
        group.ready[task.id] = task, pool
        self._let_in[pool] += 1

    def _goes_on(self, pool: str | None) -> None:
        """One that was let in does not stand in a queue for a worker of this pool any more."""
        self._let_in[pool] -= 1
        if self._full:
            self._look_at_full(pool)

    def _look_at_full(self, pool: str | None) -> None:
        """Look at the groups again whose tasks did not fit, if many of those that were let in have gone on."""
        if pool in self._full and self._let_in[pool] <= LET_IN * LET_GO:
            for group in self._full.pop(pool):
                self._look_at(group)
            self.turn()

    def begun(self, task: LiveTask, at: float) -> None:
        """Its attempt has begun, at this time of the event loop or before."""
        group, attempt = task.group, task.attempt
        if group is None or attempt is None or attempt.counted or not task.counts:
            return
        attempt.counted = True
        group.window.begun(at)
        self._windows.soil(group)
        self._look_at(group)

    def leave(self, task: LiveTask) -> None:
        """It holds no place any more: its attempt is over, or it does not begin after all."""
        group = task.group
        if group is None or not task.passed:
            return
        task.passed = False
        del group.holders[task.id]
        if task.counts:
            task.counts = False
            if task.attempt is None:
                group.window.went_back()
                self._windows.soil(group)
            elif not task.attempt.counted:
                # It may have begun, at any time until now.
                task.attempt.counted = True
                group.window.begun(self._loop.time())
                self._windows.soil(group)
        if (ready := group.ready.pop(task.id, None)) is not None:
            self._goes_on(ready[1])
            self._turns[task.lane].discard(task)
        self._look_at(group)

    def written(
        self, tasks: Iterable[LiveTask], release: Callable[[ReadyQueue, list[LiveTask]], None]
    ) -> None:
        """These tasks of the lane GATE are on disk."""
        for task in tasks:
            group = task.group
            if group is not None and group.queue.horizon is None:
                # All of its tasks are in memory, and none is told of as late.
                continue
            queue = self.queue_of(task)
            if task.key is not None and queue.horizon is not None:
                queue.committed((task.key,))
                release(queue, [task])

    @property
    def has_groups(self) -> bool:
        """Whether a task with a limit is known."""
        return bool(self._groups)

    def is_crowded(self, name: str) -> bool:
        """Whether more than CROWD tasks wait at the limit of the tasks of this name, as far as is known."""
        found = self._declared.limits.get(name)
        if found is None:
            return False
        numbers, waiting = self._limits.of(found.limit.name), 0
        for group in self._groups.values():
            if group.numbers is numbers:
                waiting += len(group.queue)
                if waiting > CROWD:
                    return True
        return False

    # --- letting in ---

    @property
    def at_rest(self) -> bool:
        """Whether no task with a limit is known, so that there is nothing to do."""
        return not (self._eager or self._windows.changed or self._walk is not None)

    def pump(self) -> None:
        """Let in what may be let in now."""
        if self.at_rest:
            return
        if self._walk is not None:
            self._walk_on()
        wait: list[LiveTask] = []
        for _ in range(min(len(self._eager), AT_ONCE)):
            group = self._eager.popleft()
            group.eager = False
            self._pump(group, wait)
        if self._eager:
            self.turn()
        self._windows.write()
        if wait:
            self._commits.after_commit(lambda: self._go_on(wait))

    def _pump(self, group: GateGroup, wait: list[LiveTask]) -> None:
        rate, holders, let_in = group.numbers.rate, group.holders, self._let_in
        now = 0.0 if rate is None else self._loop.time()
        room = group.room(now)
        # What is let in here comes before all that waits, so only one that was let in before may have to stand back.
        may_stand_back = bool(group.ready)
        while room > 0 or (may_stand_back and self._makes_room(group)):
            task = self._first(group)
            if task is None:
                if group.queue.empty:
                    break
                continue
            if let_in[pool := task.options.pool] + len(wait) >= LET_IN:
                assert task.key is not None
                group.queue.put_back(task.key)
                self._full.setdefault(pool, {})[group] = None
                break
            room -= 1
            task.passed = True
            holders[task.id] = task
            if rate is None:
                group.ready[task.id] = task, pool
                let_in[pool] += 1
                self._turns[task.lane].add(task)
            else:
                task.counts = True
                group.window.let_in += 1
                self._windows.soil(group)
                wait.append(task)
        if rate is not None:
            group.window.forget(rate, now)
            self._time(group, rate, now)
        elif group.window.times:
            self._keep_window(group)
        if not holders and group.idle:
            self._forget(group)

    def _keep_window(self, group: GateGroup) -> None:
        """The limit has no rate. Its window is kept if that is only because nobody has declared it yet."""
        if group.numbers.is_known or group.per <= 0:
            group.window.times.clear()
            return
        rate, now = Rate(1, group.per), self._loop.time()
        group.window.forget(rate, now)
        self._time(group, rate, now)

    def _makes_room(self, group: GateGroup) -> bool:
        """Let one that has not begun stand back for a task of higher priority."""
        if not group.ready:
            return False
        key = group.queue.peek(self._stands)
        if key is None:
            return False
        let_in = (task for task, _ in group.ready.values())
        last = max(let_in, key=lambda task: (ready_sort(task.options.priority), task.id))
        if ready_sort(last.options.priority) <= int.from_bytes(key[1:9], "big") - group.sort:
            return False
        assert last.key is not None
        self.leave(last)
        group.queue.push(last.key)
        return True

    def _first(self, group: GateGroup) -> LiveTask | None:
        """The first task of a group, taken out; None if there is none, or the first one does not belong here."""
        key = group.queue.take_one(self._stands)
        if key is None:
            return None
        task = self._tasks.get(key[9:])
        if task is None:
            self._fetch([key, *group.queue.coming(FETCHED)])
        if task is None or task.key != key:
            task = self._at(key)
            if task is None:
                return None
        if task.group is not group and task.group is not None:
            task.group = self._current(task.group)
        if task.group is not group or (
            task.batch == 0 and task.as_stored and task.record.place != task.place()
        ):
            self._stand(task)
            return None
        return task

    def _offer(self, task: LiveTask, group: GateGroup) -> None:
        self._note_ready(task, group)
        self._turns[task.lane].add(task)

    def _go_on(self, tasks: list[LiveTask]) -> None:
        """Their begin is noted on disk."""
        for task in tasks:
            if task.passed and task.attempt is None and task.group is not None:
                self._offer(task, task.group)
        for pool in list(self._full):
            # Those for which there was no room may not have come.
            self._look_at_full(pool)
        self.turn()

    # --- time ---

    def _time(self, group: GateGroup, rate: Rate, now: float) -> None:
        """Look at a group again when its rate lets the next one in, or when nothing of it counts any more."""
        window = group.window
        at = window.opens(rate) if not group.queue.empty and not window.room(rate, now) else None
        if at is None and window.times and group.queue.empty:
            at = window.times[-1] + rate.per + 1.0
        if at is not None:
            self._times.add(group, at)

    def _came(self, groups: list[GateGroup]) -> None:
        """Their time has come."""
        for group in groups:
            self._look_at(group)
        self.turn()

    def stop(self) -> None:
        """Let nothing more in."""
        self._times.stop()

    # --- what waits on disk ---

    def _forget(self, group: GateGroup) -> None:
        if self._is_known(group) and not group.eager:
            if group.stored:
                self._windows.soil(group)
            del self._groups[group.numbers.name, group.key]
            del self._by_sort[group.sort]
            if self._walk is not None:
                # There is room for another one.
                self.turn()

    def _walk_on(self) -> None:
        """Find groups that wait on disk. Containers of earlier releases move into the lane."""
        for _ in range(AT_ONCE):
            walk = self._walk
            if walk is None or len(self._groups) >= GROUPS:
                return
            rows = self._commits.scan(Table.LIVE, walk, _BOX_END if walk < _BOX_END else _END, 1)
            if rows:
                self._walk_to(rows[0][0])
            elif walk < _BOX_END:
                self._walk = _START
            elif self.unknown.has_late:
                # They are found when they are on disk.
                return
            else:
                self._walk = _START if self._missed else None
                self._missed = False
        self.turn()

    def _walk_to(self, key: bytes) -> None:
        in_lane = key[0] == Lane.GATE
        sort = int.from_bytes(key[1:9], "big") >> 8 << 8
        if in_lane and sort in self._by_sort:
            self._walk = live_key(Lane.GATE, sort + 256, b"")[:9]
            self._look_at(self._by_sort[sort])
            return
        task = self._at(key) if self._stands(key) else None
        if task is not None and task.record.place != task.place():
            self._stand(task)
        elif task is not None and task.group is not None:
            task.group = self._current(task.group)
        if not in_lane or sort not in self._by_sort:
            self._walk = key + b"\0"


def _waits_on_disk(task: LiveTask) -> bool:
    return task.stored_key is not None and task.stored_key[0] == Lane.GATE
