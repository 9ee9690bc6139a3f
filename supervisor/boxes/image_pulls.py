"""`Pulls`, the image pulls of this process: one pull for all attempts that want the same image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from ...actors.attempt.helper_threads import start_outside

#: The engine's statuses of a layer that is complete.
_DONE: Final = frozenset({"Pull complete", "Already exists"})

Tell = Callable[["Progress"], None]


class Progress(NamedTuple):
    """Progress of a pull in bytes. `total` counts only the layers whose size the engine has reported."""

    done: float
    total: float | None
    note: str


class Layers:
    """Sums up the engine's events of one pull. Pure."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._sizes: dict[str, tuple[float, float]] = {}
        self._there: set[str] = set()
        self._known: set[str] = set()

    def take(self, event: Mapping[str, Any]) -> Progress:
        """Add one event; the progress so far."""
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        if status.startswith("Pulling fs") or status in _DONE or status == "Downloading":
            self._known.add(layer)
        if status == "Downloading" and detail.get("total"):
            self._sizes[layer] = (float(detail.get("current", 0)), float(detail["total"]))
        if status in _DONE:
            self._there.add(layer)
            size = self._sizes.get(layer, (0.0, 0.0))[1]
            self._sizes[layer] = (size, size)
        done = sum(current for current, _ in self._sizes.values())
        total = sum(total for _, total in self._sizes.values())
        note = f"pulling {self._image}: {len(self._there)} of {len(self._known)} layers"
        return Progress(done, total or None, note)


class _Pull:
    def __init__(self) -> None:
        self.future: Future[None] = Future()
        self.tells: list[Tell] = []
        self.given_up = threading.Event()


class Pulls:
    """The current pulls. Each has a thread, which ends with the pull or when no attempt waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pulls: dict[str, _Pull] = {}

    def join(self, image: str, pull: Callable[[str], Iterator[dict[str, Any]]], tell: Tell) -> Future[None]:
        """Pull the image, or join the current pull of it. `tell` is called with its progress."""
        with self._lock:
            found = self._pulls.get(image)
            if found is None:
                found = self._pulls[image] = _Pull()
                puller = threading.Thread(
                    target=self._run, args=(image, pull, found), name="understudy-pull", daemon=True
                )
                start_outside(puller)  # other tasks may join the pull
            found.tells.append(tell)
            return found.future

    def leave(self, image: str, tell: Tell) -> None:
        """Stop waiting for a pull. It is given up if no other attempt waits for it."""
        with self._lock:
            found = self._pulls.get(image)
            if found is not None and tell in found.tells:
                found.tells.remove(tell)
                if not found.tells:
                    del self._pulls[image]
                    found.given_up.set()

    def _run(self, image: str, pull: Callable[[str], Iterator[dict[str, Any]]], mine: _Pull) -> None:
        layers = Layers(image)
        try:
            for event in pull(image):
                if mine.given_up.is_set():
                    break
                progress = layers.take(event)
                for tell in list(mine.tells):
                    tell(progress)
        except Exception as error:  # noqa: BLE001 - raised again in the attempts that wait
            mine.future.set_exception(error)
        else:
            mine.future.set_result(None)
        finally:
            with self._lock:
                if self._pulls.get(image) is mine:
                    del self._pulls[image]
