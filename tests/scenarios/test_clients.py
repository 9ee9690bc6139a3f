"""Clients: several on one home, forks of them, threads, restarts of the supervisor, and invalid bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import msgpack
import pytest

import letter_tasks
from letters import PATIENCE, assert_sound, kill_supervisor, runtime
from understudy import NotRunning, Runtime, State, SupervisorLost, TaskInfo
from understudy.supervisor.client import reconnecting
from understudy.supervisor.wire.codec import VERSION, encode
from understudy.supervisor.wire.messages import Answer, Ask
from waiting import until


def in_a_fork(work: Any) -> int:
    """The exit code of a fork of this process that runs this; 1 if it raises."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_two_programs_on_one_home(home: Path):
    script = textwrap.dedent("""
        import sys
        from understudy import Runtime
        rt = Runtime.connect(sys.argv[1])
        print(rt.run("letter_tasks:add", 1, 2, timeout=30))
        rt.send(sys.argv[2], "from there")
        print(rt.result(sys.argv[2], 30))
        rt.close()
    """)
    with runtime(home) as rt:
        info = rt.start(letter_tasks.collect.options(ack="checkpoint"))
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(home), info.id],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        until(lambda: info.status().mailbox_depth or other.poll() is not None, PATIENCE)
        info.send("from here")
        info.close()
        out, _ = other.communicate(timeout=PATIENCE)
        assert out.splitlines() == ["3", "['from there', 'from here']"]
        assert other.returncode == 0


def test_forks_of_a_client(home: Path):
    with runtime(home) as rt:
        before = rt.start(letter_tasks.collect)
        stop = threading.Event()

        def keep_busy() -> None:
            while not stop.is_set():
                rt.run(letter_tasks.noop, timeout=PATIENCE)

        busy = [threading.Thread(target=keep_busy) for _ in range(3)]
        for thread in busy:
            thread.start()

        def work() -> None:
            assert rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
            before.send(os.getpid())
            assert rt.status(before.id).id == before.id
            rt.close()
            rt.close()

        try:
            # Other threads hold all locks meanwhile.
            assert [in_a_fork(work) for _ in range(8)] == [0] * 8
            inherited.append(rt)
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(add_one, range(20)) == list(range(1, 21))
                pool.close()
                pool.join()
        finally:
            inherited.clear()
            stop.set()
            for thread in busy:
                thread.join()
        before.close()
        assert len(before.result(PATIENCE)) == 8
        assert rt.run(letter_tasks.add, 2, 2, timeout=PATIENCE) == 4
    assert_sound(home)


inherited: list[Runtime] = []


def add_one(number: int) -> int:
    return int(inherited[0].run(letter_tasks.add, number, 1, timeout=PATIENCE))


