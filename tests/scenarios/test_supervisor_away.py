"""A supervisor that is not there yet, is gone, or is stopped: every call keeps its own time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import letter_tasks
from letters import PATIENCE, runtime
from understudy import AsyncRuntime, NotRunning, Runtime, State, TaskInfo
from waiting import until

#: Seconds that the calls get, and more than any of them may take on a busy machine.
SHORT, LONG = 0.2, 8.0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """As by SIGSTOP, a paused container or a machine out of memory."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def calls(rt: Any, info: TaskInfo) -> dict[str, Callable[[], Any]]:
    """Calls of a Runtime or AsyncRuntime that need its supervisor, each with a limit."""
    return {
        "start_many": lambda: rt.start_many(letter_tasks.add, [(1, 1)], timeout=SHORT),
        "run": lambda: rt.run(letter_tasks.add, 1, 1, timeout=SHORT),
        "send": lambda: rt.send(info, 1, timeout=SHORT),
        "a large send": lambda: rt.send(info, bytes(8 << 20), timeout=SHORT),
        "send_many": lambda: rt.send_many([(info, 1)], timeout=SHORT),
        "close_mailbox": lambda: rt.close_mailbox(info, timeout=SHORT),
        "close": lambda: rt.close(info, timeout=SHORT),
        "cancel": lambda: rt.cancel(info, timeout=SHORT),
        "result": lambda: rt.result(info, timeout=SHORT),
        "wait": lambda: rt.wait(info, timeout=SHORT),
        "ping": lambda: rt.ping(timeout=SHORT),
        "tree": lambda: rt.tree(timeout=SHORT),
        "prune": lambda: rt.prune(timeout=SHORT),
    }


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "not yet"])
def test_a_stopped_supervisor_stops_no_caller(home: Path, connected: bool):
    with runtime(home) as owner, Runtime.connect(home) as rt:
        info, over = owner.start(letter_tasks.collect), owner.start(letter_tasks.add, 1, 1)
        assert owner.result(over, PATIENCE) == 2
        if connected:
            rt.ping(timeout=PATIENCE)
        told: dict[str, tuple[BaseException, float]] = {}

        def call(name: str, made: Callable[[], Any]) -> None:
            began = time.monotonic()
            try:
                made()
            except (TimeoutError, NotRunning) as error:
                told[name] = error, time.monotonic() - began

        made = {**calls(rt, info), "results": lambda: list(rt.results([info], timeout=SHORT))}
        made["subscribe"] = lambda: rt.subscribe(timeout=SHORT)
        with stopped(owner.supervisor_pid):
            threads = [threading.Thread(target=call, args=item) for item in made.items()]
            for thread in threads:
                thread.start()
            # What is on disk needs no supervisor.
            assert rt.status(over).state is State.COMPLETED
            if not connected:
                assert rt.result(over, timeout=SHORT) == 2
            for thread in threads:
                thread.join()
            for name, (error, took) in told.items():
                assert SHORT * 0.9 <= took < LONG, name
                # A subscription has a connection of its own, which it cannot make.
                assert isinstance(error, NotRunning) is (not connected or name == "subscribe"), name
                assert isinstance(error, TimeoutError), name
            assert set(told) == set(made)
            assert not rt._client._waits
        assert rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
        owner.cancel(info)


def client_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("understudy-c")}


