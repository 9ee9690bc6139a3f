"""Whether a task fits the terms of a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgpack

from ..actors import values
from ..actors.errors import InvalidValue
from ..actors.state import TERMINAL, State
from .query import Term
from .shared_view import Snapshot
from .tables.failure_rows import cause, has_failed
from .tables.record import Record, state_of
from .tables.schema import Table

ParameterNames = Callable[[str], list[str]]
"""Gives the names of the parameters of a task by its name; none if they are not known."""

#: The states of tasks that have what a term of the field asks for.
_STATES_OF: Final = {"cause": frozenset((State.FAILED, State.TIMED_OUT)), "ended": TERMINAL}

_NONE: Final = object()


class Fit:
    """The terms of one search, and what sources need to know of them."""

    def __init__(
        self,
        terms: Iterable[Term],
        now: float,
        snapshot: Snapshot,
        names_of: ParameterNames | None = None,
    ) -> None:
        self.terms = tuple(terms)
        self._snapshot = snapshot
        self._names_of = names_of
        own = [term for term in self.terms if not term.exclude]
        #: The states that a task may be in; None for any.
        self.states = _states(self.terms)
        self._names = [term for term in self.terms if term.field == "task"]
        #: Whether a term says what a name must be.
        self.has_names = any(not term.exclude for term in self._names)
        #: Streams whose first task may fit, which is in no facet.
        self.streams = {id for term in own if term.field == "stream" for id in term.ids}
        #: Bounds of the time of creation, in seconds since the epoch.
        self.newer = max((term.time(now) for term in own if term.field == "newer"), default=None)
        self.older = min((term.time(now) for term in own if term.field == "older"), default=None)
        self._now = now
        self._texts = [(_lower(term.values[0].text), term.exclude) for term in self.terms if not term.field]
        rest = [term for term in self.terms if term.field not in ("", "task", "state")]
        #: Those of arguments come last: they are read and unpacked.
        self._rest = sorted(rest, key=lambda term: term.field == "args")

    def name_fits(self, name: str) -> bool:
        """Whether a task of this name may fit."""
        short = name.rpartition(":")[2]
        return all((term.fits_any(name) or term.fits_any(short)) != term.exclude for term in self._names)

    def may_fit(self, id: bytes, row: bytes) -> bool:
        """Whether a task may fit by its row, without unpacking it: its state, and the texts."""
        if self.states is not None:
            try:
                if state_of(row) not in self.states:
                    return False
            except ValueError:
                return True  # unpacking it raises an error that names the task
        return not self._texts or self._has_texts(id, row)

    def _has_texts(self, id: bytes, row: bytes) -> bool:
        # Texts stand in the bytes of a row as they are. Names of fields do, too, so this finds too much.
        own = row.lower()
        args: bytes | None = None
        for text, exclude in self._texts:
            if text in own or exclude:
                continue
            if args is None:
                args = (self._snapshot.get(Table.ARGS, id) or b"").lower()
            if text not in args:
                return False
        return True

    def fits(self, record: Record) -> bool:
        """Whether a task fits all terms."""
        return (
            (self.states is None or record.state in self.states)
            and self.name_fits(record.name)
            and all(self._fits(term, record) != term.exclude for term in self._rest)
            and all(self._contains(record, text) != exclude for text, exclude in self._texts)
        )

    def _fits(self, term: Term, record: Record) -> bool:
        match term.field:
            case "stream":
                return record.stream in term.ids
            case "origin":
                return record.origin in term.ids
            case "key":
                return record.key is not None and term.fits_any(record.key)
            case "error":
                return record.error is not None and term.fits_any(record.error[0])
            case "cause":
                return has_failed(record) and cause(record).fingerprint in term.ids
            case "kind":
                return term.fits_any(record.kind)
            case "event" | "schedule":
                found = (record.trigger or {}).get(term.field)
                return isinstance(found, str) and term.fits_any(found)
            case "attempt":
                assert term.compare is not None
                compare, number = term.compare
                return compare(record.attempt, number)
            case "newer":
                return record.created > term.time(self._now)
            case "older":
                return record.created < term.time(self._now)
            case "ended":
                return record.ended is not None and record.ended > term.time(self._now)
        return any(term.fits_any(_text(value)) for value in self._arguments(record, term.path.split(".")))

    def _contains(self, record: Record, text: bytes) -> bool:
        error = record.error or ("", "")
        own = (record.name, record.key or "", error[0], error[1])
        if any(text in _lower(part) for part in own):
            return True
        return text in (self._snapshot.get(Table.ARGS, record.id) or b"").lower()

    def _arguments(self, record: Record, path: list[str]) -> list[Any]:
        """The values of arguments at this path: of one passed by name, by place, or of a field of any of them."""
        packed = self._snapshot.get(Table.ARGS, record.id)
        if packed is None:
            return []
        try:
            args, kwargs = values.unpack_foreign(packed)
        except (InvalidValue, ValueError, TypeError, msgpack.UnpackException):
            return []  # of a type that this process cannot read
        named = {str(place): value for place, value in enumerate(args)}
        if self._names_of is not None:
            named.update(zip(self._names_of(record.name), args, strict=False))
        starts: list[Any] = [{**named, **kwargs}]
        starts += [value for value in (*args, *kwargs.values()) if isinstance(value, dict)]
        found = (_inside(start, path) for start in starts)
        return [value for value in found if value is not _NONE]


def _inside(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _NONE
        value = value[name]
    return value


def _text(value: Any) -> str:
    """A value as it is written in a query."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else str(value)


def _lower(text: str) -> bytes:
    """Letters of ASCII in lower case: only these are alike in the bytes of rows."""
    return text.encode(errors="surrogatepass").lower()


def _states(terms: Iterable[Term]) -> frozenset[State] | None:
    found: frozenset[State] | None = None
    for term in terms:
        if term.field == "state":
            states = frozenset(State) - term.states if term.exclude else term.states
        elif term.field in _STATES_OF and not term.exclude:
            states = _STATES_OF[term.field]
        else:
            continue
        found = states if found is None else found & states
    return found
