"""The gate, with a virtual clock: who is let in, in which order, and what a crash leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from understudy import Fail, InvalidOption, Limit, LimitNotFound, Rate, receive, sleep, task
from understudy.supervisor.kit.world import World
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks import gate as gate_module
from understudy.testing import InlineRuntime

#: What the tasks here have done, in order, with the time. They are in this process.
TOLD: list[tuple[str, str, float]] = []
CLOCK: list[InlineRuntime] = []
HOSTS = Limit("hosts of the gate", concurrency=1)


def tell(what: str, name: str) -> None:
    TOLD.append((what, name, CLOCK[0].clock.monotonic()))


def begun() -> list[str]:
    return [name for what, name, _ in TOLD if what == "+"]


def most_at_once() -> dict[str, int]:
    """The most attempts of each name that were under way at once."""
    now: Counter[str] = Counter()
    most: dict[str, int] = {}
    for what, name, _ in TOLD:
        now[name] += 1 if what == "+" else -1
        most[name] = max(most.get(name, 0), now[name])
    return most


@task(concurrency=2)
def gate_two(name: str, seconds: float = 1.0) -> str:
    tell("+", "two")
    sleep(seconds)
    tell("-", "two")
    return name


@task(concurrency=1)
def gate_one(name: str, seconds: float = 1.0) -> str:
    tell("+", name)
    sleep(seconds)
    tell("-", name)
    return name


@task(rate=Rate(3, per=10), retry=30)
def gate_rate(fails: bool = False) -> None:
    tell("+", "rate")
    if fails:
        raise ValueError("again")


@task(limit=HOSTS, limit_by="host")
def gate_fetch(host: str, seconds: float = 1.0) -> str:
    tell("+", host)
    sleep(seconds)
    tell("-", host)
    return host


@task(limit=HOSTS, limit_by="host")
async def gate_fetch_async(host: str) -> str:
    tell("+", host)
    tell("-", host)
    return host


@task(concurrency=1)
def gate_parked() -> None:
    tell("+", "parked")
    receive()
    tell("-", "parked")


@task(concurrency=1)
def gate_fails() -> None:
    raise Fail("no")


@task
def gate_free() -> str:
    tell("+", "free")
    tell("-", "free")
    return "free"


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    TOLD.clear()
    with InlineRuntime(now=1_700_000_000) as runtime:
        CLOCK[:] = [runtime]
        yield runtime


def of(rt: InlineRuntime, limit: str) -> dict[str | None, tuple[int, int]]:
    """What is used of a limit and waits there, by key."""
    return {info.key: (info.used, info.waiting) for info in rt.limits() if info.name.endswith(limit)}


def test_no_more_run_at_once_and_no_place_stands_idle(rt: InlineRuntime):
    infos = rt.start_many(gate_two, [str(n) for n in range(7)])
    rt.settle()
    assert of(rt, "gate_two") == {None: (2, 5)}
    began = rt.clock.monotonic()
    assert list(rt.results(infos, timeout=60)) == [str(n) for n in range(7)]
    assert most_at_once() == {"two": 2}
    assert rt.clock.monotonic() - began == 4
    assert of(rt, "gate_two") == {None: (0, 0)}


def test_each_key_is_a_limit_of_its_own_and_async_tasks_share_it(rt: InlineRuntime):
    infos = [rt.start(gate_fetch, f"h{n % 3}") for n in range(9)]
    infos += [rt.start(gate_fetch_async, f"h{n % 3}") for n in range(3)]
    infos.append(rt.start(gate_fetch.options(limit_key="h0"), "other"))
    rt.settle()
    assert of(rt, "hosts of the gate") == {"h0": (1, 4), "h1": (1, 3), "h2": (1, 3)}
    list(rt.results(infos, timeout=60))
    assert {most for name, most in most_at_once().items()} == {1}


def test_priority_and_age_order_a_key(rt: InlineRuntime):
    infos = [rt.start(gate_one, "first")]
    rt.settle()
    infos += [rt.start(gate_one.options(priority=n % 3), f"p{n % 3} {n}") for n in range(6)]
    list(rt.results(infos, timeout=60))
    assert begun() == ["first", "p2 2", "p2 5", "p1 1", "p1 4", "p0 0", "p0 3"]


def test_one_that_has_not_begun_stands_back_for_a_higher_priority():
    TOLD.clear()
    with InlineRuntime(workers=1, slots=1) as rt:
        CLOCK[:] = [rt]

        infos = [rt.start(gate_fetch, "busy", 5.0)]
        rt.settle()
        infos += [rt.start(gate_one, "low")]
        rt.settle()
        infos += [rt.start(gate_one.options(priority=5), "high")]
        list(rt.results(infos, timeout=60))
    assert begun() == ["busy", "low", "high"] or begun() == ["busy", "high", "low"]


def test_one_that_waits_delays_nobody_else(rt: InlineRuntime):
    rt.start_many(gate_one, [(str(n), 1000.0) for n in range(50)])
    rt.settle()
    assert rt.run(gate_free, timeout=0.1) == "free"
    assert of(rt, "gate_one") == {None: (1, 49)}


def test_a_parked_task_keeps_its_place(rt: InlineRuntime):
    first, second = rt.start(gate_parked), rt.start(gate_parked)
    rt.settle()
    assert begun() == ["parked"]
    rt.send(first.id, 1)
    rt.settle()
    assert begun() == ["parked", "parked"]
    rt.send(second.id, 1)
    second.wait(timeout=1)


@pytest.mark.parametrize("how", ["cancel", "cancel waiting", "fail", "kill"])
def test_every_end_frees_the_place_at_once(rt: InlineRuntime, how: str):
    if how == "fail":
        for info in rt.start_many(gate_fails, [() for _ in range(3)]):
            info.wait(timeout=1)
        assert of(rt, "gate_fails") == {None: (0, 0)}
        return
    first, second = rt.start(gate_one, "a", 100.0), rt.start(gate_one, "b", 0.0)
    rt.settle()
    assert begun() == ["a"]
    if how == "cancel":
        first.cancel()
    elif how == "kill":
        rt.kill_worker(first)
    else:
        second.cancel()
        assert of(rt, "gate_one") == {None: (1, 0)}
        first.cancel()
    assert second.wait(timeout=200).state in ("completed", "cancelled")
    assert of(rt, "gate_one")[None][1] == 0


def times(name: str) -> list[float]:
    return [at for what, other, at in TOLD if (what, other) == ("+", name)]


def check_rate(rate: Rate, at: list[float]) -> None:
    for first, begin in enumerate(at):
        assert sum(1 for other in at[first:] if other < begin + rate.per) <= rate.count


def test_in_no_window_begin_more_than_the_rate_and_no_window_stays_empty(rt: InlineRuntime):
    infos = rt.start_many(gate_rate, [(n == 0,) for n in range(8)])
    rt.wait_until(lambda: all(info.status().state == "completed" for info in infos[1:]), timeout=100)
    check_rate(Rate(3, per=10), times("rate"))
    assert max(times("rate")) - min(times("rate")) < 40


@pytest.mark.parametrize("point", ["commit.before", "commit.after", "result.after", "dispatch.after"])
@pytest.mark.parametrize("nth", [1, 2, 4])
def test_a_rate_holds_over_a_crash_at_any_point(rt: InlineRuntime, point: str, nth: int):
    rt.crash_at(point, nth)
    infos = rt.start_many(gate_rate, [() for _ in range(7)])
    rt.settle()
    rt.crash()
    for info in infos:
        info.wait(timeout=200)
    check_rate(Rate(3, per=10), times("rate"))


def test_those_that_wait_are_found_after_a_crash(rt: InlineRuntime):
    infos = [rt.start(gate_fetch, f"h{n % 20}") for n in range(100)]
    rt.clock.advance(2.5)
    rt.crash()
    assert len(list(rt.results(infos, timeout=60))) == 100
    assert of(rt, "hosts of the gate") == {None: (0, 0)}


def test_the_numbers_of_a_limit_can_be_set_and_outlive_a_crash(rt: InlineRuntime):
    infos = rt.start_many(gate_two, [(str(n), 10.0) for n in range(12)])
    rt.settle()
    name = next(info.name for info in rt.limits() if info.name.endswith("gate_two"))
    rt.set_limit(name, concurrency=5)
    rt.settle()
    assert of(rt, "gate_two") == {None: (5, 7)}
    rt.crash()
    rt.settle()
    assert of(rt, "gate_two") == {None: (5, 7)}
    rt.set_limit(name, rate="1/h")
    assert next((i.concurrency, str(i.rate)) for i in rt.limits() if i.name == name) == (5, "1/h")
    rt.set_limit(name, concurrency=None, rate=None)
    rt.settle()
    assert of(rt, "gate_two") == {None: (12, 0)}
    rt.set_limit(name)
    assert next((i.concurrency, i.rate) for i in rt.limits() if i.name == name) == (2, None)
    list(rt.results(infos, timeout=100))
    with pytest.raises(LimitNotFound, match="no task has the limit 'no such'"):
        rt.set_limit("no such", concurrency=1)


def test_a_delayed_task_waits_at_its_time(rt: InlineRuntime):
    rt.start(gate_one, "a", 10.0)
    later = rt.start(gate_one.options(delay=5), "b")
    rt.clock.advance(6)
    assert begun() == ["a"]
    assert later.status().waits_for == "limit"
    rt.clock.advance(4)
    assert begun() == ["a", "b"]


def test_only_a_window_of_what_waits_is_in_memory(rt: InlineRuntime):
    infos = rt.start_many(gate_one, [(str(n), 0.0) for n in range(3_000)])
    blocker = rt.start(gate_one.options(priority=9), "blocker", 1000.0)
    rt.settle()
    world: World = rt._world
    assert len(world.core.table.tasks) < 3 * gate_module.GROUP_WINDOW
    blocker.cancel()
    list(rt.results(infos, timeout=60))
    waiting = [name for name in begun() if name != "blocker"]
    assert waiting == sorted(waiting, key=int)


def test_more_keys_than_groups_in_memory(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gate_module, "GROUPS", 10)
    infos = [rt.start(gate_fetch, f"h{n % 40}", 1.0) for n in range(120)]
    rt.settle()
    assert len(rt._world.core.table.gate._groups) <= 10
    rt.crash()
    TOLD.clear()
    assert len(list(rt.results(infos, timeout=100))) == 120
    assert {most for name, most in most_at_once().items()} == {1}


def test_few_tasks_are_let_in_ahead(rt: InlineRuntime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gate_module, "LET_IN", 5)
    infos = [rt.start(gate_fetch, f"h{n}", 1.0) for n in range(60)]
    rt.settle()
    list(rt.results(infos, timeout=100))
    assert len(begun()) == 60


def test_a_task_whose_pool_is_gone_holds_no_place():
    with InlineRuntime(pools={"gpu": 1}) as rt:
        CLOCK[:] = [rt]
        first = rt.start(gate_one.options(pool="gpu"), "a", 100.0)
        more = rt.start_many(gate_one.options(pool="gpu"), [("b", 1.0), ("c", 1.0)])
        rt.settle()
        assert [info.status().waits_for for info in more] == ["limit", "limit"]
        rt._settings = Settings.of({"workers": 1})
        rt.crash()
        assert {info.status().waits_for for info in (first, *more)} == {"pool"}
        assert rt.run(gate_one, "d", 1.0, timeout=10) == "d"
        rt._settings = Settings.of({"workers": 1, "pools": {"gpu": 1}})
        rt.crash()
        assert list(rt.results((first, *more), timeout=1_000)) == ["a", "b", "c"]


def test_a_key_for_a_task_without_a_limit_is_refused(rt: InlineRuntime):
    named = type(gate_free).named("no body here")
    with pytest.raises(InvalidOption, match="limit_key= is for a task with a limit"):
        gate_free.options(limit_key="a")
    assert named.options(limit_key="a").launch.limit_key == "a"
