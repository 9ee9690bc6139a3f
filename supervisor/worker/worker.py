"""`Worker`, a worker process: it hosts task actors, reads orders from a socket, ends with the supervisor."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...actors.attempt import helper_threads, output_capture
from ...actors.attempt.actor import TaskActor, detach
from ...actors.attempt.helper_threads import start_outside
from ...actors.attempt.host import (
    MESSAGE_LIMIT,
    TRACEBACK_LIMIT,
    Assignment,
    Ending,
    Outcome,
    printable,
)
from ...actors.attempt.loop_executor import LoopExecutor
from ...actors.clock import SYSTEM
from ...actors.errors import ProtocolError
from ...actors.task import current_runtime, worker_hooks
from ...storage.tables.schema import Lane
from ..channel.begin_tokens import BeginTokens
from ..channel.interface import HANDED
from ..channel.stack_dump import StackDumps, ThreadMark
from ..channel.wait_marks import WaitMarks
from ..linux.processes import (
    LEFT_TO_SUPERVISOR,
    children_of,
    flush_output,
    kill_tree,
    leave_signals_to_supervisor,
)
from ..testing.crash_points import Process, arm
from ..wire.codec import Decoder
from ..wire.messages import Order, Report
from ..wire.socket_buffers import read_buffer
from .actor_host import ActorHost
from .reaper import Reaper
from .report_buffer import ReportBuffer
from .slots import Slots
from .thread_state import ThreadState

if TYPE_CHECKING:
    from ...actors.task.current_runtime import RuntimeLike
    from .descriptor_capture import DescriptorCapture

log = logging.getLogger("understudy")

#: Exit codes.
STOPPED: Final = 0
UNUSABLE: Final = 65
#: Seconds that the end of a worker of one task may take.
END_WITHIN: Final = 10.0
ORPHANED: Final = 70


def main(config: dict[str, Any], fds: list[int]) -> int:
    """Run until the supervisor says stop. Called in a fresh fork.

    `fds`: the socket, the begin tokens of the lanes in which tasks are handed out, the wait marks, the stack dumps.
    """
    arm(Process.WORKER)
    sock, *tokens, marks, stacks = fds
    by_lane = {lane: BeginTokens(fd) for lane, fd in zip(HANDED, tokens, strict=True)}
    return Worker(config, socket.socket(fileno=sock), by_lane, WaitMarks(marks), StackDumps(stacks)).run()


class Worker(ActorHost):
    """A process that hosts actors. The main thread reads orders; slot threads and the event loop run tasks.

    A worker for one isolated task works the other way round: another thread reads orders, and the task has the main
    thread, which alone may handle signals.
    """

    _sends_when_idle = True

    def __init__(
        self,
        config: dict[str, Any],
        sock: socket.socket,
        tokens: Mapping[Lane, BeginTokens],
        marks: WaitMarks,
        stacks: StackDumps,
    ) -> None:
        super().__init__(config, tokens[Lane.ASYNC], marks)
        self._traces: float = config.get("traces", 0.0)
        self._stacks = stacks
        self._tokens = tokens
        self._sock = sock
        self._decoder = Decoder(self._value_limit)
        self._reports = ReportBuffer(sock, self._broken, self._actors)
        self._reaper = Reaper(
            lambda: [actor.started or SYSTEM.time() for actor in list(self._actors.values())]
        )
        #: The signal mask of a thread in which no task has run, and the state of each slot thread.
        self._signals = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._thread = threading.local()
        self._slots = self._threads = self._new_slots(config["slots"], Lane.SYNC)
        self._loop: asyncio.AbstractEventLoop | None = None
        #: The capture of the only task of this worker, if it has asked for one.
        self._captured: DescriptorCapture | None = None
        self._stopping = False
        self._is_fork = False
        #: Whether the event loop on the main thread stops because the turn of an isolated actor has ended.
        self._turn_is_over = False
        #: The forking thread's signal mask.
        self._fork_mask = threading.local()
        self._runtime: RuntimeLike | None = None
        self._runtime_lock = threading.Lock()

    def _new_slots(self, limit: int, lane: Lane) -> Slots:
        return Slots(
            limit,
            self._tokens[lane],
            self._perform,
            self.flush,
            self._runs_in_a_row,
            self._broken,
            self._thread_state,
        )

    def _make_run_slots(self) -> Slots:
        return self._new_slots(self._run_limit, Lane.RUN)

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
        current_runtime.in_worker(self.runtime)
        try:
            worker_hooks.start()
        except worker_hooks.HookFailed as error:
            return self._unusable(error)
        if self._traces:
            from ...actors.tracing.otel import trace_worker

            trace_worker(self._traces)
        if not self._alone:
            return self._read_orders()
        reader = threading.Thread(target=self._read_beside_task, name="understudy-orders", daemon=True)
        self._threads.work_here(reader.start)
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
        self._threads.stop()
        time.sleep(END_WITHIN)

    def _read_orders(self) -> int:
        self._stacks.listen()
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
                    self.carry_out(frame)
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
        StackDumps.forget()
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
            if not self._stopping and not self._turn_is_over:
                self._broken()

    def runtime(self) -> RuntimeLike:
        """See `Host`."""
        from ..client.runtime import Runtime

        with self._runtime_lock:
            if self._runtime is None:
                self._runtime = Runtime.connect(self.home)
            return self._runtime

    # --- performing ---

    def _perform(self, assignment: Assignment) -> None:
        actor = self._actor_for(assignment)
        streak = self._streaks[assignment.task]
        if streak.runs_in_a_row and not self._alone:
            # Such a task has left nothing in its thread in its first runs. Looking takes half as long as it.
            actor._start_actor_loop()
            return
        self._reaper.wake()
        if assignment.capture_output:
            self._capture_descriptors(actor)
        state = self._thread_state()
        state.reset()
        mark: ThreadMark = self._thread.mark
        mark.set(assignment.id)
        began = time.thread_time()
        actor._start_actor_loop()
        if self._alone and actor.task.is_async:
            self._run_loop(self._event_loop())
            self._turn_is_over = False
        streak.computed(time.thread_time() - began)
        mark.clear()
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
            self._thread.mark = self._stacks.mark()
        return state

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

    def _start_thread(self, work: Callable[[], None]) -> None:
        start_outside(threading.Thread(target=work, name="understudy-aside", daemon=True))

    def _may_leave_processes(self) -> None:
        # A task that was quick until now has not woken the reaper.
        self._reaper.wake()

    # --- what a fork, and the capture of output, change ---

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        """See `Host`."""
        if self._is_fork:
            _end_fork(outcome)
        if self._captured is not None:
            # While the attempt is current, so that its last lines count.
            self._end_capture(self._captured)
        super().ended(actor, outcome)
        if self._alone and self._loop is not None and actor.task.is_class:
            # The main thread goes back to wait for the actor's next turn.
            self._turn_is_over = True
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _end_capture(self, captured: DescriptorCapture) -> None:
        try:
            captured.close()
        except OSError:
            # The task has closed a file descriptor of the worker's.
            self._broken()
        self._captured = None

    def _before_acknowledgement(self) -> None:
        # The lines that the task's subprocesses have written go into its log before what the task tells next.
        if self._captured is not None and not self._is_fork:
            try:
                self._captured.catch_up()
            except OSError:
                self._broken()

    def log(self, actor: TaskActor, level: str, text: str, at: float | None = None) -> None:
        """See `Host`."""
        # In a fork the thread that held the report buffer's lock does not exist.
        if not self._is_fork:
            super().log(actor, level, text, at)


def _end_fork(outcome: Outcome) -> NoReturn:
    """End a fork made by a task at the end of the task's code. The task itself ends in the parent."""
    if outcome.error is not None:
        sys.stderr.write(outcome.error[2])
    flush_output()
    os._exit(0 if outcome.ending is Ending.VALUE else 1)
