"""What sync and async actors have in common is tried with both; what only async ones do is in test_async_actor."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pykka
import pytest

from understudy.actors import values
from understudy.actors.attempt.actor import CLOSED, NOTHING, TAKEN_EVERY, actor_here, current_actor
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    Cancelled,
    Fail,
    Interrupted,
    InvalidOption,
    InvalidValue,
    NotInTask,
    RetryLater,
    StoreFull,
    TaskCancelled,
    TaskNotFound,
    UnencodableValue,
    ValueTooLarge,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.inside import context
from waiting import until


def here() -> Any:
    """The Play of the running task."""
    actor = actor_here("here")
    return actor.host.plays[actor]  # type: ignore[attr-defined]  # the stage's


# --- endings ---


@pytest.mark.parametrize("value", [None, 0, "", {"a": [1, 2]}])
def test_a_value(stage: Any, flavour: Any, value: Any) -> None:
    async def scenario(api: Any) -> Any:
        return value

    play = stage.perform(flavour(scenario))
    assert play.value() == value
    assert play.outcome().ending is Ending.VALUE
    assert play.actor.started > 0


def test_arguments(stage: Any) -> None:
    assert stage.perform(lambda a, b: [b, a], 1, {"x": (2, 3)}).value() == [{"x": [2, 3]}, 1]


@pytest.mark.parametrize(
    ("error", "ending", "name", "delay"),
    [
        (ValueError("no"), Ending.ERROR, "ValueError", None),
        (Fail("no"), Ending.FAIL, "Fail", None),
        (RetryLater(2.5, "no"), Ending.RETRY_LATER, "RetryLater", 2.5),
        (RetryLater(reason="no"), Ending.RETRY_LATER, "RetryLater", None),
        (SystemExit("no"), Ending.ERROR, "SystemExit", None),
        (KeyboardInterrupt("no"), Ending.ERROR, "KeyboardInterrupt", None),
        (GeneratorExit("no"), Ending.ERROR, "GeneratorExit", None),
        (Interrupted("no"), Ending.ERROR, "Interrupted", None),  # nobody has interrupted it
        (asyncio.CancelledError("no"), Ending.ERROR, "CancelledError", None),
        (ExceptionGroup("no", [KeyError("x")]), Ending.ERROR, "ExceptionGroup", None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors(
    stage: Any, flavour: Any, error: BaseException, ending: Ending, name: str, delay: Any
) -> None:
    async def scenario(api: Any) -> None:
        raise error

    outcome = stage.perform(flavour(scenario)).outcome()
    assert (outcome.ending, outcome.value, outcome.delay) == (ending, None, delay)
    kind, message, traceback, [lineage] = outcome.error
    assert kind == name
    assert message.startswith("no")
    assert "in scenario" in traceback
    assert f":{name}" in "".join(lineage)
    assert "builtins:BaseException" in lineage


def test_a_delay_that_is_none_is_the_tasks_own_error(stage: Any) -> None:
    def body() -> None:
        raise RetryLater(-1)

    assert stage.perform(body).outcome().error[0] == InvalidOption.__name__


def test_a_result_that_cannot_be_stored(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        return {"a": [object()]}

    outcome = stage.perform(flavour(scenario)).outcome()
    assert outcome.ending is Ending.FAIL, "another try would end in the same way"
    assert outcome.error[0] == UnencodableValue.__name__
    assert outcome.error[1].startswith("result['a'][0] is of type object")
    assert outcome.error[4] == {"path": "result['a'][0]"}


def test_a_result_above_the_limit(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        here().actor.value_limit = 100
        return "x" * 200

    outcome = stage.perform(flavour(scenario)).outcome()
    assert outcome.ending is Ending.FAIL
    assert outcome.error[0] == ValueTooLarge.__name__
    assert outcome.error[4] == {"size": 202, "limit": 100}


@pytest.mark.parametrize("what", ["checkpoint", "message"])
def test_a_state_or_message_that_cannot_be_stored(stage: Any, flavour: Any, what: str) -> None:
    async def scenario(api: Any) -> Any:
        if what == "checkpoint":
            await api.checkpoint([1, object()])
        else:
            await api.checkpoint(1, send=[(id_text(new_id()), {"x": object()})])

    outcome = stage.perform(flavour(scenario)).outcome()
    assert outcome.ending is Ending.FAIL
    assert outcome.error[4] == {"path": "checkpoint[1]" if what == "checkpoint" else "send[0]['x']"}


def test_arguments_that_cannot_be_read(stage: Any) -> None:
    play = stage.perform(lambda: 1, now=False)
    play.actor.assignment = play.actor.assignment._replace(args=b"\xc1")
    stage.begin(play)
    assert play.outcome().error[0] == InvalidValue.__name__


def test_the_traceback_starts_in_the_users_code(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.receive(timeout=0)

    text = stage.perform(flavour(scenario)).outcome().error[2]
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("TimeoutError: no message within 0 s\n")
    assert "in scenario" in text
    assert "/actors/actor.py" not in text
    assert "/actors/async_actor.py" not in text


def test_letters_that_come_too_late_are_dropped(stage: Any) -> None:
    play = stage.perform(lambda: 1)
    play.outcome()
    play.until(play.actor.actor_stopped.is_set)
    play.tell("late")
    assert not play.actor.inbox.messages


def test_it_is_a_pykka_actor_outside_of_its_registry(stage: Any) -> None:
    play = stage.perform(context.receive)
    play.until_waiting()
    actor = play.actor
    assert isinstance(actor, pykka.Actor)
    assert actor.actor_ref.is_alive()
    assert actor.actor_urn == f"urn:uuid:{id_text(actor.id)}"
    assert actor.actor_ref is actor.actor_ref
    assert str(actor) == f"TaskActor ({actor.actor_urn})"
    assert pykka.ActorRegistry.get_all() == []
    play.tell(1)
    assert play.value() == 1
    play.until(lambda: not actor.actor_ref.is_alive())


# --- receiving ---


def test_messages_come_in_order_and_none_when_closed(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        got = []
        while (message := await api.receive()) is not None:
            got.append(message)
        return [*got, await api.receive()]

    play = stage.perform(flavour(scenario), now=False)
    play.tell(1, 2)  # sent before it started
    stage.begin(play)
    play.until_waiting()
    play.tell({"x": 3})
    play.until(lambda: len(play.told) == 3)
    play.until_waiting()
    play.tell(4, 5)
    play.actor.inbox.close()
    assert play.value() == [1, 2, {"x": 3}, 4, 5, None]


def test_a_message_and_the_close_behind_it_that_come_between_two_looks(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        inbox = here().actor.inbox

        class Letters(deque[tuple[int, bytes]]):
            def __len__(self) -> int:
                found = super().__len__()
                if not inbox.closed:
                    self.append((1, values.pack("last", "message")))
                    inbox.closed = True
                return found

        inbox.messages = Letters()
        return [await api.receive(), await api.receive()]

    assert stage.perform(flavour(scenario)).value() == ["last", None]


def test_receive_times_out(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        got: list[Any] = []
        for timeout in (0, -1, 0.1):
            try:
                await api.receive(timeout)
            except TimeoutError as error:
                got.append(str(error))
        here().mark(here().parked)
        got.append(await api.receive(timeout=60))
        here().until(lambda: here().actor.inbox.messages, "the second message")
        got.append(await api.receive(timeout=0))
        return got

    play = stage.perform(flavour(scenario))
    play.until_marked(1)  # only the one that could wait was parked
    play.tell("a", "b")
    assert play.value() == [*(f"no message within {t} s" for t in (0, -1, 0.1)), "a", "b"]


def test_an_endless_timeout_is_one(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        return await api.receive(timeout=float("inf"))

    play = stage.perform(flavour(scenario))
    play.until_waiting()
    play.tell(7)
    assert play.value() == 7


def test_a_message_that_cannot_be_read_is_the_tasks_error(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        await api.receive()

    play = stage.perform(flavour(scenario))
    play.actor.tell(1, [b"\xc1"])
    assert play.outcome().error[0] == InvalidValue.__name__
    assert play.actor.acked == 0


# --- acknowledging ---


async def takes_three(api: Any) -> None:
    for _ in range(3):
        here().mark(await api.receive())


async def restores_then_takes_three(api: Any) -> None:
    await api.restore()
    await takes_three(api)


async def takes_three_and_fails(api: Any) -> None:
    await takes_three(api)
    raise ValueError


async def takes_two_checkpoints_takes_one(api: Any) -> None:
    await api.receive()
    await api.receive()
    await api.checkpoint("two")
    await api.receive()


async def takes_one_restores_takes_two(api: Any) -> None:
    await api.receive()
    await api.restore()
    await api.receive()
    await api.receive()


async def takes_two_restores_fails(api: Any) -> None:
    await api.receive()
    await api.receive()
    await api.restore()
    raise ValueError


@pytest.mark.parametrize(
    ("scenario", "ack", "told", "acked"),
    [
        # Each receive acknowledges the message before, success the last one, failure none.
        (takes_three, None, [1, 2], 3),
        (takes_three, "receive", [1, 2], 3),
        (takes_three_and_fails, None, [1, 2], 2),
        # ack="checkpoint": checkpoints alone.
        (takes_three, "checkpoint", [], 0),
        (takes_three_and_fails, "checkpoint", [], 0),
        # restore() and checkpoint() switch over …
        (restores_then_takes_three, None, [], 0),
        (takes_one_restores_takes_two, None, [], 0),
        (takes_two_restores_fails, None, [1], 1),
        (takes_two_checkpoints_takes_one, None, [1], 2),
        (takes_two_checkpoints_takes_one, "checkpoint", [], 2),
        # … unless the task was declared otherwise.
        (restores_then_takes_three, "receive", [1, 2], 3),
        (takes_one_restores_takes_two, "receive", [1, 2], 3),
        (takes_two_checkpoints_takes_one, "receive", [1], 3),
    ],
)
def test_what_is_acknowledged(
    stage: Any, flavour: Any, scenario: Any, ack: Any, told: list[int], acked: int
) -> None:
    play = stage.perform(flavour(scenario), ack=ack, now=False)
    play.tell(1, 2, 3)
    stage.begin(play)
    play.outcome()
    assert [acked for _, acked in play.told] == told
    assert play.actor.acked == acked


@pytest.mark.parametrize(("ack", "acked"), [(None, 0), ("checkpoint", 0), ("receive", 3)])
def test_an_earlier_attempts_checkpoint_decides_from_the_first_receive(
    stage: Any, flavour: Any, ack: Any, acked: int
) -> None:
    play = stage.perform(flavour(takes_three), ack=ack, has_checkpoint=True, now=False)
    play.tell(1, 2, 3)
    stage.begin(play)
    play.outcome()
    assert play.actor.acked == acked


def test_a_checkpoint_acknowledges_all_that_was_received_and_sends(stage: Any, flavour: Any) -> None:
    other = new_id()

    async def scenario(api: Any) -> Any:
        first = await api.checkpoint({"n": 0})
        await api.receive()
        await api.receive()
        await api.checkpoint({"n": 2}, send=[(id_text(other), {"x": 1}), (id_text(other), 2)])
        return [first, await api.restore()]

    play = stage.perform(flavour(scenario), now=False)
    play.tell("a", "b", "c")
    stage.begin(play)
    assert play.value() == [True, {"n": 2}]
    assert play.checkpoints == [({"n": 0}, 0, []), ({"n": 2}, 2, [(other, {"x": 1}), (other, 2)])]
    assert play.actor.acked == 2
    assert play.actor.stateful


def test_restore(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        return await api.restore()

    assert stage.perform(flavour(scenario)).value() is None
    id = new_id()
    stage.stored[id] = values.pack({"offset": 7})
    assert stage.perform(flavour(scenario), id=id, has_checkpoint=True).value() == {"offset": 7}


@pytest.mark.parametrize(
    ("value", "send", "error"),
    [
        (object(), (), "checkpoint is of type object"),
        (1, [(id_text(new_id()), object())], r"send[0] is of type object"),
        (1, [("nobody", 1)], "'nobody' is not a task id"),
    ],
)
def test_a_checkpoint_that_is_refused_changes_nothing(
    stage: Any, flavour: Any, value: Any, send: Any, error: str
) -> None:
    async def scenario(api: Any) -> Any:
        await api.receive()
        try:
            await api.checkpoint(value, send=send)
        except (InvalidValue, TaskNotFound) as refused:
            return str(refused)

    play = stage.perform(flavour(scenario))
    play.tell("a")
    assert play.value().startswith(error)
    assert play.checkpoints == []
    assert not play.actor.stateful


def test_a_checkpoint_that_the_disk_refuses(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        await api.receive()
        await api.checkpoint(1)

    stage.refuse = StoreFull("no room")
    play = stage.perform(flavour(scenario))
    play.tell("a")
    assert play.outcome().error[:2] == ("StoreFull", "no room")
    assert play.actor.acked == 0


def test_the_host_is_told_of_many_letters_though_none_is_acknowledged(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        for _ in range(3 * TAKEN_EVERY):
            await api.receive()

    play = stage.perform(flavour(scenario), ack="checkpoint", now=False)
    play.tell(*range(3 * TAKEN_EVERY))
    stage.begin(play)
    play.outcome()
    assert play.told == [(TAKEN_EVERY * n, 0) for n in (1, 2, 3)]


# --- cancel and timeout ---


def again(call: Callable[[], Any]) -> str:
    """The name of the error of a call that must not go on."""
    try:
        return f"gave {call()!r}"
    except BaseException as error:  # noqa: BLE001 - Cancelled is no Exception
        return type(error).__name__


#: Ways to learn of a cancel, each with what it gives.
LEARN: dict[str, tuple[Callable[[], Any], Any]] = {
    "message": (context.receive, {"$cancel": True}),
    "sleep": (lambda: context.sleep(60), False),
    "cancelled": (context.cancelled, True),
    "wait": (lambda: again(lambda: actor_here("a test").wait_future(Future(), None)), "TaskCancelled"),
}
#: Calls that must not go on after that.
CALLS: dict[str, Callable[[], Any]] = {
    "receive": context.receive,
    "sleep": lambda: context.sleep(60),
    "checkpoint": lambda: context.checkpoint("kept"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("way", LEARN)
def test_code_that_goes_on_after_it_has_learned_of_a_cancel(stage: Any, way: str, call: str) -> None:
    learn, told = LEARN[way]

    def body() -> Any:
        here().actor.stop_for("cancel")
        return [learn(), again(CALLS[call]), again(CALLS[call])]

    play = stage.perform(body, now=False)
    play.tell("a message that has to wait")
    stage.begin(play)
    assert play.value() == [told, "Cancelled", "Cancelled"]
    assert [value for value, _, _ in play.checkpoints] == (["kept"] * 2 if call == "checkpoint" else [])


@pytest.mark.parametrize("reason", ["cancel", "timeout"])
def test_a_loop_that_does_not_look_ends_by_itself(stage: Any, reason: str) -> None:
    rounds: list[bool] = []

    def body() -> None:
        while True:
            try:
                rounds.append(context.sleep(60))
            except Exception:  # noqa: BLE001 - as a loop that must not stop for an error has it
                rounds.append(True)

    play = stage.perform(body)
    play.until_waiting()
    play.actor.stop_for(reason)
    outcome = play.outcome()
    assert outcome.ending is Ending.ERROR
    assert outcome.error[:2] == ("Cancelled", f"this task was asked to stop ({reason})")
    assert rounds == [False]


def test_the_id_of_the_running_task_tells_nothing_of_a_cancel(stage: Any) -> None:
    def body() -> Any:
        here().actor.stop_for("cancel")
        return [context.current().cancel_reason, context.receive()]

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == ["cancel", {"$cancel": True}]


def test_shielded_calls_take_no_notice_of_a_cancel(stage: Any) -> None:
    def body() -> Any:
        before = [
            context.receive(shield=True),
            context.sleep(0.01, shield=True),
            context.checkpoint(1, shield=True),
        ]
        context.cancelled()
        begun = time.monotonic()
        after = [context.sleep(0.05, shield=True), time.monotonic() - begun >= 0.049]
        return [*before, *after, context.checkpoint(2, shield=True), context.receive(shield=True)]

    play = stage.perform(body, now=False)
    play.actor.stop_for("cancel")
    play.tell("a", "b")
    stage.begin(play)
    assert play.value() == ["a", True, True, True, True, True, "b"]
    assert [value for value, _, _ in play.checkpoints] == [1, 2]


@pytest.mark.parametrize("call", ["receive", "sleep", "checkpoint"])
def test_a_shield_is_none_against_an_interruption(stage: Any, call: str) -> None:
    def body() -> None:
        here().actor.interrupt()
        {
            "receive": lambda: context.receive(shield=True),
            "sleep": lambda: context.sleep(60, shield=True),
            "checkpoint": lambda: context.checkpoint(1, shield=True),
        }[call]()

    assert stage.perform(body).outcome().ending is Ending.INTERRUPTED


def test_a_cancelled_that_nobody_asked_for_is_an_error_like_any_other(stage: Any) -> None:
    def body() -> None:
        raise Cancelled("no")

    outcome = stage.perform(body).outcome()
    assert (outcome.ending, outcome.error[:2]) == (Ending.ERROR, ("Cancelled", "no"))


def test_a_cancel_while_code_runs(stage: Any) -> None:
    def body() -> Any:
        here().mark("runs")
        until(lambda: here().actor.signal is not None)
        return [context.receive(), context.receive(shield=True), context.current().cancel_reason]

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell("a")
    play.until_marked("runs")
    play.actor.stop_for("cancel")
    assert play.value() == [{"$cancel": True}, "a", "cancel"]


@pytest.mark.parametrize(
    ("reason", "message"),
    [("cancel", {"$cancel": True}), ("timeout", {"$cancel": True, "reason": "timeout"})],
)
def test_a_signal_while_it_waits(stage: Any, reason: str, message: Any) -> None:
    play = stage.perform(
        lambda: [context.receive(), context.cancelled(), context.receive(timeout=60, shield=True)]
    )
    play.until_waiting()
    play.actor.stop_for(reason)
    play.until(lambda: play.resumed == 1)
    play.until_waiting()  # the signal comes once
    play.tell("a")
    assert play.value() == [message, True, "a"]
    assert play.actor.acked == 1


def test_a_signal_while_it_sleeps(stage: Any) -> None:
    play = stage.perform(lambda: [context.sleep(60), again(lambda: context.sleep(60))])
    play.until_waiting()
    play.actor.stop_for("cancel")
    assert play.value() == [False, "Cancelled"]
    assert play.parked == 1


def test_a_sleep_that_nothing_cuts_short(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        begun = time.monotonic()
        return [
            await api.sleep(0.05),
            time.monotonic() - begun >= 0.049,
            await api.sleep(0),
            await api.sleep(-1),
        ]

    play = stage.perform(flavour(scenario))
    play.tell("a message does not wake it")
    assert play.value() == [True, True, True, True]


def test_the_signal_comes_before_all_letters(stage: Any) -> None:
    play = stage.perform(
        lambda: [context.receive(), *(context.receive(shield=True) for _ in range(2))], now=False
    )
    play.tell("a", "b")
    play.actor.stop_for("cancel")
    stage.begin(play)
    assert play.value() == [{"$cancel": True}, "a", "b"]


@pytest.mark.parametrize(
    ("reasons", "message", "reason"),
    [
        (["cancel", "cancel"], {"$cancel": True}, "cancel"),
        (["timeout", "cancel"], {"$cancel": True}, "cancel"),
        (["cancel", "timeout"], {"$cancel": True}, "cancel"),
        (["timeout", "timeout"], {"$cancel": True, "reason": "timeout"}, "timeout"),
    ],
)
def test_two_signals_are_one(stage: Any, reasons: list[str], message: Any, reason: str) -> None:
    play = stage.perform(
        lambda: [context.receive(), context.receive(shield=True), context.current().cancel_reason],
        now=False,
    )
    play.tell("a")
    for each in reasons:
        play.actor.stop_for(each)
    stage.begin(play)
    assert play.value() == [message, "a", reason]


def test_a_signal_in_a_closed_mailbox(stage: Any) -> None:
    play = stage.perform(lambda: [context.receive(), context.receive(shield=True)], now=False)
    play.actor.inbox.close()
    play.actor.stop_for("cancel")
    stage.begin(play)
    assert play.value() == [{"$cancel": True}, None]


# --- interruption ---


@pytest.mark.parametrize("call", ["receive", "sleep", "checkpoint"])
def test_an_interruption_comes_at_the_next_call(stage: Any, flavour: Any, call: str) -> None:
    arguments = {"receive": [], "sleep": [60], "checkpoint": [{"n": 1}]}[call]

    async def scenario(api: Any) -> Any:
        here().actor.interrupt()
        await getattr(api, call)(*arguments)

    play = stage.perform(flavour(scenario))
    play.tell("a")
    outcome = play.outcome()
    assert (outcome.ending, outcome.value, outcome.error) == (Ending.INTERRUPTED, None, None)
    assert play.actor.acked == 0
    assert [value for value, _, _ in play.checkpoints] == ([{"n": 1}] if call == "checkpoint" else [])


@pytest.mark.parametrize(("call", "argument"), [("receive", None), ("receive", 60), ("sleep", 60)])
def test_an_interruption_ends_a_wait(stage: Any, flavour: Any, call: str, argument: Any) -> None:
    async def scenario(api: Any) -> Any:
        try:
            await getattr(api, call)(argument)
        except Exception:  # noqa: BLE001 - what must not catch it
            return "swallowed"
        finally:
            here().mark("cleaned up")

    play = stage.perform(flavour(scenario))
    play.until_waiting()
    play.actor.interrupt()
    assert play.outcome().ending is Ending.INTERRUPTED
    assert play.marks == ["cleaned up"]


def test_the_last_message_is_not_acknowledged_by_an_interruption(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        await api.receive()
        await api.receive()
        await api.sleep(60)

    play = stage.perform(flavour(scenario))
    play.tell("a", "b")
    play.until(lambda: play.actor.taken == 2)
    play.until_waiting()
    play.actor.interrupt()
    assert play.outcome().ending is Ending.INTERRUPTED
    assert play.actor.acked == 1


def test_an_interruption_that_is_swallowed_lets_it_end_by_itself(stage: Any) -> None:
    def body() -> Any:
        try:
            context.receive()
        except BaseException as error:  # noqa: BLE001 - the point of the test
            return type(error).__name__

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.actor.interrupt()
    assert play.value() == "Interrupted"


# --- waiting for the host's other answers ---


def test_wait_future(stage: Any) -> None:
    futures: list[Future[Any]] = [Future() for _ in range(3)]
    futures[0].set_result(1)

    def body() -> Any:
        actor = actor_here("test")
        done = [actor.wait_future(futures[0], None), actor.wait_future(futures[1], 0.01)]
        here().mark("waits")
        return [*done, actor.wait_future(futures[1], 60), actor.wait_future(futures[2], None)]

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_marked("waits")
    play.until_waiting()
    play.tell("a letter does not end it")
    futures[1].set_result(2)
    play.until(lambda: play.resumed == 2)
    play.until_waiting()
    play.actor.interrupt()
    assert play.outcome().ending is Ending.INTERRUPTED


def test_a_signal_ends_the_wait_for_a_future_once(stage: Any) -> None:
    future: Future[Any] = Future()

    def body() -> Any:
        actor = actor_here("test")
        with pytest.raises(TaskCancelled, match="asked to stop"):
            actor.wait_future(future, 60)
        here().mark("once more")
        return actor.wait_future(future, None)

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.actor.stop_for("cancel")
    play.until_marked("once more")
    play.until_waiting()
    future.set_result(1)
    assert play.value() is True


def test_a_signal_from_before_the_wait_for_a_future_ends_it_too(stage: Any) -> None:
    play = stage.perform(lambda: actor_here("test").wait_future(Future(), None), now=False)
    play.actor.stop_for("cancel")
    stage.begin(play)
    assert play.outcome().error[0] == "TaskCancelled"


# --- prints ---


def test_partial_lines_are_logged_at_the_end(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        actor = actor_here("test")
        actor.write("stdout", "one\ntw")
        actor.write("stderr", "oh")
        actor.write("stdout", "o\n\nthree")

    play = stage.perform(flavour(scenario))
    play.outcome()
    assert play.logged == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stdout", ""),
        ("stdout", "three"),
        ("stderr", "oh"),
    ]


# --- who is on stage ---


def test_the_stage_is_left_empty(stage: Any) -> None:
    def body() -> Any:
        return current_actor.get() is here().actor

    play = stage.perform(body, now=False)
    play.actor._start_actor_loop()  # on this thread
    assert play.value() is True
    assert current_actor.get(None) is None
    with pytest.raises(NotInTask, match="here works only inside a running task"):
        actor_here("here")


def test_many_actors_at_once_keep_their_mail_apart(stage: Any, flavour: Any) -> None:
    async def scenario(api: Any) -> Any:
        return [await api.receive() for _ in range(20)]

    plays = [stage.perform(flavour(scenario)) for _ in range(20)]

    def tell(n: int) -> None:
        for i in range(20):
            plays[n].tell([n, i])

    threads = [threading.Thread(target=tell, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, play in enumerate(plays):
        assert play.value() == [[n, i] for i in range(20)]


def test_taking_without_waiting(stage: Any) -> None:
    taken: list[Any] = []

    def body() -> None:
        actor = actor_here("a test")
        while (message := actor.take()) is not CLOSED:
            if message is not NOTHING:
                taken.append(message)
                if actor.signal is None:
                    actor.stop_for("cancel")  # of which no message tells

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell("one", "two")
    play.actor.inbox.close()
    assert play.outcome().ending is Ending.VALUE
    assert taken == ["one", "two"]
