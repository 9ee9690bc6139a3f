"""Refusals: at the call, with a specific error whose message says what to do, and without partial effects."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import lmdb
import pytest

import letter_tasks
from letters import APP, PATIENCE, assert_sound, runtime
from understudy import (
    AppFailed,
    HomeError,
    HomeInUse,
    InvalidOption,
    InvalidTask,
    InvalidValue,
    NoRuntime,
    NotRunning,
    Retry,
    Runtime,
    StoreForeign,
    StoreVersion,
    TaskFailed,
    TaskNotFound,
    UnderstudyError,
    UnencodableValue,
    UnknownTask,
    ValueTooLarge,
    task,
)
from understudy.actors import values
from understudy.storage.tables.schema import SCHEMA_VERSION

UNKNOWN = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def refused(kind: type[Exception], match: str, call: Callable[[], Any]) -> Any:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert isinstance(caught.value, UnderstudyError | TypeError)
    return caught.value


def test_values_arrive_as_they_were(home: Path):
    whatever = {
        "none": None,
        "numbers": [0, -1, 2**64, -(2**200), 1.5, True],
        "text": "päth — 漢字 🎭",
        "bytes": b"\x00\xff",
        "times": [
            datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
            date(2024, 2, 29),
            timedelta(days=-1, microseconds=3),
        ],
        "others": [Decimal("1.10"), UUID(UNKNOWN), {1, 2}, frozenset({"a"})],
        ("a", 1): {"nested": {"deep": [[[]]]}},
    }
    with runtime(home) as rt:
        assert rt.run(letter_tasks.echo, whatever, timeout=PATIENCE) == whatever
        assert rt.run(letter_tasks.echo_async, whatever, timeout=PATIENCE) == whatever
        info = rt.start(letter_tasks.collect)
        info.send(whatever)
        info.close()
        assert info.result(PATIENCE) == [whatever]


def test_what_cannot_be_encoded_is_named_by_its_path(home: Path):
    thing = object()
    with runtime(home) as rt:
        info = rt.start(letter_tasks.collect)
        calls: list[tuple[str, Callable[[], Any]]] = [
            ("args[0]['x'][1]", lambda: rt.start(letter_tasks.echo, {"x": [1, thing]})),
            ("kwargs['value']", lambda: rt.start(letter_tasks.echo, value=thing)),
            ("args[0]", lambda: rt.start_many(letter_tasks.echo, [1, 2, thing])),
            ("message[0]", lambda: info.send([thing])),
            ("messages[2]['a']", lambda: rt.send_many([(info.id, 1), (info.id, 2), (info.id, {"a": thing})])),
        ]
        for path, call in calls:
            error = refused(UnencodableValue, "register", call)
            assert error.path == path
            assert path in str(error)
        assert len(rt.list()) == 1
        assert info.status().mailbox_depth == 0
        for body, path in (
            (letter_tasks.return_an_object, "result"),
            (letter_tasks.save_an_object, "checkpoint"),
        ):
            failed = refused(TaskFailed, "register", lambda body=body: rt.run(body, timeout=PATIENCE))
            assert failed.error.type == "UnencodableValue"
            assert f"{path}['deep'][1]" in failed.error.message
        info.cancel()
    assert_sound(home)


def test_the_limit_of_a_value_is_exact_everywhere(home: Path):
    limit = 2_000
    fits, too_large = "x" * (limit - 3), "x" * (limit - 2)
    assert len(values.pack(fits)) == limit
    with runtime(home, value_limit=limit) as rt:
        info = rt.start(letter_tasks.collect)
        info.send(fits)
        error = refused(ValueTooLarge, "file", lambda: info.send(too_large))
        assert (error.size, error.limit) == (limit + 1, limit)
        refused(ValueTooLarge, "file", lambda: rt.send_many([(info.id, 1), (info.id, too_large)]))
        assert len(values.pack([[fits[:-3]], {}])) == limit
        assert rt.run(letter_tasks.length, fits[:-3], timeout=PATIENCE) == limit - 6
        refused(ValueTooLarge, "file", lambda: rt.start(letter_tasks.length, fits[:-2]))
        refused(ValueTooLarge, "file", lambda: rt.start_many(letter_tasks.length, ["", too_large]))
        assert rt.run(letter_tasks.text_of, limit - 3, timeout=PATIENCE) == fits
        failed = refused(
            TaskFailed, "file", lambda: rt.run(letter_tasks.text_of, limit - 2, timeout=PATIENCE)
        )
        assert failed.error.type == "ValueTooLarge"
        assert rt.run(letter_tasks.save_text_of, [limit - 3, limit - 2], timeout=PATIENCE) == [
            True,
            "ValueTooLarge",
        ]
        info.close()
        # It arrived, but a list that contains it is one byte too long for a result.
        failed = refused(TaskFailed, "file", lambda: info.result(PATIENCE))
        assert f"{limit + 1:,} bytes" in failed.error.message
        assert len(rt.list(task=letter_tasks.length.name)) == 1
    # A limit above the default works too, on every side; results of many tasks come in frames that fit.
    with runtime(home, value_limit=80 << 20) as rt:
        assert len(rt.run(letter_tasks.text_of, 70 << 20, timeout=PATIENCE)) == 70 << 20
        many = rt.start_many(letter_tasks.text_of, [3 << 20] * 12)
        assert {len(text) for text in rt.results(many, PATIENCE)} == {3 << 20}
    assert_sound(home)


def test_tasks_and_ids_that_are_not_there(home: Path):
    with runtime(home) as rt:
        error = refused(UnknownTask, "app", lambda: rt.start("letter_tasks:no_such_task"))
        assert error.name == "letter_tasks:no_such_task"
        refused(UnknownTask, "app", lambda: rt.start_many("nowhere:f", [1, 2]))
        assert rt.run("letter_tasks:add", 1, 2, timeout=PATIENCE) == 3
        for call in (rt.status, rt.cancel, rt.close, rt.restore, rt.result, rt.wait, rt.retry):
            error = refused(TaskNotFound, UNKNOWN, lambda call=call: call(UNKNOWN))
            assert error.id == UNKNOWN
        refused(TaskNotFound, UNKNOWN, lambda: rt.send(UNKNOWN, 1))
        refused(TaskNotFound, UNKNOWN, lambda: rt.wait_for(UNKNOWN).result(PATIENCE))
        calls = (
            rt.status,
            rt.cancel,
            rt.restore,
            rt.result,
            rt.wait,
            rt.wait_for,
            rt.retry,
            rt.logs,
            rt.close,
        )
        for wrong in ("", "x", UNKNOWN[:-1], UNKNOWN + "0"):
            for call in calls:
                refused(TaskNotFound, "task id", lambda call=call, wrong=wrong: call(wrong))
        for no_id in (None, 7, UNKNOWN.encode()):
            for call in calls:
                refused(InvalidOption, "TaskInfo", lambda call=call, no_id=no_id: call(no_id))
        refused(TaskNotFound, "task id", lambda: rt.send("x", 1))
        refused(TaskNotFound, "task id", lambda: rt.send_many([("x", 1)]))
        refused(TaskNotFound, "task id", lambda: rt.list(before="x"))
        refused(InvalidValue, "task id", lambda: rt.list(stream="x"))
        refused(InvalidOption, "queued, running", lambda: rt.list(state="done"))
        assert len(rt.list()) == 1
        assert len(rt.list(task=letter_tasks.add)) == 1
        assert len(rt.list(task="letter_tasks:add")) == 1
        assert rt.list(task=letter_tasks.noop) == []
    for call in (rt.status, rt.restore, rt.logs, rt.cancel, rt.result):
        refused(NotRunning, "this runtime was closed", lambda call=call: call(UNKNOWN))
    refused(NotRunning, "this runtime was closed", rt.list)


def test_arguments_that_do_not_fit(home: Path):
    with runtime(home) as rt:
        for args, kwargs in (((), {}), ((1,), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1, 2), {"b": 2})):
            refused(
                TypeError, "add", lambda args=args, kwargs=kwargs: rt.start(letter_tasks.add, *args, **kwargs)
            )
        refused(TypeError, "add", lambda: rt.start_many(letter_tasks.add, [(1, 2), (1,)]))
        refused(TypeError, "add", lambda: rt.start_many(letter_tasks.add, [{"a": 1, "x": 2}]))
        assert rt.list() == []


def test_what_can_be_no_task(home: Path):
    @task
    def nested() -> None:
        pass

    with runtime(home) as rt:
        refused(InvalidTask, "top of a module", lambda: rt.start(nested))
        refused(InvalidTask, "top of a module", lambda: rt.start(task(lambda: None)))
        refused(InvalidOption, "@task", lambda: rt.start(print))
        refused(InvalidOption, "name", lambda: rt.start(""))
        assert rt.list() == []
    source = """
        import sys
        from understudy import Runtime, task
        @task
        def typed_in(): pass
        with Runtime(sys.argv[1]) as rt:
            rt.start(typed_in)
    """
    done = python("-c", textwrap.dedent(source), str(home))
    assert done.returncode == 1
    assert "InvalidTask" in done.stderr
    assert "REPL" in done.stderr
    assert "Put it into a file" in done.stderr
    done = python("-", str(home), input=textwrap.dedent(source))
    assert "InvalidTask" in done.stderr
    assert "Put it into a file" in done.stderr
    refused(NoRuntime, "with Runtime", letter_tasks.noop.start)


def python(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": 8 * 24 * 3600},
        {"timeout": "1"},
        {"retry": -1},
        {"retry": "often"},
        {"grace": -1},
        {"priority": 101},
        {"isolate": 1},
        {"memory_limit": 1},
        {"keep": -1},
        {"ack": "maybe"},
        {"delay": -1},
        {"delay": 1, "at": 1},
        {"at": datetime(2024, 1, 1)},  # noqa: DTZ001 - without a time zone, which is what is wrong with it
        {"key": ""},
        {"key": "k" * 1025},
        {"stream_id": "x"},
        {"speed": 9},
    ],
    ids=str,
)
def test_options_out_of_range(wrong: dict[str, Any]):
    error = refused(UnderstudyError, ".", lambda: letter_tasks.noop.options(**wrong))
    assert isinstance(error, InvalidOption | InvalidValue)
    (name, *_) = wrong
    assert name in str(error) or "id" in str(error)


def test_settings_out_of_range(home: Path):
    for wrong in (
        {"workers": -1},
        {"slots": 0},
        {"mailbox_messages": 0},
        {"durability": "maybe"},
        {"drain": -1},
        {"speed": 9},
    ):
        (name,) = wrong
        refused(InvalidOption, name, lambda wrong=wrong: Runtime(home, **wrong))
    refused(InvalidOption, "attempts", lambda: Retry(attempts=-1))
    assert not home.exists()


def test_apps_that_cannot_be_loaded(home: Path, tmp_path: Path):
    refused(AppFailed, "no file", lambda: Runtime(home, app=str(tmp_path / "none.py")))
    refused(AppFailed, "write it as", lambda: Runtime(home, app="not a name"))
    broken = tmp_path / "broken_app.py"
    broken.write_text("from understudy import task\n\n1 / 0\n", encoding="ascii")
    with Runtime(home, app=str(broken)) as rt:
        error = refused(AppFailed, "ZeroDivisionError", lambda: rt.start("broken_app:f"))
        assert "1 / 0" in error.remote_traceback
    assert_sound(home)


def test_homes_that_cannot_be_used(home: Path, tmp_path: Path):
    home.parent.mkdir(exist_ok=True)
    file = tmp_path / "file"
    file.write_text("mine", encoding="ascii")
    refused(HomeError, "not a folder", lambda: runtime(file))
    refused(HomeError, "not a folder", lambda: runtime(file / "below"))
    refused(HomeError, "not a folder", lambda: Runtime.connect(file))
    assert file.read_text(encoding="ascii") == "mine"

    others = tmp_path / "others"
    others.mkdir(mode=0o755)
    (others / "letter.txt").write_text("mine", encoding="ascii")
    refused(HomeError, "folder of its own", lambda: runtime(others))
    assert os.listdir(others) == ["letter.txt"]

    with Runtime.connect(tmp_path / "nowhere") as nowhere:
        refused(NotRunning, "start", lambda: nowhere.ping(timeout=0.01))
    assert not (tmp_path / "nowhere").exists()

    if os.geteuid() == 0:
        # Root may write anywhere, except where writing is impossible.
        refused(HomeError, "cannot be created", lambda: runtime(Path("/proc/understudy")))
    else:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refused(HomeError, "rights", lambda: runtime(locked / "home"))


def test_stores_that_are_not_ours(home: Path):
    home.mkdir(mode=0o700)
    with lmdb.open(str(home / "store.mdb"), subdir=False, lock=False, max_dbs=3) as env:
        table = env.open_db(b"somebody else's")
        with env.begin(write=True, db=table) as transaction:
            transaction.put(b"a", b"b")
    before = (home / "store.mdb").read_bytes()
    refused(StoreForeign, "not", lambda: runtime(home))
    assert (home / "store.mdb").read_bytes() == before
    (home / "store.mdb").write_bytes(b"a letter, not a database" * 1000)
    refused(StoreForeign, "not", lambda: runtime(home))
    assert (home / "store.mdb").read_bytes() == b"a letter, not a database" * 1000


def test_a_store_of_another_schema(home: Path):
    with runtime(home) as rt:
        rt.run(letter_tasks.noop, timeout=PATIENCE)
    with lmdb.open(str(home / "store.mdb"), subdir=False, lock=False, max_dbs=20) as env:
        table = env.open_db(b"meta", create=False)
        with env.begin(write=True, db=table) as transaction:
            assert transaction.get(b"schema") == b"%d" % SCHEMA_VERSION
            transaction.put(b"schema", b"99")
    error = refused(StoreVersion, "99", lambda: runtime(home))
    assert (str(error.found), error.supported) == ("99", SCHEMA_VERSION)


def test_a_second_supervisor_is_refused(home: Path):
    with runtime(home) as rt:
        script = textwrap.dedent("""
            import asyncio, sys
            from understudy.supervisor.app import AppSpec
            from understudy.supervisor.home import Home
            from understudy.supervisor.daemon.supervisor import Supervisor
            from understudy.supervisor.settings import Settings
            asyncio.run(Supervisor(Home(sys.argv[1]), AppSpec.parse(sys.argv[2]), Settings()).run())
        """)
        done = python("-c", script, str(home), APP)
        assert done.returncode == 1
        assert HomeInUse.__name__ in done.stderr
        assert str(rt.supervisor_pid) in done.stderr
        assert rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
        # A second runtime starts no second supervisor: it attaches.
        with runtime(home) as other:
            assert other.supervisor_pid == rt.supervisor_pid
            assert other.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
        assert rt.run(letter_tasks.add, 1, 2, timeout=PATIENCE) == 3
    assert_sound(home)
