"""Workers from a real fork server, and every way in which it, they and the supervisor may die."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from puppets import PATIENCE, Stage, all_ended, end, program, said, stage, write_app
from understudy.actors.errors import AppFailed
from understudy.supervisor.app import AppSpec
from understudy.supervisor.forking.spawner import Spawner, SpawnFailed
from understudy.supervisor.linux.processes import ExitStatus, children_of, has_ended, strays
from waiting import until

TASKS = """
from understudy import task
@task(timeout=7)
def play(): pass
@task
async def sing(): pass
"""


def on_stage(act: Callable[[Stage], Awaitable[None]], spec: AppSpec | None = None, **options: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE * 2), stage(spec, **options) as it:
            await act(it)

    asyncio.run(run())


class TestLoading:
    def test_tells_what_the_app_declares(self, tmp_path: Path):
        async def act(it: Stage) -> None:
            await it.until(lambda: it.loads)
            assert it.spawner.loaded
            (tasks,) = it.loads
            assert set(tasks) == {"drama:play", "drama:sing"}
            assert tasks["drama:play"]["timeout"] == 7
            assert (tasks["drama:play"]["is_async"], tasks["drama:sing"]["is_async"]) == (False, True)

        on_stage(act, write_app(tmp_path, TASKS))

    def test_a_large_app(self, tmp_path: Path):
        async def act(it: Stage) -> None:
            await it.until(lambda: it.loads)
            assert len(it.loads[0]) == 3000

        source = "from understudy import task\nfor n in range(3000):\n    @task(name=f'{n:0200}')\n    def f(): pass\n"
        spec = write_app(tmp_path, source)
        spec.argv = ["x" * 1000] * 1000
        on_stage(act, spec)

    @pytest.mark.parametrize(
        ("source", "message", "trace"),
        [
            ("raise KeyError('skull')", "KeyError: 'skull'", "drama.py"),
            ("raise SystemExit(3)", "SystemExit: 3", "drama.py"),
            ("import os; os._exit(3)", "exit code 3", ""),
            ("import os; os.kill(os.getpid(), 11)", "SIGSEGV", ""),
        ],
    )
    def test_an_app_that_fails(self, source: str, message: str, trace: str, tmp_path: Path):
        async def act(it: Stage) -> None:
            await it.until(lambda: it.exits)
            (error,) = it.failures
            assert message in error.args[0]
            assert trace in error.remote_traceback
            assert it.exits[0].returncode
            assert len(it.exits) == 1
            assert it.spawner.pid is None
            with pytest.raises(SpawnFailed):
                await it.puppet()

        on_stage(act, write_app(tmp_path, source))

    def test_a_kill_meanwhile_is_not_the_apps_fault(self, tmp_path: Path):
        async def act(it: Stage) -> None:
            until((tmp_path / "begun").exists)
            it.spawner.kill()
            await it.until(lambda: it.exits)
            assert it.exits == [ExitStatus(signal=9)]
            assert it.failures == []
            it.spawner.start()
            await it.puppet()

        source = f"""
            import pathlib, time
            begun = pathlib.Path({str(tmp_path / "begun")!r})
            while not begun.exists():
                begun.touch()
                time.sleep(600)
            """
        on_stage(act, write_app(tmp_path, source))

    def test_a_spawn_that_waits_for_an_app_that_fails(self, tmp_path: Path):
        async def act(it: Stage) -> None:
            with pytest.raises(SpawnFailed, match="not running"):
                await it.puppet()

        on_stage(act, write_app(tmp_path, "raise ValueError"))

    def test_further_modules(self, tmp_path: Path):
        write_app(tmp_path, TASKS, "sequel")
        write_app(tmp_path, "import no_such_thing", "flop")

        async def act(it: Stage) -> None:
            await it.until(lambda: it.loads)
            before = await it.puppet()
            new = it.spawner.declare(["sequel"])
            puppet = await it.puppet()  # Waits for it.
            assert set(await new) == {"sequel:play", "sequel:sing"}
            assert [set(tasks) for tasks in it.loads] == [{"drama:play", "drama:sing"}, set(await new)]
            has_it = "import sys; result = 'sequel' in sys.modules"
            assert puppet.ask(has_it) is True
            assert before.ask(has_it) is False
            with pytest.raises(AppFailed, match="no_such_thing") as caught:
                await it.spawner.declare(["flop"])
            assert "flop.py" in caught.value.remote_traceback
            it.spawner.declare(["flop"])  # Nobody need look.
            assert await it.spawner.declare(["sequel"]) == {}
            await it.puppet()
            assert it.failures == []

        on_stage(act, write_app(tmp_path, TASKS))

    def test_a_module_that_kills_the_fork_server(self, tmp_path: Path):
        write_app(tmp_path, "import os; os._exit(0)", "flop")

        async def act(it: Stage) -> None:
            worker = await it.puppet()
            with pytest.raises(AppFailed, match="exit code 0"):
                await it.spawner.declare(["flop"])
            await it.until(lambda: it.exits)
            with pytest.raises(SpawnFailed, match="not running"):
                await it.spawner.declare(["flop"])
            assert worker.ask("result = 1") == 1

        on_stage(act, write_app(tmp_path, TASKS))


class TestWorker:
    def test_is_a_child_of_the_supervisor_and_stands_alone(self):
        async def act(it: Stage) -> None:
            one, two = await it.puppet({"n": 1, "blob": b"\xff"}), await it.puppet({"n": 2})
            for puppet in (one, two):
                pid, parent, session, group = puppet.ask(
                    "import os; result = os.getpid(), os.getppid(), os.getsid(0), os.getpgrp()"
                )
                assert (pid, parent, session, group) == (puppet.pid, os.getpid(), pid, pid)
            assert one.ask("result = config") == {"n": 1, "blob": b"\xff"}
            assert it.spawner.pid not in (one.pid, two.pid)

        on_stage(act)

    def test_has_only_the_descriptors_it_was_given(self, tmp_path: Path):
        # What the app opened itself stays open: the app has its number and will write to it.
        spec = write_app(tmp_path, "log = open('log', 'w')\nprint(log.fileno(), file=log, flush=True)")

        async def act(it: Stage) -> None:
            reader, writer = os.pipe()
            puppet = await it.puppet(extra_fds=[writer])
            os.close(writer)
            fds, given, stdin = puppet.ask(
                "import os\n"
                "result = sorted(os.listdir('/proc/self/fd')), fds, os.readlink('/proc/self/fd/0')\n"
                "os.write(fds[1], b'x')"
            )
            log = (tmp_path / "log").read_text().strip()
            # One more is that of the listing itself.
            assert len(fds) == 3 + len(given) + 1 + 1
            assert {"0", "1", "2", log, *map(str, given)} < set(fds)
            assert stdin == "/dev/null"
            assert os.read(reader, 1) == b"x"
            os.close(reader)

        on_stage(act, spec)

    def test_starts_with_fresh_signals_and_random_numbers(self, tmp_path: Path):
        spec = write_app(
            tmp_path,
            """
            import random, signal, sys, types
            random.seed(1)
            signal.signal(signal.SIGTERM, lambda *_: None)
            signal.signal(signal.SIGUSR1, lambda *_: None)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            class Numpy(types.ModuleType):
                seeds = 0
                def seed(self): self.seeds += 1
            sys.modules["numpy.random"] = Numpy("numpy.random")
            """,
        )
        code = """
            import random, signal, sys
            handlers = {int(s): int(h) for s in signal.valid_signals() if (h := signal.getsignal(s)) is not None}
            result = (
                [n for n in (2, 15, 1, 10) if handlers[n] != signal.SIG_DFL],
                len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
                sys.modules["numpy.random"].seeds,
                random.random(),
            )
            """

        async def act(it: Stage) -> None:
            one, two = (await it.puppet()).ask(code), (await it.puppet()).ask(code)
            assert one[:3] == two[:3] == ([], 0, 1)
            assert one[3] != two[3]

        on_stage(act, spec)

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("raise SystemExit(3)", ExitStatus(code=3)),
            ("raise SystemExit", ExitStatus(code=0)),
            ("raise SystemExit('words')", ExitStatus(code=1)),
            ("import os; os._exit(4)", ExitStatus(code=4)),
            ("import os; os.kill(os.getpid(), 11)", ExitStatus(signal=11)),
            ("raise ValueError('of the runtime')", ExitStatus(code=70)),
        ],
    )
    def test_its_end_is_told_once_and_at_once(
        self, code: str, status: ExitStatus, capfd: pytest.CaptureFixture[str]
    ):
        async def act(it: Stage) -> None:
            puppet = await it.puppet()
            puppet.tell(code)
            await it.until(lambda: it.worker_exits)
            assert it.worker_exits == {puppet.pid: status}

        on_stage(act)
        assert ("ValueError: of the runtime" in capfd.readouterr().err) is (status.code == 70)

    def test_output_is_neither_lost_nor_doubled(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
        async def act(it: Stage) -> None:
            puppet = await it.puppet()
            puppet.tell("print('in the worker')\nraise SystemExit")
            await it.until(lambda: it.worker_exits)

        on_stage(act, write_app(tmp_path, "import sys\nsys.stdout.write('at import')"))
        assert sorted(capfd.readouterr().out.split("at import")) == ["", "in the worker\n"]

    def test_daemons_stay_in_its_tree(self):
        async def act(it: Stage) -> None:
            puppet = await it.puppet()
            daemon = puppet.ask(DAEMON)
            until(lambda: daemon in children_of(puppet.pid))
            # When it dies they are ours, and go.
            os.kill(puppet.pid, signal.SIGKILL)
            await it.until(lambda: it.worker_exits)
            assert it.spawner.reap_orphans(it.before) == [daemon]
            await it.until(lambda: not Path(f"/proc/{daemon}").exists())
            assert it.spawner.reap_orphans(it.before) == []

        on_stage(act)

    def test_takes_milliseconds(self):
        async def act(it: Stage) -> None:
            took = []
            await it.puppet()
            for _ in range(30):
                begin = time.perf_counter()
                await it.puppet()
                took.append(time.perf_counter() - begin)
            print(f"spawn: p50 {statistics.median(took) * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms")
            assert statistics.median(took) < 0.1

        on_stage(act)

    @pytest.mark.parametrize("count", [0, 7])
    def test_takes_one_to_six_descriptors(self, count: int):
        async def act(it: Stage) -> None:
            with pytest.raises(ValueError, match="1 to 6"):
                await it.spawner.spawn({}, [0] * count)

        on_stage(act)


DAEMON = """
import os, signal
reader, writer = os.pipe()
if (middle := os.fork()) == 0:
    os.setsid()
    if (pid := os.fork()) == 0:
        while True:
            signal.pause()
    os.write(writer, b"%d" % pid)
    os._exit(0)
