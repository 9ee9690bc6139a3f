"""The client's calls, each against one real supervisor that these tests share; restarts and crashes are scenarios."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import math
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

import call_tasks
from call_tasks import add, collect, nap, own_kind, refuse, remember
from leftovers import left_behind, ours
from puppets import said
from theatre import serving
from understudy import (
    ConnectTimeout,
    InvalidOption,
    InvalidTask,
    MailboxClosed,
    NoRuntime,
    NotRunning,
    Runtime,
    State,
    Task,
    TaskCancelled,
    TaskFailed,
    TaskInfo,
    TaskNotFound,
    TaskTimedOut,
    UnencodableValue,
    UnknownTask,
    register,
    task,
)
from understudy.actors import values
from understudy.actors.ids import id_bytes, id_text, new_id
from understudy.actors.inside import aio, context
from understudy.actors.task import current_actor, current_runtime
from understudy.actors.task.handles import Progress
from understudy.supervisor.client.callbacks import UserFuture
from understudy.supervisor.client.calls import START_AHEAD, START_PART
from understudy.supervisor.client.runtime import EMBEDDED_DRAIN, attached
from understudy.supervisor.settings import BATCH_LIMIT
from waiting import until

UNKNOWN = id_text(new_id())


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: workers come and go while the tests share a supervisor. See `rt`."""


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    before = ours()
    with Runtime(home, app="call_tasks", workers=1, durability="os", drain=1.0) as runtime:
        yield runtime
    assert left_behind(before, [home]) == []


def test_start_and_result(rt: Runtime):
    info = rt.start(add, 1, b=2)
    assert isinstance(info, TaskInfo)
    assert (info.task, info.origin_run, info.stream_id) == ("call_tasks:add", None, info.id)
    assert rt.result(info, timeout=20) == 3
    assert rt.result(info.id) == 3
    assert info.result() == 3
    assert rt.run(add, 5, timeout=20) == 6
    assert rt.run("call_tasks:add", 5, timeout=20) == 6
    assert rt.status(info).state is State.COMPLETED


def test_a_run_is_a_call_and_a_start_is_a_task(rt: Runtime):
    kind, id, _ = rt.run(own_kind, timeout=20)
    assert kind == "call"
    seen = rt.status(id)
    assert (seen.kind, seen.trigger) == ("call", None)
    again = rt.retry(id)
    assert again.result(20)[0] == again.status().kind == "call"
    started = rt.start(own_kind)
    assert started.result(20)[0] == started.status().kind == "task"
    kind, id, _ = rt.run(own_kind.options(key="one call"), timeout=20)
    assert kind == rt.status(id).kind == "call"


def test_the_ambient_runtime(rt: Runtime):
    assert add.start(1).result(20) == 2
    current_runtime.leave(rt)
    try:
        with pytest.raises(NoRuntime):
            add.start(1)
    finally:
        current_runtime.enter(rt)


def test_start_many(rt: Runtime):
    infos = rt.start_many(add, [1, (2, 3), {"a": 4, "b": 5}])
    assert list(rt.results(infos, timeout=20)) == [2, 5, 9]
    assert rt.start_many(add, []) == []
    many = rt.start_many(add, range(12_000))
    assert sum(rt.results(many, timeout=40)) == sum(range(1, 12_001))


def test_start_many_ends_at_the_first_part_that_is_refused(rt: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("understudy.actors.task.declaration.registry", {})
    calls = itertools.count()
    with pytest.raises(UnknownTask, match="call_tasks:gone"):
        rt.start_many(add.options(name="call_tasks:gone"), itertools.islice(calls, 200_000))
    assert next(calls) <= BATCH_LIMIT + START_AHEAD * START_PART


def test_start_many_of_calls_with_options_of_their_own(rt: Runtime):
    names = ["ada", "bob", "eve"]
    calls = [remember.options(key=f"letter to {name}").call(name) for name in names]
    infos = rt.start_many([*calls, add.options(priority=9).call(1, b=2), calls[0].options(delay=3600)])
    *letters, last, again = infos
    assert last.result(20) == 3
    assert [info.wait(20).key for info in letters] == [f"letter to {name}" for name in names]
    assert [rt.restore(info) for info in letters] == names
    assert (last.status().options, last.task) == ({"priority": 9}, "call_tasks:add")
    assert again == letters[0]
    assert rt.start_many(iter([])) == []
    assert add.call(2, 3).start().result(20) == 5


def test_start_many_refuses_one_key_for_many_and_mixed_forms(rt: Runtime):
    with pytest.raises(InvalidOption, match=r"the one key 'news', .*options\(key=…\)\.call"):
        rt.start_many(remember.options(key="news"), ["ada", "bob"])
    with pytest.raises(InvalidOption, match=r"name their task: write start_many\(\[call"):
        rt.start_many(add, [add.call(1)])
    with pytest.raises(InvalidOption, match=r"calls made by Task.call.*, not 5"):
        rt.start_many([add.call(1), 5])  # type: ignore[list-item]
    with pytest.raises(InvalidOption, match=r"start_many takes calls, .* not None"):
        rt.start_many(add)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="call_tasks:add"):
        rt.start_many([add.call(1), add.call()])  # type: ignore[call-arg]
    assert [record for record in rt.list(task=remember) if record.key == "news"] == []


