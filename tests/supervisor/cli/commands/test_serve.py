from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from understudy.supervisor.cli.commands.serve import ready_line
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_one_line_when_ready_and_a_drain_at_sigterm(stage: Stage):
    process, line = stage.serve("--drain", "20s")
    assert line == (
        f"serving {stage.home} (pid {process.pid}, 1 worker); "
        "tasks: app:add, app:family, app:hours, app:odd, app:post, 5 more\n"
    )
    id = stage.start("app:hours")
    stage.until_state(id, "running")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, out) == (ExitCode.OK, "")
    assert "running tasks have 20 s" in err
    assert err.splitlines()[-1].startswith("stopped")
    seen = stage("show", id, "--json").json
    assert (seen["state"], seen["attempt"], seen["interruptions"]) == ("queued", 1, 1)


def test_nohup_keeps_it(stage: Stage):
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process, _ = stage.serve()
    finally:
        signal.signal(signal.SIGHUP, hang_up)
    process.send_signal(signal.SIGHUP)
    id = stage.start("app:add", "1", "2")
    stage.until_state(id, "completed")
    process.send_signal(signal.SIGTERM)
    assert "stopping" in process.communicate(timeout=15)[1]
    assert process.returncode == ExitCode.OK


def test_the_second_signal_stops_now(stage: Stage):
    stage.write(
        """
        import time
        from understudy import task

        @task
        def deaf():
            print("deaf")
            time.sleep(3600)
        """
    )
    process, _ = stage.serve("--drain", "1h")
    id = stage.start("app:deaf")
    until(lambda: "deaf" in stage("logs", id).out)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    until(lambda: "stopping" in process.stderr.readline())  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == ExitCode.OK
    assert stage.state(id) == "queued"


def test_an_app_that_does_not_import_shows_its_traceback(stage: Stage):
    stage.write("1 / 0")
    answer = stage.shell("serve", "app")
    assert answer.code == ExitCode.APP_FAILED
    assert 'app.py", line 1' in answer.err
    assert "Error: the app app cannot be imported: ZeroDivisionError: division by zero" in answer.err
    assert "cli/main.py" not in answer.err
    assert answer.out == ""


def test_an_app_that_is_not_there(stage: Stage):
    answer = stage.shell("serve", "nowhere.tasks")
    assert answer.code == ExitCode.APP_FAILED
    assert "there is no module nowhere" in answer.err
    assert stage.shell("serve", "gone.py").code == ExitCode.APP_FAILED


def test_several_modules(stage: Stage):
    stage.write("from understudy import task\n@task\ndef bill(): return 7\n", "billing")
    process = stage.popen("serve", "app.py", "billing:bill", "--workers", "1")
    stage.serves.append(process)
    assert process.stdout is not None
    assert "serving" in process.stdout.readline()
    assert (stage("run", "app:add", "1").out, stage("run", "billing:bill").out) == ("2\n", "7\n")
    answer = stage("start", "billing:bil")
    assert answer.code == ExitCode.NOT_FOUND
    assert "Did you mean 'billing:bill'? It knows billing:bill, app:add" in answer.err
    for apps, says in (
        (["app", "./app.py"], "both the module app"),
        (["billing:bil"], "Did you mean 'bill'?"),
    ):
        answer = stage.shell("serve", *apps, "--home", "other")
        assert answer.code == ExitCode.APP_FAILED
        assert says in answer.err
        assert "Traceback" not in answer.err


VERSION = """
from understudy import receive, task

@task
def version():
    return {}

@task(timeout=None)
def pair():
    return [receive(), version()]
"""


def test_new_code_replaces_the_old_and_nothing_is_lost(stage: Stage):
    stage.write(VERSION.format(1))
    process, _ = stage.serve("--reload")
    assert process.stdout is not None
    assert process.stderr is not None
    id = stage.start("app:pair")
    stage.until_state(id, "running")
    assert stage("run", "app:version").out == "1\n"

    stage.write(VERSION.format(2))
    assert process.stdout.readline().startswith("serving")
    assert stage("run", "app:version").out == "2\n"
    stage("send", id, "5")
    assert stage("result", "--wait", id, "--json").out == "[5, 2]\n"

    stage.write(VERSION.format("("))
    while "not reloaded: " not in (line := process.stderr.readline()):
        assert line
    assert "app.py:" in line
    assert stage("run", "app:version").out == "2\n", "the old code goes on"

    stage.write(VERSION.format(3) + "1 / 0\n")
    while "waiting for a change" not in (line := process.stderr.readline()):
        assert line
    assert stage("run", "app:version").code == ExitCode.NOT_RUNNING
    stage.write(VERSION.format(4))
    assert process.stdout.readline().startswith("serving")
    assert stage("run", "app:version").out == "4\n"

    process.terminate()
    out, _ = process.communicate(timeout=15)
    assert (process.returncode, out) == (ExitCode.OK, "")


