"""Pooling: the calls of a `Runtime` about pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...actors.task.pool_info import PoolInfo
from ...storage.reader import Reader
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .runtime_part import RuntimePart
from .steps import Steps


class Pooling(RuntimePart):
    """Pools: what their workers do."""

    _reader: Reader

    def pools(self, *, timeout: float | None = None) -> list[PoolInfo]:
        """What the workers of each pool do just now.

        The first are those of all tasks without a pool; the others follow by name.
        """
        deadline = self._deadline(timeout)
        return self._do(_pools(self._client, self._reader, deadline), deadline, long=True)


def _pools(client: ReconnectingClient, reader: Reader, deadline: Deadline) -> Steps[list[PoolInfo]]:
    states = yield from client.ask(deadline, Ask.POOLS)
    return infos_of(states, reader.waiting_in_pools([state[0] for state in states]))


def infos_of(states: Any, waiting: Mapping[str | None, int]) -> list[PoolInfo]:
    """What the supervisor says of its pools, with the numbers of tasks that wait on disk."""
    return [
        PoolInfo(name, workers, processes, slots, used, tasks, max(0, waiting[name] - shown_waiting) + unseen)
        for name, workers, processes, slots, used, tasks, unseen, shown_waiting in states
    ]
