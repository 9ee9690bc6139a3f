from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.actors.attempt.actor import actor_here
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import NotInTask, StoreFull
from understudy.actors.ids import new_id
from understudy.actors.inside import aio, context


def here() -> Any:
    """The Play of the running task."""
    actor = actor_here("here")
    return actor.host.plays[actor]  # type: ignore[attr-defined]  # the stage's


def cancelled(play: Any) -> bool:
    outcome = play.outcome()
    return outcome.ending is Ending.ERROR and outcome.error[0] == "CancelledError"


# --- CancelledError ---


@pytest.mark.parametrize("reason", ["cancel", "timeout"])
@pytest.mark.parametrize("wait", ["receive", "sleep", "event"])
def test_the_signal_is_thrown_at_a_wait(stage: Any, reason: str, wait: str) -> None:
    async def body() -> None:
        here().mark("waits")
        try:
            await {"receive": aio.receive, "sleep": lambda: aio.sleep(60), "event": asyncio.Event().wait}[
                wait
            ]()
        finally:
            here().mark(context.current().cancel_reason)

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_marked("waits")
    if wait != "event":
        play.until_waiting()
    play.actor.stop_for(reason)
    assert cancelled(play)
    assert play.marks == ["waits", reason]


def test_the_message_still_comes_first_once_it_was_swallowed(stage: Any) -> None:
    async def body() -> Any:
        try:
            await aio.receive()
        except asyncio.CancelledError:
            pass
        return [aio.cancelled(), await aio.sleep(60), await aio.receive(), await aio.receive()]

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.actor.stop_for("cancel")
    play.tell("a")
    assert play.value() == [True, False, {"$cancel": True}, "a"]


def test_a_loop_that_swallows_it_is_told_again_and_lets_others_run(stage: Any) -> None:
    beside: list[str] = []

    async def body() -> Any:
        said: list[Any] = []
        while len(said) < 4:
            try:
                said.append(await aio.sleep(60))
            except asyncio.CancelledError:
                stage.loop.call_soon(beside.append, "ran")
                said.append([*beside])
        return said

    play = stage.perform(body)
    play.until_waiting()
    play.actor.stop_for("cancel")
    assert play.value() == [[], False, ["ran"], ["ran", "ran"]]


def test_a_shield_lets_it_sleep_and_receive_in_its_last_seconds(stage: Any) -> None:
    async def body() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            begun = stage.loop.time()
            slept = await aio.sleep(0.05, shield=True)
            return [
                slept,
                stage.loop.time() - begun >= 0.049,
                await aio.receive(shield=True),
                await aio.receive(),
            ]

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until(lambda: play.actor._begun)
    play.tell("a")
    play.actor.stop_for("cancel")
    assert play.value() == [True, True, "a", {"$cancel": True}]


def test_it_is_thrown_once_though_a_cancel_follows_a_timeout(stage: Any) -> None:
    async def body() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            here().mark("cleans up")
            await aio.receive(timeout=60)  # the signal
            await aio.receive(timeout=60)  # would be broken into by a second one
        return aio.current().cancel_reason

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until(lambda: play.actor._begun)
    play.actor.stop_for("timeout")
    play.until_marked("cleans up")
    play.actor.stop_for("cancel")
    play.tell("a")
    assert play.value() == "cancel"


def test_a_signal_before_it_has_begun_is_thrown_at_its_first_wait(stage: Any) -> None:
    async def body() -> None:
        here().mark("begins")
        await asyncio.sleep(60)

    play = stage.perform(body, now=False)
    play.actor.stop_for("cancel")
    stage.begin(play)
    assert cancelled(play)
    assert play.marks == ["begins"]


def test_a_signal_at_the_very_moment_it_begins_is_not_lost(stage: Any) -> None:
    async def body() -> None:
        await asyncio.sleep(60)

    for _ in range(50):
        play = stage.perform(body, now=False)
        threads = [
            threading.Thread(target=stage.begin, args=(play,)),
            threading.Thread(target=play.actor.stop_for, args=("cancel",)),
        ]
        for thread in threads:
            thread.start()
        assert cancelled(play)
        for thread in threads:
            thread.join()


def test_code_that_never_waits_ends_by_itself(stage: Any) -> None:
    async def body() -> Any:
        return aio.cancelled()

    play = stage.perform(body, now=False)
    play.actor.stop_for("cancel")
    stage.begin(play)
    assert play.value() is True


def test_a_signal_after_the_end_does_nothing(stage: Any) -> None:
    async def body() -> int:
        return 1

    play = stage.perform(body, now=False)
    stage.begin(play)
    assert play.value() == 1
    play.actor.stop_for("cancel")
    play.actor.interrupt()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), stage.loop).result()
    assert len(play.outcomes) == 1


def test_a_cancelled_error_of_its_own_making_is_an_error(stage: Any) -> None:
    async def body() -> None:
        asyncio.current_task().cancel()  # type: ignore[union-attr]  # there is one
        await asyncio.sleep(60)

    assert cancelled(stage.perform(body))


# --- the host's answers ---


def test_a_cancel_during_a_checkpoint_leaves_the_state_known(stage: Any) -> None:
    async def body() -> Any:
        await aio.receive()
        here().mark("asks")
        try:
            await aio.checkpoint({"n": 1})
        except asyncio.CancelledError:
            here().mark("cancelled")
            await asyncio.sleep(0)
            return await aio.restore()

    stage.hold = True
    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell("a")
    play.until(lambda: stage.held)
    play.actor.stop_for("cancel")
    play.until_marked("cancelled")
    play.until(lambda: len(stage.held) == 2 or not play.marks)
    stage.release()
    assert play.value() == {"n": 1}
    assert play.actor.acked == 1


