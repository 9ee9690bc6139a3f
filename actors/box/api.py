"""Containers as tasks: `from understudy import box, BoxConf`, then `box.run(BoxConf(image="alpine"))`.

A container is a task with the name `understudy.box`. It is queued, retried, cancelled, watched and logged
like any other task. Its result is a map; see `run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import InvalidOption
from ..task import current_runtime
from ..task.declaration import Task
from ..task.options import GRACE_DEFAULT, GRACE_LIMIT, Options
from .conf import BOX, BoxConf
from .sizes import SIZES, Size

if TYPE_CHECKING:
    from ..task.current_runtime import RuntimeLike
    from ..task.handles import TaskInfo

__all__ = ["BoxConf", "Size", "call", "run", "sizes", "start"]

#: Seconds that a container task may take beyond the container's own timeout: to pull the image, to make and
#: stop the container, and to collect its outputs. After that its worker counts as stuck and is killed.
AROUND: Final = 3_600.0
#: Seconds that the end of a stopped container may take beyond its grace: last output, outputs and removal.
LAST_WORDS: Final = 20.0

_TASK: Final[Task[..., dict[str, Any]]] = Task(None, BOX, Options())


def start(
    conf: BoxConf, *, grace: float = GRACE_DEFAULT, runtime: RuntimeLike | None = None, **options: Any
) -> TaskInfo[dict[str, Any]]:
    """Start a container; returns as soon as the task is on disk.

    `grace` is the number of seconds between SIGTERM and SIGKILL after a cancel or timeout. `options` are task
    options: retry, priority, keep, key, delay, at, stream_id. The default `runtime` is the current one.
    Raises InvalidOption, NoRuntime and the errors of `Runtime.start`.
    """
    task, args = call(conf, grace=grace, **options)
    return (runtime or current_runtime.runtime()).start(task, *args)


def run(
    conf: BoxConf,
    *,
    timeout: float | None = None,
    grace: float = GRACE_DEFAULT,
    runtime: RuntimeLike | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Start a container, wait for its end and return its map. Raises TimeoutError after `timeout` seconds.

    The map: exit_code, stdout, stderr, oom_killed, signal, duration_ms, image_pull_ms, runtime_start_ms,
    execution_ms, container_id, image, size, outputs. The container's own timeout is a field of BoxConf.
    Raises TaskFailed for an exit code other than 0, with the same map in `error.details`. Also raises
    TaskTimedOut and TaskCancelled.
    """
    info = start(conf, grace=grace, runtime=runtime, **options)
    return info.result(timeout)


def sizes() -> dict[str, Size]:
    """The sizes, smallest first: name -> (memory, cpu, tmp, data, timeout)."""
    return dict(SIZES)


def call(
    conf: BoxConf, *, grace: float = GRACE_DEFAULT, **options: Any
) -> tuple[Task[..., dict[str, Any]], tuple[Any, ...]]:
    """(task, arguments) of a container, for `start_many` and `aio.start(task, *arguments)`."""
    if not isinstance(conf, BoxConf):
        raise InvalidOption(f"a container is started with a BoxConf(image=…), not with {conf!r:.80}")
    given = Options().changed({"grace": grace})
    if given.grace + LAST_WORDS > GRACE_LIMIT:
        raise InvalidOption(
            f"the grace of a container is at most {GRACE_LIMIT - LAST_WORDS:,.0f} seconds: {grace!r}"
        )
    for name in options.keys() & _OWN:
        raise InvalidOption(f"{name} is not an option of a container's start{_OWN[name]}")
    bounded = _TASK.options(
        timeout=conf.limits.timeout + given.grace + AROUND, grace=given.grace + LAST_WORDS, **options
    )
    return bounded, (conf.pack(), given.grace)


#: Task options that a container does not take, and the replacement for each.
_OWN: Final = {
    "timeout": ": it is a field of BoxConf",
    "memory_limit": ": BoxConf has memory",
    "isolate": "",
    "main_thread": "",
    "ack": "",
    "pool": ": the engine runs it, not a worker",
    "name": "",
}
