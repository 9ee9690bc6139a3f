"""Functions of the app that each worker process calls at its start and at its orderly end."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from ..errors import InvalidTask

log = logging.getLogger("understudy")

#: Seconds after which a start hook that has not returned is named in the log.
SLOW: Final = 10.0

Hook = TypeVar("Hook", bound=Callable[[], object])

_start_hooks: Final[list[Callable[[], object]]] = []
_stop_hooks: Final[list[Callable[[], object]]] = []
#: How many of the start hooks this process has called.
_state: Final = {"started": 0}
#: Held while they are called: no task begins in another thread meanwhile. Reentrant, because a hook may import a module
#: that declares another one. No fork of the fork server finds it held, because only workers call hooks.
_starting: Final = threading.RLock()


def on_worker_start(hook: Hook) -> Hook:
    """Declare a function without arguments that each worker calls before its first task.

    Use it for what must not be shared by forked processes: connections, threads, random generators. If it raises,
    the worker ends, and its tasks run on another.
    """
    return _declare("on_worker_start", _start_hooks, hook)


def on_worker_stop(hook: Hook) -> Hook:
    """Declare a function without arguments that each worker calls when it ends in good order, after its last task.

    Later hooks are called first. A worker that is killed calls none.
    """
    return _declare("on_worker_stop", _stop_hooks, hook)


def _declare(what: str, hooks: list[Callable[[], object]], hook: Hook) -> Hook:
    if not callable(hook) or not hasattr(hook, "__qualname__"):
        raise InvalidTask(f"@{what} goes on a function without arguments, not on {hook!r:.200}")
    if inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook):
        raise InvalidTask(f"@{what} goes on a plain function, which {hook.__qualname__} is not")
    # A module may be loaded twice: as the script and by its name.
    if not any(_source(hook) == _source(other) and _module(hook) != _module(other) for other in hooks):
        hooks.append(hook)
    return hook


def _source(hook: Any) -> tuple[str, str]:
    code = getattr(hook, "__code__", None)
    return getattr(code, "co_filename", _module(hook)), hook.__qualname__


def _module(hook: Any) -> str:
    return str(getattr(hook, "__module__", None))


def name_of(hook: Any) -> str:
    """`module:qualname`."""
    return f"{_module(hook)}:{hook.__qualname__}"


class HookFailed(Exception):
    """A start hook has raised. Its error is the cause. Internal."""


def start() -> None:
    """Call the start hooks that this process has not called yet, in their order. Raises HookFailed.

    Returns when all have returned, whichever thread has called them. One that takes longer than SLOW is logged.
    """
    with _starting:
        while _state["started"] < len(_start_hooks):
            hook = _start_hooks[_state["started"]]
            _state["started"] += 1
            try:
                with _watched(hook):
                    hook()
            except BaseException as error:
                raise HookFailed(
                    f"the start hook {name_of(hook)} raised {type(error).__name__}: {error}"
                ) from error


@contextmanager
def _watched(hook: Callable[[], object]) -> Iterator[None]:
    """Log that this hook is slow, if it is. Only a process with hooks pays for it: one thread for each."""
    watch = threading.Timer(SLOW, _warn_of, (hook,))
    watch.name, watch.daemon = "understudy-hook", True
    with suppress(RuntimeError):  # No thread can be started.
        watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _warn_of(hook: Callable[[], object]) -> None:
    log.warning(
        "the start hook %s has not returned within %g s; tasks of this worker wait until it does",
        name_of(hook),
        SLOW,
    )


def stop() -> None:
    """Call the stop hooks. An error of one is logged."""
    for hook in reversed(_stop_hooks):
        try:
            hook()
        except BaseException:
            log.exception("the stop hook %s failed", name_of(hook))
