"""Mailboxes: no message is lost, order is kept, limits are exact, and no rows stay behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import letter_tasks
from letters import PATIENCE, assert_sound, kill_supervisor, rows, runtime
from understudy import InvalidOption, MailboxClosed, MailboxFull, State, TaskNotFound
from understudy.actors import values
from understudy.supervisor.tasks.mailboxes import AHEAD_BYTES, AHEAD_MESSAGES, KEY_KEEP
from understudy.supervisor.testing.crash_points import VARIABLE
from understudy.testing import InlineRuntime
from waiting import until

UNKNOWN = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


def test_what_is_sent_before_the_task_starts_is_not_lost(home: Path):
    with runtime(home, workers=1, slots=1) as rt:
        gate = rt.start(letter_tasks.hold_a_slot)
        until(lambda: gate.status().state is State.RUNNING, PATIENCE)
        queued = rt.start(letter_tasks.collect)
        delayed = rt.start(letter_tasks.collect.options(delay=3600))
        for info in (queued, delayed):
            for number in range(10):
                info.send(number)
        assert queued.status().mailbox_depth == delayed.status().mailbox_depth == 10
        kill_supervisor(rt)
        for info in (queued, delayed):
            rt.send_many((info.id, number) for number in range(10, 20))
            info.close()
        gate.cancel()
        assert queued.result(PATIENCE) == list(range(20))
        assert delayed.status().mailbox_depth == 20
        assert delayed.cancel()
        assert delayed.status().mailbox_depth == 20, "kept for a retry"
    assert_sound(home)


def test_a_message_with_a_key_is_one_however_often_it_is_sent(home: Path):
    with runtime(home, workers=1) as rt:
        info, other = rt.start(letter_tasks.collect), rt.start(letter_tasks.collect)
        threads = [threading.Thread(target=rt.send, args=(info, "a"), kwargs={"key": "1"}) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rt.send(info, "b", key="2")
        rt.send(other, "c", key="1")
        kill_supervisor(rt)
        rt.send(info, "not this one", key="1")
        rt.send(info, "without a key")
        info.close()
        other.close()
        assert info.result(PATIENCE) == ["a", "b", "without a key"]
        assert other.result(PATIENCE) == ["c"], "a key is the task's own"
        rt.send(info, "again, for the answer was lost", key="2")
        with pytest.raises(MailboxClosed):
            rt.send(info, "new", key="3")
        for wrong in ("", "k" * 1025, "\ud800"):
            with pytest.raises(InvalidOption, match="key must be text"):
                rt.send(other, "x", key=wrong)
    assert_sound(home)


def test_a_call_with_a_key_survives_the_death_of_the_supervisor(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, f"acknowledge.before:2@{tmp_path / 'died'}")
    with runtime(home, workers=1) as rt:
        info = rt.start(letter_tasks.collect)
        rt.send(info, "once", key="1")
        assert (tmp_path / "died").exists()
        info.close()
        assert info.result(PATIENCE) == ["once"]


def test_keys_are_forgotten_after_a_day(home: Path):
    with InlineRuntime() as rt:
        info = rt.start(letter_tasks.collect.options(timeout=None))
        for _ in range(2):
            rt.send(info, "today", key="1")
        rt.clock.advance(KEY_KEEP + 120)
        rt.send(info, "tomorrow", key="1")
        rt.close_mailbox(info)
        assert rt.result(info) == ["today", "tomorrow"]


def test_messages_of_one_sender_stay_in_order_among_many(home: Path):
    with runtime(home) as rt:
        info = rt.start(letter_tasks.collect)

        def send(sender: int) -> None:
            for number in range(100):
                if number % 3:
                    info.send([sender, number])
                else:
                    rt.send_many([(info.id, [sender, number])])

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        info.close()
        received = info.result(PATIENCE)
        for sender in range(8):
            assert [number for who, number in received if who == sender] == list(range(100))


def test_a_closed_mailbox_gives_what_is_in_it_and_takes_no_more(home: Path):
    with runtime(home) as rt:
        open_one = rt.start(letter_tasks.collect)
        open_one.send(1)
        open_one.close()
        open_one.close()
        assert open_one.result(PATIENCE) == [1]
        with pytest.raises(MailboxClosed, match="ended") as ended:
            open_one.send(2)
        assert ended.value.id == open_one.id
        open_one.close()  # an ended task's mailbox is already closed

        late = rt.start(letter_tasks.collect.options(delay=3600))
        late.send(1)
        late.close()
        assert late.status().closed
        with pytest.raises(MailboxClosed, match="closed") as closed:
            late.send(2)
        assert closed.value.id == late.id
        kill_supervisor(rt)
        with pytest.raises(MailboxClosed):
            late.send(2)
        late.cancel()

        empty = rt.start(letter_tasks.collect)
        empty.close()
        assert empty.result(PATIENCE) == []
        for call in (
            lambda: rt.send(UNKNOWN, 1),
            lambda: rt.close(UNKNOWN),
            lambda: rt.send_many([(late.id, 1), (UNKNOWN, 1)]),
        ):
            with pytest.raises((TaskNotFound, MailboxClosed)):
                call()
        with pytest.raises(TaskNotFound, match=UNKNOWN) as unknown:
            rt.send(UNKNOWN, 1)
        assert unknown.value.id == UNKNOWN
    assert_sound(home)


def test_the_limits_are_exact(home: Path):
    message = "x" * 1_000
    size = len(values.pack(message))
    with runtime(home, mailbox_messages=5, mailbox_bytes=3 * size + 10) as rt:
        few = rt.start(letter_tasks.collect.options(delay=3600))
        for number in range(5):
            few.send(number)
        with pytest.raises(MailboxFull, match="5 messages") as full:
            few.send(5)
        assert (full.value.id, full.value.messages) == (few.id, 5)
        assert few.status().mailbox_depth == 5

        big = rt.start(letter_tasks.collect.options(delay=3600))
        for _ in range(3):
            big.send(message)
        with pytest.raises(MailboxFull) as full:
            big.send("y" * 10)  # 11 bytes, and 10 are left
        assert (full.value.messages, full.value.bytes) == (3, 3 * size)
        big.send("y" * 9)
        with pytest.raises(MailboxFull):
            big.send(0)

        # A batch is stored as a whole or not at all, whichever mailbox in it is full.
        other = rt.start(letter_tasks.collect.options(delay=3600))
        with pytest.raises(MailboxFull):
            rt.send_many([(other.id, 1), (few.id, 1), (other.id, 2)])
        with pytest.raises(MailboxFull):
            rt.send_many([(other.id, number) for number in range(6)])
        assert other.status().mailbox_depth == 0
        rt.send_many([(other.id, number) for number in range(5)])
        kill_supervisor(rt)
        for info in (few, big, other):
            with pytest.raises(MailboxFull):
                info.send(0)
            info.cancel()

        # The task's acknowledgements make room again.
        reader = rt.start(letter_tasks.collect)
        for number in range(50):
            until(lambda number=number: _sent(reader.send, number), PATIENCE)
        reader.close()
        assert reader.result(PATIENCE) == list(range(50))
    assert_sound(home)


def _sent(send: object, number: int) -> bool:
    try:
        send(number)  # type: ignore[operator]
    except MailboxFull:
        return False
    return True


@pytest.mark.parametrize("kind", ["many", "large"])
def test_a_mailbox_far_beyond_what_is_given_ahead(home: Path, kind: str):
    count = 3 * AHEAD_MESSAGES + 7 if kind == "many" else 30
    body = "" if kind == "many" else "x" * (AHEAD_BYTES // 8)
    with runtime(home, mailbox_messages=count) as rt:
        sleepy = rt.start(letter_tasks.checksum)
        spilled = rt.start(letter_tasks.checksum.options(delay=3600))
        for info in (sleepy, spilled):
            rt.send_many((info.id, [number, body]) for number in range(count))
        assert spilled.status().mailbox_depth == count
        sleepy.close()
        assert sleepy.result(PATIENCE) == [count, sum(range(count)), count * len(body)]
        stateful = rt.start(letter_tasks.checksum, True)
        rt.send_many((stateful.id, [number, body]) for number in range(count))
        stateful.close()
        assert stateful.result(PATIENCE) == [count, sum(range(count)), count * len(body)]
        spilled.cancel()
    assert_sound(home)


def test_what_stays_in_the_mailboxes_of_ended_tasks(home: Path):
    with runtime(home, max_crashes=1_000_000) as rt:
        ends = [
            rt.start(
                letter_tasks.noop
            ),  # most of these end before their messages are read, or before they arrive
            rt.start(letter_tasks.fail_after_one),
            rt.start(letter_tasks.take, 10, "checkpoint"),
            rt.start(letter_tasks.collect.options(delay=3600)),
            rt.start(letter_tasks.add_up, 3, [2, 5]),
        ]
        for info in ends[1:]:
            rt.send_many((info.id, number) for number in range(10))
        ends[1].wait(PATIENCE)
        ends[4].close()
        ends[4].wait(PATIENCE)
        for info in ends[2:4]:
            info.cancel()
        states = [info.wait(PATIENCE).state for info in ends]
        assert states == [State.COMPLETED, State.FAILED, State.CANCELLED, State.CANCELLED, State.COMPLETED]
        # What a task has not acknowledged is kept for a retry, unless it has completed.
        kept = [info.status().mailbox_depth for info in ends]
        assert (kept[0], kept[3], kept[4]) == (0, 10, 0)
        assert kept[1] >= 9
    assert (rows(home)["mail"], rows(home)["live"]) == (sum(kept), 0)
    with runtime(home) as rt:
        assert rt.prune(all=True) == len(ends)
    assert rows(home)["mail"] == 0
