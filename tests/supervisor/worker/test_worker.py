"""A worker process, with this test as its supervisor at the other end of the socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from puppets import program
from understudy.actors import values
from understudy.actors.attempt.host import Assignment, Ending
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import READ_ONLY, Kind, Letter, Op
from understudy.actors.refs.remote_error import unpack_reply
from understudy.storage.tables.schema import Lane
from understudy.supervisor.channel.begin_tokens import BeginTokens
from understudy.supervisor.channel.interface import HANDED
from understudy.supervisor.channel.stack_dump import StackMemory
from understudy.supervisor.channel.wait_marks import WaitMarks
from understudy.supervisor.rules.pace import RUNS
from understudy.supervisor.settings import BATCH_LIMIT
from understudy.supervisor.wire.codec import Decoder, encode
from understudy.supervisor.wire.messages import Order, Report
from understudy.supervisor.worker.report_buffer import LINGER
from understudy.supervisor.worker.worker import ORPHANED, STOPPED
from waiting import until

TASKS = """
    import os, sys, time
    from understudy import *
    from understudy import aio

    @task(name="echo")
    def echo(*args, **kwargs): return [args, kwargs]

    @task(name="collect", ack="receive")
    def collect():
        got = []
        while (message := receive()) is not None:
            got.append(message)
            if isinstance(message, dict): break
        return got

    @task(name="state")
    def state():
        before = restore()
        message = receive()
        checkpoint({"was": before, "got": message})
        return before

    @task(name="talk")
    def talk():
        print("one")
        print("two", end="")

    @task(name="fails")
    def fails(): raise ValueError("wrong")

    @task(name="fans")
    def fans(count): return checkpoint(0, send=[(current().id, n) for n in range(count)])

    @task(name="haunted")
    def haunted(path):
        import contextvars, threading
        context = contextvars.copy_context()
        def haunt():
            while not os.path.exists(path): time.sleep(0.01)
            for call in (lambda: checkpoint("late"), restore, lambda: progress(1), lambda: receive(0.01)):
                try: call()
                except (UnderstudyError, TimeoutError) as error: said.append(type(error).__name__)
            open(path + ".done", "w").close()
        said = []
        threading.Thread(target=context.run, args=[haunt]).start()

    @task(name="leaves")
    def leaves(): sys.exit(4)

    @task(name="nap")
    async def nap(seconds):
        return await aio.sleep(seconds)

    class Counter(Actor, durable=True, name="Counter"):
        def __init__(self, count): self.count = count
        def adds(self, n):
            self.count += n
            print("adds", n)
            return self.count
        def stores(self, count):
            for n in range(count): self.storage[f"{n:06}"] = n
        def reads(self): return list(self.storage.items("x"))
        def naps(self):
            sleep(60)
        @read_only
        def peek(self): return self.count

    class AsyncCounter(Actor, durable=True, name="AsyncCounter"):
        def __init__(self, count): self.count = count
        async def adds(self, n):
            self.count += n
            return self.count
        async def naps(self):
            await aio.sleep(60)
        @read_only
        def peek(self): return self.count

    @task(name="blocks")
    async def blocks(path):
        while not os.path.exists(path): time.sleep(0.001)
"""

LATE = """
    import os, time
    from understudy import on_worker_start, task

    called = []

    @task(name="late")
    def late(): return called

    @on_worker_start
    def connect():
        open(__file__ + ".inside", "w").close()
        while not os.path.exists(__file__ + ".go"): time.sleep(0.001)
        called.append("connect")
"""

SOURCE = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    import parts
    from understudy.supervisor.worker.worker import main

    fds = [int(fd) for fd in sys.argv[2:]]
    os._exit(main({"home": "/nowhere", "slots": 2, "run_slots": 2, "value_limit": 1 << 23, "modules": []}, fds))
"""


