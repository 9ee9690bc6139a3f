"""ChildMap: the children of one call of `map_tasks`, each known by its place, so that none starts twice.

The children are started in parts, ahead of the acknowledgements of earlier parts, and each part has a wait for its
ends. Few values are held; those for which there is no room are left on disk until it is their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final

from ...actors.attempt.actor import actor_here
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.clock import TimedFuture
from ...actors.errors import InvalidOption, TaskCancelled
from ...actors.ids import id_text
from ...actors.map_ids import child_id
from ...actors.task.declaration import Task
from ..wire.messages import Ask
from .calls import START_AHEAD
from .connection import Reply, Rows
from .deadline import NO_DEADLINE
from .gather import Errors
from .reconnecting import ReconnectingClient
from .results import Results
from .start_rows import StartRow, StartRows, TaskLike, calls_of
from .steps import Steps, finish_in_task
from .views import outcome_of, result_shape, value_of
from .wait import EndsWait, Row

#: Parts into which the children under way are divided, and children of one part, and bytes of their arguments.
PARTS: Final = 4
PART: Final = 2_000
PART_BYTES: Final = 1024 * 1024
#: Bytes of values and errors that a map holds.
HELD_BYTES: Final = 4 * 1024 * 1024
#: Seconds that the items of a part may take to come; then it is started with those that are there.
PULL: Final = 0.01

_ON_DISK: Final = ""
"""In place of the state in a row: the end is to be read from disk."""


class Held:
    """How many bytes of values a map holds."""

    def __init__(self) -> None:
        self.bytes = 0


class PartWait(EndsWait):
    """The ends of one part."""

    def __init__(self, client: ReconnectingClient, ids: Iterable[bytes], held: Held) -> None:
        super().__init__(ids, client.clock)
        self._held = held
        self._first: tuple[bytes, Future[None]] | None = None

    def take(self, rows: Rows) -> None:
        """See `EndsWait`."""
        with self.news:
            super().take([self._kept(row) for row in rows if row[0] in self.left])

    def _kept(self, row: Row) -> Row:
        size = size_of(row)
        if size and self._held.bytes + size > HELD_BYTES:
            return row[0], _ON_DISK, None, None
        self._held.bytes += size
        return row

    def end_of(self, id: bytes) -> Future[None] | None:
        """A future that is done once this task's end or an error has come; None if the end is there."""
        with self.news:
            if id in self.rows:
                return None
            if self.future.done():
                self.future.result()
            self._first = id, TimedFuture(self._clock)
            return self._first[1]

    def drop(self) -> None:
        """Hold nothing any more."""
        with self.news:
            self._held.bytes -= sum(map(size_of, self.rows.values()))
            self.rows.clear()

    def _tell(self) -> None:
        super()._tell()
        if self._first is not None and (self._first[0] in self.rows or self.future.done()):
            (_, future), self._first = self._first, None
            future.set_result(None)


def size_of(row: Row) -> int:
    """The bytes that an end takes, about."""
    value, error = row[2], row[3]
    return len(value or b"") + (len(error[1]) + len(error[2]) if error else 0)


class _Part:
    """Children that were started together."""

    def __init__(self, rows: list[StartRow], reply: Reply, wait: PartWait) -> None:
        #: Those whose values were not given.
        self.keys = deque(row[0] for row in rows)
        #: Whether a child may stand at several places.
        self.doubles = False
        #: What to start again if the answer is lost; empty once it has come.
        self.rows = rows
        self.reply = reply
        self.wait = wait


