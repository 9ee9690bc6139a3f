"""Searches: the tasks that fit a query, newest first, page by page, each page from one snapshot.

The index gives ids in their order for names, final states, streams, origins, kinds, triggers, error types and keys.
The table `live` gives those that have not ended. What none of them serves is looked for in the records themselves,
newest first. Every task that comes up is compared with the whole query, so a source may give too many, never too few.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ..actors.state import TERMINAL, State
from .live_rows import keys_by_age, keys_in, parsed, record_of
from .query import Term
from .query_fit import Fit, ParameterNames
from .shared_view import Snapshot
from .tables.counts import by_state, unpack_counts
from .tables.index_rows import Facet, end_of_bucket, facet_of, facet_of_id, ids_in, newest_in, oldest_in
from .tables.moves import RETRIED, end_facet, trigger_facet
from .tables.record import CODES, Record
from .tables.schema import (
    SCHEMA_ROW,
    SCHEMA_VERSION,
    Lane,
    Table,
    after_prefix,
    id_floor,
    live_id,
    state_in,
)

SECONDS: Final = 0.05
"""Time after which a page stops with what it has found."""

CLOCK_SLACK: Final = 3600.0
"""Seconds by which the time in a task's id and its time of creation may differ."""

#: Facets of which one search reads the rows side by side. For more of them the records are read.
MOST_FACETS: Final = 500

#: Tasks without an order by age, delayed ones and those without code, that one search sorts. For more of them the
#: records are read.
MOST_UNSORTED: Final = 20_000

#: Candidates between two looks at the clock.
_STEP: Final = 64

Ids = Iterator[bytes]
Counts = dict[str, dict[State, int]]


@dataclass(slots=True)
class Page:
    """The records of one page, and where it stopped."""

    records: list[Record] = field(default_factory=list)
    #: The next page goes on below this id; None: there is no more.
    last: bytes | None = None
    #: Whether it stopped because its time was over.
    stopped: bool = False


def counts_of(snapshot: Snapshot) -> Counts:
    """How many tasks of each name are in each state. Names without tasks are not there."""
    found = (unpack_counts(row) for _, row in snapshot.rows(Table.COUNTS))
    return {name: by_state(numbers) for name, numbers in found}


def is_indexed(snapshot: Snapshot) -> bool:
    """Whether the store has its index. One of an older version gets it with its upgrade."""
    return snapshot.get(Table.META, SCHEMA_ROW) == b"%d" % SCHEMA_VERSION


def page_of(
    snapshot: Snapshot,
    terms: Iterable[Term],
    *,
    limit: int | None,
    before: bytes | None = None,
    seconds: float | None = SECONDS,
    now: float | None = None,
    names_of: ParameterNames | None = None,
    also: Callable[[Record], bool] | None = None,
) -> Page:
    """The newest tasks with ids below `before` that fit all terms, and `also`: at most `limit`; None: all.

    It stops after `seconds`; None: when it has looked at all of them.
    """
    page = Page()
    if limit is not None and limit <= 0:
        return page
    began = time.monotonic()
    fit = Fit(terms, time.time() if now is None else now, snapshot, names_of)
    floor = b"" if fit.newer is None else id_floor(fit.newer - CLOCK_SLACK)
    if fit.older is not None:
        ceiling = id_floor(fit.older + CLOCK_SLACK)
        before = ceiling if before is None else min(before, ceiling)
    looked = 0
    last: bytes | None = None
    most_unsorted = MOST_UNSORTED if seconds is not None else sys.maxsize - 1
    for id, row in _candidates(snapshot, fit, floor, before, most_unsorted):
        if id == last:
            continue
        if id < floor:
            return page
        if (
            fit.may_fit(id, row)
            and fit.fits(record := parsed(id, Record.unpack, id, row))
            and (also is None or also(record))
        ):
            page.records.append(record)
            if len(page.records) == limit:
                page.last = id
                return page
        last = id
        looked += 1
        if seconds is not None and looked % _STEP == 0 and time.monotonic() - began > seconds:
            page.last, page.stopped = id, True
            return page
    return page


def oldest_of(snapshot: Snapshot, stream: bytes, most: int) -> list[Record]:
    """Tasks of a stream, the oldest ones, at most `most`, oldest first.

    It looks at no more of a long stream than it takes. Of tasks that were started within the same minute, the newer
    ones may be among them.
    """
    if not is_indexed(snapshot):
        terms = [Term("stream", (), 1, ids=(stream,))]
        return page_of(snapshot, terms, limit=None, seconds=None).records[::-1][:most]
    facet = facet_of_id(Facet.STREAM, stream)
    ids = [stream]
    for key, value in snapshot.rows(Table.INDEX, facet, after_prefix(facet)):
        ids += parsed(newest_in(key), ids_in, key, value)
        if len(ids) > most:
            break
    rows = ((id, snapshot.get(Table.TASKS, id)) for id in sorted(ids))
    records = (parsed(id, Record.unpack, id, row) for id, row in rows if row is not None)
    # Streams with the same hash share the facet.
    return list(islice((record for record in records if record.stream == stream), most))