PERFORMING = """
    import socket, time
    from understudy import task
    from understudy.actors import values
    from understudy.actors.attempt.host import Assignment
    from understudy.actors.ids import new_id
    from understudy.supervisor.channel.interface import HANDED
    from understudy.supervisor.channel.stack_dump import StackDumps, StackMemory
    from understudy.supervisor.channel.wait_marks import WaitMarks
    from understudy.supervisor.channel.begin_tokens import BeginTokens
    from understudy.supervisor.rules.pace import IN_A_ROW, LIGHT, RUNS
    from understudy.supervisor.worker.worker import Worker

    @task(name="computes")
    def computes(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end: pass

    class Gathered:
        has_results, flushed = True, 0
        def flush(self): self.flushed += 1
        def send_soon(self): pass
        def done(self, row, *, held): assert held, "its thread sends it when it has no more work"

    config = {"home": "/nowhere", "slots": 1, "run_slots": 1, "value_limit": 1 << 23, "modules": []}
    worker = Worker(config, socket.socketpair()[0], {lane: BeginTokens() for lane in HANDED}, WaitMarks(),
                    StackDumps(StackMemory().fd))
    worker._reports = Gathered()

    def flushed(seconds):
        worker._reports.flushed = 0
        id = new_id()
        args = values.pack([(seconds,), {}])
        worker._perform(Assignment(id, "computes", 1, args, id, None, None, None, False, 0))
        return worker._reports.flushed

    flushed(0)  # the first one imports things
    worker._streaks.clear()
    print(*map(flushed, [2 * IN_A_ROW] * (RUNS + 2) + [2 * LIGHT, 2 * IN_A_ROW]))
"""


class Boss:
    """The supervisor's end."""

    def __init__(self, folder: Path) -> None:
        (folder / "parts.py").write_text(textwrap.dedent(TASKS), encoding="utf-8")
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        self.tokens = {lane: BeginTokens() for lane in HANDED}
        self.marks = WaitMarks()
        self.stacks = StackMemory()
        ours = [*(tokens.fd for tokens in self.tokens.values()), self.marks.fd, self.stacks.fd]
        fds = [theirs.fileno(), *ours]
        with theirs:
            self.process: subprocess.Popen[str] = program(SOURCE, str(folder), *map(str, fds), pass_fds=fds)
        self._decoder = Decoder(1 << 20)
        self.frames: list[tuple[Any, ...]] = []

    def tell(self, *frames: tuple[Any, ...]) -> None:
        self.sock.sendall(b"".join(map(encode, frames)))

    def run(self, task: str, *args: Any, lane: Lane = Lane.SYNC, token: bool = True, **fields: Any) -> bytes:
        """Hand out a task; its id."""
        id = new_id()
        packed = values.pack([args, {}]) if args else None
        assignment = Assignment(id, task, 1, packed, id, None, None, None, False, 0)._replace(**fields)
        if token:
            self.tokens[lane].add(1)
        self.tell((Order.RUN, lane, [assignment]))
        return id

    def turn(self, name: str, id: bytes, *letters: Letter, first: int = 1, **how: Any) -> bytes:
        """Hand out a turn of an actor; its id."""
        generation, is_here, state = (
            how.pop("generation", 1),
            how.pop("is_here", False),
            how.pop("state", None),
        )
        given = [letter.pack() for letter in letters]
        turn = (generation, is_here, state, given, how.pop("what", 0), 0, first)
        lane = Lane.ASYNC if name.startswith("Async") else Lane.SYNC
        self.tokens[lane].add(1)
        packed = values.pack([[3], {}])
        assignment = Assignment(id, name, 1, packed, id, None, None, 60.0, False, 0, turn=turn)
        self.tell(*how.pop("before", ()), (Order.RUN, lane, [assignment]))
        return id

    def turns(self, id: bytes, count: int = 1) -> list[tuple[Any, ...]]:
        """The commits of an actor, once there are so many."""
        return self.until(  # type: ignore[no-any-return]
            lambda: (
                found if len(found := [f[2:] for f in self.all(Report.TURN) if f[1] == id]) >= count else None
            )
        )

    def ends(self, id: bytes, count: int = 1) -> list[tuple[Any, ...]]:
        """(ending, value, error, acked) of turns, once so many are over."""

        def found() -> Any:
            rows = [row for frame in self.all(Report.DONE) for row in frame[1] if row[0] == id]
            return rows if len(rows) >= count else None

        return [(Ending(row[1]), row[2], row[3], row[5]) for row in self.until(found)]

    def until(self, condition: Callable[[], Any]) -> Any:
        while not (found := condition()):
            data = self.sock.recv(1 << 16)
            assert data, f"the worker has gone: {self.process.wait()}"
            self.frames += self._decoder.feed(data)
        return found

    def all(self, op: Report) -> list[tuple[Any, ...]]:
        return [frame for frame in self.frames if frame[0] == op]

    def first(self, op: Report) -> tuple[Any, ...]:
        """The first frame of a kind, waited for."""
        frame: tuple[Any, ...] = self.until(lambda: self.all(op))[0]
        return frame

    def parked(self, id: bytes) -> None:
        """Wait until the task waits."""
        self.until(lambda: any(id in frame[1] for frame in self.all(Report.PARKED)))

    def done(self, id: bytes) -> tuple[Any, ...]:
        """(ending, value, error, acked) of a task, waited for."""

        def found() -> list[tuple[Any, ...]]:
            return [row for frame in self.all(Report.DONE) for row in frame[1] if row[0] == id]

        _, ending, value, error, _, acked, started, ended = self.until(found)[0]
        assert started <= ended
        return Ending(ending), None if value is None else values.unpack(value), error, acked

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        for tokens in self.tokens.values():
            tokens.close()
        self.marks.close()


