"""Waiting across reconnections, with connections of paper."""

from __future__ import annotations

import gc
import weakref
from typing import Any, cast

import pytest

from understudy.actors.errors import SupervisorLost, TaskNotFound
from understudy.supervisor.client.connection import Connection, Reply
from understudy.supervisor.client.wait import EndsWait
from understudy.supervisor.settings import BATCH_LIMIT
from understudy.supervisor.wire.messages import Ask


class Paper:
    def __init__(self) -> None:
        self.asked: list[tuple[list[bytes], Any, Reply]] = []
        self.forgotten: list[Reply] = []

    def request(self, op: Ask, ids: list[bytes], *, on_rows: Any) -> Reply:
        assert op is Ask.WAIT
        reply = Reply()
        self.asked.append((ids, on_rows, reply))
        return reply

    def forget(self, reply: Reply) -> None:
        self.forgotten.append(reply)

    def as_connection(self) -> Connection:
        return cast("Connection", self)


def row(id: bytes) -> tuple[bytes, str, bytes | None, Any]:
    return (id, "completed", b"value " + id, None)


def test_all_have_ended():
    wait, paper = EndsWait([b"a", b"b", b"a"]), Paper()
    wait.ask(paper.as_connection())
    ((ids, on_rows, reply),) = paper.asked
    assert sorted(ids) == [b"a", b"b"]
    on_rows([row(b"b")])
    assert not wait.future.done()
    assert wait.left == {b"a"}
    on_rows([row(b"a"), row(b"b")])
    assert wait.future.result(0) is None
    assert wait.rows == {b"a": row(b"a"), b"b": row(b"b")}
    reply.set_result(None)
    wait.forget()
    assert paper.forgotten == []


def test_what_has_come_is_let_go_of_without_the_garbage_collector():
    wait, paper = EndsWait([b"a"]), Paper()
    wait.ask(paper.as_connection())
    ((_, on_rows, reply),) = paper.asked
    on_rows([row(b"a")])
    reply.set_result(None)
    wait.forget()
    gone = weakref.ref(wait)
    gc.disable()
    try:
        del wait, on_rows, reply
        paper.asked.clear()
        assert gone() is None
    finally:
        gc.enable()


def test_nothing_to_wait_for():
    wait = EndsWait([])
    assert wait.future.done()
    wait.ask(Paper().as_connection())


def test_the_next_connection_is_asked_for_what_is_left():
    wait, first, second = EndsWait([b"a", b"b"]), Paper(), Paper()
    wait.ask(first.as_connection())
    first.asked[0][1]([row(b"a")])
    first.asked[0][2].set_exception(SupervisorLost("gone"))
    assert not wait.future.done()
    wait.ask(second.as_connection())
    assert second.asked[0][0] == [b"b"]
    second.asked[0][1]([row(b"b")])
    assert wait.future.done()
    wait.ask(second.as_connection())
    assert len(second.asked) == 1


def test_an_error_ends_it_once():
    wait, paper = EndsWait([b"a"]), Paper()
    wait.ask(paper.as_connection())
    paper.asked[0][2].set_exception(TaskNotFound("no", "a"))
    with pytest.raises(TaskNotFound):
        wait.future.result(0)
    wait.fail(SupervisorLost("too late"))
    paper.asked[0][1]([row(b"a")])
    with pytest.raises(TaskNotFound):
        wait.future.result(0)


def test_many_are_asked_for_in_parts():
    ids = [n.to_bytes(16, "big") for n in range(2 * BATCH_LIMIT + 1)]
    wait, paper = EndsWait(ids), Paper()
    wait.ask(paper.as_connection())
    assert [len(part) for part, _, _ in paper.asked] == [BATCH_LIMIT, BATCH_LIMIT, 1]
    assert {id for part, _, _ in paper.asked for id in part} == set(ids)
    for part, on_rows, reply in paper.asked:
        on_rows(list(map(row, part)))
        reply.set_result(None)
    assert wait.future.done()


def test_what_is_given_up_is_forgotten():
    wait, first, second = EndsWait([b"a"]), Paper(), Paper()
    wait.ask(first.as_connection())
    first.asked[0][2].set_exception(SupervisorLost("gone"))
    wait.ask(second.as_connection())
    wait.forget()
    wait.forget()
    assert first.forgotten == [], "that connection is gone"
    assert second.forgotten == [second.asked[0][2]]


def test_news_is_told_to_who_asked_for_it():
    wait = EndsWait([b"a", b"b"])
    first = wait.next_news()
    assert wait.next_news() is first
    wait.take([row(b"a")])
    assert first.done()
    second = wait.next_news()
    assert not second.done()
    wait.fail(SupervisorLost("gone"))
    assert second.done()


def test_one_that_was_forgotten_meanwhile_is_forgotten_there_too():
    wait, paper = EndsWait([b"a"]), Paper()
    wait.forget()
    wait.ask(paper.as_connection())
    assert paper.forgotten == [paper.asked[0][2]]
