"""Limiting: the calls of a `Runtime` about limits."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from ...actors.errors import InvalidOption
from ...actors.task.handles import IdLike, id_of
from ...actors.task.limit import Limit, Rate, checked_concurrency
from ...actors.task.limits_info import LimitInfo
from ...storage.reader import Reader
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .runtime_part import RuntimePart
from .steps import Steps


class _Given:
    def __repr__(self) -> str:
        return "…"


#: The default of a number that is not given: None means no limit.
UNSET: Final[Any] = _Given()


class Limiting(RuntimePart):
    """Limits: what they do, and their numbers."""

    _reader: Reader

    def limits(self, *, timeout: float | None = None) -> list[LimitInfo]:
        """What each limit does just now, sorted by name and key. One with keys has an entry for each that is in use."""
        deadline = self._deadline(timeout)
        return self._do(_limits(self._client, self._reader, deadline), deadline, long=True)

    def limit_of(self, id: IdLike, *, timeout: float | None = None) -> LimitInfo | None:
        """What the limit does at which a task waits; None if it does not wait at one."""
        deadline = self._deadline(timeout)
        infos = self._do(_limits(self._client, self._reader, deadline, id_of(id)), deadline, long=True)
        return infos[0] if infos else None

    def set_limit(
        self,
        limit: Limit | str,
        *,
        concurrency: int | None = UNSET,
        rate: Rate | str | None = UNSET,
        timeout: float | None = None,
    ) -> None:
        """Set numbers of a limit, for this and later supervisors of the home; None means no limit.

        A number that is not given stays. With neither, the declared ones hold again. What runs goes on. `limit` is a
        Limit or its name; that of a task's own limit is the task's name. Raises LimitNotFound for a limit that no task
        has.
        """
        name = limit.name if isinstance(limit, Limit) else limit
        if not isinstance(name, str):
            raise InvalidOption(f"a limit is named by its name or itself, not by {limit!r:.80}")
        numbers: dict[str, Any] = {}
        if concurrency is not UNSET:
            numbers["concurrency"] = checked_concurrency(concurrency)
        if rate is not UNSET:
            given = None if rate is None else Rate.of(rate)
            numbers["rate"] = None if given is None else (given.count, given.per)
        deadline = self._deadline(timeout)
        return self._do(_set_limit(self._client, deadline, name, numbers), deadline)


def _limits(
    client: ReconnectingClient, reader: Reader, deadline: Deadline, *of: bytes
) -> Steps[list[LimitInfo]]:
    states = yield from client.ask(deadline, Ask.LIMITS, *of)
    return infos_of(states, reader.waiting_at_limits())


def _set_limit(
    client: ReconnectingClient, deadline: Deadline, name: str, numbers: dict[str, Any]
) -> Steps[None]:
    yield from client.ask(deadline, Ask.LIMIT, name, numbers)


def infos_of(states: Any, waiting: Counter[int]) -> list[LimitInfo]:
    """What the supervisor says of its limits, with the numbers of tasks that wait."""
    return [
        LimitInfo(
            name,
            key,
            concurrency,
            None if rate is None else Rate(*rate),
            used,
            max(0, waiting[sort] - hidden),
            opens,
        )
        for name, key, sort, concurrency, rate, used, opens, hidden in states
    ]
