from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import Actor
from understudy.actors import values
from understudy.actors.errors import InvalidOption, InvalidTask, NotInTask
from understudy.actors.inside import aio
from understudy.actors.inside.context import current
from understudy.actors.task import current_runtime, parameters
from understudy.actors.task.declaration import (
    NAME_LIMIT,
    Task,
    declared_as,
    registry,
    task,
)
from understudy.actors.task.launch import Launch
from understudy.actors.task.options import Options
from understudy.actors.task.retry import Retry

STREAM = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"

pytestmark = pytest.mark.usefixtures("registry_as_it_was")


@task
def plain(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b


@task(name="tests.named", timeout=60, retry=3, priority=5)
def with_options(a: int = 1) -> int:
    return a


@task()
async def asynchronous(x: int) -> int:
    return x * 2


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.count = start


counter = Counter._understudy_task


# --- declaring ---


def test_the_three_forms() -> None:
    assert plain.name == f"{__name__}:plain"
    assert with_options.name == "tests.named"
    assert asynchronous.name == f"{__name__}:asynchronous"
    assert counter.name == f"{__name__}:Counter"
    assert with_options.options_in_force == Options(timeout=60, retry=Retry(3), priority=5)
    assert all(registry[each.name] is each for each in (plain, with_options, asynchronous, counter))
    assert repr(plain) == f"<task {__name__}:plain>"


def test_what_kind_it_is() -> None:
    kinds = [(each.is_class, each.is_async) for each in (plain, asynchronous, counter)]
    assert kinds == [(False, False), (False, True), (True, False)]

    class Waiter(Actor):
        async def on_receive(self, message: Any) -> None: ...

    assert Waiter._understudy_task.is_async


def test_calling_runs_it_right_here() -> None:
    assert plain(1) == 3
    assert plain(1, b=5) == 6
    assert asyncio.run(asynchronous(4)) == 8  # type: ignore[arg-type]  # a coroutine, which mypy sees as Awaitable
    assert isinstance(counter(3), Counter)


def test_it_looks_like_its_function() -> None:
    assert (plain.__name__, plain.__doc__, plain.__module__) == ("plain", "Adds.", __name__)
    assert inspect.signature(plain) == inspect.signature(plain.body or print)


def test_bad_options_are_refused_at_the_declaration() -> None:
    with pytest.raises(InvalidOption, match="unknown option 'timout'"):
        task(timout=3)
    with pytest.raises(InvalidOption, match="timeout"):
        task(timeout=-1)
    with pytest.raises(InvalidOption, match="unknown option 'key'"):
        task(key="x")


@pytest.mark.parametrize("name", ["", "x" * (NAME_LIMIT + 1), "a\nb", "a\x00", 3, "\ud800"])
def test_bad_names(name: Any) -> None:
    with pytest.raises(InvalidOption, match="a task name is"):
        task(name=name)(generator_free)
    with pytest.raises(InvalidOption, match="a task name is"):
        Task.named(name)
    with pytest.raises(InvalidOption, match="a task name is"):
        plain.options(name=name)


def generator_free() -> None: ...


@pytest.mark.parametrize("name", ["x", "x" * NAME_LIMIT, "Täglicher Abgleich: Köln", "a/b c"])
def test_good_names(name: str) -> None:
    assert task(name=name)(generator_free).name == name
    assert Task.named(name) is registry[name]


def test_two_functions_cannot_have_one_name() -> None:
    task(name="both")(generator_free)
    with pytest.raises(InvalidTask, match=r"two tasks have the name both: generator_free in .*and other in"):
        task(name="both")(other)
    assert registry["both"].body is generator_free
    task(name="both", timeout=3)(generator_free)  # the same one once more, as after a reload
    assert registry["both"].options_in_force.timeout == 3


def other() -> None: ...


# --- options() ---


def test_options_makes_a_changed_copy() -> None:
    changed = with_options.options(priority=9, retry=1)
    assert with_options.options_in_force.priority == 5
    assert changed.options_in_force == Options(timeout=60, retry=Retry(1), priority=9)
    assert changed.packed_changes() == {"priority": 9, "retry": Retry(1).pack()}
    assert with_options.packed_changes() is None
    assert with_options.options(key="x").packed_changes() is None
    assert changed(4) == 4
    assert registry["tests.named"] is with_options


def test_options_add_up() -> None:
    twice = with_options.options(priority=9, key="k", delay=3).options(grace=1, stream_id=STREAM)
    assert twice.changes == {"priority", "grace"}
    assert twice.launch == Launch(key="k", delay=3.0, stream_id=STREAM)
    assert twice.options(at=1e9).launch == Launch(key="k", at=1e9, stream_id=STREAM)
    assert twice.options(delay=0).launch == Launch(key="k", delay=0.0, stream_id=STREAM)
    assert twice.options(key="l").launch.key == "l"


def test_options_with_a_name_declares_another_task() -> None:
    fast = with_options.options(name="tests.fast", timeout=5)
    assert (fast.name, with_options.name) == ("tests.fast", "tests.named")
    assert registry["tests.fast"] is fast
    assert fast.declared()["timeout"] == 5
    assert with_options.options(name="tests.fast").options_in_force.timeout == 60
    assert registry["tests.fast"] is fast
    with_options.options(name=with_options.name, timeout=5)
    assert registry["tests.named"] is with_options


def test_unknown_options_are_refused() -> None:
    with pytest.raises(
        InvalidOption,
        match=r"unknown option 'dely'.*timeout.* start key, on_ended, delay, at, .*, limit_key, unique_key, link$",
    ):
        plain.options(dely=3)


# --- what the supervisor is told ---


def test_declared() -> None:
    told = with_options.declared()
    takes = told.pop("parameters")
    assert told == {**with_options.options_in_force.pack(), "is_async": False}
    assert str(parameters.unpack(takes)) == "(a=…)"
    assert asynchronous.declared()["is_async"] is True
    values.pack(with_options.declared())


def test_known_by_name_only() -> None:
    ghost = Task.named("elsewhere:ghost")
    ghost.check_start((1, 2, 3), {"any": "thing"})
    with pytest.raises(InvalidTask, match="only by name"):
        ghost()
    assert "elsewhere:ghost" not in registry
    assert ghost.options(priority=3).packed_changes() == {"priority": 3}


def test_start_goes_to_the_ambient_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        def start(self, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

    monkeypatch.setattr(current_runtime, "_entered", [Recorder()])
    monkeypatch.setattr(current_runtime, "_own", None)
    started: Any = plain.start(1, b=2)
    assert started == ((plain, 1), {"b": 2})


# --- arguments ---


class Callables:
    """Signatures of every shape; the defaults are there to be left out."""

    @staticmethod
    def a() -> None: ...
    @staticmethod
    def b(x: Any) -> None: ...
    @staticmethod
    def c(x: Any, y: Any = 1) -> None: ...
    @staticmethod
    def d(x: Any, /, y: Any) -> None: ...
    @staticmethod
    def e(x: Any, /, y: Any = 1, *, z: Any) -> None: ...
    @staticmethod
    def f(*, x: Any) -> None: ...
    @staticmethod
    def g(*, x: Any = 1) -> None: ...
    @staticmethod
    def h(*rest: Any) -> None: ...
    @staticmethod
    def i(x: Any, *rest: Any) -> None: ...
    @staticmethod
    def j(x: Any = 1, *rest: Any, y: Any = 2) -> None: ...
    @staticmethod
    def k(x: Any, *rest: Any, y: Any) -> None: ...
    @staticmethod
    def l(**named: Any) -> None: ...  # noqa: E743 - one letter each
    @staticmethod
    def m(x: Any, /, **named: Any) -> None: ...
    @staticmethod
    def n(x: Any = 1, y: Any = 2, /, z: Any = 3, *rest: Any, v: Any = 4, **named: Any) -> None: ...
    @staticmethod
    async def o(x: Any, y: Any = 1) -> None: ...

    class P(Actor):
        def __init__(self, x: Any, *, y: Any = 1) -> None: ...

    class Q(Actor):
        pass


BODIES = [getattr(Callables, name) for name in "abcdefghijklmnoPQ"]


@given(
    st.sampled_from(BODIES),
    st.lists(st.just(1), max_size=5),
    st.dictionaries(st.sampled_from(["x", "y", "z", "v", "self"]), st.just(1), max_size=3),
)
def test_check_start_agrees_with_python(body: Any, args: list[int], kwargs: dict[str, int]) -> None:
    declared: Task[..., Any] = Task(body, "x", Options())
    try:
        inspect.signature(body).bind(*args, **kwargs)
        right = True
    except TypeError:
        right = False
    if right:
        declared.check_start(tuple(args), kwargs)
    else:
        with pytest.raises(TypeError, match=r"^x\("):
            declared.check_start(tuple(args), kwargs)


def test_the_error_shows_the_signature() -> None:
    with pytest.raises(
        TypeError, match=r"plain\(a: 'int', b: 'int' = 2\) -> 'int': missing a required argument: 'a'"
    ):
        plain.check_start((), {})


def test_a_function_without_a_signature_is_checked_where_it_runs() -> None:
    declared: Task[..., Any] = Task(max, "max", Options())
    if not _has_signature(max):
        assert declared._signature is None
    declared.check_start((1, 2), {})
    declared.check_start(([1],), {"default": 3})


def _has_signature(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function)
    except ValueError:
        return False
    return True


# --- pickling ---


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_pickling(again: Any) -> None:
    assert again(plain) is plain
    assert again(counter) is counter
    changed = with_options.options(
        priority=9, retry=Retry(1, on=(OSError,)), key="k", delay=3, stream_id=STREAM
    )
    twin = again(changed)
    assert twin.launch == changed.launch
    assert twin.packed_changes() == changed.packed_changes()
    assert twin.options_in_force.pack() == changed.options_in_force.pack()
    assert twin.body is changed.body
    assert again(plain.options(key="x")).launch == Launch(key="x")


def test_pickled_to_where_it_is_not_declared() -> None:
    data = pickle.dumps(with_options.options(priority=9))
    del registry["tests.named"]
    twin = pickle.loads(data)
    assert (twin.name, twin.body, twin.packed_changes()) == ("tests.named", None, {"priority": 9})


@task
def asks_where_it_is() -> str:
    return current().id


@task
async def stores() -> None:
    await aio.checkpoint(1)


def test_a_plain_call_runs_the_function_here_and_is_no_task():
    assert (plain(1), asyncio.run(asynchronous(4))) == (3, 8)
    with pytest.raises(NotInTask, match="current works only inside a running task"):
        asks_where_it_is()
    with pytest.raises(NotInTask, match="checkpoint"):
        asyncio.run(stores())


# --- former names ---


def test_a_task_is_found_under_its_former_names() -> None:
    renamed = task(name="aliases: new", aliases=["aliases: old", "aliases: older"])(_of_this_module)
    assert (
        declared_as("aliases: old") is declared_as("aliases: older") is declared_as("aliases: new") is renamed
    )
    assert Task.named("aliases: old") is renamed
    assert renamed.declared()["aliases"] == ["aliases: old", "aliases: older"]
    assert renamed.options(name="aliases: another").aliases == ()


@pytest.mark.parametrize("aliases", ["text", 3, [3], [""], ["two\nlines"]])
def test_former_names_must_be_names(aliases: object) -> None:
    with pytest.raises(InvalidOption):
        task(aliases=aliases)(_of_this_module)  # type: ignore[call-overload]


def test_one_name_leads_to_one_task() -> None:
    task(name="aliases: one", aliases=["aliases: taken"])(_of_this_module)
    with pytest.raises(InvalidTask, match="run as aliases: one"):
        task(name="aliases: two", aliases=["aliases: taken"])(_of_this_module)
    with pytest.raises(InvalidTask, match="run as aliases: one"):
        task(name="aliases: taken")(_of_this_module)


def _of_this_module() -> None:
    pass
