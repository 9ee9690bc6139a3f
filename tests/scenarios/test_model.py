"""Messages and state against a model: promises 2 and 3 of the design hold for any sequence of actions.

Tasks are puppets: each connects to a socket of the test and obeys it, step by step. So the state machine
decides when a task receives, saves, looks back, ends or dies. A simple model says what must be seen.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

import letter_tasks
from letters import PATIENCE, assert_sound, kill_supervisor, runtime
from models import check_model
from understudy import MailboxClosed, Runtime, State, TaskCancelled
from waiting import until

EXAMPLES = 15
STEPS = 25


class Strings:
    """The puppets' connections, by which the test controls them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen(64)
        self._server.settimeout(PATIENCE)
        self._waiting: dict[tuple[str, int], tuple[socket.socket, Any]] = {}
        self._held: dict[str, tuple[socket.socket, Any]] = {}

    def hold(self, id: str, attempt: int) -> None:
        """Wait until this attempt has connected."""
        self.drop(id)
        while (id, attempt) not in self._waiting:
            sock, _ = self._server.accept()
            sock.settimeout(PATIENCE)
            lines = sock.makefile("rwb")
            said_id, said_attempt = json.loads(lines.readline())
            self._waiting[said_id, said_attempt] = sock, lines
        self._held[id] = self._waiting.pop((id, attempt))

    def tell(self, id: str, *order: Any) -> None:
        _, lines = self._held[id]
        lines.write(json.dumps(order).encode() + b"\n")
        lines.flush()

    def ask(self, id: str, *order: Any) -> Any:
        self.tell(id, *order)
        return json.loads(self._held[id][1].readline())

    def drop(self, id: str) -> None:
        sock, lines = self._held.pop(id, (None, None))
        if sock is not None:
            lines.close()
            sock.close()

    def close(self) -> None:
        for id in list(self._held):
            self.drop(id)
        for sock, lines in self._waiting.values():
            lines.close()
            sock.close()
        self._server.close()


@dataclass
class Model:
    """The expected facts of one task. Positions count messages from the first one sent to it."""

    id: str
    attempt: int = 1
    messages: list[int] = field(default_factory=list)
    #: Certainly acknowledged, and at most acknowledged: they differ if a crash may have lost an
    #: acknowledgement.
    acked: int = 0
    acked_at_most: int = 0
    #: Received in this attempt; None until the first message of an attempt shows the position.
    taken: int | None = 0
    stateful: bool = False
    saved: Any = None
    closed: bool = False
    state: State = State.RUNNING
    value: Any = None

    @property
    def left(self) -> bool:
        return (self.acked_at_most if self.taken is None else self.taken) < len(self.messages)

    def received(self, message: int) -> None:
        position = self.messages.index(message)
        if self.taken is None:
            assert self.acked <= position <= self.acked_at_most
            self.acked = self.acked_at_most = self.taken = position
        assert position == self.taken, "in order, none left out, none twice"
        self.taken += 1

    def acknowledge_taken(self) -> None:
        """The first step of a receive in a task without state."""
        if not self.stateful and self.taken is not None:
            self.acked_at_most = max(self.acked_at_most, self.taken)

    def save(self, value: Any) -> None:
        self.saved, self.stateful = value, True
        if self.taken is not None:
            self.acked = self.acked_at_most = self.taken

    def died(self) -> None:
        self.attempt += 1
        self.taken = self.acked if self.acked == self.acked_at_most else None
        self.stateful = self.saved is not None


