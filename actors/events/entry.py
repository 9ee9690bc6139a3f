"""`WatchEntry`: what a watch gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import ErrorInfo, InvalidOption
from ..ids import id_bytes, id_text
from ..values import unpack_foreign

if TYPE_CHECKING:
    from ..task.handles import TaskRecord
    from .stream import Stream

EntryKind = Literal["snapshot", "item", "log", "attempt", "end", "notice"]


class WatchEntry(NamedTuple):
    """One thing that has happened in a stream. Which fields are set depends on its kind.

    snapshot: how everything stands, in `snapshot`. item: what a task has published: `number`, `name`, `value`.
    log: a line of `text`, with its level as `name`. attempt: an attempt is over and another one follows; `name` is
    "retry" or "interrupted". end: a task has ended; `name` is its final state. notice: what is missing here: `items`
    and `lines`.
    """

    kind: EntryKind
    cursor: str
    """Give it to `watch(after=…)` to go on behind this entry. Opaque text."""
    time: float
    """Seconds since the epoch."""
    stream_id: str
    task_id: str | None = None
    attempt: int = 0
    """Of an item or a line, the attempt that it is from: what a lost attempt has published may come again."""
    interruptions: int = 0
    """How often the task had been interrupted before. An interruption repeats an attempt."""
    number: int = 0
    """Of an item, its number in its stream, from 1."""
    name: str | None = None
    packed: bytes | None = None
    """The encoded value of an item."""
    text: str | None = None
    error: ErrorInfo | None = None
    """Why an attempt or a task has failed; without a traceback."""
    items: int = 0
    """Of a notice: items that were removed before they were read. A stream keeps `stream_items` of them."""
    lines: int = 0
    """Of a notice: lines of log that were."""
    snapshot: TaskRecord | Stream | None = None

    @property
    def value(self) -> Any:
        """The value of an item. What is of a type that is not registered here is a `values.Foreign`."""
        return None if self.packed is None else unpack_foreign(self.packed)

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like: the fields that are set."""
        plain: dict[str, Any] = {"kind": self.kind, "cursor": self.cursor, "time": self.time}
        plain["stream_id"] = self.stream_id
        if self.task_id is not None:
            plain.update(task_id=self.task_id, attempt=self.attempt, interruptions=self.interruptions)
        if self.kind == "item":
            plain.update(number=self.number, name=self.name, value=self.value)
        elif self.kind == "log":
            plain.update(level=self.name, text=self.text)
        elif self.kind == "notice":
            plain.update(items=self.items, lines=self.lines)
        elif self.kind == "snapshot" and self.snapshot is not None:
            plain["snapshot"] = self.snapshot.as_dict()
        elif self.kind in ("attempt", "end"):
            plain["state"] = self.name
            error = self.error
            plain["error"] = None if error is None else {"type": error.type, "message": error.message}
        return plain


def cursor_text(stream: bytes, numbers: tuple[int, ...]) -> str:
    """The cursor of a place in a stream."""
    return f"{stream.hex()}.{'.'.join(format(number, 'x') for number in numbers)}"


def cursor_numbers(cursor: object, stream: bytes, count: int) -> tuple[int, ...]:
    """The place that a cursor names; InvalidOption if it is none, or one of another stream."""
    try:
        if not isinstance(cursor, str) or not cursor.isascii():
            raise ValueError
        text, *parts = cursor.split(".")
        numbers = tuple(int(part, 16) for part in parts)
        if len(numbers) != count or not all(0 <= number < 1 << 64 for number in numbers):
            raise ValueError
        of = bytes.fromhex(text)
        id_bytes(id_text(of))
    except ValueError as error:
        raise InvalidOption(
            f"after must be the cursor of an entry that a watch has given, not {cursor!r:.80}"
        ) from error
    if of != stream:
        raise InvalidOption(
            f"this cursor is of stream {id_text(of)}, and {id_text(stream)} is to be watched: give a cursor of its own"
        )
    return numbers
