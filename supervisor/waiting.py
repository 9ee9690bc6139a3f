"""Which client waits for the end of which task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..actors.errors import AppFailed, TaskNotFound
from ..actors.ids import id_text
from .admission import checked_id
from .book import Book
from .client_link import ClientLink
from .entry import Entry


class Waiting:
    """Clients are told of an end once it is on disk, and once."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._waiting: dict[bytes, list[tuple[ClientLink, int]]] = {}
        book.on_ended = self.ended

    def ask(self, client: ClientLink, request: int, ids: Any, check: Callable[[], None]) -> None:
        """A client wants to know when these have ended. `check` is called if some have not, and may refuse."""
        over: list[bytes] = []
        left: set[bytes] = set()
        entries = self._book.entries
        for id in ids:
            # What is in memory is told of once its end is on disk, even if it has ended already.
            if id in entries:
                left.add(id)
                continue
            record = self._book.record(checked_id(id))
            if record is None:
                raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
            if record.ended is None:
                left.add(id)
            else:
                over.append(id)
        self.forget(client, request)
        # Not read before the client can take them: there may be many, and each as large as a value may be.
        client.ended_before(request, over)
        if not left:
            client.all_ended(request)
            return
        check()
        client.waits[request] = left
        who = (client, request)
        waiting = self._waiting
        for id in left:
            waiting.setdefault(id, []).append(who)

    def end_of(self, id: bytes) -> tuple[Any, ...] | None:
        """What is told of a task whose end is on disk; None if it was removed."""
        record = self._book.record(id)
        return None if record is None else (id, record.state, self._book.result_of(id), record.error)

    def forget(self, client: ClientLink, request: int) -> None:
        """The client does not wait any more."""
        for id in client.waits.pop(request, ()):
            waiting = self._waiting.get(id, [])
            if (client, request) in waiting:
                waiting.remove((client, request))
                if not waiting:
                    del self._waiting[id]
        client.forget(request)

    def fail(self, client: ClientLink, error: AppFailed) -> None:
        """Nothing that a client waits for will end any more."""
        for request in list(client.waits):
            self.forget(client, request)
            client.refuse(request, error)
        client.flush()

    def ended(self, entries: list[Entry]) -> None:
        """These tasks' ends are on disk: tell who waits for them."""
        told: dict[tuple[ClientLink, int], list[Any]] = {}
        for entry in entries:
            waiting = self._waiting.pop(entry.id, None)
            if waiting is not None:
                record = entry.record
                row = (record.id, record.state, entry.result, record.error)
                for who in waiting:
                    told.setdefault(who, []).append(row)
        for (client, request), rows in told.items():
            left = client.waits.get(request)
            if left is None:
                continue
            client.ended(request, rows)
            left.difference_update(row[0] for row in rows)
            if not left:
                del client.waits[request]
                client.all_ended(request)
            client.flush()