def test_a_cancel_during_a_restore_leaves_the_hosts_future_alone(stage: Any) -> None:
    async def body() -> None:
        await aio.restore()

    stage.hold = True
    play = stage.perform(body, id=new_id(), has_checkpoint=True)
    play.until(lambda: stage.held)
    play.actor.stop_for("cancel")
    assert cancelled(play)
    assert not stage.held[0][0].cancelled()  # the host sets its result later, without an error


def test_what_arrives_during_a_checkpoint_is_not_acknowledged_by_it(stage: Any) -> None:
    async def body() -> Any:
        await aio.receive()
        storing = asyncio.create_task(aio.checkpoint(1))
        while not stage.held:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
        await aio.receive()
        stage.release()
        await storing
        return actor_here("test").acked

    stage.hold = True
    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell("a", "b")
    assert play.value() == 1


def test_a_checkpoint_that_fails_acknowledges_nothing(stage: Any) -> None:
    async def body() -> Any:
        await aio.receive()
        try:
            await aio.checkpoint(1)
        except StoreFull:
            return actor_here("test").acked

    stage.refuse = StoreFull("no room")
    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell("a")
    assert play.value() == 0


def test_wait_future(stage: Any) -> None:
    futures: list[Future[Any]] = [Future() for _ in range(3)]
    futures[0].set_result(1)

    async def body() -> Any:
        actor: Any = actor_here("test")
        done = [
            await actor.wait_future_async(futures[0], None),
            await actor.wait_future_async(futures[1], 0),
            await actor.wait_future_async(futures[1], 0.01),
        ]
        here().mark("waits")
        done.append(await actor.wait_future_async(futures[1], 60))
        here().mark(done)
        await actor.wait_future_async(futures[2], None)

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_marked("waits")
    futures[1].set_result(2)
    play.until_marked([True, False, False, True])
    play.until_waiting()
    play.actor.interrupt()
    assert play.outcome().ending is Ending.INTERRUPTED


def test_the_blocking_wait_is_for_other_threads_only(stage: Any) -> None:
    future: Future[Any] = Future()

    async def body() -> Any:
        actor = actor_here("test")
        with pytest.raises(NotInTask, match="would block the event loop"):
            actor.wait_future(future, 0)
        waits = asyncio.create_task(asyncio.to_thread(actor.wait_future, future, 60))
        got = await aio.receive()  # is woken although another thread waits
        future.set_result(1)
        return [got, await waits, await asyncio.to_thread(actor.wait_future, Future(), 0)]

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.tell("a")
    assert play.value() == ["a", True, False]


def test_a_task_waits_while_one_of_its_threads_does(stage: Any) -> None:
    future: Future[Any] = Future()

    async def body() -> Any:
        return await asyncio.to_thread(actor_here("test").wait_future, future, 60)

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    future.set_result(1)
    assert play.value() is True


# --- several asyncio tasks in one task ---


def test_two_may_receive_at_once(stage: Any) -> None:
    async def body() -> Any:
        return sorted(await asyncio.gather(*(aio.receive() for _ in range(3)), aio.receive()))

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.tell(1)
    play.until(lambda: play.actor.taken == 1)
    play.tell(2, 3, 4)
    assert play.value() == [1, 2, 3, 4]
    assert (play.parked, play.resumed) == (1, 1)


def test_a_listener_beside_the_main_line(stage: Any) -> None:
    async def body() -> Any:
        got: list[Any] = []

        async def listen() -> None:
            while (message := await aio.receive()) is not None:
                got.append(message)

        listener = asyncio.create_task(listen())
        while len(got) < 3:
            await aio.sleep(0.001)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        return got

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.tell(1, 2, 3)
    assert play.value() == [1, 2, 3]


def test_polling_lets_others_run(stage: Any) -> None:
    async def body() -> Any:
        polls = 0
        while True:
            try:
                return [await aio.receive(timeout=0), polls > 0]
            except TimeoutError:
                polls += 1
                here().mark("polls")

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_marked("polls")
    play.tell("a")
    assert play.value() == ["a", True]


def test_users_timeouts_work_around_ours(stage: Any) -> None:
    async def body() -> Any:
        try:
            async with asyncio.timeout(0.01):
                await aio.receive(timeout=60)
        except TimeoutError as error:
            here().mark(str(error))
        return await aio.receive()

    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_marked("")
    play.tell("a")
    assert play.value() == "a"


# --- the loop ---


def test_system_exit_ends_the_task_and_not_the_loop(stage: Any) -> None:
    async def body() -> None:
        raise SystemExit(3)

    async def after() -> int:
        return 1

    assert stage.perform(body).outcome().error[:2] == ("SystemExit", "3")
    assert stage.perform(after).value() == 1


def test_letters_nobody_took_are_cleared_away(stage: Any) -> None:
    async def body() -> None: ...

    play = stage.perform(body, now=False)
    play.tell(1, 2)
    stage.begin(play)
    play.outcome()
    play.until(play.actor.actor_stopped.is_set)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), stage.loop).result()
    assert not play.actor.inbox.messages


def test_a_closed_loop_is_no_error_for_those_who_tell() -> None:
    from understudy.actors.attempt.async_actor import AsyncTaskActor

    loop = asyncio.new_event_loop()
    loop.close()
    actor = AsyncTaskActor.__new__(AsyncTaskActor)
    actor.loop = loop
    actor._on_loop(print)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="needs Python 3.12")
def test_a_loop_that_starts_tasks_eagerly(stage: Any) -> None:
    async def body() -> Any:
        return await aio.receive()

    stage.loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # 3.12
    play = stage.perform(body, now=False)
    stage.begin(play)
    play.until_waiting()
    play.actor.stop_for("cancel")
    assert cancelled(play)
