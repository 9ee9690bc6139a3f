"""StartRows: the rows of a client's START requests, with the checks made before they are sent."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol
from uuid import UUID

from ...actors import values
from ...actors.errors import InvalidOption, InvalidTask, NotInTask, UnencodableValue, UnknownTask
from ...actors.ids import id_bytes
from ...actors.inside.context import lineage_here
from ...actors.qualified_names import module_name
from ...actors.task import parameters
from ...actors.task.annotations import Arguments
from ...actors.task.call import Call
from ...actors.task.declaration import Task
from ...actors.tracing import tracer
from ..app import AppSpec
from ..task_kinds import OWN_KINDS
from ..wire.messages import Ask
from .connection import Connection
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .steps import Steps

TaskLike = Task[..., Any] | str
StreamLike = str | UUID

StartRow = tuple[Any, ...]
"""(id, name, encoded arguments, changed options, key, due, stream, origin), as in a START frame."""
Lineage = tuple[bytes, bytes] | None
"""Id and stream of the task that starts others; None outside of a task."""
Check = Callable[[tuple[Any, ...], dict[str, Any]], None]


class MakeRow(Protocol):
    """Makes a row from arguments, for a new id or for this one."""

    def __call__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], id: bytes | None = None, /
    ) -> StartRow: ...


class StartRows:
    """Makes rows for the supervisor of a `ReconnectingClient`; may first declare a module to it."""

    def __init__(self, client: ReconnectingClient) -> None:
        self._client = client
        #: Modules whose tasks the supervisor knows, and the connection for which this holds.
        self._known: set[str] = set()
        self._known_to: Connection | None = None
        #: Signatures of tasks without code in this process, and the connection that told them.
        self._signatures: dict[str, inspect.Signature] = {}
        self._told_by: Connection | None = None
        #: What `rows_of` has given last, and for what: task, connection, lineage.
        self._last: tuple[TaskLike, Connection, Lineage, MakeRow] | None = None

    def rows_of(self, task: TaskLike, deadline: Deadline) -> Steps[MakeRow]:
        """A function that makes a row from arguments; the other fields are the same for all starts.

        Raises InvalidOption, InvalidTask, NotInTask, UnknownTask. The function raises TypeError, UnencodableValue,
        ValueTooLarge.
        """
        declared = _task_of(task)
        make_row, connection, here = yield from self._rows_of(declared, deadline)
        if connection.traces or tracer.tracing.hands_on:
            make_row = _traced(make_row, declared.name)
        if declared.launch.delay is None:
            self._last = task, connection, here, make_row
        return make_row

    def rows_of_actor(self, task: Task[..., Any], deadline: Deadline) -> Steps[MakeRow]:
        """As `rows_of`, for an actor class: the fields of a row that belong to actors, too, are those of an ACTOR."""
        make_row, _, _ = yield from self._rows_of(task, deadline)
        return make_row

    def _rows_of(
        self, declared: Task[..., Any], deadline: Deadline
    ) -> Steps[tuple[MakeRow, Connection, Lineage]]:
        connection = yield from self._client.connected(deadline)
        check: Check = declared.check_start
        if declared.body is not None:
            if not self._is_known(declared.body.__module__, connection):
                yield from self._declare(declared.body.__module__, connection, deadline)
            if declared.name.startswith("__main__:"):
                self._check_script(declared.name, connection)
        elif declared.name not in OWN_KINDS:
            check = yield from self._check_of(declared, connection, deadline)
        name, launch, changes, here = (
            declared.name,
            declared.launch,
            declared.packed_changes(),
            lineage_here(),
        )
        if launch.link and here is None:
            raise NotInTask(
                "link=True works only inside a running task, whose end cancels the one that it starts. Start it "
                "without, and cancel it yourself"
            )
        key, due = launch.packed_key(), launch.due(self._client.clock.time())
        stream = id_bytes(launch.stream_id) if launch.stream_id else here[1] if here else None
        origin, limit = here[0] if here else None, connection.value_limit
        annotations, new_id = declared.annotations, self._client.clock.new_id

        def make_row(args: tuple[Any, ...], kwargs: dict[str, Any], id: bytes | None = None) -> StartRow:
            check(args, kwargs)
            if id is None:
                id = new_id()
            packed = None
            if args or kwargs:
                plain = annotations.lower(args, kwargs) if annotations.typed else (args, kwargs)
                packed = _pack_arguments(*plain, limit)
            return id, name, packed, changes, key, due, stream or id, origin

        return make_row, connection, here

    def last(self, task: TaskLike) -> MakeRow | None:
        """What `rows_of` has given last, if it was asked for this task and would give the same now."""
        last = self._last
        if last is None:
            return None
        made_for, connection, here, make_row = last
        same = made_for is task and connection is self._client.connection and here == lineage_here()
        return make_row if same else None

    def _is_known(self, module: str, connection: Connection) -> bool:
        if connection is not self._known_to:
            self._known_to, self._known = connection, {"__main__"}
        return module in self._known

    def _declare(self, module: str, connection: Connection, deadline: Deadline) -> Steps[None]:
        """Declare a module to an embedded supervisor if it was imported after the supervisor's start."""
        if connection.facts["embedded"] and module_name(module) != "__main__":
            yield from self._client.ask(deadline, Ask.DECLARE, [module_name(module)])
        self._known.add(module)

    def _check_of(self, task: Task[..., Any], connection: Connection, deadline: Deadline) -> Steps[Check]:
        """The check of arguments for a task known by name only: the supervisor is asked for its parameters."""
        if connection is not self._told_by:
            self._told_by, self._signatures = connection, {}
        if (signature := self._signatures.get(task.name)) is None:
            rows = yield from self._client.ask(deadline, Ask.PARAMETERS, task.name)
            if rows is None:
                return task.check_start
            signature = self._signatures[task.name] = parameters.unpack(rows)
        return functools.partial(parameters.check, task.name, signature)

    def _check_script(self, name: str, connection: Connection) -> None:
        """Check that the supervisor has loaded this script: every script is called `__main__`."""
        theirs = connection.facts.get("script")
        if theirs is not None and theirs != (ours := _script()):
            home = self._client.home.path
            raise UnknownTask(
                f"task {name!r} belongs to the script {ours}, but the supervisor of {home} has loaded the script "
                f"{theirs}. Give each script a home of its own, or put the tasks into a module that both import",
                name,
            )


