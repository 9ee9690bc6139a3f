"""UniqueStarts: what the unique ones among the rows of one START do; all of it or nothing is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...actors.errors import NotUnique
from ...storage.tables.record import Record
from ..rules.uniqueness import Wanted
from .unique_tasks import Decision, UniqueTasks

Row = tuple[Any, ...]


class UniqueStarts:
    """Nothing is changed before `claim` and `renew`."""

    def __init__(self, unique: UniqueTasks, rows: Iterable[Row]) -> None:
        """NotUnique if one of the rows is refused. The names in the rows are the present ones."""
        self._unique = unique
        #: The rows that make tasks, by their ids.
        self.fresh: dict[bytes, Row] = {}
        #: The task that is there, by the id of the row that leads to it.
        self.led: dict[bytes, bytes] = {}
        self._claims: dict[bytes, Decision] = {}
        #: By text, the row of this request that makes its task.
        self._of_text: dict[str, bytes] = {}
        #: By the id of the task that gets them, new arguments and a new time to begin.
        self.renewed: dict[bytes, tuple[Decision, Row]] = {}
        for row in rows:
            self._take(row)

    def _take(self, row: Row) -> None:
        id, name, args, changes, *_ = row
        decision = self._unique.decide(name, args, changes, start=id)
        if decision is None:
            self.fresh[id] = row
            return
        twin = self._of_text.get(decision.text)
        if twin is not None:
            self._take_twin(row, decision, twin)
            return
        match decision.wanted:
            case Wanted.START | Wanted.WAIT:
                self.fresh[id] = row
                self._claims[id] = decision
                self._of_text[decision.text] = id
            case Wanted.REFUSE:
                raise self._unique.refusal(decision)
            case Wanted.REPLACE:
                self.renewed[decision.id] = decision, row
                self.led[id] = decision.id
            case Wanted.RETURN:
                self.led[id] = decision.id

    def _take_twin(self, row: Row, decision: Decision, twin: bytes) -> None:
        """A row with the text of one before it in the same request."""
        id, name, args, _, _, due, *_ = row
        if decision.options.on_conflict == "raise":
            raise NotUnique(
                f"{name} is unique, and two calls that are to be started together have the same key"
            )
        if decision.options.on_conflict == "replace":
            first = self.fresh[twin]
            self.fresh[twin] = (*first[:2], args, *first[3:5], due, *first[6:])
        self.led[id] = twin

    def claim(self, new: Iterable[tuple[Record, bytes | None]]) -> None:
        """The tasks of the rows are about to be queued: those that are unique have their texts."""
        for record, _ in new:
            decision = self._claims.get(record.id)
            if decision is not None:
                self._unique.claim(record, decision)

    def renew(self) -> None:
        """Give tasks that are there the arguments of rows that replace theirs."""
        for decision, (id, _, args, _, _, due, *_) in self.renewed.values():
            self._unique.renew(decision, args, due, id)
