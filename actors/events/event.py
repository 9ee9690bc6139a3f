"""`Event`, as handlers get it, and `EventInfo`, the answer to an emit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import InvalidOption
from ..values import register, unpack_foreign

#: Characters of an id that a program gives to an event.
ID_LIMIT: Final = 255
#: How many events may follow from one another: an event, its runs, the events that they emit, and so on.
CHAIN_LIMIT: Final = 64


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened."""

    id: str
    """The id that its emitter gave, or else a UUIDv7."""
    name: str
    data: Any
    time: float
    """When it was emitted, in seconds since the epoch."""
    stream_id: str
    origin_run: str | None = None
    """Id of the run or task that emitted it."""


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event that is on disk."""

    id: str
    """The id by which it is found."""
    stream_id: str
    runs: tuple[str, ...] = ()
    """Ids of the runs that handle it. Empty in a method of an actor, where they are made with the method's commit."""


def check_id(id: object) -> str:
    """An id that a program gives to an event; InvalidOption if it cannot be one."""
    if not isinstance(id, str) or not 0 < len(id) <= ID_LIMIT or not _PRINTABLE.fullmatch(id):
        raise InvalidOption(
            f"the id of an event is text of 1 to {ID_LIMIT} printable ASCII characters without spaces: {id!r:.80}"
        )
    return id


_PRINTABLE: Final = re.compile(r"[!-~]+")


def _fields(event: Event) -> list[Any]:
    return [event.id, event.name, event.data, event.time, event.stream_id, event.origin_run]


#: The name under which values hold events.
TYPE_NAME: Final = "understudy.Event"

register(Event, TYPE_NAME, _fields, lambda fields: Event(*fields))


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A stored event, with the runs that handle it."""

    id: str
    name: str
    time: float
    stream_id: str
    origin_run: str | None
    runs: tuple[tuple[str, str], ...]
    """(handler, id of the run), in their order; those of replays come last. Empty if nothing has handled it."""
    packed: bytes = field(repr=False)

    @property
    def data(self) -> Any:
        """The data of the event. A value of a type that is not registered here is a `values.Foreign`."""
        event = unpack_foreign(self.packed)
        return event.data if isinstance(event, Event) else event

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return {
            "id": self.id,
            "name": self.name,
            "time": self.time,
            "stream_id": self.stream_id,
            "origin_run": self.origin_run,
            "runs": [{"handler": handler, "id": run} for handler, run in self.runs],
            "data": self.data,
        }
