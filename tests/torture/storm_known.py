"""One task, as clients and tasks of a storm have told of it."""

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
    """What was told of it so far, and its end as it was first seen on disk."""

    id: bytes
    name: str = ""
    #: The messages that were acknowledged, and those that may be there, by sender.
    sent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    sending: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    relays_to: bytes | None = None
    #: How far it has to count; what its container does.
    count: int | None = None
    part: Part | None = None
    #: The largest checkpoint that was acknowledged, of a task that counts.
    saved: int = 0
    cancelled: bool = False
    refused_cancel: bool = False
    #: What a client has been told of its end: (state, attempt, interruptions, ended, value).
    saw: tuple[Any, ...] | None = None
    #: (attempt, interruptions, supervisor, worker) of each time it was begun.
    runs: list[tuple[int, int, int, int]] = field(default_factory=list)
    heard: list[tuple[str, int]] = field(default_factory=list)
    #: The rows of its end, as first seen on disk.
    end: tuple[bytes, bytes | None] | None = None


def value_of(packed: bytes | None) -> Any:
    """What a row holds; None for no row."""
    return None if packed is None else values.unpack(packed)


def mail_of(snapshot: Snapshot, id: bytes) -> Iterator[Any]:
    """The messages in a task's mailbox, oldest first."""
    return (values.unpack(row) for _, row in snapshot.rows(Table.MAIL, id, after_prefix(id)))