def test_what_cannot_be_started_is_refused_at_once(rt: Runtime):
    with pytest.raises(TypeError, match="call_tasks:add"):
        rt.start(add)
    with pytest.raises(UnencodableValue, match=r"args\[0\]"):
        rt.start(add, object())
    with pytest.raises(UnknownTask, match="call_tasks:gone"):
        rt.start("call_tasks:gone")
    with pytest.raises(InvalidOption, match="start takes a task"):
        rt.start(print)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=r"start_many takes calls, .* not 5"):
        rt.start_many(add, 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="lambda"):
        rt.start(task(lambda: None))

    @task
    def nested() -> None: ...

    with pytest.raises(InvalidTask, match="inside a function"):
        rt.start(nested)


def test_by_name_the_supervisor_tells_what_a_task_takes(rt: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("understudy.actors.task.declaration.registry", {})
    with pytest.raises(TypeError, match=r"call_tasks:add\(a, b=…\): missing a required argument: 'a'"):
        rt.start("call_tasks:add")
    with pytest.raises(TypeError, match="too many positional arguments"):
        rt.start_many("call_tasks:add", [(1, 2), (1, 2, 3)])
    assert rt.start("call_tasks:add", b=1, a=2).result(20) == 3
    # Nothing was started but that, and it is asked for once.
    monkeypatch.setattr(rt._calls.starts, "_signatures", {"call_tasks:add": inspect.signature(lambda: None)})
    with pytest.raises(TypeError, match=r"call_tasks:add\(\): too many"):
        rt.start("call_tasks:add", 1)
    monkeypatch.setattr(rt._calls.starts, "_told_by", None)
    assert rt.start("call_tasks:add", 1).result(20) == 2


def test_options_travel_with_a_start(rt: Runtime):
    stream = id_text(new_id())
    info = rt.start(add.options(priority=7, stream_id=stream, key="only once"), 1)
    record = info.wait(20)
    assert (record.options, record.stream_id, record.key) == ({"priority": 7}, stream, "only once")
    again = rt.start(add.options(key="only once"), 99)
    assert (again.id, again.stream_id) == (info.id, stream)
    assert again.result() == 2
    delayed = rt.start(add.options(delay=3600), 1)
    due = delayed.status().next_attempt
    assert due is not None
    assert due == pytest.approx(time.time() + 3600, abs=60)
    assert delayed.cancel()
    later = datetime.fromtimestamp(time.time() + 7200, UTC)
    at = rt.start(add.options(at=later), 1)
    assert at.status().next_attempt == pytest.approx(later.timestamp(), abs=0.01)
    assert at.cancel()


def test_every_way_to_end(rt: Runtime):
    failed, slow, cancelled = rt.start(refuse, "because"), rt.start(call_tasks.too_slow), rt.start(nap, 60)
    assert rt.cancel(cancelled)
    with pytest.raises(TaskFailed, match="because") as caught:
        rt.result(failed, timeout=20)
    assert caught.value.error is not None
    assert (caught.value.id, caught.value.error.type) == (failed.id, "Fail")
    with pytest.raises(TaskTimedOut):
        rt.result(slow, timeout=20)
    with pytest.raises(TaskCancelled):
        rt.result(cancelled, timeout=20)
    assert [rt.wait(info).state for info in (failed, slow, cancelled)] == ["failed", "timed_out", "cancelled"]
    assert not rt.cancel(failed)
    with pytest.raises(TaskFailed):
        list(rt.results([failed], timeout=20))


def test_waiting_runs_out_and_leaves_nothing_behind(rt: Runtime):
    info = rt.start(collect)
    for _ in range(20):
        with pytest.raises(TimeoutError, match=info.id):
            rt.result(info, timeout=0.001)
    with pytest.raises(TimeoutError):
        rt.wait(info, timeout=0)
    with pytest.raises(TimeoutError):
        list(rt.results([info], timeout=0.001))
    future = rt.wait_for(info)
    assert future.cancel()
    assert not rt._client._waits
    connection = rt._client.connection
    assert connection is not None
    assert connection._requests == connection._waits == {}
    rt.close_mailbox(info)
    assert rt.result(info, timeout=20) == []


def test_a_timeout_that_is_none_is_refused_before_anything_is_asked(rt: Runtime):
    for wrong in ("x", [1], float("nan")):
        for call in (rt.result, rt.wait):
            with pytest.raises(InvalidOption, match="timeout must be seconds, or None"):
                call(UNKNOWN, timeout=wrong)
        with pytest.raises(InvalidOption, match="timeout must be seconds, or None"):
            next(rt.results([UNKNOWN], timeout=wrong))  # type: ignore[arg-type]
    assert not rt._client._waits
    with pytest.raises(InvalidOption, match=r"results takes ids, .* not 5"):
        next(rt.results(5))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=r"send_many takes .* pairs, .* not 5"):
        rt.send_many(5)  # type: ignore[arg-type]
    # As good as none.
    assert rt.result(rt.start(add, 1, 2), timeout=1e300) == 3


