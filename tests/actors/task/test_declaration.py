from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import Actor
from understudy.actors import values
from understudy.actors.errors import InvalidOption, InvalidTask, InvalidValue, NotInTask
from understudy.actors.inside import aio
from understudy.actors.inside.context import current
from understudy.actors.task import current_runtime, parameters
from understudy.actors.task import declaration as task_module
from understudy.actors.task.declaration import (
    DELAY_LIMIT,
    KEY_LIMIT,
    NAME_LIMIT,
    Launch,
    Task,
    declared_as,
    default_name,
    module_name,
    registry,
    task,
)
from understudy.actors.task.options import Options
from understudy.actors.task.retry import Retry

STREAM = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"


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


@pytest.fixture(autouse=True)
def registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


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


@pytest.mark.parametrize("thing", [3, "name", None.__class__(), [], Counter(), plain, Exception("x")])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    if thing is None:
        assert callable(task(thing))  # task(None) is task()
        return
    with pytest.raises(InvalidTask):
        task(thing)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class WithOnReceive:
    def on_receive(self, message: Any) -> None: ...


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (WithOnReceive, r"derive it from understudy\.Actor"),
        (Counter, r"derive it from understudy\.Actor"),
        (dict, r"derive it from understudy\.Actor"),
    ],
)
def test_what_cannot_work_is_refused_at_the_declaration(body: Any, why: str) -> None:
    with pytest.raises(InvalidTask, match=why):
        task(body)
    with pytest.raises(InvalidTask, match=why):
        task(name="x")(body)


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


# --- what workers could not find ---


def test_a_lambda_is_refused_when_it_is_started() -> None:
    declared = task(LAMBDA)
    assert declared() == 7
    with pytest.raises(InvalidTask, match="lambda cannot be started"):
        declared.check_start((), {})
    assert declared.name not in registry
    task(name="tests.lambda")(LAMBDA).check_start((), {})  # one with a name, at the top of a module, is found


LAMBDA: Callable[[], int] = lambda: 7  # noqa: E731 - the point of the test


@pytest.mark.parametrize("name", [None, "tests.nested"])
def test_a_nested_function_is_refused_when_it_is_started(name: str | None) -> None:
    def inner() -> int:
        return 7

    for body in (inner, lambda: 7):
        declared = task(name=name)(body)
        assert declared() == 7
        with pytest.raises(InvalidTask, match=r"defined inside a function|lambda cannot"):
            declared.check_start((), {})
        with pytest.raises(InvalidTask):
            declared.options(priority=3).check_start((), {})
        assert declared.name not in registry


@pytest.mark.parametrize("name", [None, "tests.repl"])
def test_one_of_a_repl_is_refused_when_it_is_started(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def typed(): return 7", scope)
    declared = task(name=name)(scope["typed"])
    assert declared() == 7
    with pytest.raises(InvalidTask, match="REPL"):
        declared.check_start((), {})


def test_one_of_a_script_is_called_main(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for module in ("__main__", "__mp_main__"):
        main = ModuleType(module)
        main.__file__ = "/srv/script.py"
        monkeypatch.setitem(sys.modules, module, main)
        scope: dict[str, Any] = {"__name__": module}
        exec(compile("def job(): return 7", "/srv/script.py", "exec"), scope)
        declared = task(scope["job"])
        declared.check_start((), {})
        names.append(declared.name)
    assert names == ["__main__:job"] * 2
    assert default_name(plain.body or print) == f"{module_name(__name__)}:plain"


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


LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    "launch",
    [
        {"key": ""},
        {"key": "x" * (KEY_LIMIT + 1)},
        {"key": "ü" * (KEY_LIMIT // 2 + 1)},
        {"key": "\ud800"},
        {"key": 3},
        {"key": b"x"},
        {"delay": -1},
        {"delay": DELAY_LIMIT + 1},
        {"delay": float("nan")},
        {"delay": True},
        {"delay": "3"},
        {"delay": timedelta(seconds=3)},
        {"at": -1},
        {"at": float("nan")},
        {"at": float("inf")},
        {"at": True},
        {"at": "tomorrow"},
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001 - the mistake that is tried
        {"at": LATER.date()},
        {"at": LATER.timetz()},
        {"at": time.time() + DELAY_LIMIT + 1000},
        {"delay": 1, "at": LATER},
    ],
)
def test_bad_launches(launch: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=r"|".join(launch)):
        plain.options(**launch)


def test_a_bad_stream_id() -> None:
    with pytest.raises(InvalidValue, match="is not a task id"):
        plain.options(stream_id="mine")


def test_good_launches() -> None:
    assert plain.options(key="x" * KEY_LIMIT, delay=DELAY_LIMIT).launch.due(5) == 5 + DELAY_LIMIT
    assert plain.options(at=LATER).launch.due(5) == LATER.timestamp()
    assert plain.options(at=3).launch.due(5) == 3.0
    assert plain.options(delay=0).launch.due(5) == 5
    assert plain.launch.due(5) is None


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


def test_public_names() -> None:
    assert all(hasattr(task_module, name) for name in task_module.__all__)


def bare_decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def test_what_a_decorator_made_is_refused_with_its_cause():
    @bare_decorator
    def body() -> None: ...

    with pytest.raises(
        InvalidTask, match=r"wrapper is defined inside a function.*functools\.wraps.*below the decorator"
    ):
        task(name="tests.decorated")(body).check_start((), {})


def test_methods_are_refused_where_they_are_declared():
    with pytest.raises(InvalidTask, match=r"Mailer\.send is a method, and a worker has no object"):

        class Mailer:
            @task
            def send(self, to: str) -> str:
                return to

    with pytest.raises(InvalidTask, match="is a method"):

        class Store:
            @classmethod
            @task
            def open(cls) -> None: ...


class Tools:
    @staticmethod
    @task
    def double(number: int) -> int:
        return 2 * number

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        return self.factor * number


times_three = task(name="tests.times_three")(Tools(3).times)


def test_static_and_bound_methods_are_tasks():
    assert Tools.double(2) == 4
    assert Tools.double.name.endswith(":Tools.double")
    assert registry[Tools.double.name] is Tools.double
    times_three.check_start((2,), {})
    assert times_three(2) == 6


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


def test_what_to_do_when_the_task_of_a_key_has_ended() -> None:
    declared = task(name="aliases: keyed")(_of_this_module)
    assert declared.options(key="k").launch.packed_key() == "k"
    assert declared.options(key="k", on_ended="start").launch.packed_key() == ("k", "start")
    assert declared.options(key="k", on_ended="start").options(priority=1).launch.packed_key() == (
        "k",
        "start",
    )
    with pytest.raises(InvalidOption, match="on_ended"):
        declared.options(key="k", on_ended="again")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="needs key"):
        declared.options(on_ended="start")


def _of_this_module() -> None:
    pass