def test_many_threads_on_one_connection(home: Path):
    with runtime(home) as rt, Runtime.connect(home) as other:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            client = (rt, other)[number % 2]
            try:
                for n in range(40):
                    info = client.start(letter_tasks.collect)
                    client.send(info.id, [number, n])
                    client.send_many([(info.id, n)])
                    client.close(info.id)
                    assert client.result(info.id, PATIENCE) == [[number, n], n]
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_waits_and_calls_survive_restarts(home: Path):
    with runtime(home) as rt, Runtime.connect(home) as other:
        infos = [rt.start(letter_tasks.collect) for _ in range(5)]
        futures = [other.wait_for(info) for info in infos] + [rt.wait_for(info) for info in infos]
        stop = threading.Event()
        started: list[TaskInfo] = []
        lost: list[SupervisorLost] = []

        def keep_starting() -> None:
            while not stop.is_set():
                started.append(other.start(letter_tasks.add, len(started), 1))

        def keep_sending() -> None:
            while not stop.is_set():
                try:
                    other.send(infos[0].id, "x")
                except SupervisorLost as error:
                    lost.append(error)

        threads = [threading.Thread(target=keep_starting), threading.Thread(target=keep_sending)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            count = len(started)
            until(lambda count=count: len(started) > count + 20, PATIENCE)
            kill_supervisor(rt)
        stop.set()
        for thread in threads:
            thread.join()
        assert list(rt.results(started, PATIENCE)) == list(range(1, len(started) + 1))
        assert len({info.id for info in started}) == len(started)
        for info in infos:
            info.close()
        assert [future.result(PATIENCE) for future in futures[1:5]] == [[]] * 4
        assert futures[0].result(PATIENCE) == futures[5].result(PATIENCE)
        assert all("may not have taken effect" in str(error) for error in lost)
    assert_sound(home)


def test_a_supervisor_that_stays_away(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconnecting, "PATIENCE", 0.2)
    with runtime(home) as rt:
        other = Runtime.connect(home)
        info = rt.start(letter_tasks.collect)
        waiting = other.wait_for(info)
        rt.cancel(info)
        rt.wait(info, PATIENCE)
        held = rt.start(letter_tasks.collect)
        waiting = other.wait_for(held)
    with pytest.raises(NotRunning, match="waited"):
        waiting.result(PATIENCE)
    for call in (lambda: other.start(letter_tasks.noop), lambda: other.send(held.id, 1), other.tree):
        with pytest.raises(NotRunning, match="start") as caught:
            call()
        assert str(home) in str(caught.value)
    # Reads need no supervisor.
    assert other.status(held.id).state is State.QUEUED
    assert len(other.list()) == 2
    with runtime(home) as again:
        # The supervisor is back, and so is the other client.
        assert other.run(letter_tasks.add, 1, 1, timeout=PATIENCE) == 2
        assert again.cancel(held)
        assert again.wait(held, PATIENCE).state is State.CANCELLED
        other.close()
        with pytest.raises(NotRunning, match="closed"):
            other.start(letter_tasks.noop)


def stranger(home: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(home / "supervisor.sock"))
    return sock


def read_all(sock: socket.socket) -> list[Any]:
    """The frames until the peer closes the connection."""
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=False)
    try:
        while data := sock.recv(65536):
            unpacker.feed(data)
    except ConnectionResetError:
        pass
    return list(unpacker)


def test_strangers_on_the_socket_harm_only_themselves(home: Path):
    chance = random.Random(10)
    hello = encode((Ask.HELLO, VERSION))
    id = b"\x01" * 16
    nonsense = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        *(chance.randbytes(chance.randrange(1, 5000)) for _ in range(20)),
        b"\xc6\xff\xff\xff\xff" + b"x" * 100,  # bytes of 4 GiB
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion
        b"\xdf\xff\xff\xff\xff",  # a map of as many
        b"\x91" * 5000,  # arrays within arrays
        msgpack.packb({"op": 1}),
        msgpack.packb(["op", 1]),
        msgpack.packb([]),
        msgpack.packb([99, 1]),
        encode((Ask.HELLO, VERSION + 1)),
        encode((Ask.START, 1, [])),  # before any hello
        *(hello + encode(frame) for frame in [
            (Ask.HELLO, VERSION),
            (99, 1),
            (Ask.START,),
            (Ask.START, "one", []),
            (Ask.START, 1),
            (Ask.START, 1, 5),
            (Ask.START, 1, [[1, 2]]),
            (Ask.START, 1, [(id, ["x"], None, None, None, None, id, None)]),
            (Ask.START, 1, [(id, "letter_tasks:noop", 5, None, None, None, id, None)]),
            (Ask.SEND, 1, [(id,)]),
            (Ask.SEND, 1, {"a": 1}),
            (Ask.WAIT, 1, 7),
            (Ask.CANCEL, 1),
            (Ask.RETRY, 1, id),
            (Ask.DECLARE, 1, 3),
            (Ask.SUBSCRIBE, 1),
        ]),
    ]  # fmt: skip
    with runtime(home) as rt:
        other = Runtime.connect(home)
        info = rt.start(letter_tasks.collect)
        waiting = other.wait_for(info)
        pid = rt.supervisor_pid
        for data in nonsense:
            with stranger(home) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                frames = read_all(sock)
                assert all(frame[0] in (Answer.WELCOME, Answer.ERROR, Answer.OK) for frame in frames), data[
                    :40
                ]
        half = stranger(home)
        half.sendall(hello + encode((Ask.SEND, 1, [(id, b"x" * 1000)]))[:-500])
        wrong = stranger(home)
        wrong.sendall(encode((Ask.HELLO, VERSION + 1)))
        assert any("same release" in str(frame) for frame in read_all(wrong))
        wrong.close()
        info.send(1)
        info.close()
        assert waiting.result(PATIENCE) == [1]
        assert rt.supervisor_pid == other.supervisor_pid == pid
        assert len(rt.list()) == 1
        half.close()
        other.close()
    assert_sound(home)