def test_how_long_it_waited_is_said_in_short(rt: Runtime):
    info = rt.start(nap, 20)
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.01 s$"):
        rt.result(info, timeout=0.01)
    rt.cancel(info)


def test_wait_for_gives_a_future(rt: Runtime):
    assert rt.wait_for(rt.start(add, 1)).result(20) == 2
    with pytest.raises(TaskFailed):
        rt.wait_for(rt.start(refuse)).result(20)
    with pytest.raises(TaskNotFound):
        rt.wait_for(UNKNOWN).result(20)


def test_messages(rt: Runtime):
    info = rt.start(collect, 5)
    rt.send(info, {"n": 0})
    info.send({"n": 1})
    rt.send_many([(info.id, {"n": 2}), (info, {"n": 3})])
    rt.send_many([])
    with pytest.raises(UnencodableValue, match="message"):
        rt.send(info, object())
    with pytest.raises(UnencodableValue, match=r"messages\[1\]"):
        rt.send_many([(info, 1), (info, object())])
    with pytest.raises(TaskNotFound):
        rt.send(UNKNOWN, 1)
    rt.send(info, {"n": 4})
    assert info.result(20) == [{"n": n} for n in range(5)]
    with pytest.raises(MailboxClosed):
        rt.send(info, "late")
    closed = rt.start(collect)
    closed.close()
    rt.close(closed.id)
    assert closed.result(20) == []


def test_reading_needs_no_supervisor(rt: Runtime):
    info = rt.start(remember, {"a": 1})
    assert info.result(20) is None
    record = info.status()
    assert record.checkpoint_size is not None
    assert record.progress is not None
    assert (record.progress.done, record.progress.note) == (1, "half")
    assert rt.restore(info) == info.restore() == {"a": 1}
    assert rt.restore(rt.start(add, 1)) is None
    assert [line.text for line in until(lambda: rt.logs(info))] == ["remembered {'a': 1}"]
    for read in (rt.status, rt.restore, rt.logs):
        with pytest.raises(TaskNotFound):
            read(UNKNOWN)


def test_list(rt: Runtime):
    stream = id_text(new_id())
    infos = [rt.start(add.options(stream_id=stream), n) for n in range(5)]
    list(rt.results(infos, timeout=20))
    newest_first = [info.id for info in reversed(infos)]
    assert [record.id for record in rt.list(stream=stream)] == newest_first
    assert [record.id for record in rt.list(stream=stream, limit=2)] == newest_first[:2]
    assert [record.id for record in rt.list(stream=stream, before=newest_first[1])] == newest_first[2:]
    assert rt.list(stream=stream, state="queued") == []
    assert len(rt.list(stream=stream, state=[State.COMPLETED, "failed"], task="call_tasks:add")) == 5
    assert rt.list(stream=stream, task="call_tasks:nap") == []
    with pytest.raises(ValueError, match="paused"):
        rt.list(state="paused")
    assert rt.list(limit=0) == []
    for wrong in (-1, 1.5, "5", True, None):
        with pytest.raises(InvalidOption, match="limit must be a whole number"):
            rt.list(limit=wrong)  # type: ignore[arg-type]


