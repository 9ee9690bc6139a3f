"""What a map holds in memory: the wait for the ends of one part."""

from __future__ import annotations

from typing import Any

import pytest

from understudy import InvalidOption
from understudy.actors.clock import SYSTEM
from understudy.actors.ids import new_id
from understudy.supervisor.client import child_map
from understudy.supervisor.client.child_map import Held, PartWait, check_no_key, size_of
from understudy.supervisor.client.wait import Row

IDS = [new_id() for _ in range(4)]


class Client:
    clock = SYSTEM


def wait_for(ids: list[bytes], held: Held) -> PartWait:
    client: Any = Client()
    return PartWait(client, ids, held)


def completed(id: bytes, value: bytes = b"v") -> Row:
    return id, "completed", value, None


def test_values_are_held_while_there_is_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_map, "HELD_BYTES", 10)
    held = Held()
    wait = wait_for(IDS, held)
    wait.take([completed(IDS[0], b"x" * 6), completed(IDS[1], b"x" * 6), completed(IDS[2], b"x" * 4)])
    assert held.bytes == 10
    assert wait.rows[IDS[0]] == completed(IDS[0], b"x" * 6)
    assert wait.rows[IDS[1]] == (IDS[1], "", None, None), "to be read from disk"
    wait.take([completed(IDS[0], b"x" * 6)])  # told again by the next supervisor
    assert held.bytes == 10
    wait.take([(IDS[3], "completed", None, None)])
    assert wait.rows[IDS[3]][1] == "completed", "nothing needs no room"
    wait.drop()
    assert (held.bytes, wait.rows) == (0, {})


def test_one_end_is_waited_for():
    wait = wait_for(IDS, Held())
    news = wait.end_of(IDS[2])
    assert news is not None
    wait.take([completed(IDS[0])])
    assert not news.done()
    wait.take([completed(IDS[2])])
    assert news.done()
    assert wait.end_of(IDS[2]) is None
    news = wait.end_of(IDS[1])
    assert news is not None
    wait.fail(LookupError("gone"))
    assert news.done()
    with pytest.raises(LookupError):
        wait.end_of(IDS[1])


def test_the_size_of_an_end():
    assert size_of(completed(IDS[0], b"12345")) == 5
    assert size_of((IDS[0], "completed", None, None)) == 0
    assert size_of((IDS[0], "failed", None, ("ValueError", "no", "trace", {}))) == 7


def test_a_key_for_all_children_is_refused():
    import map_stage as app

    check_no_key("maps:triple")
    check_no_key(app.triple)
    with pytest.raises(InvalidOption, match="each is known by its place"):
        check_no_key(app.once.options(unique_key="k"))