def _traced(make_row: MakeRow, task: str) -> MakeRow:
    """With the trace context of the code that starts, if this program uses OpenTelemetry."""

    def make(args: tuple[Any, ...], kwargs: dict[str, Any], id: bytes | None = None) -> StartRow:
        row = make_row(args, kwargs, id)
        if not tracer.is_on():
            return row
        id, name, packed, changes, key, due, stream, origin = row
        trace = tracer.start(task, id, stream)
        if trace is not None:
            changes = {**(changes or {}), "trace": trace}
        return id, name, packed, changes, key, due, stream, origin

    return make


def calls_of(
    task: TaskLike | None, calls: Iterable[Any]
) -> Iterator[tuple[TaskLike, tuple[Any, ...], dict[str, Any]]]:
    """The task and the arguments of each call. Without `task`, they are calls made by `Task.call`.

    Raises InvalidOption for any other call, and for a task that would give its `key` or `unique_key` to all of them.
    """
    if task is None:
        for call in calls:
            if not isinstance(call, Call):
                raise InvalidOption(
                    f"start_many takes a task and its calls, or calls made by Task.call(…), not {call!r:.80}"
                )
            yield call.task, call.args, call.kwargs
        return
    if isinstance(task, Task):
        for option, key in (("key", task.launch.key), ("unique_key", task.launch.unique_key)):
            if key is not None:
                raise InvalidOption(
                    f"start_many would give all calls the one {option} {key!r:.80}, which is for one start. Give each "
                    f"call its own: start_many([task.options({option}=…).call(…), …])"
                )
    for call in calls:
        if isinstance(call, tuple):
            yield task, call, {}
        elif isinstance(call, dict):
            yield task, (), call
        elif isinstance(call, Call):
            raise InvalidOption("calls made by Task.call name their task: write start_many([call, …])")
        else:
            yield task, (call,), {}


def _task_of(task: object) -> Task[..., Any]:
    if isinstance(task, str):
        declared = Task.named(task)
    elif isinstance(task, Task):
        declared = task
    else:
        hint = ". An actor is started by Runtime.actor" if isinstance(task, type) else ""
        raise InvalidOption(f"start takes a task (a function with @task) or a name, not {task!r:.80}{hint}")
    if declared.is_class:
        raise InvalidTask(f"{declared.name} is an actor class: start an actor with Runtime.actor")
    if declared.refusal is not None:
        raise InvalidTask(declared.refusal)
    return declared


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


def name_of(task: TaskLike | None) -> str | None:
    """The name of a task that is given by itself or by its name."""
    return task.name if isinstance(task, Task) else task
