"""The actor that runs one attempt at a sync task, in a worker process.

The life of a task actor, by Pykka's contract:

1. The host makes it from an Assignment. From now on the host may pass messages to it.
2. The host starts its loop: a sync actor on a slot thread, an async one on the event loop.
3. Pykka's loop takes the PERFORM envelope out of the inbox. The task's code runs inside `on_receive`.
4. The code ends. The actor tells the host the outcome, exactly once.
5. The actor stops and drops the messages that it has not taken. Their rows stay in the store.

Task actors are not in Pykka's global registry. The registry is a list, so removing an actor takes time in
proportion to the number of actors. The host keeps its actors by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context, ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, cast

import pykka

from .. import values
from ..errors import Cancelled, Interrupted, NotInTask, TaskCancelled
from ..events import event as _event  # noqa: F401 - it registers the type, which arguments and messages may hold
from ..ids import id_text
from ..line_buffer import LineBuffer
from ..task.current_actor import current
from ..task.declaration import Task
from ..task.handles import id_of
from ..task.retry import leaves
from ..timeouts import check_timeout, deadline_of, left_of
from ..tracing.tracer import begin, tracing
from .host import Assignment, Ending, Host, Outcome, error_outcome
from .item import item_bodies, item_body
from .mailbox import Mailbox
from .open_resource import CLOSE_WITHIN, OpenResource, closing_reason
from .steps import StepCall, Steps

if TYPE_CHECKING:
    from pykka._actor import ActorInbox

    from .helper_threads import HelperThreads

#: The host is told after this many taken messages, acknowledged or not, so that it sends more.
TAKEN_EVERY: Final = 128

current_actor: Final = cast("ContextVar[TaskActor]", current)
"""The actor whose task's code runs in this context. It may have ended: ask `running_actor`."""


def detach() -> None:
    """Mark this thread's code as belonging to no task from now on."""
    current_actor.set(None)  # type: ignore[arg-type]  # as `get(None)` gives if it was never set


NOTHING: Final = object()
"""No message is there yet."""
CLOSED: Final = object()
"""No more messages will come."""


class _Flag:
    """The two methods of `actor_stopped` that Pykka calls, without the condition and lock of an Event."""

    __slots__ = ("up",)

    def __init__(self) -> None:
        self.up = False

    def is_set(self) -> bool:
        return self.up

    def set(self) -> None:
        self.up = True


