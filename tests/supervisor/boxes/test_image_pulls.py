from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from understudy import ImageAbsent
from understudy.supervisor.boxes.image_pulls import Layers, Progress, Pulls
from waiting import until

NEWS: list[dict[str, Any]] = [
    {"status": "Pulling from library/alpine", "id": "3"},
    {"status": "Pulling fs layer", "id": "a", "progressDetail": {}},
    {"status": "Already exists", "id": "b", "progressDetail": {}},
    {"status": "Downloading", "id": "a", "progressDetail": {"current": 10, "total": 100}},
    {"status": "Downloading", "id": "a", "progressDetail": {"current": 60, "total": 100}},
    {"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 100}},
    {"status": "Pull complete", "id": "a", "progressDetail": {}},
    {"status": "Status: Downloaded newer image for alpine:3"},
]


def test_progress():
    layers = Layers("alpine:3")
    told = [layers.take(news) for news in NEWS]
    assert told[3] == Progress(10, 100, "pulling alpine:3: 1 of 2 layers")
    assert told[4].done == 60
    assert told[-1] == Progress(100, 100, "pulling alpine:3: 2 of 2 layers")
    assert told[0] == Progress(0, None, "pulling alpine:3: 0 of 0 layers")


class Registry:
    """Gives out news one by one."""

    def __init__(self) -> None:
        self.pulls = 0
        self.go_on = threading.Semaphore(0)
        self.closed = threading.Event()
        self.error: Exception | None = None

    def pull(self, _image: str) -> Iterator[dict[str, Any]]:
        self.pulls += 1
        try:
            for news in NEWS:
                self.go_on.acquire(timeout=10)
                if self.error is not None:
                    raise self.error
                yield news
        finally:
            self.closed.set()


def test_two_who_want_the_same_share_a_pull():
    pulls, registry = Pulls(), Registry()
    first: list[Progress] = []
    second: list[Progress] = []
    futures = [pulls.join("alpine:3", registry.pull, tell.append) for tell in (first, second)]
    registry.go_on.release(len(NEWS))
    assert [future.result(10) for future in futures] == [None, None]
    assert registry.pulls == 1
    assert first == second != []
    # It is over: who comes now has it pulled again.
    registry.go_on.release(len(NEWS))
    assert pulls.join("alpine:3", registry.pull, first.append).result(10) is None
    assert registry.pulls == 2


def test_an_error_is_told_to_all():
    pulls, registry = Pulls(), Registry()
    registry.error = ImageAbsent("no such image")
    futures = [pulls.join("alpine:3", registry.pull, [].append) for _ in range(2)]
    registry.go_on.release()
    for future in futures:
        with pytest.raises(ImageAbsent):
            future.result(10)


def test_a_pull_is_given_up_when_nobody_wants_it_any_more():
    pulls, registry = Pulls(), Registry()
    tells: list[Any] = [[].append, [].append]
    for tell in tells:
        pulls.join("alpine:3", registry.pull, tell)
    pulls.leave("alpine:3", tells[0])
    registry.go_on.release()
    assert not registry.closed.is_set()
    pulls.leave("alpine:3", tells[1])
    pulls.leave("alpine:3", tells[1])
    registry.go_on.release()
    until(registry.closed.is_set)
