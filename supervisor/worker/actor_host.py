"""`ActorHost`: it carries out the supervisor's orders, hosts actors and reports what becomes of them.

It knows nothing of the process, threads and sockets around it. `Worker` is the one that is a process.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...actors.attempt import output_capture
from ...actors.attempt.actor import TaskActor
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.attempt.async_turn import AsyncTurnActor
from ...actors.attempt.host import Assignment, Outcome, Undeclared, printable
from ...actors.attempt.turn import TurnActor
from ...actors.clock import SYSTEM, Clock
from ...actors.errors import TaskNotFound
from ...actors.ids import id_text
from ...actors.task.declaration import Task, registry
from ...actors.task.trigger import HTTP
from ...storage.tables.schema import Lane
from ..channel.begin_tokens import BeginTokens
from ..channel.wait_marks import WaitMarks
from ..client.event_calls import rows_of
from ..home import task_folder
from ..rules.pace import Streak
from ..wire.codec import parts
from ..wire.error_codec import error_of
from ..wire.messages import Order, Report
from .report_buffer import ReportBuffer, item_size
from .residents import Residents
from .task_code import TaskCode, absent

if TYPE_CHECKING:
    from ...actors.attempt.effects import Effects, Post
    from ...actors.attempt.resident import Resident
    from ...actors.attempt.transactions import Transactions
    from ...actors.task.current_runtime import RuntimeLike

#: Characters kept of one log entry. Of a longer entry, its beginning and its end are kept.
ENTRY_LIMIT: Final = 64_000
#: Characters kept of the name of an entry's level, which an app may choose.
LEVEL_LIMIT: Final = 100
#: Bytes of a turn's commit from which on it is sent at once: many of them must not gather.
LARGE: Final = 1024 * 1024


class SyncSlots(Protocol):
    """What runs the sync tasks of a host; see slots.py."""

    def add(self, assignments: list[Assignment]) -> None:
        """Queue assignments."""

    def drop(self, count: int) -> list[Assignment]:
        """Remove the last `count` assignments, which the supervisor takes back, and return them."""

    def parked(self) -> None:
        """A working task begins to wait."""

    def resumed(self) -> None:
        """A waiting task continues."""


class ActorHost(ABC):
    """Implements `Host`. A subclass gives it slots, an event loop, threads and the buffer of its reports."""

    calls: Executor | None = None
    _sends_when_idle = False
    """Whether a thread of the slots calls `flush` when it has no more work."""
    _slots: SyncSlots
    _reports: ReportBuffer

    def __init__(
        self, config: dict[str, Any], async_tokens: BeginTokens, marks: WaitMarks, clock: Clock = SYSTEM
    ) -> None:
        self.home: str = config["home"]
        self._alone: bool = config.get("alone", False)
        self._run_limit: int = config["run_slots"]
        self.clock = clock
        self._code = TaskCode(config["modules"])
        self._value_limit: int = config["value_limit"]
        self._actors: dict[bytes, TaskActor] = {}
        self._residents = Residents()
        self._async_tokens = async_tokens
        self._marks = marks
        #: How quick the last attempts of each task were, by its name.
        self._streaks: defaultdict[str, Streak] = defaultdict(Streak)
        #: Async tasks that have not begun; guarded by `_making`.
        self._async_queue: deque[Assignment] = deque()
        # Held while an assignment becomes an actor, so that no order for it is lost in between.
        self._making = threading.Lock()
        self._expected: dict[bytes, list[Callable[[TaskActor], None]]] = {}
        self._draining = False
        self._requests: dict[int, Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._on: dict[int, Callable[..., None]] = {
            Order.RUN: self._run_these,
            Order.DROP: self._drop,
            Order.MESSAGES: self._messages,
            Order.CLOSE: self._close_mailbox,
            Order.SIGNAL: self._signal,
            Order.INTERRUPT: self._interrupt,
            Order.OK: self._answered,
            Order.ERROR: self._refused,
            Order.DECLARE: self._declare,
            Order.FORGET: self._residents.forget,
            Order.ASIDE: self._aside,
            Order.STACK: self._stack,
        }

    # --- what a subclass gives ---

    @abstractmethod
    def _event_loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which async tasks run."""

    @abstractmethod
    def runtime(self) -> RuntimeLike:
        """See `Host`."""

    @abstractmethod
    def _start_thread(self, work: Callable[[], None]) -> None:
        """Run this on a thread of its own. RuntimeError if the system gives none."""

    def _new_future(self) -> Future[Any]:
        """The future of an answer of the supervisor."""
        return Future()

    def _may_leave_processes(self) -> None:  # noqa: B027 - not every subclass has to do something
        """A task begins, or has run for longer than before: it may leave processes behind."""

    def _before_acknowledgement(self) -> None:  # noqa: B027 - not every subclass has to do something
        """A task is about to tell that it has dealt with messages."""

    @cached_property
    def _run_slots(self) -> SyncSlots:
        """The slots that are kept for callers over HTTP, made when the first one calls."""
        return self._make_run_slots()

    @abstractmethod
    def _make_run_slots(self) -> SyncSlots:
        """What runs the tasks of the lane RUN."""

    def _slots_of_lane(self, lane: int) -> SyncSlots:
        return self._run_slots if lane == Lane.RUN else self._slots

    def _slots_of(self, actor: TaskActor) -> SyncSlots:
        return self._run_slots if actor.assignment.kind == HTTP and not self._alone else self._slots

    # --- orders ---

    def carry_out(self, order: tuple[Any, ...]) -> None:
        """Carry out an order of the supervisor."""
        self._on[order[0]](*order[1:])

    def _run_these(self, lane: int, rows: tuple[Any, ...]) -> None:
        assignments = [Assignment(*row) for row in rows]
        with self._making:
            for assignment in assignments:
                self._expected[assignment.id] = []
        self._queue(lane, assignments)

    def _queue(self, lane: int, assignments: list[Assignment]) -> None:
        if lane != Lane.ASYNC:
            self._slots_of_lane(lane).add(assignments)
            return
        with self._making:
            begin = not self._async_queue
            self._async_queue.extend(assignments)
        if begin:
            self._event_loop().call_soon_threadsafe(self._begin_next)

    def _begin_next(self) -> None:
        """Begin an async task, and after its first step the next one.

        If a task blocks the event loop, the tasks behind it have not begun. The supervisor can take all of
        them back.
        """
        with self._making:
            # If a take fails, the supervisor has taken back the rest of the queue. Its DROP order follows.
            if not self._async_queue or not self._async_tokens.take():
                return
            assignment = self._async_queue.popleft()
            more = bool(self._async_queue)
        actor = self._actor_for(assignment)
        self._may_leave_processes()
        # Called directly on the loop's thread, so that the first step comes before the next task.
        actor._actor_loop()
        if more:
            self._event_loop().call_soon(self._begin_next)

    def _drop(self, lane: int, count: int) -> None:
        if lane != Lane.ASYNC:
            for assignment in self._slots_of_lane(lane).drop(count):
                self._expected.pop(assignment.id, None)
            self._reports.request((Report.DROPPED, lane))
            return
        with self._making:
            for _ in range(min(count, len(self._async_queue))):
                self._expected.pop(self._async_queue.pop().id, None)
        # The event loop confirms it, so that a blocked loop gets no new tasks.
        self._event_loop().call_soon_threadsafe(self._reports.request, (Report.DROPPED, lane))

    def _messages(self, id: bytes, first: int, values: tuple[bytes, ...]) -> None:
        self._to_actor(id, lambda actor: actor.tell(first, values))

    def _close_mailbox(self, id: bytes) -> None:
        self._to_actor(id, lambda actor: actor.inbox.close())

    def _signal(self, id: bytes, reason: str) -> None:
        self._to_actor(id, lambda actor: actor.stop_for(reason))

    def _interrupt(self, id: bytes | None) -> None:
        if id is not None:
            self._to_actor(id, lambda actor: actor.interrupt())
            return
        with self._making:
            self._draining = True
            actors = list(self._actors.values())
        for actor in actors:
            actor.interrupt()

    def _declare(self, modules: tuple[str, ...]) -> None:
        self._code.add(modules)

    def _aside(self, id: bytes, letter: bytes) -> None:
        def give(actor: TaskActor) -> None:
            if isinstance(actor, TurnActor):
                actor.aside(letter)

        self._to_actor(id, give)

    def _stack(self, number: int, id: bytes) -> None:
        # Beside the orders, because the text of lines is read from disk.
        with suppress(RuntimeError):  # the system gives no thread: then a signal tells
            self._start_thread(partial(self._tell_stack, number, id))

    def _tell_stack(self, number: int, id: bytes) -> None:
        from .task_stacks import stack_of

        actor = self._actors.get(id)
        rows = None if actor is None else stack_of(actor, list(self._actors.values()))
        self._reports.request((Report.STACK, number, rows))

    def _to_actor(self, id: bytes, tell: Callable[[TaskActor], None]) -> None:
        with self._making:
            actor = self._actors.get(id)
            if actor is None:
                waiting = self._expected.get(id)
                if waiting is not None:
                    waiting.append(tell)
                return
        tell(actor)

    # --- performing ---

    def _runs_in_a_row(self, assignment: Assignment) -> bool:
        return self._streaks[assignment.task].runs_in_a_row

    def _actor_for(self, assignment: Assignment) -> TaskActor:
        task = self._code.of(assignment.task)
        if self._reports.has_results:
            if self._streaks[assignment.task].may_gather:
                self._reports.send_soon()
            else:
                # This task may compute for long and keep the report buffer's thread from running.
                # Results must not wait for that.
                self._reports.flush()
        return self._make_actor(assignment, task)

    def _make_actor(self, assignment: Assignment, task: Task[..., Any]) -> TaskActor:
        actor: TaskActor
        if assignment.turn is not None:
            actor = self._make_turn(assignment, task)
        elif task.is_async:
            actor = AsyncTaskActor(assignment, task, self, self._event_loop())
        else:
            actor = TaskActor(assignment, task, self)
        actor.value_limit = self._value_limit
        with self._making:
            self._actors[assignment.id] = actor
            # Under the lock, so that earlier orders come before later ones.
            for tell in self._expected.pop(assignment.id, ()):
                tell(actor)
            if self._draining:
                actor.interrupt()
        return actor

    def _make_turn(self, assignment: Assignment, task: Task[..., Any]) -> TaskActor:
        assert assignment.turn is not None
        if not task.is_class:
            if task.name in registry:
                why = Undeclared(f"{task.name} is a task in this worker's app, not an actor", task.name)
                task = absent(why, task.name)
            return TaskActor(assignment, task, self)
        generation, is_here, *_ = assignment.turn
        resident = self._residents.take(assignment.id, generation, is_here=is_here)
        if task.is_async:
            return AsyncTurnActor(assignment, task, self, resident, self._event_loop())
        return TurnActor(assignment, task, self, resident)

    def flush(self) -> None:
        """See `Host`."""
        if self._reports.has_results:
            self._reports.flush()

    # --- what actors ask of their host ---

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        """See `Host`."""
        now = self.clock.time()
        if not self._streaks[actor.task.name].took(now - actor.started):
            self._may_leave_processes()
        self._actors.pop(actor.id, None)
        self._marks.ended(actor.id)
        self._reports.done(
            (
                actor.id,
                outcome.ending,
                outcome.value,
                outcome.error,
                outcome.delay,
                actor.acked,
                actor.started,
                now,
            ),
            held=self._sends_when_idle and not actor.task.is_async,
        )
        if actor.signal is not None and actor.assignment.tree is not None:
            # Its tree waits for this end, to stop the next one.
            self._reports.flush()

    def parked(self, actor: TaskActor) -> None:
        """See `Host`."""
        if self._on_stage(actor):
            self._marks.waits(actor.id)
            self._reports.parked(actor.id, True, actor)
        if not actor.task.is_async:
            self._slots_of(actor).parked()

    def resumed(self, actor: TaskActor) -> None:
        """See `Host`."""
        on_stage = self._on_stage(actor)
        if on_stage:
            self._marks.works(actor.id)
        if not actor.task.is_async:
            self._slots_of(actor).resumed()
        if on_stage:
            self._reports.parked(actor.id, False, actor)

    def messages_taken(self, actor: TaskActor) -> None:
        """See `Host`."""
        self._before_acknowledgement()
        self._reports.took(actor.id, actor.taken, actor.acked, actor)

    def checkpoint(
        self,
        actor: TaskActor,
        value: bytes,
        acked: int,
        messages: list[tuple[bytes, bytes]],
        items: list[bytes],
        events: list[Any],
    ) -> Future[Any]:
        """See `Host`."""
        # In parts, because a frame's array cannot hold as many messages as a task may send at once.
        posted = list(parts(messages, _message_size))
        more: tuple[Any, ...] = ()
        if items or events:
            more = list(parts(items, item_size)), list(rows_of(self.clock, events, self._value_limit))
        self._before_acknowledgement()
        return self._ask(actor, Report.CHECKPOINT, value, acked, posted, *more)

    def keep_step(
        self, actor: TaskActor, letter: bytes, label: bytes, name: str, value: bytes
    ) -> Future[Any]:
        """See `Host`."""
        self._before_acknowledgement()
        return self._ask(actor, Report.STEP, letter, label, name, value)

    def steps(self, actor: TaskActor, label: bytes) -> Future[Any]:
        """See `Host`."""
        return self._ask(actor, Report.STEPS, label)

    def publish(self, actor: TaskActor, body: bytes) -> bool:
        """See `Host`."""
        return self._reports.publish(actor.id, body, actor)

    def restore(self, actor: TaskActor) -> Future[Any]:
        """See `Host`."""
        return self._ask(actor, Report.RESTORE)

    def commit(
        self, turn: Transactions, acked: int, state: bytes | None, effects: Effects, *, now: bool
    ) -> None:
        """See `Host`."""
        frame = (
            Report.TURN,
            turn.id,
            acked,
            state,
            list(parts(effects.rows.items(), _row_size)),
            list(parts(effects.posts, _post_size)),
            [(name, *row) for name, row in effects.reminders.items()],
            effects.replies,
            effects.dead,
            effects.seen,
        )
        self._before_acknowledgement()
        now = now or effects.size + len(state or b"") > LARGE
        self._reports.request(frame, turn.id, turn, now=now)

    def read(
        self, turn: Transactions, what: str, key: str, after: str | None, limit: int, *, reverse: bool
    ) -> Future[Any]:
        """See `Host`."""
        return self._ask(turn, Report.READ, what, key, after, limit, reverse)

    def aside(self, turn: Transactions, letter_id: bytes, reply: bytes, posts: list[Post]) -> None:
        """See `Host`."""
        frame = (Report.ASIDE, turn.id, letter_id, reply, list(parts(posts, _post_size)))
        self._reports.request(frame, turn.id, turn)

    def watch(self, turn: TurnActor) -> None:
        """See `Host`."""
        self._reports.watch(turn)

    def is_at(self, turn: TurnActor) -> None:
        """See `Host`."""
        self._reports.took(turn.id, turn.at, turn.acked, turn)

    def suspended(self, turn: TurnActor) -> None:
        """See `Host`."""
        # The marks do not say so: code of the method may run at any time, and kill the worker.
        self._reports.parked(turn.id, True, turn)

    def beside(self, run: Callable[[], None]) -> None:
        """See `Host`."""

        def work() -> None:
            self._slots.resumed()
            try:
                run()
            finally:
                self._slots.parked()

        self._start_thread(work)

    def builds(self, turn: Transactions) -> None:
        """See `Host`."""
        self._marks.builds(turn.id)

    def built(self, turn: Transactions) -> None:
        """See `Host`."""
        self._marks.built(turn.id)

    def keep(self, turn: Transactions, resident: Resident) -> None:
        """See `Host`."""
        self._residents.keep(turn.id, resident)

    def progress(self, actor: TaskActor, done: float, total: float | None, note: str) -> None:
        """See `Host`."""
        self._reports.progress(actor.id, done, total, note, actor)

    def ready(self, actor: TaskActor, ready: bool) -> None:
        """See `Host`."""
        if ready or not actor.task.is_async:
            self._reports.request((Report.READY, actor.id, ready), actor.id, actor)
            return
        # It goes after the first step, so that the next child's comes later, with those of others about to begin.
        self._reports.request((Report.READY, actor.id, ready), actor.id, actor, now=False)
        self._reports.send_soon()  # A step may take long.
        if not self._async_queue:
            self._event_loop().call_soon(self._reports.flush)

    def folder(self, actor: TaskActor) -> Path:
        """See `Host`."""
        return task_folder(Path(self.home), id_text(actor.id))

    def log(self, actor: TaskActor, level: str, text: str, at: float | None = None) -> None:
        """See `Host`."""
        # Text without a UTF-8 form cannot be sent, and an entry must fit into a frame.
        text = printable(text, ENTRY_LIMIT)
        if not self._reports.log(actor.id, printable(level, LEVEL_LIMIT), text, at, actor):
            output_capture.write_late(actor, text)

    def _on_stage(self, actor: TaskActor) -> bool:
        """Whether this attempt is current. Threads and coroutines of a task may outlive their attempt."""
        return self._actors.get(actor.id) is actor

    def _ask(self, actor: TaskActor, op: Report, *fields: Any) -> Future[Any]:
        """Send a request of an attempt; the future of its answer."""
        number = next(self._numbers)
        future = self._new_future()
        self._requests[number] = future
        if not self._reports.request((op, number, actor.id, *fields), actor.id, actor):
            del self._requests[number]
            return _over(actor)
        return future

    def _answered(self, number: int, payload: Any) -> None:
        self._requests.pop(number).set_result(payload)

    def _refused(self, number: int, kind: str, message: str, data: dict[str, Any]) -> None:
        self._requests.pop(number).set_exception(error_of(kind, message, data))


def _over(actor: TaskActor) -> Future[Any]:
    refused: Future[Any] = Future()
    id = id_text(actor.id)
    refused.set_exception(TaskNotFound(f"this attempt at task {id} is over", id))
    return refused


def _row_size(row: tuple[str, bytes | None]) -> int:
    return 50 + 4 * len(row[0]) + len(row[1] or b"")


def _post_size(post: Post) -> int:
    return 50 + len(post[1])


def _message_size(message: tuple[bytes, bytes]) -> int:
    return 50 + len(message[1])
