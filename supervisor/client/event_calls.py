"""EventCalls: the calls of a runtime about events and streams. Those that need the supervisor are steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ...actors import values
from ...actors.checks import check_seconds, check_whole
from ...actors.clock import Clock
from ...actors.errors import EventNotFound, InvalidOption, NotInTask, UnencodableValue
from ...actors.events.condition import Condition, check_where
from ...actors.events.event import Event, EventInfo, EventRecord, check_id
from ...actors.events.pattern import check_name, check_pattern
from ...actors.events.stream import Stream, StreamInfo, kind_of, stream_of
from ...actors.ids import id_bytes, id_text
from ...actors.inside.context import lineage_here
from ...actors.task.declaration import Task
from ...actors.tracing import tracer
from ...actors.tracing.tracer import tracing
from ...storage.reader import Reader
from ...storage.tables.event_rows import EventRow
from ..settings import BATCH_BYTES, BATCH_LIMIT
from ..wire.messages import Ask
from .connection import Reply
from .deadline import Deadline
from .pages import MAX_LIMIT, EventPage, StreamPage, end_of, id_in, time_in
from .reconnecting import ReconnectingClient
from .start_rows import StreamLike
from .steps import Steps
from .views import view

EventLike = EventInfo | EventRecord | Event | str
"""What names an event in a call."""

#: Bytes that a row takes beside its event.
ROW_BYTES: Final = 200


class EmitRow(NamedTuple):
    """An event as a frame takes it."""

    uid: bytes
    id: str | None
    name: str
    stream: bytes | None
    origin: bytes | None
    time: float
    packed: bytes
    trace: str | None = None

    def info(self) -> EventInfo:
        """What is known of it before it is on disk."""
        return EventInfo(self.id or id_text(self.uid), id_text(self.stream or self.uid))


def row_of(
    clock: Clock,
    name: str,
    data: Any,
    id: str | None,
    stream_id: StreamLike | None,
    limit: int = values.VALUE_LIMIT,
) -> EmitRow:
    """The row of an event that is emitted here and now. InvalidOption, UnencodableValue, ValueTooLarge."""
    origin, stream = lineage_here() or (None, None)
    if stream_id is not None:
        stream = id_bytes(stream_id)
    return _row(clock, name, data, id, origin, stream, limit)


def _row(
    clock: Clock,
    name: str,
    data: Any,
    id: str | None,
    origin: bytes | None,
    stream: bytes | None,
    limit: int,
) -> EmitRow:
    check_name(name)
    if id is not None:
        check_id(id)
    uid, now = clock.new_id(), clock.time()
    text = id_text(uid)
    event = Event(
        id or text,
        name,
        data,
        now,
        text if stream is None else id_text(stream),
        None if origin is None else id_text(origin),
    )
    try:
        packed = values.pack(event, "event", limit)
    except UnencodableValue:
        values.pack(data, "data", limit)  # names the place in the data
        raise
    trace = None if tracing.tracer is None else tracer.start(name, uid, stream or uid)
    return EmitRow(uid, id, name, stream, origin, now, packed, trace)


def rows_of(clock: Clock, events: Iterable[Any], limit: int) -> Iterator[EmitRow]:
    """The rows of events as `emit_many` takes them, one after the other."""
    origin, stream = lineage_here() or (None, None)
    for event in events:
        name, data, *rest = _checked_tuple(event)
        yield _row(clock, name, data, rest[0] if rest else None, origin, stream, limit)


class EventCalls:
    """The calls of one `ReconnectingClient` about events. It does not refer to the `Runtime`, as `Calls` does not."""

    def __init__(self, client: ReconnectingClient, reader: Reader) -> None:
        self._client = client
        self._reader = reader

    # --- emitting ---

    def emit(
        self, deadline: Deadline, name: str, data: Any, id: str | None, stream_id: StreamLike | None
    ) -> Steps[EventInfo]:
        """See `Runtime.emit`."""
        connection = yield from self._client.connected(deadline)
        row = row_of(self._client.clock, name, data, id, stream_id, connection.value_limit)
        (told,) = yield from self._client.ask(deadline, Ask.EMIT, [row])
        return _info(told)

    def emit_many(self, deadline: Deadline, events: Iterable[Any]) -> Steps[list[EventInfo]]:
        """See `Runtime.emit_many`."""
        limit = (yield from self._client.connected(deadline)).value_limit
        sent: list[tuple[list[EmitRow], Reply]] = []
        rows: list[EmitRow] = []
        size = 0
        infos: list[EventInfo] = []
        try:
            for row in rows_of(self._client.clock, events, limit):
                rows.append(row)
                size += len(row.packed) + ROW_BYTES
                if len(rows) >= BATCH_LIMIT or size >= BATCH_BYTES:
                    sent.append((rows, (yield from self._client.request(deadline, Ask.EMIT, rows))))
                    rows, size = [], 0
            if rows:
                sent.append((rows, (yield from self._client.request(deadline, Ask.EMIT, rows))))
            for part, reply in sent:
                told = yield from self._client.ask(deadline, Ask.EMIT, part, reply=reply)
                infos += map(_info, told)
            return infos
        finally:
            for _, reply in sent:
                reply.drop()

    def replay(
        self, deadline: Deadline, id: EventLike, handler: Task[..., Any] | str | None
    ) -> Steps[EventInfo]:
        """See `Runtime.replay`."""
        name = handler.name if isinstance(handler, Task) else handler
        # Not `ask`: repeated after a lost connection, it might start the handlers twice.
        reply = yield from self._client.request(deadline, Ask.REPLAY, event_id(id), name)
        return _info((yield from self._client.answer(reply)))

    def listen(self, deadline: Deadline, pattern: str, where: Any, since: float | None) -> Steps[None]:
        """See `understudy.listen`."""
        check_pattern(pattern)
        condition: Condition = check_where(where)
        seconds = check_seconds("since", since, optional=True)
        here = lineage_here()
        if here is None:
            raise NotInTask("listen works only inside a task, whose mailbox gets the events")
        yield from self._client.ask(deadline, Ask.LISTEN, here[0], pattern, condition, seconds)

    # --- reading, directly from disk without the supervisor ---

    @property
    def _store(self) -> Reader:
        self._client.check_open()
        return self._reader

    def event(self, id: EventLike) -> EventRecord:
        """See `Runtime.event`."""
        text = event_id(id)
        row = self._store.event(text)
        if row is None:
            raise EventNotFound(f"no event has the id {text!r:.80}; it may have been pruned", text)
        return record_of(row)

    def events(self, name: str | None, unmatched: bool, limit: int, before: EventLike | None) -> EventPage:
        """See `Runtime.events`."""
        if name is not None:
            check_pattern(name)
        check_whole("limit", limit, 0, MAX_LIMIT)
        end = None if before is None else event_id(before)
        page = self._store.events(name, unmatched=unmatched, limit=limit, before=end)
        return EventPage(tuple(map(record_of, page.rows)), *end_of(page.last, page.stopped))

    def streams(self, limit: int, before: str | None) -> StreamPage:
        """See `Runtime.streams`."""
        check_whole("limit", limit, 1, MAX_LIMIT)
        page = self._store.streams(limit, None if before is None else id_in("before", before))
        return StreamPage(
            tuple(stream_info(self._store, stream, newest) for stream, newest in page.streams),
            *end_of(page.last, page.stopped),
        )

    def stream(self, id: StreamLike, limit: int) -> Stream:
        """See `Runtime.stream`."""
        check_whole("limit", limit, 1)
        return stream_in(self._store, id_bytes(id), limit)


def stream_in(reader: Reader, id: bytes, limit: int) -> Stream:
    """The tree of a stream, with at most `limit` events and as many tasks; EventNotFound if there is nothing of it."""
    events = reader.stream_events(id, limit + 1)
    tasks = reader.stream_tasks(id, limit + 1)
    if not events and not tasks:
        raise EventNotFound(f"no stream has the id {id_text(id)}; it may have been pruned", id_text(id))
    return stream_of(
        id_text(id),
        [record_of(row) for row in events[:limit]],
        [view(record) for record in tasks[:limit]],
        more=max(len(events), len(tasks)) > limit,
    )


def stream_info(reader: Reader, stream: bytes, newest: bytes) -> StreamInfo:
    """A stream in a list; `newest` is the id of the newest task or event in it."""
    kind: str | None = None
    name: str | None = None
    if (record := reader.record(stream)) is not None:
        kind, name = kind_of(view(record)), record.name
    elif (event := reader.event(id_text(stream))) is not None:
        kind, name = "event", event.name
    return StreamInfo(id_text(stream), kind, name, time_in(stream), time_in(newest))


def event_id(id: object) -> str:
    """The id of an event that is given by itself or by its `EventInfo`."""
    if isinstance(id, EventInfo | EventRecord | Event):
        return id.id
    if not isinstance(id, str):
        raise InvalidOption(f"an event is named by its id or its EventInfo, not by {id!r:.80}")
    return id


def _checked_tuple(event: Any) -> Sequence[Any]:
    if isinstance(event, tuple) and 2 <= len(event) <= 3:
        return event
    raise InvalidOption(f"emit_many takes (name, data) or (name, data, id) for each event, not {event!r:.80}")


def _info(told: Sequence[Any]) -> EventInfo:
    id, stream, runs = told
    return EventInfo(id, id_text(stream), tuple(map(id_text, runs)))


def record_of(row: EventRow) -> EventRecord:
    """A stored event as an EventRecord."""
    return EventRecord(
        row.id,
        row.name,
        row.time,
        id_text(row.stream),
        None if row.origin is None else id_text(row.origin),
        tuple((handler, id_text(run)) for handler, run in row.runs),
        row.packed,
    )
