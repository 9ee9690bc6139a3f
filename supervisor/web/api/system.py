"""System: the processes, containers, and the tasks that the app declares."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Final

from fastapi import Path
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.box.conf import BOX
from ...client.declared import parameters_of
from ...text import documents
from .call import PATIENCE, After, Limit, Read, ReadAll, json_answer, router_of
from .models import TIME, answer, many
from .tasks import PAGE, page_of

_RUNS: Final = answer(
    "RunningTask",
    "A task on a worker.",
    id=str,
    task=str,
    actor=str | None,
    attempt=int,
    tries=int,
    started=TIME | None,
    parked=bool,
)
_RESTS: Final = answer("RestingActor", "An actor in memory.", id=str, task=str, actor=str | None)
_WORKER: Final[dict[str, Any]] = {
    "number": int,
    "pid": int | None,
    "started": TIME | None,
    "alone": bool,
    "retiring": bool,
    "done": int,
    "task_count": int,
    "parked": int,
    "short_turns": int,
    "actor_count": int,
    "tasks": many(_RUNS),
    "idle_actors": many(_RESTS),
}
WORKERS: Final = answer(
    "Workers",
    "The supervisor and its workers, with the tasks that each runs.",
    pid=int,
    started=TIME,
    draining=bool,
    disk_full=bool,
    waits_for_room=bool,
    fork_server=int | None,
    workers=many(answer("Worker", "A worker process.", **_WORKER)),
)
DECLARED: Final = answer("Declared", "The tasks that the app declares.", tasks=list[str])
_PARAMETER: Final = answer("Parameter", "A parameter.", name=str, kind=str, required=bool)
PARAMETERS: Final = answer(
    "Parameters",
    "How a task is called; null if that is not known.",
    task=str,
    parameters=many(_PARAMETER) | None,
)

#: The facts of the supervisor that are told.
_FACTS: Final = ("pid", "draining", "disk_full", "waits_for_room", "fork_server")

router = router_of("system")


@router.get("/workers", response_model=WORKERS)
async def workers(call: ReadAll) -> Response:
    """Show the processes that run tasks."""
    tree = await call.runtime.tree(timeout=PATIENCE)
    return json_answer(
        {
            **documents.with_times({"started": tree["started"]}, ("started",)),
            **{name: tree[name] for name in _FACTS},
            "workers": [_worker(each) for each in tree["workers"]],
        }
    )


def _worker(branch: dict[str, Any]) -> dict[str, Any]:
    tasks = [documents.with_times(task, ("started",)) for task in branch["tasks"]]
    shown = {name: branch[name] for name in _WORKER}
    return {**documents.with_times(shown, ("started",)), "tasks": tasks}


@router.get("/containers", response_model=PAGE)
def containers(call: Read, limit: Limit = 50, after: After = None) -> Response:
    """List the containers that are wanted or run: their tasks, newest first."""
    call.check(BOX)
    query = f"state:queued,running task:'{BOX}'"
    return json_answer(page_of(call.look.search(query, limit=limit, after=after, sees=call.sees)))


@router.get("/declared", response_model=DECLARED)
async def declared(call: Read) -> Response:
    """List the tasks that the app declares."""
    tree = await call.runtime.tree(timeout=PATIENCE)
    return json_answer({"tasks": sorted(filter(call.sees, tree["tasks_declared"]))})


@router.get("/declared/{name:path}", response_model=PARAMETERS)
async def parameters(call: Read, name: Annotated[str, Path(max_length=255)]) -> Response:
    """Show the parameters of a task that the app declares."""
    call.check(name)
    signature = await run_in_threadpool(parameters_of, call.runtime.sync, name, PATIENCE)
    shown = None if signature is None else [_parameter(each) for each in signature.parameters.values()]
    return json_answer({"task": name, "parameters": shown})


def _parameter(each: inspect.Parameter) -> dict[str, Any]:
    rest = each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        "name": each.name,
        "kind": each.kind.name.lower(),
        "required": each.default is inspect.Parameter.empty and not rest,
    }
