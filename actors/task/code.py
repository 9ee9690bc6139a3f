"""What is found out about the code of a task, a function or an actor class, when it is declared."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InvalidOption, InvalidTask
from ..qualified_names import module_name, program
from . import parameters
from .options import Options


def default_name(body: Callable[..., Any]) -> str:
    """`module:qualname`."""
    return f"{module_name(body.__module__)}:{body.__qualname__}"


def refusal_of(body: Callable[..., Any], name: str | None) -> str | None:
    """Why a worker could not find it, or None. A given name helps only a lambda at a module's top level."""
    if body.__qualname__.endswith("<lambda>") and (name is None or "<locals>" in body.__qualname__):
        return (
            "a lambda cannot be started: workers find tasks by name. Write a function at the top of a module"
        )
    if "<locals>" in body.__qualname__:
        refusal = (
            f"{body.__qualname__} is defined inside a function, where workers cannot find it. "
            "Move it to the top of a module"
        )
        if inspect.isclass(body):
            return refusal
        return (
            f"{refusal}. If a decorator made it, give the decorator's inner function @functools.wraps, or put @task "
            "below the decorator"
        )
    if body.__module__ == "__main__" and _typed_in():
        return (
            f"{body.__qualname__} is defined in a REPL, by `python -c` or on standard input, which workers cannot "
            "import. Put it into a file"
        )
    return None


def _typed_in() -> bool:
    """Whether the main program is something that another process cannot import."""
    main = program()
    spec = main.get("__spec__")
    if spec is not None:
        return bool(spec.name == "_pyrepl.__main__")  # the REPL of Python 3.13 is a module that runs by name
    file = main.get("__file__")
    return not file or file.startswith("<")  # "<stdin>"


def has_async_methods(cls: type) -> bool:
    """Whether a class has a public method that is a coroutine function: then its objects live on the event loop."""
    return any(
        not name.startswith("_") and inspect.iscoroutinefunction(getattr(method, "__func__", method))
        for base in cls.__mro__
        for name, method in vars(base).items()
    )


def check_no_generator(body: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise InvalidTask(
            f"{body.__qualname__} is a generator: a task returns one value (send messages for more)"
        )


def check_no_method(body: Callable[..., Any]) -> None:
    """A function of a class is a method unless it takes no `self`; it may be a static method."""
    function = inspect.unwrap(body)
    code = getattr(function, "__code__", None)
    inner = function.__qualname__.rpartition("<locals>.")[2]
    if code is None or inspect.ismethod(function) or "." not in inner:
        return
    if code.co_argcount and code.co_varnames[0] in ("self", "cls"):
        raise InvalidTask(
            f"{body.__qualname__} is a method, and a worker has no object to call it on: make it a function at the top "
            "of a module, or declare an actor class"
        )


def globals_of(body: Any) -> dict[str, Any]:
    function = inspect.unwrap(body)
    if inspect.isclass(body):
        # Those of any function in it; a class without one says nothing of the program that declares it.
        function = next(filter(inspect.isfunction, vars(body).values()), None)
    return getattr(function, "__globals__", {})


def source_of(body: Callable[..., Any]) -> tuple[str, str]:
    """Its file and qualname. They stay the same if a module is loaded as `__main__` and by name."""
    code = getattr(body, "__code__", None)
    module = sys.modules.get(body.__module__)
    file = getattr(module, "__file__", None) if code is None else code.co_filename
    return str(file or body.__module__), body.__qualname__


def check_limit_by(body: Callable[..., Any], options: Options) -> None:
    """InvalidOption unless the parameters by which the limit is parted are those of the function."""
    if options.limit_by is not None:
        _check_names("limit_by", options.limit_by, body)


def check_unique(body: Callable[..., Any], options: Options) -> None:
    """InvalidOption unless the parameters that make its key are those of the function, and it is unique at all."""
    if options.unique is not False:
        if options.unique_by:
            _check_names("unique_by", options.unique_by, body)
        return
    for option, given in (
        ("unique_by", options.unique_by is not None),
        ("on_conflict", options.on_conflict != "return"),
    ):
        if given:
            raise InvalidOption(
                f"{option}= is for a unique task: give unique=True, or seconds for which it is unique, too"
            )


def _check_names(option: str, names: Iterable[str], body: Callable[..., Any]) -> None:
    """InvalidOption unless these are parameters of the function."""
    known = parameters.names(body)
    for name in names:
        if known is not None and name not in known:
            raise InvalidOption(
                f"{option} names {name!r:.80}, and {getattr(body, '__qualname__', body)} has the parameters "
                f"{', '.join(known) or '(none)'}"
            )