def _candidates(
    snapshot: Snapshot, fit: Fit, floor: bytes, before: bytes | None, most_unsorted: int
) -> Iterator[tuple[bytes, bytes]]:
    """Tasks that may fit, newest first: id and record. None that fits is missing."""
    ids = _ids(snapshot, fit, before, most_unsorted)
    if ids is None:
        yield from snapshot.rows(Table.TASKS, floor, before, reverse=True)
        return
    for id in ids:
        row = snapshot.get(Table.TASKS, id)
        if row is not None:
            yield id, row


def _ids(snapshot: Snapshot, fit: Fit, before: bytes | None, most_unsorted: int) -> Ids | None:
    """The ids from the best source for this query; None if all records must be looked at."""
    if not is_indexed(snapshot):
        if fit.states is None or fit.states & TERMINAL:
            return None
        return _live_ids(snapshot, fit.states, before, most_unsorted)
    facets = _exact_facets(fit)
    if facets is not None:
        own = [iter(sorted((id for id in fit.streams if before is None or id < before), reverse=True))]
        return _merged([*own, *(_facet_ids(snapshot, facet, before) for facet in facets)])
    if fit.states is None and not fit.has_names:
        return None
    counts = {name: states for name, states in counts_of(snapshot).items() if fit.name_fits(name)}
    wanted = frozenset(State) if fit.states is None else fit.states
    if wanted >= frozenset(State):
        facets = [facet_of(Facet.NAME, name) for name in counts]
        return _of_facets(snapshot, facets, before)
    facets = [
        end_facet(name, CODES[state])
        for name, states in counts.items()
        for state in states
        if state in wanted & TERMINAL
    ]
    unended = wanted - TERMINAL
    if not unended:
        return _of_facets(snapshot, facets, before)
    live: Ids | None
    if fit.has_names and sum(sum(states.values()) for states in counts.values()) < snapshot.count(Table.LIVE):
        live = _of_facets(snapshot, [facet_of(Facet.NAME, name) for name in counts], before)
    else:
        live = _live_ids(snapshot, unended, before, most_unsorted)
    ended = _of_facets(snapshot, facets, before)
    return None if live is None or ended is None else _merged([live, ended])


def _exact_facets(fit: Fit) -> list[bytes] | None:
    """The facets of the term that leaves the fewest tasks, as far as that is known without looking."""
    for name, kind in (
        ("key", Facet.KEY),
        ("origin", Facet.ORIGIN),
        ("stream", Facet.STREAM),
        ("event", Facet.TRIGGER),
        ("schedule", Facet.TRIGGER),
        ("error", Facet.ERROR),
        ("attempt", Facet.RETRIED),
        ("kind", Facet.KIND),
    ):
        for term in fit.terms:
            if term.compare is not None and name == "attempt" and not term.exclude:
                if not _fits_first(term.compare):
                    return [RETRIED]
                continue
            if term.field != name or term.exclude or any(value.is_pattern for value in term.values):
                continue
            if term.ids:
                return [facet_of_id(kind, id) for id in set(term.ids)]
            texts = {value.text for value in term.values}
            if kind is Facet.TRIGGER:
                return [trigger_facet(name, text) for text in texts]
            if kind is not Facet.KIND or "task" not in texts:
                return [facet_of(kind, text) for text in texts]
    return None


def _fits_first(compare: tuple[Callable[[int, int], bool], int]) -> bool:
    """Whether a task in its first attempt may fit a comparison with its attempt."""
    fits, number = compare
    return fits(1, number)


def _of_facets(snapshot: Snapshot, facets: list[bytes], before: bytes | None) -> Ids | None:
    if len(facets) > MOST_FACETS:
        return None
    return _merged([_facet_ids(snapshot, facet, before) for facet in facets])


def _merged(sources: list[Ids]) -> Ids:
    return sources[0] if len(sources) == 1 else heapq.merge(*sources, reverse=True)


def _facet_ids(snapshot: Snapshot, facet: bytes, before: bytes | None) -> Ids:
    """The ids of a facet below `before`, newest first."""
    stop = after_prefix(facet) if before is None else end_of_bucket(facet, before)
    pending: list[bytes] = []  # of the rows read so far, oldest first
    for key, value in snapshot.rows(Table.INDEX, facet, stop, reverse=True):
        newest = newest_in(key)
        while pending and pending[-1] > newest:
            yield pending.pop()
        if before is None or newest < before:
            more = parsed(newest, ids_in, key, value)
        elif oldest_in(key, value) >= before:
            continue
        else:
            more = [id for id in parsed(newest, ids_in, key, value) if id < before]
        if pending:
            more = sorted(pending + more)
        pending = more
    yield from reversed(pending)


def _live_ids(
    snapshot: Snapshot, states: frozenset[State], before: bytes | None, most_unsorted: int
) -> Ids | None:
    """The ids of tasks that have not ended, newest first; None if they are too many to sort."""
    sources: list[Ids] = []
    for lane in Lane:
        if state_in(lane) not in states:
            continue
        if lane in (Lane.DELAYED, Lane.CODE, Lane.GATE, Lane.NO_POOL):
            ids = [live_id(key) for key in islice(keys_in(snapshot, lane), most_unsorted + 1)]
            if len(ids) > most_unsorted:
                return None
            sources.append(iter(sorted((id for id in ids if before is None or id < before), reverse=True)))
        else:
            keys = keys_by_age(snapshot, lane, before=before, reverse=True)
            sources.append(record_of(snapshot, key).id for key in keys)
    return _merged(sources) if sources else iter(())