@pytest.fixture
def boss(tmp_path: Path) -> Iterator[Boss]:
    """With a worker of this test's own."""
    made = Boss(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boss]:
    made = Boss(tmp_path_factory.mktemp("worker"))
    yield made
    made.close()


@pytest.fixture
def shared(_shared: Boss) -> Boss:
    """With a worker that tests share, since one takes a while to come up; they leave it as it was."""
    _shared.frames.clear()
    return _shared


def test_values_errors_and_exits(shared: Boss):
    echo, fails, leaves, unknown = (
        shared.run("echo", 1, "x"),
        shared.run("fails"),
        shared.run("leaves"),
        shared.run("gone"),
    )
    assert shared.done(echo)[:2] == (Ending.VALUE, [[1, "x"], {}])
    ending, value, error, _ = shared.done(fails)
    assert (ending, value, error[:2]) == (Ending.ERROR, None, ("ValueError", "wrong"))
    assert "raise ValueError" in error[2]
    assert shared.done(leaves)[2][0] == "SystemExit"
    assert shared.done(unknown)[:2] == (Ending.UNDECLARED, None)


def test_it_stops_when_told(boss: Boss):
    boss.tell((Order.STOP,))
    assert boss.process.wait(20) == STOPPED


def test_what_is_told_before_it_begins_is_told_in_order(shared: Boss):
    """Letters and a close arrive while the task waits for a slot."""
    holders = [shared.run("collect"), shared.run("collect")]
    # They wait, so they hold no slot; a third takes one, and so on: what is told first counts all the same.
    for id in holders:
        shared.parked(id)
    for round in range(30):
        id = shared.run("collect", token=False)
        shared.tell((Order.MESSAGES, id, 1, [values.pack(n) for n in range(3)]))
        shared.tokens[Lane.SYNC].add(1)
        later = [(Order.MESSAGES, id, 4 + n, [values.pack(3 + n)]) for n in range(5)]
        shared.tell((Order.RUN, Lane.SYNC, []), *later, (Order.CLOSE, id))
        ending, value, _, acked = shared.done(id)
        assert (ending, value, acked) == (Ending.VALUE, list(range(8)), 8), round
    shared.tell(*((Order.CLOSE, id) for id in holders))
    assert [shared.done(id)[1] for id in holders] == [[], []]


