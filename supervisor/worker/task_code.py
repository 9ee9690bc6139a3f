"""`TaskCode`: what a worker has of the code of tasks; modules that were declared after its fork are imported late."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from ...actors.attempt.host import Undeclared
from ...actors.errors import AppFailed
from ...actors.task import worker_hooks
from ...actors.task.declaration import Task, declared_as, registry
from ...actors.task.options import Options
from ..app import load_late
from ..task_kinds import kind_of

log = logging.getLogger("understudy")


class TaskCode:
    """Finds a task by its name. Thread-safe."""

    def __init__(self, modules: Iterable[str]) -> None:
        """`modules` may be imported late."""
        self._modules = list(modules)
        #: Why modules could not be imported. They are tried again when the supervisor declares them again.
        self._failed: dict[str, AppFailed] = {}
        #: Held during a late import: a module declares its tasks before its import ends, and they may run after its
        #: start hooks only. `_ready` are those that may run meanwhile.
        self._importing = threading.Lock()
        self._ready: frozenset[str] | None = None

    def add(self, modules: Iterable[str]) -> None:
        """These modules may be imported late, too. All that could not be imported may be tried again."""
        self._failed.clear()
        self._modules += [module for module in modules if module not in self._modules]

    def of(self, name: str) -> Task[..., Any]:
        """The task of this name, from a late import if need be.

        If no module has it, or one cannot be imported, this is a task that raises Undeclared, with the reason as its
        cause.
        """
        task = declared_as(name)
        if task is None or ((ready := self._ready) is not None and name not in ready):
            return self._import_late(name)
        return task

    def _import_late(self, name: str) -> Task[..., Any]:
        with self._importing:
            if (task := declared_as(name)) is not None:
                return task
            self._ready = frozenset(registry)
            try:
                return self._import_for(name)
            finally:
                self._ready = None

    def _import_for(self, name: str) -> Task[..., Any]:
        failed: AppFailed | None = None
        for module in self._homes_of(name):
            try:
                if (error := self._failed.get(module)) is None:
                    load_late(module)
                    worker_hooks.start()
                failed = failed or error
            except AppFailed as error:
                self._failed[module] = error
                failed = failed or error
            except worker_hooks.HookFailed:
                # The worker has other tasks by now.
                log.exception("%s was imported late", module)
            if (task := declared_as(name)) is not None:
                return task
        return absent(Undeclared(f"this worker's app declares no task {name}", name), name, failed)

    def _homes_of(self, name: str) -> list[str]:
        """The modules that may declare a task, the likeliest first: a task may have a name of its own."""
        if (own := kind_of(name).module) is not None:
            return [f"{__package__.rpartition('.')[0]}.{own}"]
        return sorted(self._modules, key=lambda module: module != name.partition(":")[0])


def absent(error: Undeclared, name: str, cause: AppFailed | None = None) -> Task[..., Any]:
    """A task that raises this error: this worker does not have the code of that name."""
    return Task(_raises(error, cause), name, Options())


def _raises(error: Undeclared, cause: AppFailed | None) -> Callable[..., None]:
    """The code of a task that this worker does not have."""

    def raising(*_args: Any, **_kwargs: Any) -> None:
        raise error from cause

    return raising
