"""StartRows: the rows of a client's START requests, with the checks made before they are sent."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...actors import values
from ...actors.errors import InvalidOption, UnencodableValue, UnknownTask
from ...actors.ids import id_bytes, new_id
from ...actors.inside.context import lineage_here
from ...actors.task import parameters
from ...actors.task.annotations import Arguments
from ...actors.task.call import Call
from ...actors.task.declaration import Task, module_name
from ..app import AppSpec
from ..task_kinds import OWN_KINDS
from ..wire.messages import Ask
from .connection import Connection
from .reconnecting import ReconnectingClient

TaskLike = Task[..., Any] | str

StartRow = tuple[Any, ...]
"""(id, name, encoded arguments, changed options, key, due, stream, origin), as in a START frame."""

RowMaker = Callable[[tuple[Any, ...], dict[str, Any]], StartRow]


class StartRows:
    """Makes rows for the supervisor of a `ReconnectingClient`; may first declare a module to it."""

    def __init__(self, attachment: ReconnectingClient) -> None:
        self._attachment = attachment
        #: Modules whose tasks the supervisor knows, and the connection for which this holds.
        self._known: set[str] = set()
        self._known_to: Connection | None = None
        #: Signatures of tasks without code in this process, and the connection that told them.
        self._signatures: dict[str, inspect.Signature] = {}
        self._told_by: Connection | None = None

    def rows_of(self, task: TaskLike) -> RowMaker:
        """A function that makes a row from arguments; the other fields are the same for all starts.

        Raises InvalidOption, InvalidTask, UnknownTask. The function raises TypeError, UnencodableValue,
        ValueTooLarge.
        """
        declared = self._declared(task)
        name, launch, changes, here = (
            declared.name,
            declared.launch,
            declared.packed_changes(),
            lineage_here(),
        )
        key, due, check = launch.packed_key(), launch.due(time.time()), self._check_of(declared)
        stream = id_bytes(launch.stream_id) if launch.stream_id else here[1] if here else None
        origin, limit = here[0] if here else None, self._attachment.value_limit
        annotations = declared.annotations

        def make_row(args: tuple[Any, ...], kwargs: dict[str, Any]) -> StartRow:
            check(args, kwargs)
            id = new_id()
            packed = None
            if args or kwargs:
                plain = annotations.lower(args, kwargs) if annotations.typed else (args, kwargs)
                packed = _pack_arguments(*plain, limit)
            return id, name, packed, changes, key, due, stream or id, origin

        return make_row

    def rows_of_many(self, task: TaskLike, calls: Iterable[Any]) -> Iterator[StartRow]:
        """A row for each call of one task. Raises as `rows_of` does; InvalidOption if the task has a key."""
        if isinstance(task, Task) and task.launch.key is not None:
            raise InvalidOption(
                f"start_many would give all calls the one key {task.launch.key!r:.80}, which is for one start. Give "
                "each call its own: start_many([task.options(key=…).call(…), …])"
            )
        make_row = self.rows_of(task)
        for call in calls:
            if isinstance(call, Call):
                raise InvalidOption("calls made by Task.call name their task: write start_many([call, …])")
            yield make_row(*_arguments(call))

    def rows_of_calls(self, calls: Iterable[Call[Any]]) -> Iterator[StartRow]:
        """A row for each of these calls. Raises as `rows_of` does."""
        last: tuple[Task[..., Any], RowMaker] | None = None
        for call in calls:
            if not isinstance(call, Call):
                raise InvalidOption(
                    f"start_many takes a task and its calls, or calls made by Task.call(…), not {call!r:.80}"
                )
            if last is None or call.task is not last[0]:
                last = call.task, self.rows_of(call.task)
            yield last[1](call.args, call.kwargs)

    def _declared(self, task: TaskLike) -> Task[..., Any]:
        if isinstance(task, str):
            return Task.named(task)
        if not isinstance(task, Task):
            raise InvalidOption(f"start takes a task (a function with @task) or a name, not {task!r:.80}")
        if task.body is not None and task.refusal is None:
            self._declare(task.body.__module__)
            if task.name.startswith("__main__:"):
                self._check_script(task.name)
        return task

    def _declare(self, module: str) -> None:
        """Declare a module to an embedded supervisor if it was imported after the supervisor's start."""
        connection = self._attachment.connected()
        if connection is not self._known_to:
            self._known_to, self._known = connection, {"__main__"}
        if module in self._known:
            return
        if connection.facts["embedded"] and module_name(module) != "__main__":
            self._attachment.ask(Ask.DECLARE, [module_name(module)])
        self._known.add(module)

    def _check_of(self, task: Task[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
        """The check of arguments.

        If the task is known by name only, the supervisor is asked for its parameters.
        """
        if task.body is not None or task.name in OWN_KINDS:
            return task.check_start
        connection = self._attachment.connected()
        if connection is not self._told_by:
            self._told_by, self._signatures = connection, {}
        if (signature := self._signatures.get(task.name)) is None:
            rows = self._attachment.ask(Ask.PARAMETERS, task.name)
            if rows is None:
                return task.check_start
            signature = self._signatures[task.name] = parameters.unpack(rows)
        return functools.partial(parameters.check, task.name, signature)

    def _check_script(self, name: str) -> None:
        """Check that the supervisor has loaded this script: every script is called `__main__`."""
        theirs = self._attachment.connected().facts.get("script")
        if theirs is not None and theirs != (ours := _script()):
            home = self._attachment.home.path
            raise UnknownTask(
                f"task {name!r} belongs to the script {ours}, but the supervisor of {home} has loaded the script "
                f"{theirs}. Give each script a home of its own, or put the tasks into a module that both import",
                name,
            )


@functools.cache
def _script() -> str | None:
    return AppSpec.of_main().main_path


def _pack_arguments(args: Arguments, kwargs: dict[str, Any], limit: int) -> bytes:
    try:
        return values.pack([args, kwargs], "arguments", limit)
    except UnencodableValue:
        # Pack again with other names, so that the error's path starts at the caller's own argument.
        values.pack(args, "args")
        values.pack(kwargs, "kwargs")
        raise


def _arguments(call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(call, tuple):
        return call, {}
    if isinstance(call, dict):
        return (), call
    return (call,), {}