def test_a_signal_comes_first_and_an_interruption_ends(boss: Boss):
    one, two = boss.run("collect"), boss.run("collect")
    boss.parked(one)
    boss.parked(two)
    until(lambda: boss.marks.read() == {one: True, two: True})
    boss.tell((Order.SIGNAL, one, "cancel"))
    assert boss.done(one)[1] == [{"$cancel": True}]
    boss.tell((Order.INTERRUPT, two))
    assert boss.done(two)[0] is Ending.INTERRUPTED
    late = boss.run("collect")
    boss.tell((Order.INTERRUPT, None))
    assert boss.done(late)[0] is Ending.INTERRUPTED
    assert boss.done(boss.run("collect"))[0] is Ending.INTERRUPTED, "it is draining"
    assert boss.done(boss.run("echo", 1))[0] is Ending.VALUE
    assert boss.marks.read() == {}


def test_state(shared: Boss):
    id = shared.run("state", has_checkpoint=True)
    _, number, asked = shared.first(Report.RESTORE)
    assert asked == id
    shared.tell((Order.OK, number, values.pack("before")), (Order.MESSAGES, id, 1, [values.pack("message")]))
    _, number, asked, value, acked, letters = shared.first(Report.CHECKPOINT)
    assert (asked, values.unpack(value), acked, letters) == (id, {"was": "before", "got": "message"}, 1, ())
    shared.tell((Order.OK, number, None))
    assert shared.done(id) == (Ending.VALUE, "before", None, 1)


def test_more_letters_than_one_list_of_a_frame_may_hold(shared: Boss):
    count = 4 * BATCH_LIMIT + 1
    id = shared.run("fans", count)
    _, number, _, _, _, posted = shared.first(Report.CHECKPOINT)
    assert max(map(len, posted)) <= BATCH_LIMIT
    letters = [letter for letters in posted for letter in letters]
    assert [(to, values.unpack(value)) for to, value in letters] == [(id, n) for n in range(count)]
    shared.tell((Order.OK, number, None))
    assert shared.done(id)[1] is True


def test_what_a_thread_says_after_its_attempt_is_not_taken_for_the_next_ones_words(
    shared: Boss, tmp_path: Path
):
    go = tmp_path / "go"
    id = shared.run("haunted", str(go))
    shared.done(id)
    # The next attempt at the same task, on the same worker.
    shared.run("collect", id=id)
    shared.parked(id)
    go.touch()
    until(Path(f"{go}.done").exists, 20)
    shared.tell((Order.MESSAGES, id, 1, [values.pack({})]))

    def ends() -> int:
        return sum(row[0] == id for frame in shared.all(Report.DONE) for row in frame[1])

    shared.until(lambda: ends() == 2)
    for op in (Report.CHECKPOINT, Report.RESTORE):
        assert not [frame for frame in shared.all(op) if frame[2] == id]
    assert not [row for frame in shared.all(Report.PROGRESS) for row in frame[1] if row[0] == id]


def test_a_refusal_is_raised_inside_the_task(shared: Boss):
    id = shared.run("state")
    shared.tell((Order.MESSAGES, id, 1, [values.pack("message")]))
    number = shared.first(Report.CHECKPOINT)[1]
    shared.tell((Order.ERROR, number, "MailboxFull", "it is full", {"id": "x", "messages": 3}))
    assert shared.done(id)[2][:2] == ("MailboxFull", "it is full")


def test_printed_lines_come_before_the_end(shared: Boss):
    id = shared.run("talk")
    shared.done(id)
    lines = [
        (level, text) for frame in shared.all(Report.LOG) if frame[1] == id for _, level, text in frame[2]
    ]
    assert lines == [("stdout", "one"), ("stdout", "two")]


@pytest.mark.parametrize("lane", [Lane.SYNC, Lane.ASYNC])
def test_what_was_taken_back_never_begins(shared: Boss, lane: Lane):
    task = "echo" if lane is Lane.SYNC else "nap"
    dropped = [shared.run(task, 0, lane=lane, token=False) for _ in range(3)]
    shared.tell((Order.DROP, lane, 3))
    assert shared.first(Report.DROPPED) == (Report.DROPPED, lane)
    after = shared.run(task, 0, lane=lane)
    assert shared.done(after)[0] is Ending.VALUE
    assert {row[0] for frame in shared.all(Report.DONE) for row in frame[1]}.isdisjoint(dropped)