class ChildMap:
    """One call of `map_tasks` in one attempt at its task."""

    def __init__(
        self,
        client: ReconnectingClient,
        ends: Results,
        starts: StartRows,
        base: tuple[bytes, bytes],
        task: TaskLike,
        items: Iterable[Any],
        limit: int,
        errors: Errors,
    ) -> None:
        """`base`: the id of the parent, and the base of the map."""
        check_no_key(task)
        self._client = client
        self._ends = ends
        self._starts = starts
        self._parent, self._base = base
        self._task = task
        #: The calls that were not started; None after the last one.
        self._calls: Iterator[Any] | None = calls_of(task, items)
        #: The error with which they have ended, raised in its place.
        self._error: Exception | None = None
        self._limit = limit
        self._size = min(max(limit // PARTS, 1), PART)
        self._place = self._given = 0
        self._held = Held()
        self._parts: deque[_Part] = deque()
        #: Parts whose starts were not acknowledged.
        self._unanswered: deque[_Part] = deque()
        #: Whether items come so slowly that values are given before more of them are asked for.
        self._slow = False
        give = outcome_of if errors == "return" else value_of
        shape = result_shape(task)
        self._give: Callable[[Row], Any] = lambda row: give(*row, shape=shape)

    def values(self, told: Callable[[int], None]) -> Iterator[Any]:
        """The values in order. `told` is called with the number of those that were given. Waits hold no slot."""
        try:
            while (row := self._ready() or finish_in_task(self._next())) is not None:
                told(self._given)
                yield self._give(row)
        finally:
            self._close()

    async def values_async(self, told: Callable[[int], None]) -> AsyncIterator[Any]:
        """The same on the event loop of an async task."""
        try:
            while (row := self._ready() or await self._next_async()) is not None:
                told(self._given)
                yield self._give(row)
        finally:
            self._close()

    async def _next_async(self) -> Row | None:
        actor = actor_here("aio.map_tasks")
        assert isinstance(actor, AsyncTaskActor)
        steps = self._next()
        try:
            while True:
                await actor.wait_future_async(next(steps), None)
        except StopIteration as end:
            row: Row | None = end.value
            return row
        finally:
            steps.close()

    def _ready(self) -> Row | None:
        """The next end if it is here, and nothing is to be started first."""
        if self._may_start() and not self._slow:
            return None
        parts = self._parts
        if not parts or parts[0].keys[0] not in parts[0].wait.rows:
            return None
        part = parts[0]
        key = part.keys.popleft()
        # A unique task may stand at several places.
        again = part.doubles and key in part.keys
        row = part.wait.rows[key] if again else part.wait.rows.pop(key)
        if row[1] == _ON_DISK:
            found = self._ends.ended(key)
            if found is None:
                part.keys.appendleft(key)
                part.wait = self._wait_for(part.keys)
                return None
            row = found
        elif not again:
            self._held.bytes -= size_of(row)
        if not part.keys:
            parts.popleft()
            self._client.forget(part.wait)
        self._given += 1
        return row

    def _next(self) -> Steps[Row | None]:
        """The next end; None after the last one. Raises the error with which the items have ended."""
        while True:
            if self._may_start():
                yield from self._start_part()
            if (row := self._ready()) is not None:
                return row
            if self._may_start():
                continue
            if not self._parts:
                if self._error is not None:
                    raise self._error
                return None
            part = self._parts[0]
            if part.rows:
                yield from self._answer(part)
            if part.keys and (news := part.wait.end_of(part.keys[0])) is not None:
                yield news

    def _may_start(self) -> bool:
        return self._calls is not None and self._limit - (self._place - self._given) >= self._size

    def _start_part(self) -> Steps[None]:
        """Start some children. Several parts are sent ahead of their acknowledgements."""
        while self._unanswered and (len(self._unanswered) >= START_AHEAD or self._unanswered[0].reply.done()):
            yield from self._answer(self._unanswered[0])
        client = self._client
        make_row = yield from self._starts.rows_of(self._task, NO_DEADLINE)
        rows = self._pull(make_row)
        if not rows:
            return
        reply = yield from client.request(NO_DEADLINE, Ask.MAP, self._parent, self._base, rows)
        part = _Part(rows, reply, self._wait_for([row[0] for row in rows]))
        self._place += len(rows)
        self._parts.append(part)
        self._unanswered.append(part)

    def _pull(self, make_row: Any) -> list[StartRow]:
        """The rows of the next part; of fewer items if they come slowly or are large."""
        assert self._calls is not None
        clock = self._client.clock
        rows: list[StartRow] = []
        size, until = 0, clock.monotonic() + PULL
        try:
            while len(rows) < self._size and size < PART_BYTES:
                if (call := next(self._calls, None)) is None:
                    self._calls = None
                    break
                _, args, kwargs = call
                row = make_row(args, kwargs, child_id(self._base, self._place + len(rows)))
                rows.append(row)
                size += len(row[2] or b"")
                self._slow = clock.monotonic() > until
                if self._slow:
                    break
        except Exception as error:
            if isinstance(error, TaskCancelled) and error.id == id_text(self._parent):
                raise  # it is the parent that is to end
            self._calls, self._error = None, error
        return rows

    def _answer(self, part: _Part) -> Steps[None]:
        """Take the answer to the start of a part; it is started again if the answer was lost with the connection."""
        rows = part.rows
        ask = self._client.ask(
            NO_DEADLINE, Ask.MAP, self._parent, self._base, rows, reply=part.reply
        )  # fmt: skip
        there: Sequence[bytes] | None = yield from ask
        part.rows = []
        self._unanswered.remove(part)
        if there is not None:
            # Some are unique, and others were there.
            part.keys = deque(there[len(rows) - len(part.keys) :])
            part.doubles = True
        elif not (part.wait.future.done() and part.wait.future.exception() is not None):
            return
        # Else the wait was asked for on a new connection before the start was.
        part.wait.drop()
        self._client.forget(part.wait)
        part.wait = self._wait_for(part.keys)

    def _wait_for(self, keys: Iterable[bytes]) -> PartWait:
        wait = PartWait(self._client, keys, self._held)
        self._client.begin(wait, NO_DEADLINE)
        return wait

    def _close(self) -> None:
        """Wait for nothing any more. Those under way go on until they end, or their parent does."""
        parts, self._parts, self._calls = self._parts, deque(), None
        for part in parts:
            part.reply.drop()
            self._client.forget(part.wait)


def check_no_key(task: TaskLike) -> None:
    """InvalidOption for a task whose key would lead all children to one."""
    if isinstance(task, Task):
        for option, key in (("key", task.launch.key), ("unique_key", task.launch.unique_key)):
            if key is not None:
                raise InvalidOption(
                    f"map_tasks would give all children the one {option} {key!r:.80}. Leave it out: each is known by "
                    "its place"
                )
