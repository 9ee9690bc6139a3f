from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from understudy import Actor
from understudy.actors.errors import InvalidTask
from understudy.actors.qualified_names import module_name
from understudy.actors.task.code import default_name
from understudy.actors.task.declaration import registry, task

pytestmark = pytest.mark.usefixtures("registry_as_it_was")


@task
def plain(a: int, b: int = 2) -> int:
    return a + b


class Counter(Actor): ...


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