def test_retry(rt: Runtime):
    first = rt.start(remember, "one")
    first.result(20)
    again = rt.retry(first)
    assert again.result(20) == "one", "from the old one's checkpoint"
    assert again.status().retry_of == first.id
    assert rt.retry(first, from_scratch=True).result(20) is None
    running = rt.start(collect)
    with pytest.raises(InvalidOption, match="only an ended task"):
        rt.retry(running)
    running.close()
    with pytest.raises(TaskNotFound):
        rt.retry(UNKNOWN)


def test_subscribe(rt: Runtime):
    stream = id_text(new_id())
    with rt.subscribe(stream=stream) as events:
        info = rt.start(add.options(stream_id=stream), 1)
        seen = list(iter(lambda: next(events).state, State.COMPLETED))
    assert seen in (["queued", "running"], ["queued"])
    with rt.subscribe(task="call_tasks:refuse") as events:
        rt.start(add, 1).result(20)
        refused = rt.start(refuse)
        assert next(events).id == refused.id
    assert info.result() == 2


def test_subscribe_to_progress(rt: Runtime):
    name = "call_tasks:remember"
    with rt.subscribe(task=name, progress=True) as events, rt.subscribe(task=name) as changes:
        info = rt.start(remember, 1)
        seen = list(itertools.takewhile(lambda event: event.state != State.COMPLETED, events))
        [done] = [event for event in seen if event.progress is not None]
        assert (done.id, done.state, done.progress) == (info.id, State.RUNNING, Progress(1, 2, "half"))
        plain = itertools.takewhile(lambda event: event.state != State.COMPLETED, changes)
        assert all(event.progress is None for event in plain)
    with pytest.raises(InvalidOption, match="progress"):
        rt.subscribe(progress=1)  # type: ignore[arg-type]


def test_the_tree_and_upkeep(rt: Runtime):
    assert rt.run(call_tasks.own_pid, timeout=20) != rt.supervisor_pid
    tree = rt.tree()
    assert (tree["pid"], tree["home"], tree["embedded"]) == (rt.supervisor_pid, rt.home, True)
    assert "call_tasks:add" in tree["tasks_declared"]
    info = rt.start(add, 1)
    info.result(20)
    assert rt.prune() == 0
    assert rt.prune(all=True) > 0
    with pytest.raises(TaskNotFound):
        rt.status(info)
    rt.compact()
    assert rt.run(add, 1, timeout=20) == 2


def test_from_many_threads(rt: Runtime):
    wrong: list[object] = []

    def hammer(number: int) -> None:
        wrong.extend(n for n in range(20) if rt.run(add, number, n, timeout=30) != number + n)

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_second_runtime_attaches_and_a_closed_one_says_so(rt: Runtime):
    with Runtime(rt.home) as second:
        assert second.supervisor_pid == rt.supervisor_pid
        assert second.run(add, 1, timeout=20) == 2
        waiting = second.wait_for(rt.start(collect))
    with pytest.raises(NotRunning):
        waiting.result(20)
    for call in (lambda: second.start(add, 1), second.tree, lambda: second.run(add, 1)):
        with pytest.raises(NotRunning, match="closed"):
            call()
    second.close()
    third = Runtime.connect(rt.home)
    assert third.run(add, 2, timeout=20) == 3
    third.close()
    assert rt.run(add, 1, timeout=20) == 2, "it was not theirs to stop"
    for record in rt.list(state="running"):
        rt.close_mailbox(record.id)


def test_what_names_a_task(rt: Runtime):
    info = rt.start(add.options(stream_id=UUID(id_text(new_id()))), 1)
    named = (info, info.id, info.id.upper(), UUID(info.id))
    assert [rt.result(name, timeout=20) for name in named] == [2] * 4
    assert {rt.status(name).id for name in named} == {info.id}
    assert list(rt.results(named)) == [2] * 4
    assert [record.id for record in rt.list(stream=UUID(info.stream_id))] == [info.id]
    assert rt.list(stream=info.stream_id, before=info) == []
    waiting = rt.start(collect, 2)
    rt.send(UUID(waiting.id), 1)
    rt.send_many([(UUID(waiting.id), 2)])
    assert rt.wait_for(UUID(waiting.id)).result(20) == [1, 2]
    for call in (rt.status, rt.cancel, rt.result, rt.restore, rt.logs, rt.close_mailbox, rt.wait_for):
        with pytest.raises(TaskNotFound, match="is not a task id") as caught:
            call("not an id")
        assert caught.value.id == "not an id"
        with pytest.raises(InvalidOption, match="not by None"):
            call(None)  # type: ignore[arg-type]
    with pytest.raises(TaskNotFound):
        rt.cancel(uuid4())


