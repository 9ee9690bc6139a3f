"""Pages: what one look at the store has found, and where the next one goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from ...actors.errors import InvalidOption, InvalidValue
from ...actors.events.event import EventRecord
from ...actors.events.stream import StreamInfo
from ...actors.ids import id_bytes, id_text
from ...actors.task.handles import TaskRecord

T_co = TypeVar("T_co", covariant=True)

#: The most of one page.
MAX_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Page(Sequence[T_co], Generic[T_co]):
    """What was found, newest first: a sequence."""

    found: tuple[T_co, ...]
    cursor: str | None
    """Pass it to the same call for the next page. None: there is no more."""
    stopped: bool
    """Whether the page stopped because it had taken 50 ms. There may be more, although it has fewer than `limit`."""
    looked_back_to: float | None
    """The time of the oldest that it has looked at, in seconds since the epoch. None: at the oldest of all."""

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T_co, ...]: ...
    def __getitem__(self, index: int | slice) -> T_co | tuple[T_co, ...]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)


class SearchPage(Page[TaskRecord]):
    """A page of tasks. Its cursor goes into `after`."""

    __slots__ = ()

    @property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """The tasks that were found."""
        return self.found


class EventPage(Page[EventRecord]):
    """A page of events. Its cursor goes into `before`."""

    __slots__ = ()

    @property
    def events(self) -> tuple[EventRecord, ...]:
        """The events that were found."""
        return self.found


class StreamPage(Page[StreamInfo]):
    """A page of streams. Its cursor goes into `before`."""

    __slots__ = ()

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams that were found."""
        return self.found


def end_of(last: bytes | None, stopped: bool) -> tuple[str | None, bool, float | None]:
    """The fields of a page after those that it has found. `last` is the id of the last one that it looked at."""
    if last is None:
        return None, stopped, None
    return id_text(last), stopped, time_in(last)


def time_in(id: bytes) -> float:
    """The time in an id, in seconds since the epoch."""
    return int.from_bytes(id[:6], "big") / 1000


def id_in(field: str, cursor: str) -> bytes:
    """The id that a cursor is; InvalidOption, which names the field, for another text."""
    try:
        return id_bytes(cursor)
    except InvalidValue as error:
        raise InvalidOption(f"{field} is the cursor of a page before, not {cursor!r:.80}") from error
