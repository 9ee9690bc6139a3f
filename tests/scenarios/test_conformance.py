"""One suite for the runtime of the test kit and for the real one: whatever passes in a unit test holds with processes.

Each test runs twice. `wait_until` lets virtual time pass in the first case and waits in the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import kit_tasks as app
from theatre import ready
from understudy import (
    ActivationFailed,
    ActorDeadError,
    ActorRef,
    ActorRegistry,
    AskTimeout,
    Deadlock,
    InvalidTask,
    MailboxClosed,
    MailboxFull,
    ReadOnly,
    RemoteError,
    Runtime,
    State,
    TaskCancelled,
    TaskFailed,
    TaskInfo,
    TaskNotFound,
    TaskTimedOut,
    UnencodableValue,
    get_all,
    task,
)
from understudy.testing import InlineRuntime, kill_supervisor, kill_worker, wait_until

#: Seconds that a wait may take.
PATIENCE = 20.0
SETTINGS: dict[str, Any] = {"workers": 2, "slots": 4, "mailbox_messages": 50}


@pytest.fixture(scope="module", params=["inline", "processes"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime | None]:
    """The runtime with processes; None for the other one, which is made for each test."""
    if request.param == "inline":
        yield None
    else:
        with Runtime(tmp_path_factory.mktemp("h") / "home", app="kit_tasks", **SETTINGS) as runtime:
            # Before the first test, which would be taken for the one that has started them.
            ready(runtime, SETTINGS["workers"])
            yield runtime


@pytest.fixture
def rt(shared: Runtime | None) -> Iterator[Runtime]:
    if shared is not None:
        yield shared
        return
    with InlineRuntime(**SETTINGS) as runtime:
        yield runtime


@pytest.fixture(params=["inline", "processes"])
def frail(request: pytest.FixtureRequest, home: Path) -> Iterator[Runtime]:
    """A runtime of its own for a test that kills something."""
    if request.param == "inline":
        with InlineRuntime(**SETTINGS) as runtime:
            yield runtime
    else:
        with Runtime(home, app="kit_tasks", **SETTINGS) as runtime:
            yield runtime


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.originalname


def is_in(rt: Runtime, info: TaskInfo[Any], state: State) -> Callable[[], bool]:
    return lambda: rt.status(info).state is state


# --- tasks ---


def test_values(rt: Runtime) -> None:
    assert rt.run(app.add, 1, 2, timeout=PATIENCE) == 3
    assert rt.run("kit_tasks:add", 1, b=2, timeout=PATIENCE) == 3
    assert rt.run(app.add_async, 1, 2, timeout=PATIENCE) == 3
    infos = rt.start_many(app.add, [(n, n) for n in range(50)])
    assert list(rt.results(infos, timeout=PATIENCE)) == [2 * n for n in range(50)]


def test_the_handle_of_a_task(rt: Runtime) -> None:
    info = app.add.start(1, 2)
    assert info.result(timeout=PATIENCE) == 3
    record = info.status()
    assert (record.state, record.attempt, record.task) == (State.COMPLETED, 1, "kit_tasks:add")
    assert record.started is not None
    assert record.ended is not None
    assert record.created <= record.started <= record.ended
    assert info.wait(timeout=PATIENCE) == record
    assert rt.wait_for(info).result(PATIENCE) == 3
    assert [each.id for each in rt.list(task=app.add, limit=1)] == [info.id]
    assert not info.cancel()


def test_what_cannot_be_a_task(rt: Runtime) -> None:
    @task
    def nested() -> None:
        pass

    with pytest.raises(InvalidTask):
        rt.start(nested)
    with pytest.raises(UnencodableValue):
        rt.start(app.add, object(), 2)
    with pytest.raises(TypeError):
        rt.start(app.add, 1)
    with pytest.raises(TaskNotFound):
        rt.status("0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d")


def test_errors(rt: Runtime) -> None:
    info = rt.start(app.failing, "it broke")
    with pytest.raises(TaskFailed) as failed:
        rt.result(info, timeout=PATIENCE)
    assert (failed.value.error.type, failed.value.error.message) == ("ValueError", "it broke")
    assert "raise ValueError(message)" in failed.value.error.traceback
    with pytest.raises(TaskFailed, match="never"):
        rt.run(app.hopeless, timeout=PATIENCE)


def test_retries(rt: Runtime) -> None:
    info = rt.start(app.third_time)
    assert rt.result(info, timeout=PATIENCE) == 3
    record = rt.status(info)
    assert record.attempt == 3
    assert record.started is not None
    assert record.started - record.created >= 3 * app.SOON - 0.001
    assert rt.run(app.later, timeout=PATIENCE) == 2


def test_timeouts(rt: Runtime) -> None:
    for body in (app.slow, app.slow_async):
        info = rt.start(body)
        with pytest.raises(TaskTimedOut):
            rt.result(info, timeout=PATIENCE)
        record = rt.status(info)
        assert record.started is not None
        assert record.ended is not None
        # The deadline counts from when the task was handed out.
        assert record.ended - record.started >= app.SOON / 2


def test_code_that_does_not_stop_is_killed(frail: Runtime) -> None:
    info = frail.start(app.stubborn)
    with pytest.raises(TaskTimedOut):
        frail.result(info, timeout=PATIENCE)
    assert frail.run(app.add, 1, 2, timeout=PATIENCE) == 3, "there are workers again"


def test_a_delay(rt: Runtime) -> None:
    info = rt.start(app.add.options(delay=3 * app.SOON), 1, 2)
    record = rt.status(info)
    assert (record.state, record.waits_for) == (State.QUEUED, "time")
    assert rt.result(info, timeout=PATIENCE) == 3
    record = rt.status(info)
    assert record.started is not None
    assert record.started - record.created >= 3 * app.SOON - 0.001


def test_a_key(rt: Runtime, name: str) -> None:
    first = rt.start(app.add.options(key=name), 1, 2)
    again = rt.start(app.add.options(key=name), 1, 2)
    assert again.id == first.id
    assert rt.run(app.add.options(key=name), 1, 2, timeout=PATIENCE) == 3


def test_waiting_too_short(rt: Runtime) -> None:
    info = rt.start(app.collect)
    with pytest.raises(TimeoutError):
        rt.result(info, timeout=app.SOON)
    rt.close_mailbox(info)
    assert rt.result(info, timeout=PATIENCE) == []


def test_messages(rt: Runtime) -> None:
    for body in (app.collect, app.collect_async):
        info = rt.start(body)
        rt.send(info, {"n": 0})
        rt.send_many([(info, {"n": n}) for n in range(1, 20)])
        wait_until(is_in(rt, info, State.RUNNING))
        rt.close_mailbox(info)
        assert rt.result(info, timeout=PATIENCE) == [{"n": n} for n in range(20)]
        with pytest.raises(MailboxClosed):
            rt.send(info, "late")


def test_messages_sent_before_the_task_begins(rt: Runtime) -> None:
    info = rt.start(app.collect.options(delay=2 * app.SOON))
    rt.send(info, 1)
    rt.close_mailbox(info)
    assert rt.status(info).mailbox_depth == 1
    assert rt.result(info, timeout=PATIENCE) == [1]


def test_a_full_mailbox(rt: Runtime) -> None:
    info = rt.start(app.collect.options(delay=600))
    rt.send_many([(info, n) for n in range(50)])
    with pytest.raises(MailboxFull):
        rt.send(info, 50)
    assert rt.cancel(info)
    assert rt.status(info).state is State.CANCELLED


def test_receive_with_a_timeout(rt: Runtime) -> None:
    assert rt.run(app.patient, timeout=PATIENCE) == "timed out"
    info = rt.start(app.patient)
    rt.send(info, 1)
    assert rt.result(info, timeout=PATIENCE) in ("got one", "timed out")


def test_cancel(rt: Runtime) -> None:
    for body, value in (
        (app.until_cancelled, "told"),
        (app.cancelled_in_sleep, False),
        (app.waits_for_child, "cancelled"),
    ):
        info = rt.start(body, "child") if body is app.waits_for_child else rt.start(body)
        wait_until(is_in(rt, info, State.RUNNING))
        assert rt.cancel(info)
        with pytest.raises(TaskCancelled) as ended:
            rt.result(info, timeout=PATIENCE)
        assert ended.value.value == value
        assert not rt.cancel(info)


def test_children(rt: Runtime) -> None:
    assert rt.run(app.family, 10, timeout=PATIENCE) == 90
    assert rt.run(app.family_async, 10, timeout=PATIENCE) == 90


def test_a_task_that_sends(rt: Runtime) -> None:
    target = rt.start(app.collect)
    info = rt.start(app.writes_to, target.id)
    assert rt.result(info, timeout=PATIENCE) == info.stream_id
    rt.close_mailbox(target)
    assert rt.result(target, timeout=PATIENCE) == [{"from": info.id}]


def test_checkpoints(rt: Runtime) -> None:
    info = rt.start(app.counts)
    rt.send_many([(info, n) for n in range(10)])
    wait_until(lambda: rt.restore(info) == [45, 1])
    assert rt.status(info).mailbox_depth == 0
    rt.close_mailbox(info)
    assert rt.result(info, timeout=PATIENCE) == [45, 1]


def test_messages_in_a_checkpoint(rt: Runtime) -> None:
    target = rt.start(app.collect)
    relay = rt.start(app.relays, target.id)
    rt.send_many([(relay, n) for n in range(5)])
    rt.close_mailbox(relay)
    rt.wait(relay, timeout=PATIENCE)
    rt.close_mailbox(target)
    assert rt.result(target, timeout=PATIENCE) == [0, 10, 20, 30, 40]


def test_callbacks_of_futures(rt: Runtime) -> None:
    told: list[int] = []
    info = rt.start(app.add.options(delay=app.SOON), 1, 2)
    future = rt.wait_for(info)
    # A callback may use the runtime.
    future.add_done_callback(
        lambda done: told.append(done.result() + rt.run(app.add, 0, 4, timeout=PATIENCE))
    )
    assert future.result(PATIENCE) == 3
    assert wait_until(lambda: told) == [7]
    waiting = rt.wait_for(rt.start(app.collect))
    assert waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result()


def test_a_retry_of_an_ended_task(rt: Runtime) -> None:
    info = rt.start(app.failing, "once more")
    rt.wait(info, timeout=PATIENCE)
    again = rt.retry(info)
    assert rt.wait(again, timeout=PATIENCE).retry_of == info.id


# --- tasks and deaths ---


def test_a_task_goes_on_after_the_death_of_its_worker(frail: Runtime) -> None:
    info = frail.start(app.counts)
    frail.send(info, 1)
    wait_until(lambda: frail.restore(info) == [1, 1])
    wait_until(is_in(frail, info, State.RUNNING))
    kill_worker(info)
    frail.send(info, 2)
    wait_until(lambda: (frail.restore(info) or [0])[0] == 3)
    frail.close_mailbox(info)
    assert frail.result(info, timeout=PATIENCE) == [3, 2]


def test_nobody_has_what_does_not_run(rt: Runtime) -> None:
    with pytest.raises(LookupError):
        kill_worker(rt.start(app.add.options(delay=600), 1, 2))


def test_a_task_goes_on_after_the_death_of_the_supervisor(frail: Runtime) -> None:
    info = frail.start(app.counts)
    frail.send(info, 1)
    wait_until(lambda: frail.restore(info) == [1, 1])
    kill_supervisor(frail)
    frail.ping(timeout=PATIENCE)
    frail.send(info, 2)
    frail.close_mailbox(info)
    assert frail.result(info, timeout=PATIENCE) == [3, 2]
    assert frail.status(info).interruptions == 1


def test_a_wait_outlives_the_supervisor(frail: Runtime) -> None:
    future = frail.wait_for(frail.start(app.add.options(delay=5 * app.SOON), 1, 2))
    kill_supervisor(frail)
    assert future.result(PATIENCE) == 3


# --- actors: messages ---


def test_calls_tells_and_asks_in_their_order(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    assert (
        ref.call(
            app.Account.deposit,
            5,
        )
        == 5
    )
    ref.tell({"n": 10})
    assert ref.ask({"n": 1}, timeout=PATIENCE) == 16
    assert ref.proxy().deposit(4).get(timeout=PATIENCE) == 20
    assert ref.proxy().owner.get(timeout=PATIENCE) == "Ada"
    ref.proxy().owner = "Eve"
    assert ref.proxy().owner.get(timeout=PATIENCE) == "Eve"
    for n in range(40):
        ref.cast(app.Account.note, n)
    assert ref.call(app.Account.noted) == list(range(40))
    assert get_all([ref.submit(app.Account.deposit, 1) for _ in range(3)], timeout=PATIENCE) == [21, 22, 23]
    assert rt.call(f"Account/{name}", "deposit", 1) == 24


def test_names(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    assert rt.actor(app.Account, name, "Eve") == ref
    assert rt.lookup(app.Account, name) == ref
    assert rt.lookup(app.Account, f"no {name}") is None
    assert rt.actor(app.Account, None, "Ada") != ref
    assert ref in rt.actors(app.Account, prefix=name)
    assert ref in ActorRegistry.get_by_class(app.Account)
    assert ref.is_alive()


def test_async_methods(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Clerk, name)
    futures = [ref.submit(app.Clerk.work, app.SOON) for _ in range(3)]
    assert get_all(futures, timeout=PATIENCE) == [1, 2, 3], "one message at a time, also across await"


def test_actors_and_tasks(rt: Runtime, name: str) -> None:
    assert rt.run(app.asks_an_actor, name, timeout=PATIENCE) == 7
    assert rt.run(app.asks_an_actor_async, name, timeout=PATIENCE) == 14
    assert rt.actor(app.Account, name, "").call(app.Account.peek) == 14


def test_actors_that_ask_and_tell_others(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    assert ref.call(app.Account.ask_other, f"{name} 2", 3) == 3
    assert ref.call(app.Account.move, f"{name} 2", 2) == -2
    other: ActorRef[app.Account] = rt.actor(app.Account, f"{name} 2", "")
    assert wait_until(lambda: other.call(app.Account.peek) == 5)


def test_a_circle_is_refused(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    with pytest.raises(Deadlock):
        ref.call(app.Account.circle, [f"{name} 2", name])
    assert ref.call(app.Account.deposit, 1) == 1


def test_an_ask_that_is_awaited_at_once_and_closes_a_circle_is_not_handled(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Narcissus, name)
    assert ref.call(app.Narcissus.ask_itself) == "refused"
    assert ref.call(app.Narcissus.work) == 1


def test_an_error_rolls_back(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    ref.call(app.Account.deposit, 5)
    with pytest.raises(ValueError, match="not enough") as raised:
        ref.call(app.Account.overdraw, 100)
    assert isinstance(raised.value, RemoteError)
    assert ref.call(app.Account.peek) == 5
    assert ref.call(app.Account.kept) == {}
    assert ref.call(app.Account.keep, "a", [1]) == 1
    assert ref.call(app.Account.kept) == {"a": [1]}


def test_read_only(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    with pytest.raises(ReadOnly):
        ref.call(app.Account.meddle)
    assert ref.call(app.Account.peek) == 0


def test_a_tell_that_fails_becomes_a_dead_letter(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Sieve, name).options(timeout=PATIENCE)
    for n in (2, 3, 4):
        ref.tell(n)
    wait_until(lambda: ref.call(app.Sieve.seen) == [2, 4])
    (letter,) = rt.dead_letters(ref)
    assert (letter.message, letter.error.type) == (3, "ValueError")
    assert rt.redrive(ref) == 1
    wait_until(lambda: rt.dead_letters(ref) and rt.dead_letters(ref)[0].id != letter.id)


def test_the_tries_of_a_tell_end_where_each_has_a_process_of_its_own(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.LoneSieve, name)
    ref.tell(3)
    wait_until(lambda: rt.dead_letters(ref))
    ref.stop()


def test_a_method_that_takes_too_long(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Sleeper, name)
    with pytest.raises(TimeoutError):
        ref.options(timeout=PATIENCE).call(app.Sleeper.nap, 600)
    assert ref.options(timeout=PATIENCE).call(app.Sleeper.nap, 0) is True


def test_an_ask_that_is_not_answered_in_time(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Clerk, name)
    with pytest.raises(AskTimeout):
        ref.options(timeout=app.SOON).call(app.Clerk.work, 5 * app.SOON)
    assert ref.options(timeout=PATIENCE).call(app.Clerk.work, 0) == 2, "the message was handled all the same"


def test_a_key_gives_the_same_answer(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada").options(key="order-17")
    assert ref.call(app.Account.deposit, 5) == ref.call(app.Account.deposit, 5) == 5


def test_an_actor_that_cannot_be_built(rt: Runtime, name: str) -> None:
    with pytest.raises(ActivationFailed, match="cannot be built"):
        rt.actor(app.Broken, name).options(timeout=PATIENCE).call(app.Broken.use)


# --- actors: rest, reminders, stop ---


def test_rest(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    ref.call(app.Account.deposit, 5)
    assert ref.status().state is State.IDLE
    wait_until(lambda: _starts_anew(ref))
    assert ref.call(app.Account.deposit, 1) == 6


def _starts_anew(ref: ActorRef[Any]) -> bool:
    """Whether its object has left its worker: no worker can be killed for it."""
    try:
        return ref.status().worker_pid is None
    except ActorDeadError:
        return False


def test_reminders(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    ref.call(app.Account.pay_later, 5)
    assert ref.call(app.Account.peek) == 0
    wait_until(lambda: ref.call(app.Account.peek) == 5)
    ref.call(app.Account.pay_often, 1)
    wait_until(lambda: ref.call(app.Account.peek) >= 8)
    assert ref.call(app.Account.stop_paying)
    assert not ref.call(app.Account.stop_paying)
    before = ref.call(app.Account.peek)
    ref.call(app.Account.pay_at, 100, ref.status().created + app.SOON)
    wait_until(lambda: ref.call(app.Account.peek) == before + 100)


def test_stop(rt: Runtime, name: str) -> None:
    ref = rt.actor(app.Account, name, "Ada")
    ref.tell({"n": 3})
    ref.stop()
    assert rt.result(ref.id, timeout=PATIENCE) == 3
    with pytest.raises(ActorDeadError):
        ref.call(app.Account.peek)
    assert not ref.is_alive()
    assert rt.actor(app.Account, name, "Eve").call(app.Account.peek) == 0, "the name is free"


# --- actors and deaths ---


def test_an_actor_outlives_its_worker(frail: Runtime, name: str) -> None:
    ref = frail.actor(app.Account, name, "Ada")
    ref.call(app.Account.deposit, 5)
    clerk = frail.actor(app.Clerk, name)
    future = clerk.submit(app.Clerk.work, 3 * app.SOON)
    wait_until(lambda: clerk.status().state is State.RUNNING)
    kill_worker(clerk)
    assert future.get(timeout=PATIENCE) == 1
    assert ref.call(app.Account.deposit, 1) == 6


def test_an_actor_outlives_its_supervisor(frail: Runtime, name: str) -> None:
    ref = frail.actor(app.Account, name, "Ada")
    ref.call(app.Account.deposit, 5)
    ref.call(app.Account.pay_later, 10)
    kill_supervisor(frail)
    wait_until(lambda: ref.call(app.Account.peek) == 15, PATIENCE)
    assert ref.call(app.Account.deposit, 1) == 16


def test_what_is_not_durable_dies_with_its_worker(frail: Runtime, name: str) -> None:
    ref = frail.actor(app.Volatile, name)
    assert [ref.call(app.Volatile.add) for _ in range(3)] == [1, 2, 3]
    kill_supervisor(frail)
    with pytest.raises(ActorDeadError):
        ref.call(app.Volatile.add)
