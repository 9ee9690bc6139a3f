from __future__ import annotations

from typing import Any

import pytest

from understudy import BoxConf, InvalidOption, NoRuntime, Retry, box
from understudy.actors.box.api import AROUND, LAST_WORDS
from understudy.actors.box.conf import BOX
from understudy.actors.box.sizes import SIZES
from understudy.actors.task.options import GRACE_DEFAULT, GRACE_LIMIT


class Stage:
    """A runtime that notes what it is asked to start."""

    def __init__(self) -> None:
        self.started: list[tuple[Any, tuple[Any, ...]]] = []

    def start(self, task: Any, /, *args: Any, **_kwargs: Any) -> Any:
        self.started.append((task, args))
        return self

    def result(self, timeout: float | None = None) -> Any:
        return {"waited": timeout}


def test_what_is_started():
    stage = Stage()
    box.start(BoxConf("alpine", cmd=["true"]), runtime=stage, retry=2, key="once", priority=3)  # type: ignore[arg-type]
    [(task, args)] = stage.started
    assert task.name == BOX
    assert args == ({"image": "alpine", "cmd": ["true"]}, GRACE_DEFAULT)
    assert task.launch.key == "once"
    options = task.options_in_force
    assert (options.retry, options.priority) == (Retry(2), 3)
    # Beyond the container's own time and grace, so that these come first.
    assert options.timeout == SIZES["small"].timeout + GRACE_DEFAULT + AROUND
    assert options.grace == GRACE_DEFAULT + LAST_WORDS


def test_run_waits():
    assert box.run(BoxConf("alpine"), runtime=Stage(), timeout=7) == {"waited": 7}  # type: ignore[arg-type]


def test_sizes_are_a_copy():
    box.sizes().clear()
    assert box.sizes() == SIZES


@pytest.mark.parametrize(
    "options",
    [
        {"memory_limit": 1 << 30},
        {"isolate": True},
        {"ack": "receive"},
        {"name": "x"},
        {"nonsense": 1},
        {"grace": -1},
        {"grace": GRACE_LIMIT},
        {"retry": -1},
        {"key": ""},
        {"timeout": 5},
    ],
    ids=str,
)
def test_options_that_a_container_has_not(options: dict[str, Any]):
    with pytest.raises(InvalidOption):
        box.start(BoxConf("alpine"), runtime=Stage(), **options)  # type: ignore[arg-type]


def test_it_takes_a_conf():
    with pytest.raises(InvalidOption, match="BoxConf"):
        box.start({"image": "alpine"}, runtime=Stage())  # type: ignore[arg-type]


def test_it_needs_a_runtime():
    with pytest.raises(NoRuntime):
        box.start(BoxConf("alpine"))
