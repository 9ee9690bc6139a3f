"""The rows of starts, for a supervisor of paper: of what it is told first, and what is not sent at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from call_tasks import add
from mimic import Mimic, Peer, mimic, welcome
from understudy.actors.errors import InvalidOption, UnencodableValue, UnknownTask, ValueTooLarge
from understudy.actors.ids import id_bytes, id_text, is_task_id, new_id
from understudy.supervisor.client.deadline import NO_DEADLINE
from understudy.supervisor.client.reconnecting import ReconnectingClient
from understudy.supervisor.client.start_rows import MakeRow, StartRows, TaskLike
from understudy.supervisor.client.steps import finish
from understudy.supervisor.home import Home
from understudy.supervisor.settings import Settings
from understudy.supervisor.wire.messages import Answer, Ask


def greeting(**facts: Any) -> Callable[[Peer], None]:
    def greet(peer: Peer) -> None:
        peer.next()
        peer.tell(welcome(**facts))

    return greet


def starts(home: Path) -> tuple[ReconnectingClient, StartRows]:
    client = ReconnectingClient(Home(home), Settings(), None, owner=False)
    return client, StartRows(client)


def rows_of(it: StartRows, task: TaskLike) -> MakeRow:
    return finish(it.rows_of(task, NO_DEADLINE), NO_DEADLINE, it._client.late)


def test_a_row(home: Path):
    with mimic(home):
        client, it = starts(home)
        stream = new_id()
        make = rows_of(it, add.options(priority=3, key="once", delay=60, stream_id=id_text(stream)))
        id, name, args, options, key, due, in_stream, origin = make((1,), {"b": 2})
        assert is_task_id(id)
        assert (name, key, in_stream, origin) == ("call_tasks:add", "once", stream, None)
        assert args is not None
        assert options is not None
        assert due is not None
        plain = rows_of(it, "call_tasks:collect")((), {})
        assert plain == (plain[0], "call_tasks:collect", None, None, None, None, plain[0], None)
        assert id_bytes(id_text(plain[0])) == plain[0] != id
        client.close()


def test_what_cannot_be_sent_is_refused_before(home: Path):
    with mimic(home, greeting(settings={**Settings().pack(), "value_limit": 100})):
        client, it = starts(home)
        with pytest.raises(InvalidOption, match="start takes a task"):
            rows_of(it, 5)  # type: ignore[arg-type]
        with pytest.raises(UnencodableValue, match=r"kwargs\['b'\]"):
            rows_of(it, add)((1,), {"b": object()})
        with pytest.raises(ValueTooLarge):
            rows_of(it, add)((bytes(200),), {})
        client.close()


def answer_declare(it: Mimic, told: list[Any]) -> None:
    peer = it.peer()
    op, number, modules = peer.next()
    told.append((op, modules))
    peer.tell((Answer.OK, number, None))


def test_an_embedded_supervisor_is_told_of_a_module_once(home: Path):
    told: list[Any] = []
    with mimic(home, greeting(embedded=True)) as mimicked:
        client, it = starts(home)
        answering = threading.Thread(target=answer_declare, args=(mimicked, told))
        answering.start()
        rows_of(it, add)
        rows_of(it, add)
        answering.join(10)
        assert told == [(Ask.DECLARE, ("call_tasks",))]
        client.close()


def test_a_task_of_another_script_is_not_started(home: Path, monkeypatch: pytest.MonkeyPatch):
    ours = add.options()
    monkeypatch.setattr(ours, "name", "__main__:add")
    with mimic(home, greeting(script="/somewhere/else.py")):
        client, it = starts(home)
        with pytest.raises(UnknownTask, match=r"has loaded the script /somewhere/else\.py"):
            rows_of(it, ours)
        client.close()