class TaskActor(pykka.Actor):
    """Performs a sync task on the thread that runs `_actor_loop`."""

    # Defaults live on the class, so that making an actor is cheap even for a task of a few microseconds.
    value_limit = values.VALUE_LIMIT
    """Bytes that one encoded value may take."""
    taken = 0
    """Number of the last message that `receive` gave to the task."""
    acked = 0
    """Number of the last acknowledged message."""
    tells_progress = False
    """Whether the task's code has reported progress, so that nothing else does."""
    turn = 0
    """Where `select` begins to look, so that it is fair to all of its sources."""
    resources: set[OpenResource] | frozenset[OpenResource] = frozenset()
    """The open resources, which are closed when the task ends."""
    signal: str | None = None
    """Why it should stop: "cancel" or "timeout"; None if it should not."""
    interrupted = False
    """The runtime wants to stop this attempt."""
    own_thread = 0
    """Identifier of the thread that runs the task's code; 0 before it begins."""
    helpers: HelperThreads | None = None
    """The threads that the task has started; None if there are none."""
    _told = 0
    _signal_read = False
    """Whether the task's own thread knows that it has been asked to stop."""
    _lines: LineBuffer | None = None

    def __init__(self, assignment: Assignment, task: Task[..., Any], host: Host) -> None:
        # super().__init__() is not called: it draws a random URN and makes an Event and an ActorRef, which
        # together cost more than a short task. Pykka's attributes are set here or made on first use.
        self.assignment = assignment
        self.task = task
        self.host = host
        self.id = assignment.id
        self.inbox = Mailbox()
        self.actor_inbox = self.inbox
        self.actor_stopped = _Flag()  # type: ignore[assignment]  # see _Flag
        self.started = 0.0
        self.has_checkpoint = assignment.has_checkpoint
        #: Whether only checkpoints acknowledge messages. Also so if an earlier attempt made a checkpoint: the
        #: messages that this attempt receives before it calls `restore` belong to the state.
        self.stateful = assignment.ack == "checkpoint" or (assignment.ack is None and self.has_checkpoint)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # an attribute in Pykka; made on each read
        return f"urn:uuid:{id_text(self.id)}"

    @property
    def actor_ref(self) -> pykka.ActorRef[Any]:
        """Made on first use."""
        ref = self.__dict__.get("_ref")
        if ref is None:
            ref = self.__dict__["_ref"] = pykka.ActorRef(self)
        return ref

    @staticmethod
    def _create_actor_inbox() -> ActorInbox:
        return Mailbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self._actor_loop()

    def _stop(self) -> None:
        self.actor_stopped.set()

    # --- called by the host, from any thread ---

    def tell(self, first: int, values: Sequence[bytes]) -> None:
        """Take in messages; the first one has this number. After the actor has stopped they are dropped:
        their rows stay in the store."""
        if not self.actor_stopped.is_set():
            # Pykka's reference is not used: it would make an envelope and a wakeup for each message.
            self.inbox.put_all(enumerate(values, first))

    def stop_for(self, reason: str) -> None:
        """Ask the task to stop, for a "cancel" or a "timeout". A timeout does not replace a cancel."""
        if self.signal != "cancel":
            self.signal = reason
        self._signalled()

    def _signalled(self) -> None:
        self.inbox.wake()

    def interrupt(self) -> None:
        """Interrupt the task at its next `receive`, `checkpoint` or `sleep`."""
        self.interrupted = True
        self.inbox.wake()

    # --- running the task's code ---

    def on_receive(self, message: Any) -> None:
        self.started = self.host.clock.time()
        self.own_thread = get_ident()
        if self.assignment.tree is not None:
            self.host.ready(self, False)
        # A context of its own: the next task on this thread must not see this one's context variables.
        context = Context()
        outcome = context.run(self._perform if tracing.tracer is None else self._perform_traced)
        if self.resources:
            context.run(self._put_away, outcome)
        self._finish(outcome)

    def _perform(self) -> Outcome:
        current_actor.set(self)
        try:
            args, kwargs = self._arguments()
            return self._completed(self.task.body(*args, **kwargs))  # type: ignore[misc]
        except BaseException as error:  # noqa: BLE001 - SystemExit ends the task, not its worker
            return self._broken_off(error)

    def _perform_traced(self) -> Outcome:
        span = begin(self.assignment)
        outcome = self._perform()
        if span is not None:
            span.end(outcome)
        return outcome

    def _broken_off(self, error: BaseException) -> Outcome:
        # If the runtime did not ask for it, it is an error like any other: it would be queued for ever.
        # An asyncio.TaskGroup raises it inside a group.
        if self.interrupted and any(isinstance(part, Interrupted) for part in leaves(error)):
            return Outcome(Ending.INTERRUPTED)
        return error_outcome(error, self.task.options_in_force.retry)

    def _arguments(self) -> tuple[Any, Any]:
        packed = self.assignment.args
        if packed is None:
            return (), {}
        args, kwargs = values.unpack(packed)
        annotations = self.task.annotations
        return annotations.lift(args, kwargs) if annotations.typed else (args, kwargs)

    def _completed(self, value: Any) -> Outcome:
        packed = None
        if value is not None:
            shape = self.task.annotations.result
            plain = value if shape is None else shape.lower(value, "result")
            packed = values.pack(plain, "result", self.value_limit)
        if not self.stateful:
            self.acked = self.taken
        return Outcome(Ending.VALUE, packed)

    def own(self, resource: OpenResource) -> None:
        """Close this resource when the task ends."""
        if not self.resources:
            self.resources = set()
        assert isinstance(self.resources, set)
        self.resources.add(resource)

    def disown(self, resource: OpenResource) -> None:
        """Forget this resource, which is gone. May be called from any thread."""
        if isinstance(self.resources, set):
            self.resources.discard(resource)

    def _put_away(self, outcome: Outcome) -> None:
        """Close the resources that the task's code left open; drop those that do not close in time."""
        self._close_resources(outcome)
        self._wait(CLOSE_WITHIN, lambda: not self.resources)
        self._drop_resources()

    def _close_resources(self, outcome: Outcome) -> None:
        why = closing_reason(outcome, self.signal)
        for resource in tuple(self.resources):
            resource.close_for(why)

    def _drop_resources(self) -> None:
        for resource in tuple(self.resources):
            resource.drop()

    def _finish(self, outcome: Outcome) -> None:
        if self._lines is not None:
            self.log_partial_lines()
        helpers = self.helpers
        if helpers is not None:
            helpers.close()
        self.host.ended(self, outcome)
        self._stop()
        if helpers is not None:
            self.inbox.wake()  # its helper threads may still wait for something

    # --- what the task's own code calls, on its own thread ---

    def receive(self, timeout: float | None = None, shield: bool = False) -> Any:
        """The next message; None if the mailbox is closed and empty; TimeoutError when `timeout` runs out."""
        message = self._receive(timeout, shield)
        return None if message is CLOSED else message

    def _receive(self, timeout: float | None, shield: bool = False) -> Any:
        """As `receive`, but it gives CLOSED at the end, so that None can be a message."""
        self._acknowledge_taken()
        seconds = check_timeout(timeout)
        clock = self.host.clock
        deadline = deadline_of(seconds, clock)
        while (message := self._next(shield)) is NOTHING:
            self._tell_taken()
            # Another thread of this task may take the message first; then this one waits again.
            if not self._wait(left_of(deadline, clock), lambda: self._something_to_receive(shield)):
                raise TimeoutError(f"no message within {seconds:g} s")
        return message

    def take(self) -> Any:
        """The next message, without a wait: NOTHING if there is none yet, CLOSED if no more will come.

        The caller must check `signal` itself: no message says that it was set.
        """
        message = self._next(shield=True)
        if message is NOTHING:
            self._tell_taken()
        return message

    def sleep(self, seconds: float, shield: bool = False) -> bool:
        """Wait; False if a cancel or timeout cut it short."""
        self._wait(check_timeout(seconds, "sleep"), lambda: self.stop_pending(shield))
        if self.interrupted:
            raise Interrupted
        if not self._asked(shield):
            return True
        self._learn()
        return False

    def publish(self, name: str, value: Any) -> None:
        """Hand an item over. It is on disk with the next commit."""
        if not self.host.publish(self, item_body(name, value, self.host.clock.time(), self.value_limit)):
            raise NotInTask("publish works only inside a running task, and this attempt is over")

    def checkpoint(
        self, value: Any, send: Any = (), publish: Any = (), emit: Any = (), shield: bool = False
    ) -> bool:
        """Store the state and acknowledge what was received; True once it is on disk."""
        future, received = self._ask_checkpoint(value, send, publish, emit)
        self.answer(future)
        self._stored(received)
        if self._asked(shield) and self._knows():
            raise self._cancelled()
        return self._checkpointed()

    def restore(self) -> Any:
        """The last checkpoint, or None."""
        self._guard_state()
        packed = self.answer(self._ask_restore())
        return None if packed is None else values.unpack(packed)

    # --- steps ---

    @property
    def steps(self) -> Steps:
        """The steps that this attempt knows; made with the first one."""
        steps: Steps | None = self.__dict__.get("_steps")
        if steps is None:
            steps = self.__dict__.setdefault("_steps", Steps(self.assignment.steps))
        return steps

    def step_letter(self, name: str) -> bytes:
        """The id of the message to which a step belongs; empty in a task. NotInTask where there can be none."""
        return b""

    def before_step(self) -> None:
        """A step is about to run."""

    def do_step(self, call: StepCall, function: Callable[[], Any]) -> Any:
        """The value of a step: as it is known, else of its function, once it is on disk."""
        while call.stored is None and (missing := call.missing()) is not None:
            call.take(self.answer(missing))
        if call.stored is not None:
            return call.decoded(call.stored)
        with call.under_way():
            packed = call.packed(call.run(function))
            self.answer(call.keep(packed))
        self._checkpointed()
        return call.decoded(packed)

    def pause(self, seconds: float) -> None:
        """Wait; raises what `check_stop` does as soon as the task is asked to stop."""
        self._wait(seconds, self.stop_pending)
        self.check_stop()

    def answer(self, future: Future[Any]) -> Any:
        """Wait for an answer of the host. The wait is short, so the task keeps its slot."""
        if not future.done():
            self.host.clock.wait(future, None)
        return future.result()

    def wait_future(self, future: Future[Any], timeout: float | None) -> bool:
        """Wait for a future without holding a slot; False when `timeout` runs out.

        Interrupted on a drain. TaskCancelled for a cancel or timeout of which the task does not know yet. Later
        waits take no notice of it, so that a task can wait for the tasks that it cancels.
        """
        # As the base class does it: a future of a runtime would have another thread call this.
        Future.add_done_callback(future, lambda _: self.inbox.wake())
        done = self._wait(timeout, lambda: future.done() or self.interrupted or self.signal_unread())
        if not future.done() and (self.interrupted or self.signal_unread()):
            self.check_stop()
        return done

    def look_for_stop(self) -> bool:
        """Whether the task has been asked to stop. If so, the calling thread knows it from now on."""
        if self.signal is None:
            return False
        if not self._knows():
            self._learn()
        return True

    def check_stop(self, shield: bool = False) -> None:
        """Interrupted on a drain. TaskCancelled after a cancel or timeout, and Cancelled from the second time on."""
        if self.interrupted:
            raise Interrupted
        if self._asked(shield):
            self._learn()
            raise TaskCancelled(self._stop_text(), id_text(self.id))

    def stop_pending(self, shield: bool = False) -> bool:
        """Whether `check_stop` would raise."""
        return self.interrupted or self._asked(shield)

    # --- shared with the async actor ---

    def signal_unread(self) -> bool:
        """Whether there is a cancel or timeout of which the calling thread does not know yet."""
        return self._asked() and not self._knows()

    def _asked(self, shield: bool = False) -> bool:
        """Whether a call has to take notice of a cancel or timeout."""
        return self.signal is not None and not shield

    def _knows(self) -> bool:
        """Whether the calling thread knows of the signal. Each helper thread learns of it by itself."""
        return self._signal_read if self._in_own_thread() else self.helpers.told_here()  # type: ignore[union-attr]

    def _learn(self) -> None:
        """Note that the calling thread knows of the signal; Cancelled if it has known before."""
        if self._knows():
            raise self._cancelled()
        if self._in_own_thread():
            self._signal_read = True
        else:
            self.helpers.tell_here()  # type: ignore[union-attr]

    def _cancelled(self) -> Cancelled:
        return Cancelled(self._stop_text())

    def _stop_text(self) -> str:
        return f"this task was asked to stop ({self.signal})"

    def _signal_message(self) -> Any:
        """The message that tells of the signal, once; then Cancelled. None if there is nothing more to tell."""
        self._learn()
        return self._stop_message()

    def _stop_message(self) -> dict[str, Any]:
        return {"$cancel": True} if self.signal == "cancel" else {"$cancel": True, "reason": self.signal}

    def _next(self, shield: bool = False) -> Any:
        if self.interrupted:
            raise Interrupted
        if self.signal is not None and self._asked(shield):
            message = self._signal_message()
            if message is not None:
                return message
        helpers = self.helpers
        if helpers is not None:  # no `with`, and no method for the rest: this runs for each message
            helpers.lock.acquire()
        try:
            inbox = self.inbox
            # Read before the messages: messages and then the close may arrive between the two reads.
            closed = inbox.closed
            if inbox.messages:
                self.taken, packed = inbox.messages.popleft()
                if self.taken - self._told >= TAKEN_EVERY:
                    self._told = self.taken
                    self.host.messages_taken(self)
                return values.unpack(packed)
            return CLOSED if closed else NOTHING
        finally:
            if helpers is not None:
                helpers.lock.release()

    def _tell_taken(self) -> None:
        """Tell the host before a wait: it holds messages back while it believes that many are here."""
        if self.taken > self._told:
            self._told = self.taken
            self.host.messages_taken(self)

    def _acknowledge_taken(self) -> None:
        if not self.stateful and self.taken > self.acked:
            self.acked = self._told = self.taken
            self.host.messages_taken(self)

    def _guard_state(self) -> None:
        """From now on only checkpoints acknowledge messages, unless the task was declared with `ack`."""
        if self.assignment.ack is None:
            self.stateful = True

    def _ask_checkpoint(self, value: Any, send: Any, publish: Any, emit: Any) -> tuple[Future[Any], int]:
        """The future of the host's answer, and the number of the last message that it acknowledges."""
        packed = values.pack(value, "checkpoint", self.value_limit)
        messages = [
            (id_of(id), values.pack(message, f"send[{n}]", self.value_limit))
            for n, (id, message) in enumerate(send)
        ]
        items = item_bodies(publish, self.host.clock.time(), self.value_limit) if publish else []
        self._guard_state()
        # Set before the answer, so that `restore` asks the host even if the task does not wait.
        self.has_checkpoint = True
        return self.host.checkpoint(self, packed, self.taken, messages, items, list(emit)), self.taken

    def _stored(self, received: int) -> None:
        self.acked = max(self.acked, received)
        self._told = max(self._told, received)

    def _checkpointed(self) -> bool:
        if self.interrupted:
            raise Interrupted
        return True

    def _ask_restore(self) -> Future[Any]:
        if self.has_checkpoint:
            return self.host.restore(self)
        none: Future[Any] = Future()
        none.set_result(None)
        return none

    def _something_to_receive(self, shield: bool = False) -> bool:
        inbox = self.inbox
        return bool(inbox.messages) or self.stop_pending(shield) or inbox.closed

    def _wait(self, timeout: float | None, ready: Callable[[], bool]) -> bool:
        """Wait until `ready()`; False when `timeout` seconds run out. The task's own thread holds no slot."""
        if ready():
            return True
        if timeout is not None and timeout <= 0:
            return False
        clock = self.host.clock
        wakeup = clock.wakeup()
        ring = wakeup.ring
        self.inbox.listen(ring)
        deadline = deadline_of(timeout, clock)
        helpers = None if self._in_own_thread() else self.helpers
        if helpers is None:
            self.parks()
        else:
            helpers.wait_begins()
        try:
            # A ring between `ready()` and the wait is not lost.
            while not ready():
                if helpers is not None and self.actor_stopped.is_set():
                    raise NotInTask("the attempt at the task that started this thread is over")
                left = left_of(deadline, clock)
                if left is not None and left <= 0:
                    return False
                wakeup.wait(left)
            return True
        finally:
            self.inbox.unlisten(ring)
            if helpers is None:
                self.goes_on()
            else:
                helpers.wait_ends()

    def parks(self) -> None:
        """It begins to wait and needs no slot."""
        self.host.parked(self)

    def goes_on(self) -> None:
        """Its wait has ended."""
        self.host.resumed(self)

    def _in_own_thread(self) -> bool:
        """Whether the calling thread is the task's own; see helper_threads.py."""
        return self.helpers is None or self.own_thread == get_ident()

    async def _wait_async(self, timeout: float | None, ready: Callable[[], bool]) -> bool:
        """As `_wait`, for code that sync and async tasks share. Here it blocks the thread."""
        return self._wait(timeout, ready)

    # --- what the task prints ---

    def write(self, level: str, text: str | bytes) -> None:
        """Add printed text. Whole lines become log entries; the rest waits for the end of its line."""
        lines = self._lines
        if lines is None:
            lines = self.__dict__.setdefault("_lines", LineBuffer())
        for line in lines.add(level, text):
            self.host.log(self, level, line)

    def log_partial_lines(self) -> None:
        """Log what has been printed of lines that have no end yet."""
        if self._lines is not None:
            for level, rest in self._lines.rest():
                self.host.log(self, level, rest)


def running_actor() -> TaskActor | None:
    """The actor whose task's code is running; None outside a task, and in what is left of an ended attempt."""
    actor = current_actor.get(None)
    return None if actor is None or actor.actor_stopped.is_set() else actor


def actor_here(what: str) -> TaskActor:
    """The actor whose task's code is running; NotInTask outside a task."""
    actor = current_actor.get(None)  # as `running_actor`
    if actor is None or actor.actor_stopped.up:  # type: ignore[attr-defined]  # see _Flag
        raise NotInTask(f"{what} works only inside a running task")
    return actor