def test_a_reloading_supervisor_ends_as_others_do(stage: Stage, served: Stage):
    assert served.shell("serve", "app", "--reload").code == ExitCode.HOME_IN_USE
    process, line = stage.serve("--reload")
    assert f"(pid {process.pid}," not in line
    assert stage("stop").code == ExitCode.OK
    assert process.wait(timeout=15) == ExitCode.OK
    process, line = stage.serve("--reload")
    process.kill()
    child = int(line.split("(pid ")[1].split(",")[0])
    until(lambda: not psutil.pid_exists(child), message=lambda: "the supervisor outlives its parent")


def test_a_second_supervisor_is_refused(served: Stage):
    answer = served.shell("serve", "app")
    assert answer.code == ExitCode.HOME_IN_USE
    assert f"(pid {served.serves[0].pid})" in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_home_that_is_no_folder(stage: Stage):
    answer = stage.shell("serve", "app", "--home", "app.py/x")
    assert answer.code == ExitCode.HOME_UNUSABLE


def test_the_service_manager_is_told(stage: Stage):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        address = str(stage.folder / "notify")
        manager.bind(address)
        process, line = stage.serve(NOTIFY_SOCKET=address)
        ready = manager.recv(9999).decode()
        assert ready.startswith(f"READY=1\nMAINPID={process.pid}\nSTATUS={line.strip()}")
        process.terminate()
        assert manager.recv(9999).startswith(b"STOPPING=1\n")
        process.communicate(timeout=15)
    assert process.returncode == 0


def test_settings_come_from_options_and_from_the_environment(stage: Stage):
    other = stage.folder / "elsewhere"
    other.mkdir()
    (other / "deep.py").write_text(
        "from understudy import task\n@task\ndef one(text): pass\n", encoding="utf-8"
    )
    _, line = stage.serve("--app-dir", "elsewhere", app="deep", UNDERSTUDY_VALUE_LIMIT="2K")
    assert "deep:one" in line
    answer = stage("start", "deep:one", f'"{"x" * 3000}"')
    assert answer.code == ExitCode.USAGE
    assert "the limit is 2,048" in answer.err


@pytest.mark.parametrize(
    "options", [["--workers", "-1"], ["--drain", "soon"], ["--durability", "none"], ["--log-limit", "1K"]]
)
def test_settings_out_of_range(stage: Stage, options: list[str]):
    assert stage.shell("serve", "app", *options).code == ExitCode.USAGE
    assert not stage.home.exists()


def test_what_is_logged_is_escaped_and_the_journal_has_its_own_clock(stage: Stage):
    stage.write("import logging\nlogging.getLogger('x').error('early')")
    plain, _ = stage.serve()
    plain.terminate()
    assert re.search(r"^\d{4}-\d\d-\d\d .* INFO +stopping", plain.communicate(timeout=15)[1], re.MULTILINE)
    journal, _ = stage.serve(JOURNAL_STREAM="8:1")
    journal.terminate()
    assert re.search(r"^INFO +stopping", journal.communicate(timeout=15)[1], re.MULTILINE)


def test_the_line_lists_a_few_tasks_and_counts_the_rest():
    assert ready_line("/h", 7, 2, [f"a:{n}" for n in range(7)], {}) == (
        "serving /h (pid 7, 2 workers); tasks: a:0, a:1, a:2, a:3, a:4, 2 more"
    )
    assert ready_line("/h", 7, 1, [], {}).endswith("tasks: none")
    assert (
        ready_line("/h", 7, 1, ["a:b"], {"gpu": 2})
        == "serving /h (pid 7, 1 worker, 2 in pool gpu); tasks: a:b"
    )


