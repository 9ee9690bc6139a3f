"""RuntimePart: what a part of a runtime needs of the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from ...actors.refs.port import Turn
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .steps import Steps

T = TypeVar("T")


class RuntimePart(ABC):
    """Calls that belong together. A `Runtime` is all of its parts."""

    _client: ReconnectingClient

    @abstractmethod
    def _deadline(self, timeout: float | None) -> Deadline:
        """The limit of one call."""

    @abstractmethod
    def _do(self, steps: Steps[T], deadline: Deadline, *, long: bool = False) -> T:
        """Carry out the steps of a call."""

    @abstractmethod
    def _turn(self) -> Turn | None:
        """The turn of the actor whose method makes the call; None elsewhere."""
