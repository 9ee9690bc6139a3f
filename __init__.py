"""Understudy: a multiprocess actor runtime for durable, long-running tasks on one host.

When an actor falls mid-scene, the understudy walks on and picks up at the same line.

This module is a lazy facade: a name is imported from its home in `actors` or `supervisor` when it is first
asked for. So `import understudy` costs nothing, a worker never loads the client, and a tool that imports this
file under another name (pytest takes the checkout's folder for a package) does not load everything twice.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import ModuleType

    from .actors import aio, box, ws
    from .actors.box_conf import BoxConf
    from .actors.context import cancelled, checkpoint, current, progress, receive, restore, send, sleep
    from .actors.errors import (
        AppFailed,
        BoxError,
        BoxFailed,
        BoxRefused,
        BoxTimedOut,
        EngineAbsent,
        EngineError,
        ErrorInfo,
        Fail,
        HomeError,
        HomeInUse,
        ImageAbsent,
        Interrupted,
        InvalidOption,
        InvalidTask,
        InvalidValue,
        MailboxClosed,
        MailboxFull,
        NoRuntime,
        NotInTask,
        NotRunning,
        Poisoned,
        ProtocolError,
        RetryLater,
        ShuttingDown,
        StoreCorrupt,
        StoreError,
        StoreForeign,
        StoreFull,
        StoreVersion,
        SupervisorLost,
        TaskCancelled,
        TaskEnded,
        TaskFailed,
        TaskNotFound,
        TaskTimedOut,
        UnderstudyError,
        UnencodableValue,
        UnknownTask,
        ValueTooLarge,
        WebSocketClosed,
        WebSocketError,
        WebSocketRefused,
    )
    from .actors.state import State
    from .actors.task.declaration import Task, task
    from .actors.task.handles import TaskInfo, TaskRecord
    from .actors.task.retry import Retry
    from .actors.values import register
    from .supervisor.async_runtime import AsyncRuntime
    from .supervisor.runtime import Runtime

__version__ = "0.1.0"

__all__ = [
    "AppFailed",
    "AsyncRuntime",
    "BoxConf",
    "BoxError",
    "BoxFailed",
    "BoxRefused",
    "BoxTimedOut",
    "EngineAbsent",
    "EngineError",
    "ErrorInfo",
    "Fail",
    "HomeError",
    "HomeInUse",
    "ImageAbsent",
    "Interrupted",
    "InvalidOption",
    "InvalidTask",
    "InvalidValue",
    "MailboxClosed",
    "MailboxFull",
    "NoRuntime",
    "NotInTask",
    "NotRunning",
    "Poisoned",
    "ProtocolError",
    "Retry",
    "RetryLater",
    "Runtime",
    "ShuttingDown",
    "State",
    "StoreCorrupt",
    "StoreError",
    "StoreForeign",
    "StoreFull",
    "StoreVersion",
    "SupervisorLost",
    "Task",
    "TaskCancelled",
    "TaskEnded",
    "TaskFailed",
    "TaskInfo",
    "TaskNotFound",
    "TaskRecord",
    "TaskTimedOut",
    "UnderstudyError",
    "UnencodableValue",
    "UnknownTask",
    "ValueTooLarge",
    "WebSocketClosed",
    "WebSocketError",
    "WebSocketRefused",
    "__version__",
    "aio",
    "box",
    "cancelled",
    "checkpoint",
    "current",
    "progress",
    "receive",
    "register",
    "restore",
    "send",
    "sleep",
    "task",
    "ws",
]

#: Where each public name lives: name -> (module, attribute); the attribute None is the module itself.
_HOMES: Final[dict[str, tuple[str, str | None]]] = {
    "AppFailed": ("actors.errors", "AppFailed"),
    "AsyncRuntime": ("supervisor.async_runtime", "AsyncRuntime"),
    "BoxConf": ("actors.box_conf", "BoxConf"),
    "BoxError": ("actors.errors", "BoxError"),
    "BoxFailed": ("actors.errors", "BoxFailed"),
    "BoxRefused": ("actors.errors", "BoxRefused"),
    "BoxTimedOut": ("actors.errors", "BoxTimedOut"),
    "EngineAbsent": ("actors.errors", "EngineAbsent"),
    "EngineError": ("actors.errors", "EngineError"),
    "ErrorInfo": ("actors.errors", "ErrorInfo"),
    "Fail": ("actors.errors", "Fail"),
    "HomeError": ("actors.errors", "HomeError"),
    "HomeInUse": ("actors.errors", "HomeInUse"),
    "ImageAbsent": ("actors.errors", "ImageAbsent"),
    "Interrupted": ("actors.errors", "Interrupted"),
    "InvalidOption": ("actors.errors", "InvalidOption"),
    "InvalidTask": ("actors.errors", "InvalidTask"),
    "InvalidValue": ("actors.errors", "InvalidValue"),
    "MailboxClosed": ("actors.errors", "MailboxClosed"),
    "MailboxFull": ("actors.errors", "MailboxFull"),
    "NoRuntime": ("actors.errors", "NoRuntime"),
    "NotInTask": ("actors.errors", "NotInTask"),
    "NotRunning": ("actors.errors", "NotRunning"),
    "Poisoned": ("actors.errors", "Poisoned"),
    "ProtocolError": ("actors.errors", "ProtocolError"),
    "Retry": ("actors.task.retry", "Retry"),
    "RetryLater": ("actors.errors", "RetryLater"),
    "Runtime": ("supervisor.runtime", "Runtime"),
    "ShuttingDown": ("actors.errors", "ShuttingDown"),
    "State": ("actors.state", "State"),
    "StoreCorrupt": ("actors.errors", "StoreCorrupt"),
    "StoreError": ("actors.errors", "StoreError"),
    "StoreForeign": ("actors.errors", "StoreForeign"),
    "StoreFull": ("actors.errors", "StoreFull"),
    "StoreVersion": ("actors.errors", "StoreVersion"),
    "SupervisorLost": ("actors.errors", "SupervisorLost"),
    "Task": ("actors.task.declaration", "Task"),
    "TaskCancelled": ("actors.errors", "TaskCancelled"),
    "TaskEnded": ("actors.errors", "TaskEnded"),
    "TaskFailed": ("actors.errors", "TaskFailed"),
    "TaskInfo": ("actors.task.handles", "TaskInfo"),
    "TaskNotFound": ("actors.errors", "TaskNotFound"),
    "TaskRecord": ("actors.task.handles", "TaskRecord"),
    "TaskTimedOut": ("actors.errors", "TaskTimedOut"),
    "UnderstudyError": ("actors.errors", "UnderstudyError"),
    "UnencodableValue": ("actors.errors", "UnencodableValue"),
    "UnknownTask": ("actors.errors", "UnknownTask"),
    "ValueTooLarge": ("actors.errors", "ValueTooLarge"),
    "WebSocketClosed": ("actors.errors", "WebSocketClosed"),
    "WebSocketError": ("actors.errors", "WebSocketError"),
    "WebSocketRefused": ("actors.errors", "WebSocketRefused"),
    "aio": ("actors.aio", None),
    "box": ("actors.box", None),
    "cancelled": ("actors.context", "cancelled"),
    "checkpoint": ("actors.context", "checkpoint"),
    "current": ("actors.context", "current"),
    "progress": ("actors.context", "progress"),
    "receive": ("actors.context", "receive"),
    "register": ("actors.values", "register"),
    "restore": ("actors.context", "restore"),
    "send": ("actors.context", "send"),
    "sleep": ("actors.context", "sleep"),
    "task": ("actors.task.declaration", "task"),
    "ws": ("actors.ws", None),
}


def __getattr__(name: str) -> Any:
    try:
        where, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    # Absolute, whatever name this file itself was loaded under: there is one copy of each module.
    module = import_module(f"understudy.{where}")
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


#: Modules that are imported by a short name of theirs: `import understudy.aio`, `from understudy.ws import connect`.
_ALIASES: Final = {
    "understudy.aio": "understudy.actors.aio",
    "understudy.aio.ws": "understudy.actors.aio_ws",
    "understudy.box": "understudy.actors.box",
    "understudy.ws": "understudy.actors.ws",
}


class _Aliases:
    """Import hook for those names. `from understudy import aio` needs no hook.

    A file aio.py beside this one would do the same, but the root holds no module besides this.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Aliases()) if name in _ALIASES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The default module will do: exec_module replaces it."""

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands in sys.modules afterwards: the one and only module.
        sys.modules[module.__name__] = import_module(_ALIASES[module.__name__])


if __name__ == "understudy":
    sys.meta_path.append(_Aliases)
