"""Tasks in scripts, modules and packages, started from anywhere: every worker finds them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import letter_tasks
from letters import PATIENCE, runtime
from understudy import Runtime

SCRIPT = """
    import os
    import sys
    import understudy
    from understudy import Runtime, aio, current, receive, task

    @task
    def double(n):
        return [2 * n, __name__ == "__main__"]

    @task
    async def double_async(n):
        info = await aio.start(double, n)
        return await aio.result(info, 30)

    @task
    def adder(total):
        while (message := receive()) is not None:
            total += message
        return total

    @task
    def parent(n):
        return double.start(n).result(30)

    @task(name="a name of its own")
    def named():
        return current().task

    if __name__ == "__main__":
        with Runtime(sys.argv[1], workers=1) as rt:
            print(rt.run(double, 1, timeout=30)[0])
            print(double.start(2).result(30)[0])
            print(rt.run(double_async, 3, timeout=30)[0], rt.run(parent, 4, timeout=30)[0])
            adding = adder.start(10)
            adding.send(5)
            adding.close()
            print(adding.result(30), rt.run(named, timeout=30))
            print(rt.run("a name of its own", timeout=30))
"""
SAID = "2\n4\n6 8\n15 a name of its own\na name of its own\n"


def program(arguments: list[str], cwd: Path, *, warns: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    assert warns or done.stderr == ""
    return done.stdout


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def test_in_the_script_that_runs(home: Path, tmp_path: Path):
    script = write(tmp_path / "app" / "script.py", SCRIPT)
    assert program([str(script), str(home)], tmp_path) == SAID
    # Again on the same home, from another folder and with a relative path.
    assert program(["app/script.py", str(home)], tmp_path) == SAID


def test_two_scripts_do_not_run_each_others_tasks(home: Path, tmp_path: Path):
    source = """
        import sys
        from understudy import Runtime, UnknownTask, task

        @task
        def who():
            return __file__

        @task(name="shared")
        def shared():
            return __file__

        if __name__ == "__main__":
            with Runtime(sys.argv[1], workers=1) as rt:
                try:
                    print(rt.run(who, timeout=30))
                except UnknownTask as error:
                    print(error)
                print(rt.run(shared, timeout=30))
                if len(sys.argv) > 2:
                    from subprocess import run
                    run([sys.executable, sys.argv[2], sys.argv[1]], check=True)
    """
    one, other = write(tmp_path / "one.py", source), write(tmp_path / "other.py", source)
    said = program([str(one), str(home), str(other)], tmp_path).splitlines()
    assert said[:2] == [str(one), str(one)]
    assert f"belongs to the script {other}" in said[2]
    assert f"has loaded the script {one}. Give each script a home of its own" in said[2]
    assert said[3] == str(one), "a name that the author has chosen is shared on purpose"
    same = program([str(one), str(home), str(one)], tmp_path).splitlines()
    assert same == [str(one)] * 4


def test_a_task_under_the_guard_of_the_script(home: Path, tmp_path: Path):
    source = """
        import sys
        from understudy import Runtime, UnknownTask, task

        if __name__ == "__main__":
            @task
            def hidden(): pass

            with Runtime(sys.argv[1], workers=1) as rt:
                try:
                    rt.run(hidden, timeout=30)
                except UnknownTask as error:
                    print(error)
    """
    said = program([str(write(tmp_path / "script.py", source)), str(home)], tmp_path)
    assert "must be declared at its top level, outside `if __name__" in said


def test_in_a_module_that_runs_by_name(home: Path, tmp_path: Path):
    write(tmp_path / "parcel" / "__init__.py", "")
    write(tmp_path / "parcel" / "inner.py", SCRIPT)
    assert program(["-m", "parcel.inner", str(home)], tmp_path) == SAID
    write(tmp_path / "parcel" / "__main__.py", SCRIPT)
    assert program(["-m", "parcel", str(home)], tmp_path) == SAID


def test_in_modules_beside_the_script_also_when_imported_late(home: Path, tmp_path: Path):
    write(tmp_path / "early.py", "from understudy import task\n@task\ndef f():\n    return __name__\n")
    write(tmp_path / "parcel" / "__init__.py", "")
    write(
        tmp_path / "parcel" / "late.py", "from understudy import task\n@task\ndef f():\n    return __name__\n"
    )
    write(tmp_path / "later.py", "from understudy import task\n@task\nasync def f():\n    return __name__\n")
    script = write(
        tmp_path / "script.py",
        """
        import sys
        import early
        from understudy import Runtime
        if __name__ == "__main__":
            with Runtime(sys.argv[1], workers=2) as rt:
                print(rt.run(early.f, timeout=30))
                import parcel.late
                print(list(rt.results(rt.start_many(parcel.late.f, [()] * 20), 30)) == ["parcel.late"] * 20)
                import later
                print(later.f.start().result(30))
        """,
    )
    assert program([str(script), str(home)], home.parent) == "early\nTrue\nlater\n"


@pytest.mark.parametrize("how", ["module", "package.module", "path"])
def test_an_app_that_is_named(home: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch):
    source = "import os\nfrom understudy import task\n@task\ndef where():\n    return os.getcwd()\n"
    write(tmp_path / "solo_app.py", source)
    write(tmp_path / "crate" / "__init__.py", "")
    write(tmp_path / "crate" / "app.py", source)
    monkeypatch.chdir(tmp_path if how != "path" else home.parent)
    app, name = {
        "module": ("solo_app", "solo_app:where"),
        "package.module": ("crate.app", "crate.app:where"),
        "path": (str(tmp_path / "solo_app.py"), "solo_app:where"),
    }[how]
    # The caller need not import it.
    with Runtime(home, app=app, workers=1) as rt:
        assert rt.run(name, timeout=PATIENCE) == str(Path.cwd())
    assert "solo_app" not in sys.modules


def test_started_from_inside_tasks(home: Path):
    with runtime(home) as rt:
        for body in (letter_tasks.use_everything, letter_tasks.use_everything_async):
            said = rt.run(body, timeout=PATIENCE)
            assert said == {
                "sum": 3,
                "by name": 7,
                "child's letters": ["hello", 2],
                "cancelled": "TaskCancelled",
                "failed": "TaskFailed",
                "state of the child": "completed",
                "own state": {"step": 1},
                "another's state": {"step": 1},
                "late": "TimeoutError",
                "closed": "MailboxClosed",
                "slept": True,
                "wrong world": "NotInTask",
            }


def test_parents_that_wait_for_children_do_not_starve_them(home: Path):
    with runtime(home, workers=1, slots=1) as rt:
        chains = [
            rt.start(parent, 5)
            for parent in (letter_tasks.parent, letter_tasks.parent_async)
            for _ in range(10)
        ]
        for chain in chains:
            assert len(chain.result(PATIENCE)) == 5


def test_a_program_in_one_file_goes_on_though_everything_below_it_is_killed(home: Path, tmp_path: Path):
    source = """
        import os, signal, sys, time
        from understudy import Retry, Runtime, receive, task

        @task(retry=Retry(attempts=1, delay=0))
        def total():
            return receive() + receive()

        if __name__ == "__main__":
            with Runtime(sys.argv[1], workers=1) as rt:
                info = total.start()
                for kill in ("worker", "supervisor"):
                    while not info.status().worker_pid:
                        time.sleep(0.01)
                    pid = info.status().worker_pid if kill == "worker" else rt.supervisor_pid
                    os.kill(pid, signal.SIGKILL)
                    while info.status().interruptions + info.status().attempt < (2 if kill == "worker" else 3):
                        time.sleep(0.01)
                rt.send_many([(info.id, 1), (info.id, 2)])
                print(info.result(30))
    """
    script = write(tmp_path / "app.py", source)
    assert program([str(script), str(home)], tmp_path, warns=True) == "3\n"
