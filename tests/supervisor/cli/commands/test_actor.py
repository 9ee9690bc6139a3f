from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


@pytest.fixture
def account(bank: Stage) -> str:
    """The name of an account that no other test has."""
    name = f"a{uuid.uuid4().hex[:8]}"
    assert bank("run", "bank:open_accounts", f'"{name}"').code == ExitCode.OK
    return f"Account/{name}"


def test_a_call_prints_what_the_method_returns(bank: Stage, account: str):
    assert bank("actor", "call", account, "deposit", "5").out == "5\n"
    answer = bank("actor", "call", f"bank:{account}", "deposit", "-1", "--kw", "times=2")
    assert answer.out == "3\n", answer.err
    id = bank("actor", "show", account, "--json").json["id"]
    assert bank("actor", "call", id[-12:], "deposit", "-", input="4").out == "7\n"
    assert bank("actor", "call", id, "odd", "--json").json == "2030-01-31"


def test_a_call_under_a_key_is_handled_once(bank: Stage, account: str):
    for _ in range(2):
        assert bank("actor", "call", account, "deposit", "5", "--key", "order-17").out == "5\n"
    for _ in range(2):
        bank("actor", "tell", account, "1", "--key", "note-1")
    bank("actor", "call", account, "deposit", "0")
    assert len(bank("actor", "state", account, "--storage", "--json").out.splitlines()) == 1


def test_what_a_method_raises_is_shown_with_its_traceback(bank: Stage, account: str):
    answer = bank("actor", "call", account, "refuse", '"\\u001b[2J"')
    assert answer.code == ExitCode.TASK_FAILED, "an error of the method is none of this command"
    assert "raise BrokenPipeError(why)" in answer.err
    assert answer.err.splitlines()[-1] == "Error: BrokenPipeError: \\x1b[2J"


def test_a_call_that_no_method_takes_says_which_there_are(bank: Stage, account: str):
    (line,) = bank("actor", "call", account, "nope").err.splitlines()
    assert line.startswith(
        "Error: AttributeError: 'Account' object has no attribute 'nope'. The methods of Account: "
    )
    assert " deposit, " in line
    (line,) = bank("actor", "call", account, "deposit").err.splitlines()
    assert line.startswith("Error: TypeError: Account.deposit() missing 1 required positional argument")


def test_a_call_waits_no_longer_than_it_may(bank: Stage, account: str):
    answer = bank("actor", "call", account, "doze", "--timeout", "50ms")
    assert answer.code == ExitCode.WAIT_TIMED_OUT
    assert "stays in its mailbox" in answer.err
    id = bank("actor", "show", account, "--json").json["id"]
    until(lambda: bank.state(id) == "running")
    assert f"bank:{account}" in bank("tree").out
    assert bank("cancel", id).code == ExitCode.OK
    bank.until_state(id, "cancelled")


def test_the_list_is_of_a_class_or_of_names(bank: Stage, account: str):
    answer = bank("actor", "ls", COLUMNS="150")
    assert f"bank:{account}" in answer.out
    assert " idle " in answer.out
    name = account.partition("/")[2]
    (found,) = bank("actor", "ls", "Account", "--prefix", name, "--json").json
    assert (found["task"], found["actor"], found["state"]) == ("bank:Account", name, "idle")
    assert bank("actor", "ls", "bank:Account", "--prefix", name, "-q").out == f"{found['id']}\n"
    assert "no such actors" in bank("actor", "ls", "Nothing").err
    bank("run", "bank:open_accounts", f'"{name}b"')
    answer = bank("actor", "ls", "--prefix", name, "-n", "1")
    assert len(answer.out.splitlines()) == 2
    assert "and more" in answer.err


def test_ps_and_show_name_it(bank: Stage, account: str):
    id = bank("actor", "show", account, "--json").json["id"]
    assert f" bank:{account} " in bank("ps", "-s", "idle", COLUMNS="150").out
    assert f" bank:{account}\n" in bank("show", id).out
    assert bank("show", id, "--json").json["actor"] == account.partition("/")[2]
    top = bank("top", "-n", "1", "--interval", "10ms", "--json").json
    assert account.partition("/")[2] in {
        actor["actor"] for worker in top["workers"] for actor in worker["idle_actors"]
    }


def test_show_has_its_reminders_and_its_size(bank: Stage, account: str):
    bank("actor", "call", account, "remember")
    shown = bank("actor", "show", account, "--json").json
    (reminder,) = shown["reminders"]
    assert (reminder["name"], reminder["every"], reminder["method"]) == ("statement", 86400, "deposit")
    assert shown["durable"] is True
    assert shown["state_size"] > 0
    text = bank("actor", "show", account).out
    assert "every 1d00h, calls deposit" in text
    assert "dead letters  none" in text


def test_the_state_is_json(bank: Stage, account: str):
    bank("actor", "call", account, "deposit", "5")
    assert bank("actor", "state", account).json["balance"] == 5