def test_coroutines_wait_beside_each_other(home: Path):
    async def story(owner: Runtime) -> None:
        info, over = owner.start(letter_tasks.collect), owner.start(letter_tasks.add, 1, 1)
        owner.wait(over, PATIENCE)
        async with AsyncRuntime.connect(home) as rt:
            await rt.ping(timeout=PATIENCE)
            threads = threading.active_count()
            with stopped(owner.supervisor_pid):
                starts = [asyncio.ensure_future(rt.start(letter_tasks.noop)) for _ in range(100)]
                began = time.monotonic()
                assert (await rt.status(over)).state is State.COMPLETED
                for call in calls(rt, info).values():
                    with pytest.raises(TimeoutError):
                        await call()
                assert time.monotonic() - began < len(calls(rt, info)) * SHORT + LONG
                # One for each of them would be many more; those that read the disk stay for the next read.
                assert threading.active_count() < threads + 40
                waits = [asyncio.ensure_future(rt.result(info)) for _ in range(50)]
                waits += [asyncio.ensure_future(anext(rt.results([info]))) for _ in range(50)]
                waits += [asyncio.ensure_future(anext(rt.subscribe())) for _ in range(5)]
                while len(rt.sync._client._waits) < 100:  # noqa: ASYNC110 - other tasks fill it
                    await asyncio.sleep(0.001)
                for waiting in (*waits, *starts):
                    waiting.cancel()
                await asyncio.wait((*waits, *starts))
                connection = rt.sync._client.connection
                assert connection is not None
                assert connection._requests == connection._waits == {}
                assert not rt.sync._client._waits
            assert await rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
        owner.cancel(info)

    before = client_threads()
    with runtime(home) as owner:
        asyncio.run(story(owner))
    until(lambda: not client_threads() - before, message=lambda: str(client_threads() - before))


def test_coroutines_that_wait_for_a_supervisor_leave_nothing(home: Path):
    async def story() -> None:
        rt = AsyncRuntime.connect(home)
        waits: list[asyncio.Future[Any]] = [
            *(asyncio.ensure_future(rt.start(letter_tasks.noop)) for _ in range(20)),
            *(asyncio.ensure_future(rt.start_many(letter_tasks.noop, [()])) for _ in range(20)),
            *(asyncio.ensure_future(rt.result("0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d")) for _ in range(20)),
            *(asyncio.ensure_future(anext(rt.subscribe())) for _ in range(20)),
        ]
        client = rt.sync._client
        while len(client._arrivals) + len(client._waits) < 80:  # noqa: ASYNC110 - other tasks fill it
            await asyncio.sleep(0.001)
        assert await rt.list() == []
        for waiting in waits:
            waiting.cancel()
        await asyncio.wait(waits)
        assert not client._waits
        assert client._arrivals == []
        while client._connecting is not None:  # noqa: ASYNC110 - its own thread ends it
            await asyncio.sleep(0.001)
        with pytest.raises(NotRunning):
            await rt.start_many(letter_tasks.noop, [()], timeout=0.01)
        await rt.close()

    asyncio.run(story())
    assert not home.exists()


WEB = """
    import asyncio, sys
    from understudy import AsyncRuntime, Runtime, task

    rt = Runtime(sys.argv[1], workers=1, drain=0.5)
    other = AsyncRuntime.connect(sys.argv[1])

    @task
    def double(number: int) -> int:
        return 2 * number

    @task
    def by_another(number: int) -> int:
        return rt.run(double, number, timeout=20)

    async def from_a_loop() -> int:
        return await other.run(double, 4, timeout=20)

    def app() -> list[int]:
        return [rt.run(double, 21, timeout=20), rt.run(by_another, 5, timeout=20), asyncio.run(from_a_loop())]
"""


def serve(folder: Path, home: Path) -> tuple[str, str]:
    """A server that imports `web.py`, as WSGI and ASGI servers do, and calls it once; its output and its errors."""
    path = [str(folder), *map(os.path.abspath, sys.path)]
    server = f"import sys; sys.path[:] = {path!r}; import web; print(web.app())"
    command = [sys.executable, "-c", server, str(home)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout.strip(), ended.stderr


def test_a_program_and_its_tasks_in_one_module(home: Path, tmp_path: Path):
    """The fork server and the workers import the module, too, and find a runtime there that does nothing."""
    (tmp_path / "web.py").write_text(textwrap.dedent(WEB))
    assert serve(tmp_path, home) == ("[42, 10, 8]", "")


def test_a_module_that_uses_its_runtime_as_it_is_imported_is_told(home: Path, tmp_path: Path):
    (tmp_path / "web.py").write_text(textwrap.dedent(WEB + "    first = rt.run(double, 1, timeout=20)\n"))
    printed, error = serve(tmp_path, home)
    assert printed == ""
    assert "the program uses a Runtime while it is being imported" in error
