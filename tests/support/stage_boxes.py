"""Container tasks that stop at a given point until their process is killed.

The app of a supervisor whose environment has `STAGE_FOLDER`. A container task with `STAGES="a,b"` in its
environment stops at the point `a`, and after the next death at `b`. A file shows that it has stopped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.actors.box.conf import BoxConf
from understudy.supervisor.boxes.attempt import ContainerAttempt
from understudy.supervisor.boxes.docker_engine import DockerEngine
from understudy.supervisor.boxes.follower import Follower
from understudy.supervisor.boxes.output import Output

FOLDER = Path(os.environ.get("STAGE_FOLDER", "/nonexistent"))

here = threading.local()

#: The points, in the order in which a container passes them: (class, method, name of the step just done).
POINTS: list[tuple[type, str, str]] = [
    (ContainerAttempt, "_restored", "restored"),
    (ContainerAttempt, "_found", "looked for"),
    (ContainerAttempt, "_fetch_image", "image there"),
    (DockerEngine, "create", "created"),
    (ContainerAttempt, "_made", "made"),
    (DockerEngine, "unpack", "seeded"),
    (ContainerAttempt, "_open_data", "opened"),
    (ContainerAttempt, "_checkpoint", "checkpointed"),
    (DockerEngine, "start", "started"),
    (ContainerAttempt, "_set_deadline", "timed"),
    (DockerEngine, "logs", "followed"),
    (Output, "add", "heard"),
    (DockerEngine, "wait", "ended"),
    (Output, "end", "heard all"),
    (DockerEngine, "pack", "copied"),
    (ContainerAttempt, "_result", "result there"),
    (ContainerAttempt, "_played", "result checkpointed"),
    (DockerEngine, "remove", "removed one"),
    (ContainerAttempt, "_clear", "removed"),
]
NAMES = [name for _, _, name in POINTS]


def _stop(point: str) -> None:
    for number, stage in enumerate(getattr(here, "stages", ())):
        file = FOLDER / f"{here.task}.{number}"
        if not file.exists():
            if stage == point:
                file.write_text(point)
                threading.Event().wait()
            return


def _patch(kind: Any, method: str, name: str) -> None:
    original: Callable[..., Any] = getattr(kind, method)

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        if name == "created":
            with (FOLDER / "created").open("a") as file:
                file.write(f"{args[0]}\n")
        _stop(name)
        return result

    setattr(kind, method, patched)


def _tell_threads_apart() -> None:
    run, init, follow = ContainerAttempt.run, Follower.__init__, Follower._run
    conf: Callable[[ContainerAttempt], BoxConf] = lambda performance: performance._conf  # noqa: E731

    def patched_run(self: ContainerAttempt) -> Any:
        stages = conf(self).env.get("STAGES")
        here.stages, here.task = stages.split(",") if stages else [], self._id
        return run(self)

    def patched_init(self: Any, *args: Any) -> None:
        self.here = (getattr(here, "stages", []), getattr(here, "task", ""))
        init(self, *args)

    def patched_follow(self: Any) -> None:
        here.stages, here.task = self.here
        follow(self)

    ContainerAttempt.run = patched_run  # type: ignore[method-assign]
    Follower.__init__ = patched_init  # type: ignore[method-assign]
    Follower._run = patched_follow  # type: ignore[method-assign]


if "STAGE_FOLDER" in os.environ:
    _tell_threads_apart()
    for point in POINTS:
        _patch(*point)