def test_behind_a_blocked_event_loop_nothing_begins(shared: Boss, tmp_path: Any):
    gate = tmp_path / "gate"
    blocks = shared.run("blocks", str(gate), lane=Lane.ASYNC)
    until(lambda: shared.tokens[Lane.ASYNC].count() == 0)
    behind = [shared.run("nap", 0, lane=Lane.ASYNC) for _ in range(3)]
    assert shared.done(shared.run("echo", 1))[0] is Ending.VALUE  # what was sent before is read by now
    assert shared.tokens[Lane.ASYNC].drain() == 3
    shared.tell((Order.DROP, Lane.ASYNC, 3))
    gate.touch()
    assert shared.done(blocks)[0] is Ending.VALUE
    shared.first(Report.DROPPED)
    assert shared.done(shared.run("nap", 0, lane=Lane.ASYNC))[0] is Ending.VALUE
    assert {row[0] for frame in shared.all(Report.DONE) for row in frame[1]}.isdisjoint(behind)


def test_the_begins_of_children_of_a_tree_come_in_their_order(shared: Boss):
    ids = [new_id() for _ in range(20)]
    rows = [
        Assignment(id, "nap", 1, values.pack([[0.001], {}]), id, None, None, None, False, 0) for id in ids
    ]
    shared.tokens[Lane.ASYNC].add(len(ids))
    shared.tell((Order.RUN, Lane.ASYNC, [row._replace(tree=f"shop/{n}") for n, row in enumerate(rows)]))
    for id in ids:
        assert shared.done(id)[0] is Ending.VALUE
    assert [frame[1:] for frame in shared.all(Report.READY)] == [(id, False) for id in ids]
    begun = [number for number, frame in enumerate(shared.frames) if frame[0] == Report.READY]
    ends = {
        row[0]: number
        for number, frame in enumerate(shared.frames)
        if frame[0] == Report.DONE
        for row in frame[1]
    }
    assert all(number < ends[id] for number, id in zip(begun, ids, strict=True))


def test_the_begin_of_a_child_is_told_although_its_first_step_blocks_the_loop(shared: Boss, tmp_path: Any):
    gate = tmp_path / "gate"
    id = shared.run("blocks", str(gate), lane=Lane.ASYNC, tree="shop/blocks")
    assert shared.first(Report.READY) == (Report.READY, id, False)
    gate.touch()
    assert shared.done(id)[0] is Ending.VALUE


def test_a_child_that_is_told_to_stop_reports_its_end_at_once(shared: Boss):
    """Not with what gathers for `LINGER` seconds: the child before it is stopped after it."""
    took = []
    for _ in range(20):
        id = shared.run("nap", 3600, lane=Lane.ASYNC, tree="shop/nap")
        shared.parked(id)
        shared.done(shared.run("nap", 0, lane=Lane.ASYNC))
        told = time.perf_counter()
        shared.tell((Order.SIGNAL, id, "cancel"))
        assert shared.done(id)[2][0] == "CancelledError"
        took.append(time.perf_counter() - told)
    assert min(took) < LINGER


def test_an_async_task_wakes_for_a_cancel(shared: Boss):
    id = shared.run("nap", 3600, lane=Lane.ASYNC)
    shared.parked(id)
    # When the loop has run another task, the first one is in its `await`. Before, `sleep` would return False.
    shared.done(shared.run("nap", 0, lane=Lane.ASYNC))
    shared.tell((Order.SIGNAL, id, "cancel"))
    assert shared.done(id)[2][0] == "CancelledError"


@pytest.mark.parametrize("how", ["hang up", "nonsense"])
def test_without_its_supervisor_it_ends(boss: Boss, how: str):
    boss.parked(boss.run("collect"))
    if how == "hang up":
        boss.sock.shutdown(socket.SHUT_RDWR)
    else:
        boss.sock.sendall(b"\xc1\xc1\xc1")
    assert boss.process.wait(20) == ORPHANED


