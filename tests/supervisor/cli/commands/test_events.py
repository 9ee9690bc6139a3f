from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


@pytest.fixture
def made(served: Stage) -> dict[str, Any]:
    """An event that has been handled."""
    id = f"shop/{uuid.uuid4().hex}"
    answer = served("events", "emit", "order.paid", '{"n": 7}', "--id", id, "--json")
    assert answer.code == ExitCode.OK, answer.err
    info: dict[str, Any] = answer.json
    assert info["id"] == id
    served.until_state(info["runs"][0], "completed")
    return info


def test_emitting_twice_is_emitting_once(served: Stage, made: dict[str, Any]):
    again = served("events", "emit", "order.paid", '{"n": 8}', "--id", made["id"], "--json")
    assert again.json == made
    assert served("events", "emit", "order.paid", "--id", made["id"]).out == f"{made['id']}\n"


def test_show_has_its_runs_and_their_states(served: Stage, made: dict[str, Any]):
    shown = served("events", "show", made["id"], "--json").json
    assert (shown["name"], shown["data"], shown["stream_id"]) == ("order.paid", {"n": 7}, made["stream_id"])
    assert shown["runs"] == [{"handler": "tale:bill", "id": made["runs"][0], "state": "completed"}]
    text = served("events", "show", made["id"], COLUMNS="150").out
    assert f"{made['runs'][0]}  tale:bill  completed" in text
    assert '{"n": 7}' in text
    assert "nothing handled it" in served("events", "show", f"invoice/{made['id']}").out
    answer = served("show", made["runs"][0])
    assert f"event order.paid ({made['id']})" in answer.out
    assert served("show", made["runs"][0], "--json").json["trigger"]["event_id"] == made["id"]


def test_the_list_is_of_a_pattern(served: Stage, made: dict[str, Any]):
    found = served("events", "list", "*.created", "-n", "1", "--json").json
    assert [(event["id"], event["name"]) for event in found] == [(f"invoice/{made['id']}", "invoice.created")]
    assert made["id"] in served("events", "list", "order.paid", "-q").out.splitlines()
    assert made["id"] not in served("events", "list", "--unmatched", "-q").out.splitlines()
    answer = served("events", "list", "-n", "1", COLUMNS="200")
    assert "invoice.created" in answer.out
    assert "none" in answer.out
    assert "and more" in answer.err
    assert "1 completed" in served("events", "list", "order.*", COLUMNS="200").out
    assert "no such events" in served("events", "list", "nothing.*").err
    assert served("events", "list", "a..b").code == ExitCode.USAGE
    assert served("events", "list", "-q", "--json").code == ExitCode.USAGE


def test_replay(served: Stage, made: dict[str, Any]):
    again = served("events", "replay", made["id"], "--handler", "tale:bill", "--json").json
    assert again["runs"] != made["runs"]
    served.until_state(again["runs"][0], "completed")
    assert len(served("events", "show", made["id"], "--json").json["runs"]) == 2
    answer = served("events", "replay", f"invoice/{made['id']}")
    assert (answer.code, answer.out) == (ExitCode.OK, f"invoice/{made['id']}\n")
    assert "no handler" in answer.err
    for command in ("show", "replay"):
        answer = served("events", command, "nothing/here")
        assert answer.code == ExitCode.NOT_FOUND
        assert "no event has the id 'nothing/here'" in answer.err


def test_the_stream_is_a_tree(served: Stage, made: dict[str, Any]):
    for id in (made["id"], made["runs"][0], made["runs"][0][-12:]):
        lines = served("streams", "show", id, COLUMNS="150").out.splitlines()
        assert lines[0].startswith("event order.paid")
        assert lines[1].startswith("  run tale:bill")
        assert " completed " in lines[1]
        assert lines[2].startswith("    event invoice.created")
    tree = served("streams", "show", made["id"], "--json").json
    assert tree["id"] == made["stream_id"]
    assert tree["roots"][0]["children"][0]["children"][0]["name"] == "invoice.created"
    emitted = served("events", "emit", "note.made", "1", "--stream", made["runs"][0], "--json").json
    assert emitted["stream_id"] == made["stream_id"]


def test_the_streams_are_listed(served: Stage, made: dict[str, Any]):
    newest = served("events", "emit", "order.paid", "1", "--json").json
    served.until_state(newest["runs"][0], "completed")
    first = served("streams", "list", "-n", "1", "--json").json
    assert [(each["id"], each["kind"], each["name"]) for each in first] == [
        (newest["stream_id"], "event", "order.paid")
    ]
    assert first[0]["tasks"] == {"completed": 1}
    ids = served("streams", "list", "-q").out.splitlines()
    assert ids[0] == newest["stream_id"]
    assert made["stream_id"] in ids
    assert len(ids) == len(set(ids))
    answer = served("streams", "list", "-n", "1", COLUMNS="150")
    assert "event order.paid" in answer.out
    assert "1 completed" in answer.out
    assert "and more" in answer.err
    assert served("streams", "list", "-q", "--json").code == ExitCode.USAGE


def test_bad_names_are_a_wrong_use(served: Stage):
    answer = served("events", "emit", "no name")
    assert answer.code == ExitCode.USAGE
    assert "segments with dots" in answer.err