def test_no_id_does_not_close_the_runtime(rt: Runtime):
    with pytest.raises(InvalidOption, match="not by None"):
        rt.close(None)  # type: ignore[arg-type]
    assert rt.run(add, 1, timeout=20) == 2


def test_results_may_give_errors_in_their_places(rt: Runtime):
    infos = [rt.start(add, 1), rt.start(refuse, "mine"), rt.start(add, 2)]
    two, failed, three = rt.results(infos, timeout=20, return_exceptions=True)
    assert (two, three) == (2, 3)
    assert isinstance(failed, TaskFailed)
    assert "mine" in str(failed)
    nap_ = rt.start(nap, 60)
    with pytest.raises(TimeoutError):
        list(rt.results([nap_], timeout=0.01, return_exceptions=True))
    rt.cancel(nap_)


def test_a_handle_travels(rt: Runtime):
    info = rt.start(add, 1)
    there = pickle.loads(pickle.dumps(info))
    assert there == info
    assert there.result(20) == 2, "by the ambient runtime"
    # To a task, and back as its result.
    assert rt.run(remember, info, timeout=20) is None
    (kept,) = [rt.restore(record.id) for record in rt.list(task=remember, limit=1)]
    assert (kept, kept.task, kept.stream_id) == (info, info.task, info.stream_id)


def test_callbacks_may_use_the_runtime(rt: Runtime):
    told: list[object] = []
    info = rt.start(collect)
    future = rt.wait_for(info)
    future.add_done_callback(lambda done: told.append((done.result(), rt.run(add, 1, timeout=20))))
    rt.wait_for_end(info).add_done_callback(lambda _: told.append(rt.wait_for(rt.start(add, 5)).result(20)))
    info.close()
    until(lambda: len(told) == 2, 20)
    assert sorted(map(str, told)) == ["([], 2)", "6"]


class Doubled:
    """Encoded as a number; its decoder asks a task for another."""


def test_a_decoder_may_use_the_runtime(rt: Runtime):
    """It runs where the value is asked for, and not where answers are read."""
    where: list[str] = []

    def decode(number: int) -> Doubled:
        where.append(threading.current_thread().name)
        assert rt.run(add, number, number, timeout=20) == 2 * number
        return Doubled()

    register(Doubled, "doubled", lambda _: 21, decode)
    # The app does not know the type, so a registered one is needed that both know: a handle, with a value in it.
    info = rt.start(add, 1)
    info.wait(20)
    packed = values.pack(Doubled())
    future = UserFuture(rt._client.callbacks, values.unpack)
    rt.wait_for_end(info).add_done_callback(lambda _: future.set_result(packed))
    assert isinstance(future.result(20), Doubled)
    assert where == ["MainThread"]


def test_a_call_timeout_holds_for_calls_without_one(rt: Runtime):
    with Runtime.connect(rt.home, call_timeout=0.02) as quick:
        quick.ping(timeout=20)
        info = rt.start(collect)
        with pytest.raises(TimeoutError, match=r"not ended within 0\.02 s"):
            quick.result(info)
        info.close()
        assert quick.result(info, timeout=math.inf) == []
        assert quick.result(info, timeout=20) == []
    with pytest.raises(InvalidOption, match="call_timeout must be seconds"):
        Runtime.connect(rt.home, call_timeout="soon")  # type: ignore[arg-type]


def let_go_of(home: str, uses: Callable[[Runtime], object]) -> None:
    runtime = Runtime.connect(home)
    uses(runtime)


