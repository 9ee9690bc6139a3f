"""What docs/cli.md promises of all commands: their exit codes, and times in what --json prints."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from understudy import Runtime
from understudy.storage.file.names import store_file
from understudy.supervisor.cli.exit_codes import ExitCode
from understudy.supervisor.cli.reference import leaves
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage

APP: Final = """
from understudy import Actor, Event, Limit, Retry, Supervisor, actor, checkpoint, child, current, every, on, progress
from understudy import cancelled, publish, receive, sleep, step, task

API = Limit("api", concurrency=100)

def half():
    return 0.5

@task
def works():
    print("at work")
    progress(1, 2)
    publish("token", step(half))
    checkpoint(1)
    return 2

@task(retry=Retry(attempts=1, delay=0))
def fails():
    raise ValueError("not today")

@task(timeout=0.05)
def is_late():
    sleep(60)

@task(timeout=None, limit=API)
def waits():
    # It ends by itself when it is cancelled: a kill would get the served home a new worker later on.
    while (message := receive()) is not None and not cancelled():
        if message == "fail" and current().attempt == 1:
            raise ValueError("as told")

@on("order.paid")
def bill(event: Event):
    return event.data

@every(86_400, key="nightly")
def report():
    pass

class Account(Actor, durable=True):
    def __init__(self):
        self.balance = 0

    def on_receive(self, message):
        raise ValueError("not like this")

    def deposit(self, n):
        self.remind("statement", Account.deposit, 1, delay=3600)
        self.storage["last"] = n
        self.balance += n
        return self.balance

@task
def open_account(name):
    return actor(Account, name).id

