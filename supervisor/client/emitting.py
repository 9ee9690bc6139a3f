"""Emitting: the calls of a runtime about events and streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...actors import values
from ...actors.events.event import EventInfo, EventRecord
from ...actors.events.stream import Stream
from ...actors.refs.port import PostKind
from .calls import several
from .event_calls import EventCalls, EventLike, row_of
from .pages import EventPage, StreamPage
from .runtime_part import RuntimePart
from .start_rows import StreamLike, TaskLike


class Emitting(RuntimePart):
    """The part of a runtime that emits events, and reads events and streams."""

    _events: EventCalls

    def emit(
        self,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,
        stream_id: StreamLike | None = None,
        timeout: float | None = None,
    ) -> EventInfo:
        """Emit an event; returns when it is on disk, in one commit with a run for each of its handlers.

        An event with an `id` that is known is not stored again: the answer is that of the first one. In a task the
        event belongs to the task's stream, unless `stream_id` names another. In a method of an actor this returns at
        once: the event leaves with the commit of what the method does. Raises InvalidOption, UnencodableValue,
        ValueTooLarge, EventCycle, StoreFull, AppFailed.
        """
        turn = self._turn()
        if turn is not None:
            row = row_of(self._client.clock, name, data, id, stream_id)
            turn.post(row.uid, values.pack(list(row[1:])), PostKind.EVENT)
            return row.info()
        deadline = self._deadline(timeout)
        return self._do(self._events.emit(deadline, name, data, id, stream_id), deadline)

    def emit_many(self, events: Iterable[Any], *, timeout: float | None = None) -> list[EventInfo]:
        """Emit `(name, data)` or `(name, data, id)` for each event, in this order.

        Up to 10,000 events of at most 8 MiB together are one commit, all or none.
        """
        events = several(events, "emit_many", "(name, data) pairs")
        if self._turn() is not None:
            return [self.emit(name, data, id=rest[0] if rest else None) for name, data, *rest in events]
        deadline = self._deadline(timeout)
        return self._do(self._events.emit_many(deadline, events), deadline, long=True)

    def replay(
        self, id: EventLike, handler: TaskLike | None = None, *, timeout: float | None = None
    ) -> EventInfo:
        """Run the handlers of a stored event again: all that it has now, or this one. The answer names the new runs.

        Raises EventNotFound, InvalidOption for a task that does not handle it, SupervisorLost.
        """
        deadline = self._deadline(timeout)
        return self._do(self._events.replay(deadline, id, handler), deadline)

    def listen(
        self,
        pattern: str,
        *,
        where: Mapping[str, Any] | None = None,
        since: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """See `understudy.listen`."""
        deadline = self._deadline(timeout)
        return self._do(self._events.listen(deadline, pattern, where, since), deadline)

    def event(self, id: EventLike) -> EventRecord:
        """A stored event, read from disk. Raises EventNotFound."""
        return self._events.event(id)

    def events(
        self,
        *,
        name: str | None = None,
        unmatched: bool = False,
        limit: int = 100,
        before: EventLike | None = None,
    ) -> EventPage:
        """Stored events, newest first. `name` is a name or a pattern. `unmatched`: only those that nothing handled.

        A page, which is a sequence of `EventRecord`s and takes at most about 50 ms. For the next one, pass its `cursor`
        as `before`, or an event. Raises EventNotFound if `before` was pruned.
        """
        return self._events.events(name, unmatched, limit, before)

    def streams(self, *, limit: int = 50, before: str | None = None) -> StreamPage:
        """The streams to which something was added last, read from disk. A task alone is none.

        A page, which is a sequence of `StreamInfo`s and takes at most about 50 ms. For the next one, pass its `cursor`
        as `before`.
        """
        return self._events.streams(limit, before)

    def stream(self, id: StreamLike, *, limit: int = 10_000) -> Stream:
        """The tree of the events, runs and tasks of a stream, with their states and times, read from disk.

        `limit` is the most events and the most tasks: the oldest, and `more` says that there are others. Raises
        EventNotFound if there is nothing of it.
        """
        return self._events.stream(id, limit)