def mine() -> tuple[int, int]:
    """The threads of clients, and the open sockets of this process."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("understudy-c")]
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return len(threads), sum(link.startswith("socket:") for link in links)


def test_runtimes_that_were_let_go_of_are_closed(rt: Runtime):
    rt.run(add, 1, timeout=20)
    before = mine()
    for _ in range(20):
        with pytest.warns(ResourceWarning, match="was not closed"):
            let_go_of(rt.home, lambda runtime: runtime.run(add, 1, timeout=20))
        with pytest.warns(ResourceWarning, match="Subscription was not closed"):
            rt.subscribe()
    let_go_of(rt.home, lambda runtime: runtime.list())
    until(lambda: mine() == before)


def test_runtimes_that_were_let_go_of_are_closed_though_their_supervisor_is_dead(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("understudy.supervisor.client.reconnecting.PATIENCE", 0.2)
    before = mine()

    def use_some() -> None:
        with serving(home, "call_tasks") as supervisor:
            assert said(supervisor) == ["ready"]
            runtimes = [Runtime.connect(home) for _ in range(5)]
            info = runtimes[0].start(collect)
            waits = [runtime.wait_for(info) for runtime in runtimes]
            for runtime in runtimes[:4]:
                runtime.ping()
        # They look for a supervisor, and are kept by their waits meanwhile.
        # An error that is raised would keep what this function has.
        assert {type(waiting.exception(20)) for waiting in waits} == {ConnectTimeout}

    with pytest.warns(ResourceWarning, match="was not closed"):
        use_some()
    until(lambda: mine() == before)


def test_a_future_keeps_its_runtime_until_it_is_done(rt: Runtime):
    info = rt.start(collect)
    before = mine()
    told: list[object] = []

    def to_the_end() -> None:
        Runtime.connect(rt.home).wait_for(info).add_done_callback(lambda done: told.append(done.result()))
        info.close()
        until(lambda: told and mine() == before, 20)

    with pytest.warns(ResourceWarning, match="was not closed"):
        to_the_end()
    assert told == [[]]


def test_a_home_that_is_not_there_yet(home: Path):
    """A program may begin before its supervisor."""
    with Runtime.connect(home) as early:
        assert early.list() == []
        with pytest.raises(TaskNotFound):
            early.status(UNKNOWN)
        for call in (early.ping, early.tree, lambda timeout: early.run(add, 1, timeout=timeout)):
            with pytest.raises(ConnectTimeout, match="understudy serve") as caught:
                call(timeout=0.02)
            assert isinstance(caught.value, NotRunning)
            assert isinstance(caught.value, TimeoutError)
        assert not home.exists()
        answers: list[object] = []
        waiting = threading.Thread(target=lambda: answers.append(early.run(add, 1, timeout=40)))
        waiting.start()
        until(lambda: early._client._arrivals)
        with Runtime(home, app="call_tasks", workers=1, durability="os", drain=0) as serving:
            waiting.join(40)
            assert answers == [2]
            early.ping(timeout=20)
            assert early.supervisor_pid == serving.supervisor_pid


def test_nobody_there(home: Path):
    with Runtime.connect(home) as rt, pytest.raises(NotRunning, match="understudy serve"):
        rt.tree(timeout=0)
    with pytest.raises(NotRunning, match="understudy serve"):
        attached(home)
    with pytest.raises(InvalidOption, match="no_such_setting"):
        Runtime(home, no_such_setting=1)
    assert not home.exists()


def test_its_own_settings(rt: Runtime):
    assert rt._client.connection is not None
    facts = rt._client.connection.facts
    assert facts["settings"]["drain"] == 1.0
    assert facts["settings"]["start_timeout"] > EMBEDDED_DRAIN
    assert isinstance(add, Task)


class Turn:
    """Notes what a method of an actor sends."""

    actor_stopped = threading.Event()

    class task:
        is_class = True

    def __init__(self) -> None:
        self.posted: list[tuple[bytes, object, bool]] = []

    def post(self, target: bytes, data: bytes, is_letter: bool) -> None:
        self.posted.append((target, values.unpack(data), is_letter))


def test_what_a_method_of_an_actor_sends_leaves_with_its_commit(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn()
    monkeypatch.setattr(current_runtime, "_own", lambda: rt)
    token = current_actor.current.set(turn)  # type: ignore[arg-type]  # as far as a send needs one
    try:
        rt.send(UNKNOWN, "a")
        rt.send_many([(UNKNOWN, "b"), (UNKNOWN, None)])
        context.send(UNKNOWN, "c")
        asyncio.run(aio.send(UNKNOWN, "d"))
        with pytest.raises(UnencodableValue):
            rt.send(UNKNOWN, object())
    finally:
        current_actor.current.reset(token)
    assert turn.posted == [(id_bytes(UNKNOWN), message, False) for message in ("a", "b", None, "c", "d")]
    with pytest.raises(TaskNotFound):
        rt.send(UNKNOWN, "outside of methods it goes at once")