def test_a_late_message_to_a_task_that_has_ended_is_dropped(shared: Boss):
    id = shared.run("echo", 1)
    shared.done(id)
    shared.tell(
        (Order.MESSAGES, id, 1, [b"x"]),
        (Order.CLOSE, id),
        (Order.SIGNAL, id, "cancel"),
        (Order.INTERRUPT, id),
    )
    assert shared.done(shared.run("echo", 2))[0] is Ending.VALUE


def test_what_a_killed_worker_was_doing_can_be_read(boss: Boss):
    id = boss.run("collect")
    boss.parked(id)
    os.kill(boss.process.pid, signal.SIGKILL)
    boss.process.wait()
    assert boss.marks.read() == {id: True}


def test_a_task_that_is_imported_late_waits_for_the_start_hook_that_another_thread_calls(
    boss: Boss, tmp_path: Path
):
    (tmp_path / "late.py").write_text(textwrap.dedent(LATE), encoding="utf-8")
    boss.tell((Order.DECLARE, ["late"]))
    first = boss.run("late")
    until((tmp_path / "late.py.inside").exists)
    second, before = boss.run("late"), boss.run("nap", 0, lane=Lane.ASYNC)
    assert boss.done(before)[0] is Ending.VALUE, "its module was there before"
    until(lambda: boss.tokens[Lane.SYNC].count() == 0)
    (tmp_path / "late.py.go").touch()
    assert [boss.done(id)[1] for id in (first, second)] == [["connect"]] * 2


def test_results_gather_only_while_what_begins_is_known_to_compute_little(tmp_path: Path):
    (tmp_path / "performing.py").write_text(textwrap.dedent(PERFORMING), encoding="utf-8")
    performing = program("sys.path.insert(0, sys.argv[1]); import performing", str(tmp_path))
    out, _ = performing.communicate(timeout=20)
    flushed = list(map(int, out.split()))
    runs = RUNS
    # The one that computed for long was not known to; after it nothing is known any more.
    assert flushed == [1] * runs + [0] * 3 + [1]


# --- actors ---


def call(method: str, *args: Any, flags: int = 0) -> Letter:
    return Letter(Kind.ASK, flags, new_id(), None, Op.CALL, method, values.pack([args, {}]))


KINDS = pytest.mark.parametrize("name", ["Counter", "AsyncCounter"])


@KINDS
def test_a_turn_is_reported_in_one_piece_with_its_end(shared: Boss, name: str):
    asked = call("adds", 4)
    id = shared.turn(name, new_id(), asked)
    [(acked, state, rows, posts, reminders, replies, dead, seen)] = shared.turns(id)
    assert shared.ends(id) == [(Ending.REST, None, None, 1)]
    [(letter_id, reply, changed)] = replies
    assert (acked, letter_id, unpack_reply(reply), changed) == (1, asked.id, 7, True)
    version, attributes = values.unpack(state)
    assert (version, values.unpack(attributes)) == (1, {"count": 7})
    assert (rows, posts, reminders, dead, seen) == ((), (), (), (), ())
    frames = [frame[0] for frame in shared.frames if frame[0] in (Report.TURN, Report.DONE, Report.TAKEN)]
    assert frames[-2:] == [Report.TURN, Report.DONE], "and it takes no messages as a task does"


@KINDS
def test_the_object_stays_until_it_is_not_needed(shared: Boss, name: str):
    id = shared.turn(name, new_id())
    assert shared.ends(id) == [(Ending.REST, None, None, 0)]
    [(_, state, *_)] = shared.turns(id)
    shared.turn(name, id, call("adds", 1), is_here=True)
    shared.ends(id, 2)
    shared.turn(name, id, call("adds", 1), first=2, is_here=True)
    shared.ends(id, 3)
    assert unpack_reply(shared.turns(id, 3)[2][5][0][1]) == 5
    shared.turn(name, id, call("adds", 1), first=3, is_here=True, generation=2)
    assert shared.ends(id, 4)[3] == (Ending.ABSENT, None, None, 0), "of another activation"
    shared.turn(name, id, call("adds", 1), first=3, state=state, generation=3)
    assert shared.ends(id, 5)[4][0] is Ending.REST
    assert unpack_reply(shared.turns(id, 4)[3][5][0][1]) == 4, "built anew from the state it was given"
    shared.turn(name, id, is_here=True, generation=3, before=[(Order.FORGET, [new_id(), id])])
    assert shared.ends(id, 6)[5][0] is Ending.ABSENT
    shared.turn(name, id, state=state, generation=4)
    shared.ends(id, 7)
    shared.turn(name, id, is_here=True, generation=4, what=1)
    assert shared.ends(id, 8)[7][:2] == (Ending.REST, b"passive")
    shared.turn(name, id, is_here=True, generation=4)
    assert shared.ends(id, 9)[8][0] is Ending.ABSENT


