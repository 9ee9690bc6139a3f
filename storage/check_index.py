"""The check of the index and the counters: they say what the tasks' records say.

The ids of a facet are compared by their number and a sum of their hashes, so no record is looked up twice. Facets of
which there may be as many as tasks are summed up by their kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from .tables.counts import by_state, count_key, unpack_counts
from .tables.index_rows import FACET_BYTES, Facet, ids_in
from .tables.moves import facets_of
from .tables.record import CODES, STATES, Record

Rows = Iterable[tuple[bytes, bytes]]

#: Kinds of which there are few facets, so that a problem can name one.
_FEW: Final = (Facet.NAME, Facet.END, Facet.ERROR)
_KINDS: Final = frozenset(Facet)


class IndexCheck:
    """Give it all records, then ask for the problems."""

    def __init__(self) -> None:
        #: Records that cannot be read. What the index and the counters hold of their tasks is unknown.
        self.damaged = 0
        self._expected: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        self._counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(STATES))

    def add(self, record: Record) -> None:
        """A task's record."""
        self._counts[record.name][CODES[record.state]] += 1
        for facet in facets_of(record):
            _note(self._expected, facet, record.id)

    def problems(self, index: Rows, counts: Rows) -> Iterator[str]:
        """One line for each difference."""
        found: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        for key, value in index:
            if key[0] not in _KINDS:
                yield f"row {key.hex()} of the index is of no known kind"
                continue
            try:
                ids = ids_in(key, value)
            except ValueError as error:
                yield str(error)
                continue
            for id in ids:
                _note(found, key[:FACET_BYTES], id)
        counted: dict[str, list[int]] = {}
        for key, value in counts:
            try:
                name, numbers = unpack_counts(value)
            except ValueError as error:
                yield f"row {key.hex()} of the counters: {error}"
                continue
            if count_key(name) != key:
                yield f"row {key.hex()} of the counters has the name {name!r}"
            counted[name] = numbers
        if self.damaged:
            return
        for facet in sorted({*found, *self._expected}):
            if found[facet] != self._expected[facet]:
                yield (
                    f"the index ({Facet(facet[0]).name} {facet[1:].hex()}) has {found[facet][0]} tasks, and the "
                    f"records have {self._expected[facet][0]}"
                    + (", but not the same ones" if found[facet][0] == self._expected[facet][0] else "")
                )
        for name in sorted({*counted, *self._counts}):
            have, want = counted.get(name, [0] * len(STATES)), self._counts[name]
            if have != want:
                yield f"the counters of {name!r} are {_text(have)}, and the records are {_text(want)}"


def _note(sums: defaultdict[bytes, list[int]], facet: bytes, id: bytes) -> None:
    entry = sums[facet if facet[0] in _FEW else facet[:1]]
    entry[0] += 1
    entry[1] += hash(facet + id)


def _text(counts: list[int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in by_state(counts).items()) or "none"