def test_a_client_that_does_not_read_holds_nobody_up(home: Path):
    with runtime(home) as rt:
        deaf = stranger(home)
        deaf.sendall(encode((Ask.HELLO, VERSION)) + encode((Ask.SUBSCRIBE, 1, None, None, False)))
        infos = rt.start_many(letter_tasks.add, [(n, n) for n in range(2_000)])
        assert sum(rt.results(infos, PATIENCE)) == 2_000 * 1_999
        deaf.close()
        assert rt.run(letter_tasks.noop, timeout=PATIENCE) is None


def test_a_subscription_sees_every_end(home: Path):
    with runtime(home) as rt, rt.subscribe() as events, rt.subscribe(task=letter_tasks.add.name) as additions:
        one_stream = rt.start(letter_tasks.collect)
        with rt.subscribe(stream=one_stream.stream_id) as own:
            ends = {info.id: State.COMPLETED for info in rt.start_many(letter_tasks.add, [(1, 1)] * 200)}
            ends[rt.start(letter_tasks.fail_with, "no").id] = State.FAILED
            ends[rt.start(letter_tasks.hold_a_slot.options(timeout=0.05)).id] = State.TIMED_OUT
            ends[rt.start(letter_tasks.noop.options(delay=3600)).id] = State.CANCELLED
            rt.cancel(next(id for id, state in ends.items() if state is State.CANCELLED))
            ends[one_stream.id] = State.COMPLETED
            one_stream.close()
            seen: dict[str, list[State]] = {}
            while len(done := {id for id, states in seen.items() if states[-1] in set(ends.values())}) < len(
                ends
            ):
                event = events.next(PATIENCE)
                assert event is not None
                assert event.id not in done, "nothing comes after the end"
                seen.setdefault(event.id, []).append(event.state)
            assert {id: states[-1] for id, states in seen.items()} == ends
            # It may have begun before the subscription; its end is later.
            states: list[State] = []
            while State.COMPLETED not in states:
                event = own.next(PATIENCE)
                assert event is not None
                assert event.id == one_stream.id, "of one stream only"
                states.append(event.state)
        names = set()
        for _ in range(200):
            event = additions.next(PATIENCE)
            assert event is not None
            names.add(event.task)
        assert names == {letter_tasks.add.name}
        with pytest.raises(TimeoutError):
            events.next(0)
        events.close()
        assert events.next() is None
        assert list(events) == []
        os.kill(rt.supervisor_pid, signal.SIGKILL)
        with pytest.raises(SupervisorLost):
            list(additions)
        assert rt.run(letter_tasks.add, 1, 1, timeout=PATIENCE) == 2


def test_a_callback_uses_its_runtime_though_the_supervisor_dies_and_the_runtime_closes(home: Path):
    begun, go = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]
    told: list[Any] = []

    def callback(number: int) -> None:
        begun[number].set()
        go[number].wait(PATIENCE)
        try:
            told.append(rt.run(letter_tasks.add, number, 1, timeout=PATIENCE))
        except NotRunning as error:
            told.append(str(error))

    with runtime(home) as rt:
        infos = [rt.start(letter_tasks.collect) for _ in range(2)]
        for number, info in enumerate(infos):
            rt.wait_for(info).add_done_callback(lambda _, number=number: callback(number))
        infos[0].close()
        assert begun[0].wait(PATIENCE)
        kill_supervisor(rt)
        go[0].set()
        until(lambda: told == [1], PATIENCE)
        infos[1].close()
        assert begun[1].wait(PATIENCE)
        closing = threading.Thread(target=rt.close)
        closing.start()
        until(lambda: rt._client.closed, PATIENCE)
        go[1].set()
        closing.join(PATIENCE)
        assert not closing.is_alive()
    assert told == [1, "this runtime was closed"]