os.waitpid(middle, 0)
result = int(os.read(reader, 20))
os.close(reader)
os.close(writer)
"""


class TestOrphans:
    def test_a_worker_just_born_is_none(self):
        async def act(it: Stage) -> None:
            # Not yet in anybody's list of known ones, at any moment between.
            births = [asyncio.ensure_future(it.puppet()) for _ in range(5)]
            while not all(birth.done() for birth in births):
                assert it.spawner.reap_orphans(it.before) == []
                await asyncio.sleep(0)
            pids = {birth.result().pid for birth in births}
            assert it.spawner.reap_orphans(it.before) == []
            assert it.spawner.reap_orphans(it.before | pids) == []
            assert [puppet.ask("result = 1") for puppet in it.puppets.values()] == [1] * 5
            # Once named and then left out, it is not kept.
            assert it.spawner.reap_orphans(it.before) == sorted(pids)

        on_stage(act)

    def test_one_that_ended_is_reaped_silently(self):
        async def act(it: Stage) -> None:
            await it.puppet()
            if (pid := os.fork()) == 0:
                os._exit(0)
            until(lambda: has_ended(pid))
            assert it.spawner.reap_orphans(it.before) == []
            await it.until(lambda: not Path(f"/proc/{pid}").exists())

        on_stage(act)


class TestForkServerDeath:
    def test_leaves_workers_alive_and_a_new_one_takes_over(self):
        async def act(it: Stage) -> None:
            worker = await it.puppet()
            assert it.spawner.pid is not None
            first = it.spawner.pid
            os.kill(first, signal.SIGKILL)
            await it.until(lambda: it.exits)
            assert it.exits == [ExitStatus(signal=9)]
            assert it.failures == []
            assert worker.ask("import os; result = os.getppid()") == os.getpid()
            with pytest.raises(SpawnFailed, match="not running"):
                await it.puppet()
            it.spawner.start()
            another = await it.puppet()
            assert another.ask("result = 1") == worker.ask("result = 1") == 1
            assert it.spawner.pid not in (None, first)
            assert it.worker_exits == {}

        on_stage(act)

    def test_may_be_answered_by_a_start_at_once(self):
        async def act(it: Stage) -> None:
            def again(status: ExitStatus) -> None:
                it.exits.append(status)
                it.spawner.start()

            it.spawner._on_exit = again
            await it.puppet()
            for n in range(1, 4):
                it.spawner.kill()
                await it.until(lambda n=n: len(it.exits) == n)
                await it.puppet()
            it.spawner._on_exit = it.exits.append

        on_stage(act)

    def test_ends_every_spawn_under_way(self):
        async def act(it: Stage) -> None:
            await it.puppet()
            assert it.spawner.pid is not None
            os.kill(it.spawner.pid, signal.SIGSTOP)
            spawns = [asyncio.ensure_future(it.puppet()) for _ in range(3)]
            await asyncio.sleep(0)
            it.spawner.kill()
            results = await asyncio.gather(*spawns, return_exceptions=True)
            assert all(isinstance(result, SpawnFailed) for result in results)
            assert "SIGKILL" in str(results[0])

        on_stage(act)

    def test_one_that_hangs_is_killed(self):
        async def act(it: Stage) -> None:
            await it.puppet()
            assert it.spawner.pid is not None
            os.kill(it.spawner.pid, signal.SIGSTOP)
            with pytest.raises(SpawnFailed, match="no answer"):
                await it.puppet()
            await it.until(lambda: it.exits)
            assert it.exits == [ExitStatus(signal=9)]

        on_stage(act, spawn_timeout=0.2)

    def test_a_cancelled_spawn_leaves_no_worker(self):
        async def act(it: Stage) -> None:
            await it.puppet()
            known = set(children_of(os.getpid()))
            for turns in range(6):
                spawn = asyncio.ensure_future(it.puppet())
                for _ in range(turns):
                    await asyncio.sleep(0.001)
                spawn.cancel()
                # It may have been quicker.
                done = (await asyncio.gather(spawn, return_exceptions=True))[0]
                if not isinstance(done, BaseException):
                    known.add(done.pid)
            await it.puppet()  # By now all are answered.
            known |= it.puppets.keys()
            await it.until(lambda: set(children_of(os.getpid())) <= known)

        on_stage(act)

    def test_a_fork_that_fails_is_told(self, tmp_path: Path):
        spec = write_app(
            tmp_path,
            """
            import errno, os
            def refuse(tries=[0], fork=os.fork):
                tries[0] += 1
                if tries[0] in (1, 3):
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                return fork()
            os.fork = refuse
            """,
        )

        async def act(it: Stage) -> None:
            # The first fork of a spawn fails, then the second of the next.
            for _ in range(2):
                with pytest.raises(SpawnFailed, match="temporarily unavailable"):
                    await it.puppet()
            await it.until(lambda: set(children_of(os.getpid())) - it.before == {it.spawner.pid})

        on_stage(act, spec)


class TestStop:
    def test_ends_whatever_is_left(self):
        async def act(it: Stage) -> None:
            puppet = await it.puppet()
            daemon = puppet.ask(DAEMON)
            await it.spawner.stop()
            assert it.exits == [ExitStatus(code=0)]
            assert strays(it.cookie) == []
            assert has_ended(daemon)
            await it.spawner.stop()
            with pytest.raises(SpawnFailed):
                await it.puppet()

        on_stage(act)

    def test_never_started(self):
        async def stop() -> None:
            nothing = Spawner(AppSpec(), "c", lambda _: None, lambda _: None, lambda _: None)
            await nothing.stop()
            nothing.kill()

        asyncio.run(stop())

    def test_twice_started_is_refused(self):
        async def act(it: Stage) -> None:
            with pytest.raises(RuntimeError, match="is running"):
                it.spawner.start()

        on_stage(act)

    @pytest.mark.parametrize("when", ["importing", "stopped"])
    def test_one_that_does_not_listen(self, when: str, tmp_path: Path):
        async def act(it: Stage) -> None:
            marker = tmp_path / "there"
            await it.until(marker.exists)
            if when == "stopped":
                await it.puppet()
                assert it.spawner.pid is not None
                os.kill(it.spawner.pid, signal.SIGSTOP)
            await it.spawner.stop(timeout=0.1)
            assert strays(it.cookie) == []
            assert it.exits == [ExitStatus(signal=9)]

        hang = "import signal; signal.pause()" if when == "importing" else ""
        on_stage(act, write_app(tmp_path, f"open('there', 'w').close()\n{hang}"))


SUPERVISOR = """
import asyncio, os, signal, socket, sys
PROPS = "import subprocess as s; result = [s.Popen([*c, 'sleep', '99']).pid for c in ((), ('setsid',))]"
sys.path.insert(0, sys.argv[2])
from puppets import Stage
from understudy.supervisor.app import AppSpec
from test_spawner_daemon import DAEMON

