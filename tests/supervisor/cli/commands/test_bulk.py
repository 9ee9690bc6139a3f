from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from understudy import Runtime, Task
from understudy.supervisor.cli.commands import bulk
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def started(served: Stage, first: int, count: int) -> str:
    """Start delayed tasks; the query that finds them."""
    with Runtime.connect(served.home) as rt:
        rt.start_many(Task.named("app:add").options(delay=3600), [(first + at,) for at in range(count)])
    return f"args.0:{str(first)[:-2]}??"


def test_one_is_followed_to_its_end(served: Stage, quietly: Callable[..., str]):
    where = started(served, 81_000, 5)
    runs = quietly("app:hours")
    id = served("cancel", "--where", where, "-y", "--no-wait").out.strip()
    answer = served("bulk", "wait", id[:20])
    assert (answer.code, answer.out) == (ExitCode.OK, "cancel of 5 tasks: completed\n")
    sheet = served("bulk", "show", id, "-n", "2")
    assert where in sheet.out
    assert sheet.out.count(" cancelled") >= 2
    assert "… and more" in sheet.err
    shown = served("bulk", "show", id[-12:], "--json").json
    assert (shown["id"], shown["state"], shown["outcomes"]) == (id, "completed", {"cancelled": 5})
    assert [each["outcome"] for each in shown["of_each"]] == ["cancelled"] * 5
    assert served("bulk", "show", id, "--json", "--outcome", "refused").json["of_each"] == []
    assert served("bulk", "list", "-q", "-n", "1").out.strip() == id
    assert served("bulk", "list", "--json").json[0] == {k: v for k, v in shown.items() if k != "of_each"}
    assert id in served("bulk", "list").out
    answer = served("bulk", "cancel", id)
    assert (answer.code, "had ended already: 5 of 5 done" in answer.out) == (ExitCode.ENDED, True)
    until(lambda: served("ps", "task:hours state:running", "-q").out.strip() == runs, 10)
    other = served("cancel", "--where", "task:hours state:running", "-y", "--no-wait", "--json").json
    assert other["found"] == 1
    assert served("bulk", "wait", other["bulk"]["id"], "--json").json["outcomes"] == {"asked to stop": 1}
    served("result", runs, "--wait")


def test_an_id_that_is_none_or_several(served: Stage):
    for first in (82_000, 83_000):
        served("cancel", "--where", started(served, first, 1), "-y")
    answer = served("bulk", "show", "01")
    assert answer.code == ExitCode.AMBIGUOUS
    assert len(answer.err.splitlines()) >= 3
    for id in ("ffff", "x", "", "00000000-0000-7000-8000-000000000000"):
        for command in ("show", "wait", "cancel"):
            answer = served("bulk", command, id)
            assert answer.code == ExitCode.NOT_FOUND, (command, id)
            assert "understudy bulk list" in answer.err


def test_tasks_that_are_refused_are_told(served: Stage):
    with Runtime.connect(served.home) as rt:
        first = rt.start(Task.named("tale:nap_once").options(unique_key="bulk"), 0)
        rt.wait(first, 20)
        rt.start(Task.named("tale:nap_once").options(unique_key="bulk", delay=3600), 0)
    answer = served("retry", "--where", "task:*nap_once state:completed", "-y")
    assert (answer.code, answer.out) == (ExitCode.FAILED, "0 tasks retried\n")
    assert "1 refused, the last one because:" in answer.err
    id = served("bulk", "list", "-q", "-n", "1").out.strip()
    (each,) = served("bulk", "show", id, "--json", "--outcome", "refused").json["of_each"]
    assert each == {"id": first.id, "outcome": "refused", "new_id": None}


def test_a_home_without_any(stage: Stage):
    stage.home.mkdir(mode=0o700)
    answer = stage("bulk", "list")
    assert (answer.code, answer.out) == (ExitCode.OK, "")
    assert "no bulks in" in answer.err
    assert stage("bulk", "list", "--json").json == []


def test_outcomes_are_read_in_pieces(served: Stage, monkeypatch: pytest.MonkeyPatch):
    where = started(served, 84_000, 7)
    with Runtime.connect(served.home) as rt:
        info = rt.wait_bulk(rt.start_bulk("cancel", where).id)
        monkeypatch.setattr(bulk, "READ", 2)
        key = bulk.find(rt._reader, info.id)
        assert [*bulk.outcomes_of(rt._reader, key, None)] == rt.bulk_outcomes(info.id)