class Machine(RuleBasedStateMachine):
    rt: Runtime
    strings: Strings

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Model] = []
        self.numbers = iter(range(1, 1_000_000))
        self.restarts = 0

    def running(self) -> list[Model]:
        return [task for task in self.tasks if task.state is State.RUNNING]

    def one(self, index: int) -> Model:
        running = self.running()
        return running[index % len(running)]

    which = st.integers(0, 2)

    @precondition(lambda self: len(self.running()) < 3)
    @rule()
    def start(self) -> None:
        info = self.rt.start(letter_tasks.puppet, self.strings.path)
        self.tasks.append(Model(info.id))
        self.strings.hold(info.id, 1)

    @precondition(lambda self: self.running())
    @rule(which=which, count=st.integers(1, 3))
    def send(self, which: int, count: int) -> None:
        task = self.one(which)
        messages = [next(self.numbers) for _ in range(count)]
        letters = [(task.id, message) for message in messages]
        if task.closed:
            with pytest.raises(MailboxClosed):
                self.rt.send_many(letters)
            return
        self.rt.send_many(letters)
        task.messages += messages

    @precondition(lambda self: self.running())
    @rule(which=which)
    def receive(self, which: int) -> None:
        task = self.one(which)
        task.acknowledge_taken()
        if not task.left and task.taken is None:
            # The last message may come once more or not; either case gives the position of the task.
            answer = self.strings.ask(task.id, "receive", 0.2)
            if answer[0] == "got" and answer[1] is not None:
                task.received(answer[1])
            return
        answer = self.strings.ask(task.id, "receive", PATIENCE if task.left or task.closed else 0)
        if task.left:
            assert answer[0] == "got", answer
            task.received(answer[1])
        elif task.closed:
            assert answer == ["got", None]
        else:
            assert answer == ["raised", "TimeoutError"]

    @precondition(lambda self: self.running())
    @rule(which=which)
    def checkpoint(self, which: int) -> None:
        task = self.one(which)
        value = next(self.numbers)
        assert self.strings.ask(task.id, "checkpoint", value, []) == ["saved", True]
        task.save(value)
        assert self.rt.restore(task.id) == value

    @precondition(lambda self: self.running())
    @rule(which=which, to=st.lists(which, min_size=1, max_size=3))
    def checkpoint_and_send(self, which: int, to: list[int]) -> None:
        task = self.one(which)
        receivers = [self.one(index) for index in to]
        value = next(self.numbers)
        letters = [(receiver.id, next(self.numbers)) for receiver in receivers]
        answer = self.strings.ask(task.id, "checkpoint", value, letters)
        if any(receiver.closed for receiver in receivers):
            assert answer == ["raised", "MailboxClosed"]
            task.stateful = True
        else:
            assert answer == ["saved", True]
            task.save(value)
            for receiver, (_, message) in zip(receivers, letters, strict=True):
                receiver.messages.append(message)
        assert self.rt.restore(task.id) == task.saved

    @precondition(lambda self: self.running())
    @rule(which=which)
    def restore(self, which: int) -> None:
        task = self.one(which)
        assert self.strings.ask(task.id, "restore") == ["restored", task.saved]
        task.stateful = True

    @precondition(lambda self: self.running())
    @rule(which=which)
    def crash(self, which: int) -> None:
        task = self.one(which)
        self.strings.tell(task.id, "die")
        task.died()
        self.strings.hold(task.id, task.attempt)

    @precondition(lambda self: self.running() and self.restarts == 0)
    @rule(really=st.integers(0, 3))
    def crash_the_supervisor(self, really: int) -> None:
        if really:
            return
        self.restarts += 1
        kill_supervisor(self.rt)
        for task in self.running():
            attempt = task.attempt
            task.died()
            task.attempt = attempt
            self.strings.hold(task.id, attempt)

    @precondition(lambda self: self.running())
    @rule(which=which)
    def close(self, which: int) -> None:
        task = self.one(which)
        self.rt.close(task.id)
        task.closed = True

    @precondition(lambda self: self.running())
    @rule(which=which)
    def cancel(self, which: int) -> None:
        task = self.one(which)
        assert self.rt.cancel(task.id) is True
        with pytest.raises(TaskCancelled):
            self.rt.result(task.id, PATIENCE)
        self.ended(task, State.CANCELLED)

    @precondition(lambda self: self.running())
    @rule(which=which)
    def end(self, which: int) -> None:
        task = self.one(which)
        task.value = next(self.numbers)
        self.strings.tell(task.id, "end", task.value)
        assert self.rt.result(task.id, PATIENCE) == task.value
        self.ended(task, State.COMPLETED)

    def ended(self, task: Model, state: State) -> None:
        self.strings.drop(task.id)
        task.state = state
        record = self.rt.status(task.id)
        assert (record.state, record.attempt) == (state, task.attempt)
        # What it has not acknowledged is kept for a retry, unless it has completed.
        kept = state is not State.COMPLETED
        least = len(task.messages) - max(task.acked_at_most, task.taken or 0) if kept else 0
        most = len(task.messages) - task.acked if kept else 0
        assert least <= record.mailbox_depth <= most
        assert self.rt.cancel(task.id) is False
        with pytest.raises(MailboxClosed):
            self.rt.send(task.id, 0)

    @precondition(lambda self: self.running())
    @rule(which=which)
    def look(self, which: int) -> None:
        """The view from outside, when everything under way has arrived."""
        task = self.one(which)
        most, least = len(task.messages) - task.acked, len(task.messages) - task.acked_at_most
        until(
            lambda: least <= self.rt.status(task.id).mailbox_depth <= most,
            PATIENCE,
            lambda: f"{self.rt.status(task.id)} against {task}",
        )
        assert self.rt.restore(task.id) == task.saved

    def teardown(self) -> None:
        for task in self.running():
            self.rt.cancel(task.id)
        for task in self.running():
            assert self.rt.wait(task.id, PATIENCE).state is State.CANCELLED
            self.strings.drop(task.id)


@contextmanager
def stage(home: Path, socket_path: str) -> Iterator[type[Machine]]:
    strings = Strings(socket_path)
    try:
        with runtime(home, max_crashes=1_000_000, restarts=1_000) as rt:
            yield type("Machine", (Machine,), {"rt": rt, "strings": strings})
    finally:
        strings.close()


@pytest.mark.timeout(180)
def test_promises_two_and_three(home: Path):
    with stage(home, str(home.parent / "strings")) as machine:
        check_model(machine, EXAMPLES, STEPS)
    assert_sound(home)