def test_the_storage_is_a_table_or_json_line_by_line(bank: Stage, account: str):
    assert "is empty" in bank("actor", "state", account, "--storage").err
    for note in ('{"a": 1}', "-2"):
        assert bank("actor", "tell", account, note).code == ExitCode.OK
    bank("actor", "call", account, "deposit", "0")
    assert bank("actor", "state", account, "--storage").out.splitlines() == [
        "KEY     VALUE",
        'note/0  {"a": 1}',
        "note/1  -2",
    ]
    answer = bank("actor", "state", account, "--storage", "note", "--json", "-n", "1")
    assert answer.json == {"key": "note/0", "value": {"a": 1}}
    assert "first 1" in answer.err
    assert "no such rows" in bank("actor", "state", account, "--storage", "x").err


def test_a_dead_letter_is_listed_and_sent_again(bank: Stage, account: str):
    assert "no dead letters" in bank("actor", "dead", account).err
    assert bank("actor", "redrive", account).out == "it has no dead letters\n"
    for _ in range(2):
        bank("actor", "tell", account, '"bad"')
    bank("actor", "call", account, "deposit", "0")
    first, second = bank("actor", "dead", account, "--json").json
    assert (first["message"], first["error"]["type"]) == ("bad", "ValueError")
    text = bank("actor", "dead", account).out
    assert "ValueError: \\x1b[31mno" in text
    assert first["id"][-12:] in text
    assert bank("actor", "dead", account, "-q").out == f"{first['id']}\n{second['id']}\n"
    assert bank("actor", "redrive", account, first["id"][-12:], "--json").json == {"redriven": 1}
    bank("actor", "call", account, "deposit", "0")
    assert bank("actor", "dead", account, "-q").out.splitlines()[0] == second["id"]
    assert bank("actor", "redrive", account).out == "2 messages sent again\n"
    answer = bank("actor", "redrive", account, "ffff-ffff")
    assert answer.code == ExitCode.NOT_FOUND
    assert "actor dead" in answer.err


def test_stop_frees_the_name(bank: Stage, account: str):
    id = bank("actor", "show", account, "--json").json["id"]
    assert bank("actor", "stop", account).out == f"bank:{account} has stopped\n"
    assert bank("actor", "call", account, "deposit", "1").code == ExitCode.NOT_FOUND
    answer = bank("actor", "stop", id, "--json")
    assert (answer.code, answer.json) == (ExitCode.ENDED, {"id": id, "stopped": False})
    answer = bank("actor", "call", id, "deposit", "1")
    assert answer.code == ExitCode.ENDED
    assert "Traceback" not in answer.err
    assert bank("actor", "show", id, "--json").json["state"] == "completed"


def test_an_actor_without_a_name_or_a_disk(bank: Stage):
    id = bank("run", "bank:open_counter").json
    assert bank("actor", "call", id, "add", "2").out == "2\n"
    answer = bank("actor", "state", id)
    assert answer.json is None
    assert "not durable" in answer.err
    assert " bank:Counter " in bank("actor", "ls", "bank:Counter", COLUMNS="150").out
    assert "give the full name" in bank("actor", "ls", "Counter").err
    assert bank("actor", "stop", id).out == "bank:Counter has stopped\n"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["call", "Account/nobody", "deposit"], ExitCode.NOT_FOUND, "no actor is alive"),
        (["call", "Account", "deposit"], ExitCode.NOT_FOUND, "neither Class/name"),
        (["show", "Account/"], ExitCode.NOT_FOUND, "no actor is alive"),
        (["call", "Account/x", "_secret"], ExitCode.USAGE, "no public method"),
        (["call", "Account/x", "deposit", "five"], ExitCode.USAGE, "is not JSON"),
        (["call", "Account/x", "deposit", "--kw", "5"], ExitCode.USAGE, "write NAME=JSON"),
        (["ls", "-q", "--json"], ExitCode.USAGE, "--quiet"),
        (["lsx"], ExitCode.USAGE, "Did you mean 'ls'?"),
    ],
)
def test_errors_say_what_to_do(bank: Stage, args: list[str], code: ExitCode, text: str):
    answer = bank("actor", *args)
    assert answer.code == code
    assert text in answer.err


def test_a_task_is_no_actor(bank: Stage):
    answer = bank("actor", "show", bank.start("bank:open_accounts"))
    assert answer.code == ExitCode.NOT_FOUND
    assert "actor ls" in answer.err


def test_reading_needs_no_supervisor(stage: Stage):
    process, _ = stage.serve(app="bank")
    stage("run", "bank:open_accounts", '"ada"')
    stage("actor", "call", "Account/ada", "deposit", "5")
    stage("actor", "tell", "Account/ada", '"bad"')
    stage("actor", "call", "Account/ada", "deposit", "0")
    process.terminate()
    process.communicate(timeout=15)
    assert (
        stage.shell("actor", "ls", "-q").out
        == f"{stage('actor', 'show', 'Account/ada', '--json').json['id']}\n"
    )
    assert stage("actor", "state", "Account/ada").json == {"owner": "Ada", "balance": 5}
    assert len(stage("actor", "dead", "Account/ada", "--json").json) == 1
    for command in (["call", "Account/ada", "deposit"], ["redrive", "Account/ada"], ["stop", "Account/ada"]):
        assert stage("actor", *command).code == ExitCode.NOT_RUNNING


def test_completion_offers_actors(bank: Stage, account: str):
    words = f"understudy actor show {account[:12]}"
    answer = bank(_UNDERSTUDY_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="3")
    assert f"plain,{account}\n" in answer.out
