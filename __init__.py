"""Understudy: a multiprocess actor runtime for durable, long-running tasks on one host.

When an actor falls mid-scene, the understudy walks on and picks up at the same line.

This module is a lazy facade: the first use of a name imports it from its module in `actors` or `supervisor`. So
`import understudy` costs nothing, and a worker never loads the client. pytest imports this file a second time, under
the name of the checkout's folder; that loads nothing twice.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

    from .actors.box import api as _box
    from .actors.box.conf import BoxConf as BoxConf
    from .actors.errors import *  # noqa: F403 - the exceptions, and ErrorInfo
    from .actors.events.entry import WatchEntry as WatchEntry
    from .actors.events.event import Event as Event
    from .actors.events.event import EventInfo as EventInfo
    from .actors.events.event import EventRecord as EventRecord
    from .actors.events.handler import on as on
    from .actors.events.stream import Stream as Stream
    from .actors.events.stream import StreamInfo as StreamInfo
    from .actors.events.stream import StreamNode as StreamNode
    from .actors.http.declaration import http as http
    from .actors.http.request import FormFile as FormFile
    from .actors.http.request import Request as Request
    from .actors.http.response import Response as Response
    from .actors.http.response import accepted as accepted
    from .actors.http.response import live as live
    from .actors.http.verifier import github as github
    from .actors.http.verifier import hmac_sha256 as hmac_sha256
    from .actors.http.verifier import slack as slack
    from .actors.http.verifier import standard_webhooks as standard_webhooks
    from .actors.http.verifier import stripe as stripe
    from .actors.inside import aio as aio
    from .actors.inside.context import actor as actor
    from .actors.inside.context import as_completed as as_completed
    from .actors.inside.context import cancelled as cancelled
    from .actors.inside.context import checkpoint as checkpoint
    from .actors.inside.context import current as current
    from .actors.inside.context import demonitor as demonitor
    from .actors.inside.context import emit as emit
    from .actors.inside.context import gather as gather
    from .actors.inside.context import listen as listen
    from .actors.inside.context import monitor as monitor
    from .actors.inside.context import progress as progress
    from .actors.inside.context import publish as publish
    from .actors.inside.context import ready as ready
    from .actors.inside.context import receive as receive
    from .actors.inside.context import restore as restore
    from .actors.inside.context import schedule as schedule
    from .actors.inside.context import send as send
    from .actors.inside.context import sleep as sleep
    from .actors.inside.context import task_dir as task_dir
    from .actors.inside.map_tasks import map_tasks as map_tasks
    from .actors.inside.step import step as step
    from .actors.refs.actor import Actor as Actor
    from .actors.refs.async_ref import AsyncActorRef as AsyncActorRef
    from .actors.refs.futures import ActorFuture as ActorFuture
    from .actors.refs.futures import get_all as get_all
    from .actors.refs.proxy import ActorProxy as ActorProxy
    from .actors.refs.proxy import traversable as traversable
    from .actors.refs.read_only import read_only as read_only
    from .actors.refs.ref import ActorRef as ActorRef
    from .actors.refs.registry import ActorRegistry as ActorRegistry
    from .actors.schedules.declaration import cron as cron
    from .actors.schedules.declaration import every as every
    from .actors.schedules.info import Occurrence as Occurrence
    from .actors.schedules.info import ScheduleInfo as ScheduleInfo
    from .actors.state import State as State
    from .actors.task.bulk_info import BulkInfo as BulkInfo
    from .actors.task.bulk_info import BulkOutcome as BulkOutcome
    from .actors.task.call import Call as Call
    from .actors.task.declaration import Task as Task
    from .actors.task.declaration import task as task
    from .actors.task.handles import TaskInfo as TaskInfo
    from .actors.task.handles import TaskRecord as TaskRecord
    from .actors.task.limit import Limit as Limit
    from .actors.task.limit import Rate as Rate
    from .actors.task.limits_info import LimitInfo as LimitInfo
    from .actors.task.outcomes import ErrorGroup as ErrorGroup
    from .actors.task.outcomes import ErrorGroups as ErrorGroups
    from .actors.task.outcomes import TaskAttempt as TaskAttempt
    from .actors.task.outcomes import TaskAttempts as TaskAttempts
    from .actors.task.outcomes import TaskStats as TaskStats
    from .actors.task.outcomes import Times as Times
    from .actors.task.pool_info import PoolInfo as PoolInfo
    from .actors.task.retry import Retry as Retry
    from .actors.task.stack import StackFrame as StackFrame
    from .actors.task.stack import TaskStack as TaskStack
    from .actors.task.stack import ThreadStack as ThreadStack
    from .actors.task.step_info import StepInfo as StepInfo
    from .actors.task.trigger import Trigger as Trigger
    from .actors.task.worker_hooks import on_worker_start as on_worker_start
    from .actors.task.worker_hooks import on_worker_stop as on_worker_stop
    from .actors.trees.child import ChildSpec as ChildSpec
    from .actors.trees.child import child as child
    from .actors.trees.status import ChildStatus as ChildStatus
    from .actors.trees.status import TreeStatus as TreeStatus
    from .actors.trees.supervisor import Supervisor as Supervisor
    from .actors.values import register as register
    from .actors.websocket import api as _ws
    from .supervisor.client.async_runtime import AsyncRuntime as AsyncRuntime
    from .supervisor.client.async_tree import AsyncTree as AsyncTree
    from .supervisor.client.bulk_calls import BulkPlan as BulkPlan
    from .supervisor.client.executor import Executor as Executor
    from .supervisor.client.pages import EventPage as EventPage
    from .supervisor.client.pages import SearchPage as SearchPage
    from .supervisor.client.pages import StreamPage as StreamPage
    from .supervisor.client.runtime import Runtime as Runtime
    from .supervisor.client.tree import Tree as Tree
    from .supervisor.client.views import DeadLetter as DeadLetter
    from .supervisor.kit import testing as _testing

    box = _box  # one by one: pyright takes modules that are unpacked from a tuple for Any
    ws = _ws
    testing = _testing

__version__ = "0.1.0"

#: The module in which every exception is public.
_ERRORS: Final = "actors.errors"
#: The other modules with public names -> those names.
_NAMES: Final = {
    "actors.box.conf": "BoxConf",
    "actors.events.entry": "WatchEntry",
    "actors.events.event": "Event EventInfo EventRecord",
    "actors.events.handler": "on",
    "actors.http.declaration": "http",
    "actors.http.request": "FormFile Request",
    "actors.http.response": "Response accepted live",
    "actors.http.verifier": "github hmac_sha256 slack standard_webhooks stripe",
    "actors.inside.context": (
        "actor as_completed cancelled checkpoint current demonitor emit gather listen monitor progress "
        "publish ready receive restore schedule send sleep task_dir"
    ),
    "actors.inside.map_tasks": "map_tasks",
    "actors.inside.step": "step",
    "actors.refs.actor": "Actor",
    "actors.refs.async_ref": "AsyncActorRef",
    "actors.refs.futures": "ActorFuture get_all",
    "actors.refs.proxy": "ActorProxy traversable",
    "actors.refs.read_only": "read_only",
    "actors.refs.ref": "ActorRef",
    "actors.refs.registry": "ActorRegistry",
    "actors.schedules.declaration": "cron every",
    "actors.schedules.info": "Occurrence ScheduleInfo",
    "actors.state": "State",
    "actors.task.bulk_info": "BulkInfo BulkOutcome",
    "supervisor.client.bulk_calls": "BulkPlan",
    "actors.task.call": "Call",
    "actors.task.declaration": "Task task",
    "actors.task.handles": "TaskInfo TaskRecord",
    "actors.task.limit": "Limit Rate",
    "actors.task.limits_info": "LimitInfo",
    "actors.task.outcomes": "ErrorGroup ErrorGroups TaskAttempt TaskAttempts TaskStats Times",
    "actors.task.pool_info": "PoolInfo",
    "actors.task.retry": "Retry",
    "actors.task.stack": "StackFrame TaskStack ThreadStack",
    "actors.task.step_info": "StepInfo",
    "actors.task.trigger": "Trigger",
    "actors.task.worker_hooks": "on_worker_start on_worker_stop",
    "actors.trees.child": "ChildSpec child",
    "actors.trees.status": "ChildStatus TreeStatus",
    "actors.trees.supervisor": "Supervisor",
    "actors.values": "register",
    "supervisor.client.async_runtime": "AsyncRuntime",
    "supervisor.client.async_tree": "AsyncTree",
    "supervisor.client.executor": "Executor",
    "supervisor.client.runtime": "Runtime",
    "actors.events.stream": "Stream StreamInfo StreamNode",
    "supervisor.client.pages": "EventPage SearchPage StreamPage",
    "supervisor.client.tree": "Tree",
    "supervisor.client.views": "DeadLetter",
}
#: Public name -> the module it lives in.
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names.split()}
#: Public name of a module -> the module. `import understudy.aio` works, too.
_MODULES: Final = {
    "aio": "actors.inside.aio",
    "aio.box": "actors.box.aio",
    "aio.ws": "actors.websocket.aio",
    "box": "actors.box.api",
    "testing": "supervisor.kit.testing",
    "ws": "actors.websocket.api",
}


def _resolve(name: str) -> Any:
    value: Any
    if name in _MODULES:
        value = _load(_MODULES[name])
    elif name in _HOMES:
        value = getattr(_load(_HOMES[name]), name)
    elif name == "__all__":
        value = sorted(["__version__", *_HOMES, *_errors(), *(name for name in _MODULES if "." not in name)])
    elif not name.startswith("_") and name in _errors():
        value = getattr(_load(_ERRORS), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next look-up does not come here
    return value


if not TYPE_CHECKING:  # a type checker that saw it would accept every name
    __getattr__ = _resolve


def __dir__() -> list[str]:
    return sorted({*globals(), *_resolve("__all__")})


def _load(module: str) -> ModuleType:
    # Absolute, whatever name this file itself was loaded under: there is one copy of each module.
    return import_module(f"understudy.{module}")


def _errors() -> list[str]:
    module = _load(_ERRORS)
    here = module.__name__
    return [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == here
    ]


class _Aliases:
    """The import hook for `import understudy.aio` and the like; `from understudy import aio` needs none.

    A file aio.py beside this one would do the same, but the root holds no other module.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.removeprefix("understudy.") not in _MODULES or not name.startswith("understudy."):
            return None
        return ModuleSpec(name, _Aliases())  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The default module will do: exec_module replaces it."""

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes the entry of sys.modules afterwards: the one and only module.
        sys.modules[module.__name__] = _load(_MODULES[module.__name__.removeprefix("understudy.")])


if __name__ == "understudy":
    sys.meta_path.append(_Aliases)
