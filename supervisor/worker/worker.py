"""`Worker`, a worker process: it hosts task actors, reads orders from a socket, ends with the supervisor."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...actors.attempt import helper_threads, output_capture
from ...actors.attempt.actor import TaskActor, detach
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.attempt.helper_threads import start_outside
from ...actors.attempt.host import (
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    Assignment,
    Ending,
    Outcome,
    Undeclared,
    printable,
)
from ...actors.attempt.loop_executor import LoopExecutor
from ...actors.attempt.turn import AsyncTurnActor, TurnActor
from ...actors.errors import ProtocolError, TaskNotFound
from ...actors.ids import id_text
from ...actors.task import current_runtime, worker_hooks
from ...actors.task.declaration import Task, registry
from ...storage.tables.schema import Lane
from ..channel.begin_tokens import BeginTokens
from ..channel.wait_marks import WaitMarks
from ..home import task_folder
from ..linux.processes import (
    LEFT_TO_SUPERVISOR,
    children_of,
    flush_output,
    kill_tree,
    leave_signals_to_supervisor,
)
from ..rules.pace import Streak
from ..testing.crash_points import Process, arm
from ..wire.codec import Decoder, parts
from ..wire.error_codec import error_of
from ..wire.messages import Order, Report
from ..wire.socket_buffers import read_buffer
from .reaper import Reaper
from .report_buffer import ReportBuffer
from .residents import Residents
from .slots import Slots
from .task_code import TaskCode, absent
from .thread_state import ThreadState

if TYPE_CHECKING:
    from ...actors.attempt.effects import Effects
    from ...actors.attempt.resident import Resident
    from ...actors.refs.port import Post
    from ...actors.task.current_runtime import RuntimeLike
    from .descriptor_capture import DescriptorCapture

log = logging.getLogger("understudy")

#: Characters kept of one log entry. Of a longer entry, its beginning and its end are kept.
ENTRY_LIMIT: Final = 64_000
#: Characters kept of the name of an entry's level, which an app may choose.
LEVEL_LIMIT: Final = 100
#: Bytes of a turn's commit from which on it is sent at once: many of them must not gather.
LARGE: Final = 1024 * 1024
#: Exit codes.
STOPPED: Final = 0
UNUSABLE: Final = 65
#: Seconds that the end of a worker of one task may take.
END_WITHIN: Final = 10.0
ORPHANED: Final = 70


def main(config: dict[str, Any], fds: list[int]) -> int:
    """Run until the supervisor says stop. Called in a fresh fork.

    `fds`: the socket, the begin tokens of the sync and of the async lane, the wait marks.
    """
    arm(Process.WORKER)
    return Worker(
        config, socket.socket(fileno=fds[0]), BeginTokens(fds[1]), BeginTokens(fds[2]), WaitMarks(fds[3])
    ).run()


class Worker:
    """Implements `Host`. The main thread reads orders; slot threads and the event loop run tasks.

    A worker for one isolated task works the other way round: another thread reads orders, and the task has the main
    thread, which alone may handle signals.
    """

    def __init__(
        self,
        config: dict[str, Any],
        sock: socket.socket,
        sync_tokens: BeginTokens,
        async_tokens: BeginTokens,
        marks: WaitMarks,
    ) -> None:
        self._sock = sock
        self.home: str = config["home"]
        self._alone: bool = config.get("alone", False)
        self._code = TaskCode(config["modules"])
        self._value_limit: int = config["value_limit"]
        self._decoder = Decoder(self._value_limit)
        self._actors: dict[bytes, TaskActor] = {}
        self._residents = Residents()
        self._reports = ReportBuffer(sock, self._broken, self._actors)
        self._async_tokens = async_tokens
        self._marks = marks
        #: How quick the last attempts of each task were, by its name.
        self._streaks: defaultdict[str, Streak] = defaultdict(Streak)
        self._reaper = Reaper(lambda: [actor.started or time.time() for actor in list(self._actors.values())])
        #: The signal mask of a thread in which no task has run, and the state of each slot thread.
        self._signals = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._thread = threading.local()
        self._slots = Slots(
            config["slots"],
            sync_tokens,
            self._perform,
            self.flush,
            self._runs_in_a_row,
            self._broken,
            self._thread_state,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Async tasks that have not begun; guarded by `_making`.
        self._async_queue: deque[Assignment] = deque()
        # Held while an assignment becomes an actor, so that no order for it is lost in between.
        self._making = threading.Lock()
        self._expected: dict[bytes, list[Callable[[TaskActor], None]]] = {}
        #: Assignments that are queued once all orders that have arrived are read.
        self._held: list[tuple[int, list[Assignment]]] = []
        #: The capture of the only task of this worker, if it has asked for one.
        self._captured: DescriptorCapture | None = None
        self._draining = False
        self._stopping = False
        self._is_fork = False
        #: The forking thread's signal mask.
        self._fork_mask = threading.local()
        self._requests: dict[int, Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._runtime: RuntimeLike | None = None
        self._runtime_lock = threading.Lock()
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
        }

    def run(self) -> int:
        """Read orders until the supervisor says stop or is gone; the exit code."""
        leave_signals_to_supervisor()
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._become_fork
        )
        output_capture.capture()
        helper_threads.install()
        self._reaper.main_is_free = not self._alone
        self._reaper.start()
        current_runtime.in_worker(self._own_runtime)
        try:
            worker_hooks.start()
        except worker_hooks.HookFailed as error:
            return self._unusable(error)
        if not self._alone:
            return self._read_orders()
        reader = threading.Thread(target=self._read_beside_task, name="understudy-orders", daemon=True)
        self._slots.work_here(reader.start)
        return STOPPED

    def _read_beside_task(self) -> None:
        code = ORPHANED
        try:
            code = self._read_orders()
            if code == STOPPED:
                self._let_main_return()
        finally:
            flush_output()
            os._exit(code)

    def _let_main_return(self) -> None:
        """Let the main thread call the exit functions, unless it does not get there."""
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._slots.stop()
        time.sleep(END_WITHIN)

    def _read_orders(self) -> int:
        buffer = read_buffer()
        while True:
            try:
                size = self._sock.recv_into(buffer)
            except OSError:
                size = 0
            if not size:
                return self._orphaned()
            try:
                for frame in self._decoder.feed(buffer[:size]):
                    if frame[0] == Order.STOP:
                        self._reports.close()
                        # The last one registered is called first.
                        atexit.register(worker_hooks.stop)
                        return STOPPED
                    self._on[frame[0]](*frame[1:])
                if self._held:
                    self._begin_held()
            except ProtocolError:
                return self._orphaned()

    def _unusable(self, error: worker_hooks.HookFailed) -> int:
        cause = error.__cause__ or error
        frames = cause.__traceback__.tb_next if cause.__traceback__ is not None else None
        trace = "".join(traceback.format_exception(type(cause), cause, frames))
        self._reports.request(
            (Report.FAILED, printable(str(error), MESSAGE_LIMIT), printable(trace, TRACEBACK_LIMIT))
        )
        self._reports.close()
        return UNUSABLE

    def _before_fork(self) -> None:
        # Block these signals until the child has its own handlers. An earlier signal would be lost there.
        self._fork_mask.signals = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_SUPERVISOR)

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._fork_mask.signals)

    def _become_fork(self) -> None:
        """This process is a fork made by a task. It is no worker and must send no reports."""
        self._is_fork = True
        self._sock.close()
        self._runtime_lock = threading.Lock()
        detach()
        for number in LEFT_TO_SUPERVISOR:
            signal.signal(number, signal.SIG_DFL)
        self._after_fork()

    def _orphaned(self) -> int:
        """Kill the child processes. No end can be recorded now; the next supervisor runs the tasks again."""
        for pid in children_of(os.getpid()):
            kill_tree(pid)
        return ORPHANED

    def _broken(self) -> None:
        """End this process, because the ends of its tasks can no longer be recorded.

        The supervisor is gone, or a task has closed or stopped a part of the worker. The reading thread may
        not notice while no order comes.
        """
        if not self._is_fork:
            os._exit(self._orphaned())

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            if not self._stopping:
                self._broken()

    def _own_runtime(self) -> RuntimeLike:
        from ..client.runtime import Runtime

        with self._runtime_lock:
            if self._runtime is None:
                self._runtime = Runtime.connect(self.home)
            return self._runtime

    # --- orders ---

    def _run_these(self, lane: int, rows: tuple[Any, ...]) -> None:
        assignments = [Assignment(*row) for row in rows]
        hold = bool(self._held)
        with self._making:
            for assignment in assignments:
                self._expected[assignment.id] = []
                if assignment.turn is not None:
                    hold = True
        if hold:
            # The messages of turns stand behind the order in the same packet: a turn that begins first has to wait for
            # them. What comes after turns is held, too, because the supervisor counts on the order.
            self._held.append((lane, assignments))
        else:
            self._queue(lane, assignments)

    def _begin_held(self) -> None:
        held, self._held = self._held, []
        for lane, assignments in held:
            self._queue(lane, assignments)

    def _queue(self, lane: int, assignments: list[Assignment]) -> None:
        if lane == Lane.SYNC:
            self._slots.add(assignments)
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
        self._reaper.wake()
        # Called directly on the loop's thread, so that the first step comes before the next task.
        actor._actor_loop()
        if more:
            self._event_loop().call_soon(self._begin_next)

    def _drop(self, lane: int, count: int) -> None:
        self._begin_held()
        if lane == Lane.SYNC:
            for assignment in self._slots.drop(count):
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

    def _perform(self, assignment: Assignment) -> None:
        actor = self._actor_for(assignment)
        streak = self._streaks[assignment.task]
        if streak.runs_in_a_row:
            # Such a task has left nothing in its thread in its first runs. Looking takes half as long as it.
            actor._start_actor_loop()
            return
        self._reaper.wake()
        if assignment.capture_output:
            self._capture_descriptors(actor)
        state = self._thread_state()
        state.reset()
        began = time.thread_time()
        actor._start_actor_loop()
        if self._alone and actor.task.is_async:
            self._run_loop(self._event_loop())
        streak.computed(time.thread_time() - began)
        if state.reset():
            streak.broken()

    def _capture_descriptors(self, actor: TaskActor) -> None:
        # Imported here, because it loads ctypes.
        from .descriptor_capture import DescriptorCapture

        try:
            self._captured = DescriptorCapture(partial(self.log, actor))
        except (OSError, RuntimeError) as error:
            log.warning("the output of task %s cannot be captured: %s", actor.task.name, error)

    def _thread_state(self) -> ThreadState:
        """The state of the calling thread; the first call there sets it back."""
        state: ThreadState | None = getattr(self._thread, "state", None)
        if state is None:
            state = self._thread.state = ThreadState(self._signals)
        return state

    def _actor_for(self, assignment: Assignment) -> TaskActor:
        task = self._code.of(assignment.task)
        if self._reports.has_results and not self._streaks[assignment.task].may_gather:
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

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(LoopExecutor())
            if self._alone:
                return self._loop  # the main thread will run it
            start_outside(
                threading.Thread(
                    target=self._run_loop, args=(self._loop,), name="understudy-loop", daemon=True
                )
            )
        return self._loop

    def flush(self) -> None:
        """See `Host`."""
        if self._reports.has_results:
            self._reports.flush()

    # --- what actors ask of their host ---

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        """See `Host`."""
        if self._is_fork:
            _end_fork(outcome)
        if self._captured is not None:
            # While the attempt is current, so that its last lines count.
            self._captured.close()
            self._captured = None
        now = time.time()
        if not self._streaks[actor.task.name].took(now - actor.started):
            # A task that was quick until now has not woken the reaper, and may have left a process this time.
            self._reaper.wake()
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
            )
        )

    def parked(self, actor: TaskActor) -> None:
        """See `Host`."""
        if self._on_stage(actor):
            self._marks.waits(actor.id)
            self._reports.parked(actor.id, True, actor)
        if not actor.task.is_async:
            self._slots.parked()

    def resumed(self, actor: TaskActor) -> None:
        """See `Host`."""
        on_stage = self._on_stage(actor)
        if on_stage:
            self._marks.works(actor.id)
        if not actor.task.is_async:
            self._slots.resumed()
        if on_stage:
            self._reports.parked(actor.id, False, actor)

    def messages_taken(self, actor: TaskActor) -> None:
        """See `Host`."""
        self._reports.took(actor.id, actor.taken, actor.acked, actor)

    def checkpoint(
        self, actor: TaskActor, value: bytes, acked: int, messages: list[tuple[bytes, bytes]]
    ) -> Future[Any]:
        """See `Host`."""
        # In parts, because a frame's array cannot hold as many messages as a task may send at once.
        posted = list(parts(messages, _message_size))
        return self._ask(actor, Report.CHECKPOINT, value, acked, posted)

    def restore(self, actor: TaskActor) -> Future[Any]:
        """See `Host`."""
        return self._ask(actor, Report.RESTORE)

    def commit(
        self, turn: TurnActor, acked: int, state: bytes | None, effects: Effects, *, now: bool
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
        now = now or effects.size + len(state or b"") > LARGE
        self._reports.request(frame, turn.id, turn, now=now)

    def read(
        self, turn: TurnActor, what: str, key: str, after: str | None, limit: int, *, reverse: bool
    ) -> Future[Any]:
        """See `Host`."""
        return self._ask(turn, Report.READ, what, key, after, limit, reverse)

    def aside(self, turn: TurnActor, letter_id: bytes, reply: bytes) -> None:
        """See `Host`."""
        self._reports.request((Report.ASIDE, turn.id, letter_id, reply), turn.id, turn)

    def beside(self, run: Callable[[], None]) -> None:
        """See `Host`."""

        def work() -> None:
            self._slots.resumed()
            try:
                run()
            finally:
                self._slots.parked()

        start_outside(threading.Thread(target=work, name="understudy-aside", daemon=True))

    def keep(self, turn: TurnActor, resident: Resident) -> None:
        """See `Host`."""
        self._residents.keep(turn.id, resident)

    def progress(self, actor: TaskActor, done: float, total: float | None, note: str) -> None:
        """See `Host`."""
        self._reports.progress(actor.id, done, total, note, actor)

    def folder(self, actor: TaskActor) -> Path:
        """See `Host`."""
        return task_folder(Path(self.home), id_text(actor.id))

    def log(self, actor: TaskActor, level: str, text: str, at: float | None = None) -> None:
        """See `Host`."""
        if self._is_fork:
            # The thread that held the report buffer's lock at the fork does not exist in this process.
            return
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
        future: Future[Any] = Future()
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


def _post_size(post: tuple[bytes, bytes, Post]) -> int:
    return 50 + len(post[1])


def _message_size(message: tuple[bytes, bytes]) -> int:
    return 50 + len(message[1])


def _end_fork(outcome: Outcome) -> NoReturn:
    """End a fork made by a task at the end of the task's code. The task itself ends in the parent."""
    if outcome.error is not None:
        sys.stderr.write(outcome.error[2])
    flush_output()
    os._exit(0 if outcome.ending is Ending.VALUE else 1)