def test_pools_come_from_options_and_from_the_environment(stage: Stage):
    stage.write(
        """
        import os
        from understudy import task
        @task(pool="gpu")
        def device(): return [os.environ["DEVICE"], os.environ["MORE"]]
        @task(pool="io")
        def plain(): return os.environ.get("DEVICE")
        """,
        "pooled",
    )
    process, line = stage.serve(
        *("--pool-slots", "gpu=1", "--pool-env", "gpu:DEVICE=3", "--pool-env", "gpu:MORE=a=b"),
        app="pooled",
        UNDERSTUDY_POOL="gpu=1 io=1",
    )
    assert "1 in pool gpu, 1 in pool io" in line
    assert json.loads(stage("run", "pooled:device", "--json").out) == ["3", "a=b"]
    assert json.loads(stage("run", "pooled:plain", "--json").out) is None
    assert json.loads(stage("run", "--pool", "gpu", "pooled:plain", "--json").out) == "3"
    refused = stage("start", "--pool", "gpx", "pooled:plain")
    assert refused.code == ExitCode.NOT_FOUND
    assert "pool 'gpx'" in refused.err
    assert "pool gpu" in stage("top", "-n", "1").out
    process.terminate()
    process.communicate(timeout=15)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--pool", "gpu"], "is not POOL=N"),
        (["--pool", "gpu=x"], "is not POOL=N"),
        (["--pool", "gpu=0"], "workers of pool gpu"),
        (["--pool", "gpu=1", "--pool", "gpu=2"], "twice for gpu"),
        (["--pool-env", "gpu:A=1"], "not among pools="),
        (["--pool", "gpu=1", "--pool-env", "A=1"], "is not POOL:NAME=VALUE"),
        (["--pool", "gpu=1", "--pool-env", "gpu:A=1", "--pool-env", "gpu:A=2"], "twice for gpu:A"),
    ],
)
def test_pools_that_are_refused(stage: Stage, options: list[str], why: str):
    refused = stage.shell("serve", "app", *options)
    assert refused.code == ExitCode.USAGE
    assert why in refused.err
    assert "=2" not in refused.err
    assert not stage.home.exists()


def test_an_app_without_tasks_is_served_with_a_warning(stage: Stage):
    stage.write("", "empty")
    process, line = stage.serve(app="empty")
    assert line.endswith("tasks: none\n")
    process.terminate()
    assert "declares no tasks with @task: is it the right module?" in process.communicate(timeout=15)[1]


def test_a_home_is_made_with_its_parents(stage: Stage):
    process, line = stage.serve("--home", "a/b")
    assert str(Path(stage.folder, "a/b")) in line
    process.terminate()
    process.communicate(timeout=15)


def test_what_an_entry_script_has_started_is_left_alone(stage: Stage):
    # As the last line of a container's entry script, the supervisor finds children that it has not made.
    stage.write(
        """
        import os, subprocess
        from understudy import task

        @task
        def crashes():
            subprocess.Popen(["sleep", "300"])
            os._exit(3)
        """
    )
    script = 'sleep 300 >/dev/null 2>&1 & echo $!; exec "$@"'
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", *stage.command, "serve", "app", "--workers", "1"],
        cwd=stage.folder,
        env=stage.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stage.serves.append(process)
    assert process.stdout is not None
    guest = psutil.Process(int(process.stdout.readline()))
    assert process.stdout.readline().startswith("serving")
    try:
        assert stage("run", "app:crashes").code == ExitCode.TASK_FAILED
        ours = psutil.Process(process.pid)

        def sleeping() -> list[psutil.Process]:
            found = []
            for child in ours.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it may end just now
                    if child.name() == "sleep":
                        found.append(child)
            return found

        until(lambda: len(sleeping()) == 1)
        assert guest.is_running(), "only what the dead worker has left behind is killed"
    finally:
        guest.kill()


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "| true"])
def test_it_serves_without_a_reader_of_its_output(stage: Stage, closed: str):
    script = f'exec "$@" {closed}'
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", *stage.command, "serve", "app", "--workers", "1"],
        cwd=stage.folder,
        env=stage.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: stage.shell("run", "app:add", "21", "21").out.strip() == "42", 30)
        assert stage.shell("stop").code == ExitCode.OK
    finally:
        process.wait(30)


def test_a_second_one_says_that_the_home_is_in_use_and_not_that_its_address_is(stage: Stage):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--web", f"127.0.0.1:{port}", "--workers", "1")
    stage.serve(*options[:2])
    answer = stage.shell("serve", "app", *options)
    assert (answer.code, answer.out) == (ExitCode.HOME_IN_USE, "")
    assert "127.0.0.1" not in answer.err


def test_a_trigger_that_can_verify_nothing_is_told_at_the_start(stage: Stage):
    stage.write(
        """
        from understudy import github, http

        @http("POST", "/hook", verify=github("env:NO_SUCH_SECRET"), ack=True)
        def hook(request):
            pass

        @http("POST", "/other", verify=github("env:THERE"), ack=True)
        def other(request):
            pass
        """
    )
    process, _ = stage.serve("--http", "127.0.0.1:0", THERE="tiger")
    assert process.stderr is not None
    told: list[str] = []
    while "refuses every request" not in (line := process.stderr.readline()):
        told.append(line)
        assert line, told
    assert "POST /hook of app:hook" in line
    assert "env:NO_SUCH_SECRET is not set. Set it in the environment of the supervisor" in line
    process.send_signal(signal.SIGTERM)
    assert "THERE" not in process.communicate(timeout=15)[1]
