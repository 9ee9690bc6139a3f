"""One task, according to clients and tasks of a storm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from storm_boxes import Part
from understudy.actors import values
from understudy.storage.shared_view import Snapshot
from understudy.storage.tables.schema import Table, after_prefix


@dataclass
class Known:
    """The records about it so far, and its end as first seen on disk."""

    id: bytes
    name: str = ""
    #: The acknowledged messages, and the messages that may have arrived, by sender.
    sent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    sending: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    relays_to: bytes | None = None
    #: The number up to which it counts; the plan of its container.
    count: int | None = None
    part: Part | None = None
    #: The largest acknowledged checkpoint of a counting task.
    saved: int = 0
    cancelled: bool = False
    refused_cancel: bool = False
    #: Its end as reported to a client: (state, attempt, interruptions, ended, value).
    saw: tuple[Any, ...] | None = None
    #: (attempt, interruptions, supervisor, worker) of each run.
    runs: list[tuple[int, int, int, int]] = field(default_factory=list)
    heard: list[tuple[str, int]] = field(default_factory=list)
    #: The rows of its end, as first seen on disk.
    end: tuple[bytes, bytes | None] | None = None


def value_of(packed: bytes | None) -> Any:
    """The content of a row; None for no row."""
    return None if packed is None else values.unpack(packed)


def mail_of(snapshot: Snapshot, id: bytes) -> Iterator[Any]:
    """The messages in a task's mailbox, oldest first."""
    return (values.unpack(row) for _, row in snapshot.rows(Table.MAIL, id, after_prefix(id)))