shop = Supervisor("shop", intensity=9, children=[child("feed", waits)])
"""

#: How each command is called so that it has something to print, and the times that this must have.
JSON_CALLS: Final[dict[str, list[tuple[str, str]]]] = {
    "start": [("app:works", "")],
    "run": [("app:works", "")],
    "actor ls": [("", "created started")],
    "actor show": [("Account/ada", "created started due")],
    "actor call": [("Account/ada deposit 1", "")],
    "actor state": [("Account/ada", ""), ("Account/ada --storage", "")],
    "actor dead": [("Account/ada", "time")],
    "actor redrive": [("Account/ada", "")],
    "actor stop": [("Account/bob", "")],
    "events list": [("", "time")],
    "events show": [("{event}", "time")],
    "events emit": [("order.paid 1", "")],
    "events replay": [("{event}", "")],
    "streams list": [("", "time newest")],
    "streams show": [("{event}", "time started ended")],
    "bulk list": [("", "created ended")],
    "bulk show": [("{bulk}", "created ended")],
    "bulk wait": [("{bulk}", "created ended")],
    "schedules list": [("", "created next")],
    "schedules show": [("nightly", "created next scheduled_at time")],
    "schedules next": [("nightly -n 2", "")],
    "schedules pause": [("nightly", "created")],
    "schedules resume": [("nightly", "created next")],
    "schedules cancel": [("program", "created")],
    "schedules run": [("nightly", "")],
    "schedules backfill": [("nightly 2026-01-01 2026-01-02", "")],
    "pools": [("", "")],
    "limits": [("", ""), ("api --concurrency 99", "")],
    "token add": [("later --expires 1d", "created expires")],
    "token list": [("", "created expires")],
    "audit": [("", "time")],
    "ps": [("", "created started ended checkpoint_time"), ("state:queued", "created next_attempt")],
    "box sizes": [("", "")],
    "stats": [("", ""), ("--window 1h", "since")],
    "errors": [("", "first last")],
    "show": [
        ("{failed}", "created started ended"),
        ("{works}", "created started ended checkpoint_time time"),
        ("{delayed}", "next_attempt"),
    ],
    "stack": [("{running}", "time")],
    "logs": [("{works}", "time")],
    "watch": [("{failed}", "time created started ended"), ("{works}", "time checkpoint_time")],
    "result": [("{works}", "")],
    "checkpoint": [("{works}", "")],
    "cancel": [("{spare}", ""), ("--where task:nothing --yes", "")],
    "retry": [("{failed}", ""), ("--where task:nothing --yes", "")],
    "tree": [("", "started time")],
    "tree show": [("shop", "time"), ("shop/feed", "time")],
    "tree restart": [("shop/feed", "time")],
    "tree stop": [("shop", "time")],
    "top": [("-n 1", "started")],
    "prune": [("", "")],
    "backup": [("{new}", "")],
    "compact": [("", "")],
    "check": [("", "")],
}

#: Names of fields that hold a time, wherever they are.
TIMES: Final = {
    *(
        "time",
        "created",
        "started",
        "ended",
        "next_attempt",
        "checkpoint_time",
        "due",
        "since",
        "first",
        "last",
    ),
    *("newest", "next", "at", "start", "end", "scheduled_at", "expires"),
}
ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
YEAR: Final = 365 * 86_400.0


@pytest.fixture(scope="module")
def story(new_stage: Callable[[], Stage]) -> Iterator[tuple[Stage, dict[str, str]]]:
    """A served home in which much has happened, and the ids of it."""
    stage = new_stage()
    stage.write(APP)
    stage.serve("--mailbox-messages", "3")
    ids = {"event": "order-1", "new": str(stage.folder / "copy"), "broken": str(stage.folder / "broken")}
    (stage.folder / "broken").mkdir()
    store_file(stage.folder / "broken").write_bytes(b"no store" * 1_000)
    try:
        ids["works"] = stage.start("app:works")
        ids["failed"] = stage.start("app:fails")
        ids["late"] = stage.start("app:is_late")
        ids["delayed"] = stage.start("app:works", "--delay", "1d")
        ids["running"], ids["spare"], ids["victim"] = (stage.start("app:waits") for _ in range(3))
        assert [stage("send", ids["delayed"], "1").code for _ in range(3)] == [ExitCode.OK] * 3
        ids["cancelled"] = stage.start("app:works", "--delay", "1d")
        stage("cancel", ids["cancelled"])
        for name in ("ada", "bob", "eve"):
            assert stage("run", "app:open_account", f'"{name}"').code == ExitCode.OK
        ids["eve"] = stage("actor", "show", "Account/eve", "--json").json["id"]
        assert stage("actor", "stop", "Account/eve").code == ExitCode.OK
        assert stage("actor", "call", "Account/ada", "deposit", "3").code == ExitCode.OK
        assert stage("actor", "tell", "Account/ada", '"bad"').code == ExitCode.OK
        assert stage("events", "emit", "order.paid", "--id", ids["event"]).code == ExitCode.OK
        assert stage("schedules", "run", "nightly").code == ExitCode.OK
        assert stage("token", "add", "ours", "--expires", "1h").code == ExitCode.OK
        with Runtime.connect(stage.home) as rt:
            rt.schedule("app:works", key="program", every=86_400)
            (feed,) = rt.tree_of("shop").status().children
            rt.send(str(feed.task_id), "fail")
            until(lambda: rt.tree_of("shop").status().restarts == 1)
        for name, state in (("works", "completed"), ("failed", "failed"), ("late", "timed_out")):
            stage.until_state(ids[name], state)
        stage.until_state(ids["running"], "running")
        assert stage("retry", "--where", "task:app:is_late", "--yes").code == ExitCode.OK
        ids["bulk"] = stage("bulk", "list", "-q").out.strip()
        until(lambda: stage("actor", "dead", "Account/ada", "-q").out)
        (run,) = stage("events", "show", ids["event"], "--json").json["runs"]
        stage.until_state(run["id"], "completed")
        yield stage, ids
    finally:
        stage.close()


def call(stage: Stage, name: str, args: str, ids: dict[str, str], *more: str) -> Any:
    return stage(*name.split(), *(part.format(**ids) for part in args.split()), *more)


def fields(document: Any) -> Iterator[tuple[str, Any]]:
    """Each value in a document that holds no others, with the name of its field."""
    open_values = [("", document)]
    while open_values:
        name, value = open_values.pop()
        if isinstance(value, dict):
            open_values += value.items()
        elif isinstance(value, list):
            open_values += [(name, each) for each in value]
        else:
            yield name, value


def test_every_command_with_json_has_its_calls():
    takes_json = {
        name for name, command in leaves() if any(each.name == "as_json" for each in command.params)
    }
    # The group `tree` is a command, too.
    assert takes_json == JSON_CALLS.keys() - {"tree"}


@pytest.mark.parametrize("name", JSON_CALLS)
def test_times_in_json_are_iso(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    for args, times in JSON_CALLS[name]:
        answer = call(stage, name, args, ids, "--json")
        assert answer.out, answer
        found = {}
        for line in answer.out.splitlines():
            for field, value in fields(json.loads(line)):
                if isinstance(value, (int, float)):
                    assert abs(value - time.time()) > 10 * YEAR, f"{field} is a time as a number: {line}"
                    assert field not in TIMES, f"{field} is no time: {line}"
                elif field in TIMES and value is not None:
                    assert ISO.fullmatch(value), f"{field} is {value!r}"
                    assert abs(datetime.fromisoformat(value).timestamp() - time.time()) < YEAR
                    found[field] = value
        assert set(times.split()) <= found.keys(), answer.out


# --- exit codes ---

#: A call of each command about something that is not there.
UNKNOWN: Final = {
    "start": "app:nothing",
    "run": "app:nothing",
    "actor ls": "",
    "actor show": "Account/nobody",
    "actor call": "Account/nobody deposit 1",
    "actor tell": "Account/nobody 1",
    "actor state": "Account/nobody",
    "actor dead": "Account/nobody",
    "actor redrive": "Account/nobody",
    "actor stop": "Account/nobody",
    "events list": "",
    "events show": "nothing",
    "events emit": "order.paid --stream ffffffff",
    "events replay": "nothing",
    "streams list": "",
    "streams show": "ffffffff",
    "bulk list": "",
    "bulk show": "ffffffff",
    "bulk wait": "ffffffff",
    "bulk cancel": "ffffffff",
    "schedules list": "",
    "schedules show": "nothing",
    "schedules next": "nothing",
    "schedules pause": "nothing",
    "schedules resume": "nothing",
    "schedules cancel": "nothing",
    "schedules run": "nothing",
    "schedules backfill": "nothing 2026-01-01",
    "limits": "nothing",
    "pools": "",
    "token add": "",
    "token list": "",
    "token remove": "nothing",
    "audit": "",
    "box run": "",
    "box sizes": "",
    "ps": "--stream ffffffff",
    "stats": "",
    "errors": "",
    "show": "ffffffff",
    "stack": "ffffffff",
    "logs": "ffffffff",
    "watch": "ffffffff",
    "result": "ffffffff",
    "checkpoint": "ffffffff",
    "send": "ffffffff 1",
    "close": "ffffffff",
    "cancel": "ffffffff",
    "retry": "ffffffff",
    "tree show": "nothing",
    "tree restart": "nothing",
    "tree stop": "nothing",
    "serve": "",
    "stop": "",
    "top": "-n 1",
    "prune": "",
    "backup": "{new}",
    "compact": "",
    "check": "",
}
#: What must be given, of commands that are about nothing else.
GIVEN: Final = {"token add": "one", "box run": "image", "serve": "app"}

#: Commands about one thing of several, which lists nothing if it is not there.
ABOUT_ALL: Final = {
    *(
        "actor ls",
        "events list",
        "streams list",
        "schedules list",
        "token add",
        "token list",
        "audit",
        "box run",
    ),
    *("box sizes", "stats", "errors", "serve", "stop", "top", "prune", "backup", "compact", "check"),
    *("pools", "bulk list"),
}
#: Commands that read the folder, as docs/cli.md says.
READERS: Final = {
    *("ps", "stats", "errors", "show", "logs", "watch", "result", "checkpoint"),
    *("actor ls", "actor show", "actor state", "actor dead", "events list", "events show", "streams list"),
    *(
        "streams show",
        "schedules list",
        "schedules show",
        "schedules next",
        "tree show",
        "token list",
        "audit",
    ),
    *("backup", "check", "compact", "bulk list", "bulk show"),
}
#: Commands that need a supervisor alone: a home that does not exist has none.
SUPERVISOR_ALONE: Final = {
    *("start", "run", "events replay", "schedules pause", "schedules resume", "schedules cancel"),
    *("schedules run", "schedules backfill", "limits", "token add", "token remove", "stop", "prune"),
    *("tree restart", "tree stop", "box run", "events emit", "pools"),
}
#: The exit code of each command that takes a task, about one that has completed, and one that was cancelled.
ABOUT_ENDED: Final = {
    "events emit": ("order.paid --stream {id}", ExitCode.OK, ExitCode.OK),
    "streams show": ("{id}", ExitCode.OK, ExitCode.OK),
    "ps": ("--stream {id}", ExitCode.OK, ExitCode.OK),
    "show": ("{id}", ExitCode.OK, ExitCode.OK),
    "stack": ("{id}", ExitCode.ENDED, ExitCode.ENDED),
    "logs": ("{id}", ExitCode.OK, ExitCode.OK),
    "watch": ("{id}", ExitCode.OK, ExitCode.TASK_CANCELLED),
    "result": ("{id}", ExitCode.OK, ExitCode.TASK_CANCELLED),
    "checkpoint": ("{id}", ExitCode.OK, ExitCode.OK),
    "send": ("{id} 1", ExitCode.ENDED, ExitCode.ENDED),
    "close": ("{id}", ExitCode.OK, ExitCode.OK),
    "cancel": ("{id}", ExitCode.ENDED, ExitCode.ENDED),
    "retry": ("{id}", ExitCode.OK, ExitCode.OK),
}
#: The exit code of each command that takes an actor, about one that has stopped.
ABOUT_STOPPED: Final = {
    "actor show": ("{eve}", ExitCode.OK),
    "actor call": ("{eve} deposit 1", ExitCode.ENDED),
    "actor tell": ("{eve} 1", ExitCode.ENDED),
    "actor state": ("{eve}", ExitCode.OK),
    "actor dead": ("{eve}", ExitCode.OK),
    "actor redrive": ("{eve}", ExitCode.ENDED),
    "actor stop": ("{eve}", ExitCode.ENDED),
}


def given(name: str) -> str:
    return f"{UNKNOWN[name]} {GIVEN.get(name, '')}"


def test_every_command_has_its_calls():
    names = {name for name, _ in leaves()}
    assert names == UNKNOWN.keys()
    assert names >= (ABOUT_ALL | READERS | SUPERVISOR_ALONE)
    tasks = {name for name, command in leaves() if any(each.type.name == "id" for each in command.params)}
    assert tasks <= ABOUT_ENDED.keys()
    actors = {name for name, command in leaves() if any(each.type.name == "ref" for each in command.params)}
    assert actors == ABOUT_STOPPED.keys()


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_option_that_does_not_exist(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    answer = call(stage, name, f"--no-such-option {given(name)}", ids)
    assert answer.code == ExitCode.USAGE, answer
    assert "No such option '--no-such-option'" in answer.err


@pytest.mark.parametrize("name", sorted(UNKNOWN.keys() - ABOUT_ALL))
def test_what_is_not_there(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    answer = call(stage, name, UNKNOWN[name], ids)
    assert answer.code == ExitCode.NOT_FOUND, answer
    assert answer.err.startswith("Error: ")
    assert "`understudy " in answer.err or "Start the supervisor" in answer.err, "it says what to do next"
    assert answer.out == ""


@pytest.mark.parametrize("name", sorted(UNKNOWN.keys() - {"serve", "box sizes"}))
def test_a_home_that_does_not_exist(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    answer = call(stage, name, given(name), ids, "--home", str(stage.folder / "nowhere"))
    expected = ExitCode.NOT_RUNNING if name in SUPERVISOR_ALONE else ExitCode.HOME_UNUSABLE
    assert answer.code == expected, answer
    assert str(stage.folder / "nowhere") in answer.err


@pytest.fixture(scope="module")
def deserted(story: tuple[Stage, dict[str, str]]) -> str:
    """A home that no supervisor serves."""
    stage, _ = story
    copy = stage.folder / "deserted"
    assert stage("backup", str(copy)).code == ExitCode.OK
    return str(copy)


@pytest.mark.parametrize("name", sorted(UNKNOWN.keys() - {"serve", "box sizes"}))
def test_a_home_that_nobody_serves(story: tuple[Stage, dict[str, str]], deserted: str, name: str):
    stage, ids = story
    args = given(name).format(**{**ids, "new": f"{deserted}-of-{name}"})
    answer = call(stage, name, args, {}, "--home", deserted)
    if name not in READERS:
        assert answer.code == ExitCode.NOT_RUNNING, answer
        assert deserted in answer.err
    else:
        assert answer.code == (ExitCode.OK if name in ABOUT_ALL else ExitCode.NOT_FOUND), answer


@pytest.mark.parametrize("name", ABOUT_ENDED)
def test_a_task_that_has_ended(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    args, of_completed, of_cancelled = ABOUT_ENDED[name]
    assert call(stage, name, args, {"id": ids["works"]}).code == of_completed
    assert call(stage, name, args, {"id": ids["cancelled"]}).code == of_cancelled


@pytest.mark.parametrize("name", ABOUT_STOPPED)
def test_an_actor_that_has_stopped(story: tuple[Stage, dict[str, str]], name: str):
    stage, ids = story
    args, code = ABOUT_STOPPED[name]
    assert call(stage, name, args, ids).code == code


@pytest.mark.parametrize("name", sorted(ABOUT_ENDED.keys() | ABOUT_STOPPED.keys()))
def test_an_id_that_fits_several(story: tuple[Stage, dict[str, str]], name: str):
    stage, _ = story
    args = (ABOUT_ENDED.get(name) or ABOUT_STOPPED[name])[0]
    answer = call(stage, name, args, {"id": "01", "eve": "01"})
    assert answer.code == ExitCode.AMBIGUOUS, answer
    assert "give more characters" in answer.err


#: One call that gives each code which has no test above.
OTHERS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "result {works}",
    ExitCode.NOT_ENDED: "result {running}",
    ExitCode.TASK_FAILED: "result {failed}",
    ExitCode.TASK_TIMED_OUT: "result {late}",
    ExitCode.WAIT_TIMED_OUT: "result {running} --timeout 10ms",
    ExitCode.MAILBOX_FULL: "send {delayed} 1",
    ExitCode.STORE_FAILED: "ps --home {broken}",
    ExitCode.HOME_IN_USE: "serve app",
    ExitCode.APP_FAILED: "serve nothing --home {new}-2",
}
#: Where the others are tested.
ELSEWHERE: Final = {
    ExitCode.FAILED: "test_failures.py",
    ExitCode.SUPERVISOR_LOST: "test_failures.py",
    ExitCode.NOT_UNIQUE: "commands/test_start.py",
    ExitCode.PROBLEMS_FOUND: "commands/test_store.py",
    ExitCode.TREE_FAILED: "commands/test_trees.py",
    ExitCode.INTERRUPTED: "commands/test_control.py",
    ExitCode.BROKEN_PIPE: "test_main.py",
}
ABOVE: Final = {
    *(ExitCode.USAGE, ExitCode.NOT_RUNNING, ExitCode.NOT_FOUND, ExitCode.AMBIGUOUS, ExitCode.ENDED),
    *(ExitCode.HOME_UNUSABLE, ExitCode.TASK_CANCELLED),
}


def test_every_code_has_a_test(read: Callable[[str], str]):
    assert set(ExitCode) == OTHERS.keys() | ELSEWHERE.keys() | ABOVE
    for code, name in ELSEWHERE.items():
        assert f"ExitCode.{code.name}" in read(name), code


@pytest.fixture
def read(request: pytest.FixtureRequest) -> Callable[[str], str]:
    return lambda name: (request.path.parent / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", OTHERS)
def test_a_call_for_the_code(story: tuple[Stage, dict[str, str]], code: ExitCode):
    stage, ids = story
    name, _, args = OTHERS[code].partition(" ")
    assert call(stage, name, args, ids).code == code
