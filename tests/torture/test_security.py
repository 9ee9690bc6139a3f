"""Access to a home, rights of files, and harmful names and values."""

from __future__ import annotations

import ast
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import stage_tasks
from checkout import ROOT, modules
from needs import require
from puppets import said
from theatre import PATIENCE, runtime, serving
from understudy import Runtime, UnknownTask
from understudy.actors.errors import InvalidOption, InvalidTask
from understudy.storage.backup import backup
from understudy.supervisor.client.deadline import NO_DEADLINE
from understudy.supervisor.client.steps import finish
from understudy.supervisor.wire.codec import VERSION, encode
from understudy.supervisor.wire.messages import Ask

#: Functions that can run code from data.
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "copyreg",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
#: This runs the program in the fork server, as multiprocessing does.
OWN_PROGRAM = "supervisor/app.py"


def test_nothing_that_runs_code_from_data_is_used_anywhere():
    found = []
    for module in modules():
        if module.parts[0] in {"tests", "benchmarks", "examples"}:
            continue
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if {name.split(".")[0] for name in names} & FORBIDDEN_MODULES:
                found.append(f"{module}:{node.lineno}")
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in FORBIDDEN_CALLS
                and str(module) != OWN_PROGRAM
            ):
                found.append(f"{module}:{node.lineno}")
    assert found == []


def test_whatever_the_umask_only_the_owner_gets_in(home: Path, tmp_path: Path):
    before = os.umask(0)
    try:
        with serving(home) as process:
            assert said(process) == ["ready"]
            with Runtime.connect(home) as rt:
                assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
                backup(home, tmp_path / "backup")
                rt.compact()
                seen = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
            process.send_signal(signal.SIGTERM)
            assert said(process) == ["stopped"]
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert set(seen.values()) == {0o600}, seen
    assert {
        "store.mdb",
        "store.mdb-lock",
        "store.voucher",
        "supervisor.lock",
        "supervisor.sock",
    } <= set(seen)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "backup").iterdir()} == {0o600}


def test_another_user_is_refused_even_where_the_doors_stand_open(home: Path):
    require(os.geteuid() == 0, "root, to become another user")
    with serving(home) as process:
        assert said(process) == ["ready"]
        for folder in (home, *home.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(folder.stat().st_mode | 0o711)
        (home / "supervisor.sock").chmod(0o777)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(PATIENCE)
                    sock.connect(str(home / "supervisor.sock"))
                    try:
                        sock.sendall(encode((Ask.HELLO, VERSION)))
                        answer = sock.recv(100)
                    except (BrokenPipeError, ConnectionResetError):
                        answer = b""
                    os.write(writer, b"connected, and heard %d bytes" % len(answer))
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert os.read(reader, 100) == b"connected, and heard 0 bytes"
        os.close(reader)
        with Runtime.connect(home) as rt:
            assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3


@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "served"])
def test_only_what_the_app_declares_can_be_started_by_name(home: Path, tmp_path: Path, embedded: bool):
    marker = tmp_path / "imported"
    (tmp_path / "trap.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    names = ["trap:main", "trap", "os:system", "builtins:eval", "stage_tasks:os.getpid", "stage_tasks:note"]
    names += [
        "../trap:main",
        "/etc/passwd:x",
        "stage_tasks:../add",
        "stage_tasks:add\0",
        "stage_tasks:__import__",
        ":",
    ]
    names += ["x" * 100_000 + ":y", "\x1b[2J:y", "stage_tasks\u200b:add"]
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), path])
    try:
        with serving(home) if not embedded else runtime(home) as process:
            if isinstance(process, subprocess.Popen):
                assert said(process) == ["ready"]
            with Runtime.connect(home) as rt:
                for name in names:
                    with pytest.raises((UnknownTask, InvalidTask, InvalidOption)) as refused:
                        rt.start(name)
                    assert len(str(refused.value)) < 5_000
                assert rt.start("stage_tasks:add", 1, 2).result(PATIENCE) == 3
                assert rt.list(limit=100)[0].task == "stage_tasks:add"
                assert len(rt.list(limit=100)) == 1
                if not embedded:
                    # A client cannot cause an import either.
                    with pytest.raises(UnknownTask):
                        finish(
                            rt._client.ask(NO_DEADLINE, Ask.DECLARE, ["trap"]), NO_DEADLINE, rt._client.late
                        )
    finally:
        os.environ["PYTHONPATH"] = path
    assert not marker.exists()
    assert sys.modules.get("trap") is None