def test_a_turn_that_was_taken_back_leaves_the_object(boss: Boss):
    id = boss.turn("Counter", new_id())
    boss.ends(id)
    turn = (1, True, None, (), 0, 0, 1)
    boss.tell(
        (
            Order.RUN,
            Lane.SYNC,
            [Assignment(id, "Counter", 1, None, id, None, None, 60.0, False, 0, turn=turn)],
        )
    )
    boss.tell((Order.DROP, Lane.SYNC, 1))
    boss.first(Report.DROPPED)
    boss.turn("Counter", id, call("adds", 1), is_here=True)
    assert boss.ends(id, 2)[1][0] is Ending.REST


def test_more_rows_than_one_list_of_a_frame_may_hold(shared: Boss):
    count = BATCH_LIMIT + 1
    id = shared.turn("Counter", new_id(), call("stores", count))
    [(_, _, parts, *_)] = shared.turns(id)
    assert max(map(len, parts)) <= BATCH_LIMIT
    rows = [row for part in parts for row in part]
    assert [(key, values.unpack(value)) for key, value in rows] == [(f"{n:06}", n) for n in range(count)]


def test_storage_is_read_from_the_supervisor(shared: Boss):
    id = shared.turn("Counter", new_id(), call("reads"))
    _, number, asked, what, key, after, limit, reverse = shared.first(Report.READ)
    assert (asked, what, key, after, reverse) == (id, "rows", "x", None, False)
    assert limit > 2
    shared.tell((Order.OK, number, [("x1", values.pack(1)), ("x2", values.pack(2))]))
    [(*_, replies, _, _)] = shared.turns(id)
    assert unpack_reply(replies[0][1]) == [["x1", 1], ["x2", 2]]


@KINDS
def test_a_read_only_letter_is_answered_while_a_method_waits(boss: Boss, name: str):
    id = boss.turn(name, new_id(), call("naps"))
    boss.parked(id)
    peek = call("peek", flags=READ_ONLY)
    boss.tell((Order.ASIDE, new_id(), peek.pack()), (Order.ASIDE, id, peek.pack()))
    _, asked, letter_id, reply, _ = boss.first(Report.ASIDE)
    assert (asked, letter_id, unpack_reply(reply)) == (id, peek.id, 3)
    boss.tell((Order.SIGNAL, id, "timeout"))
    assert boss.ends(id) == [(Ending.REST, None, None, 1)]


@KINDS
def test_an_interrupted_message_is_left(boss: Boss, name: str):
    id = boss.turn(name, new_id(), call("naps"), call("adds", 1))
    boss.parked(id)
    boss.tell((Order.INTERRUPT, None))
    assert boss.ends(id) == [(Ending.INTERRUPTED, None, None, 0)]
    [(acked, state, _, _, _, replies, *_)] = boss.turns(id)
    assert (acked, state is None, replies) == (0, False, ()), "only that the actor was built"


def test_what_actors_print_is_in_their_log(shared: Boss):
    id = shared.turn("Counter", new_id(), call("adds", 9))
    assert [(level, text) for _, level, text in shared.first(Report.LOG)[2]] == [("stdout", "adds 9")]
    shared.ends(id)


def test_a_class_that_the_app_does_not_declare(shared: Boss):
    for name in ("gone", "echo"):
        id = shared.turn(name, new_id(), call("adds", 9))
        assert shared.ends(id)[0][0] is Ending.UNDECLARED
        assert [frame for frame in shared.all(Report.TURN) if frame[1] == id] == []
