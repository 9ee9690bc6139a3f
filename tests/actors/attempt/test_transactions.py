"""What the messages of a turn have done, and how it is committed."""

from __future__ import annotations

import threading

import pytest

from turns_actors import Account, AsyncAccount, answer
from turns_stage import Stage, call, get, tell
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import KEPT, Kind, Letter, Op, asked_id


@pytest.fixture(params=[Account, AsyncAccount], ids=["sync", "async"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_what_changes_nothing_says_so(stage: Stage) -> None:
    stage.give()
    asked = call("peek")
    assert stage.ask(asked) == 0
    assert stage.last.state is None
    assert [changed for *_, changed in stage.last.replies] == [False]
    assert stage.ask(get("balance")) == 0
    assert [changed for *_, changed in stage.last.replies] == [False]
    assert stage.ask(call("deposit", 0)) == 0
    assert stage.last.state is None


def test_a_reply_under_a_key_is_kept(stage: Stage) -> None:
    stage.give()
    stage.give(Letter(Kind.ASK, KEPT, new_id(), None, Op.CALL, "peek"))
    assert [changed for *_, changed in stage.last.replies] == [True]


def test_more_than_a_commit_holds(account: Stage) -> None:
    account.begin(call("stores", x="y" * 600, z="y" * 600))
    assert account.turn is not None
    account.turn.value_limit = 1000
    account.turn._start_actor_loop()
    assert account.last.rows == {}
    assert len(account.last.replies) == 1


def test_what_came_before_is_committed_before_a_wait(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 1)
    turn = asker.in_thread(call("adds", 1), asked, call("adds", 2))
    asker.waits()
    assert (asker.last.acked, asker.last.now, asker.last.state) == (1, True, {"got": [1]})
    assert asker.last.rows == {"x": 1}
    answer(asked, 0, "yes")
    turn.join()
    assert (asker.last.acked, asker.last.state) == (3, {"got": [1, "yes", 2]})
    assert asker.last.rows == {"x": 2}, "what was sent before is not sent again"
    assert asker.last.seen == [asked_id(asked.id, b"", 0)]
    assert asker.parked_count == asker.resumed_count == 1


def test_the_error_of_a_message_that_has_asked_is_kept(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 1, "no")
    turn = asker.in_thread(asked)
    answer(asked, 0, "one")
    turn.join()
    assert [changed for *_, changed in asker.last.replies] == [True]
    assert asker.last.seen == [asked_id(asked.id, b"", 0)]
    assert asker.last.state is None


def test_what_helper_threads_report_is_whole(account: Stage) -> None:
    """A report of another thread comes between two messages or not at all."""

    class Busy(Actor, durable=True):
        def __init__(self) -> None:
            self.count = 0

        def adds(self) -> None:
            self.count += 1
            self.storage[str(self.count)] = self.count

    stage = Stage(Busy)
    stage.give()
    over = threading.Event()
    stage.begin(*(tell("adds") for _ in range(500)))
    turn = stage.turn
    assert turn is not None

    def report() -> None:
        while not over.is_set():
            turn.commit_earlier()

    thread = threading.Thread(target=report)
    thread.start()
    while not stage.outcomes[1:] or stage._acked < 500:
        turn._start_actor_loop()
        if stage._acked < 500:
            stage.begin(*(tell("adds") for _ in range(500 - stage._acked)))
            assert stage.turn is not None
            turn = stage.turn
    over.set()
    thread.join()
    written = 0
    for commit in stage.commits[1:]:
        written += len(commit.rows)
        assert commit.acked == written
        assert commit.state is None or commit.state["count"] == written