async def main():
    it = Stage(AppSpec.parse("drama", sys.argv[2]))
    it.spawner.start()
    if sys.argv[1] == "importing":
        print((it.cookie, [it.spawner.pid]), flush=True)
        await asyncio.Event().wait()
    pids = []
    for _ in range(3):
        puppet = await it.puppet()
        pids += [puppet.pid, puppet.ask(DAEMON)]
        pids += puppet.ask(PROPS)
    pids.append(it.spawner.pid)
    if sys.argv[1] == "without fork server":
        it.spawner.kill()
        await it.until(lambda: it.exits)
    if sys.argv[1] == "spawning":
        for _ in range(20):
            asyncio.ensure_future(it.puppet())
        await asyncio.sleep(0)
    print((it.cookie, pids), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


class TestSupervisorDeath:
    @pytest.mark.parametrize("when", ["idle", "spawning", "importing"])
    def test_leaves_no_process_behind(self, when: str, tmp_path: Path):
        hang = "import signal; signal.pause()" if when == "importing" else ""
        (tmp_path / "drama.py").write_text(hang)
        (tmp_path / "test_spawner_daemon.py").write_text(f"DAEMON = {DAEMON!r}")
        process = program(SUPERVISOR, when, str(tmp_path))
        try:
            cookie, pids = said(process)
            assert len(pids) == (1 if when == "importing" else 13)
            assert not any(map(has_ended, pids))
            process.kill()
            begin = time.monotonic()
            until(lambda: not strays(cookie) and all_ended(pids), timeout=2)
            print(f"all gone after {(time.monotonic() - begin) * 1000:.0f} ms")
        finally:
            end(process)

    def test_ctrl_c_at_the_terminal_reaches_no_worker(self):
        async def act(it: Stage) -> None:
            puppet = await it.puppet()
            mine = os.getsid(0)
            assert it.spawner.pid is not None
            assert mine not in (os.getsid(puppet.pid), os.getsid(it.spawner.pid))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(it.spawner.pid, number)
            await it.puppet()
            assert it.exits == []

        on_stage(act)
