"""Searches over a store of many tasks in many states, compared with a look at every record."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tasks import EPOCH, new_id
from understudy.actors import values
from understudy.actors.errors import StoreError
from understudy.actors.ids import id_text
from understudy.actors.state import TERMINAL, State
from understudy.storage import search as module
from understudy.storage.query import parse
from understudy.storage.reader import Reader
from understudy.storage.store import Store
from understudy.storage.tables.fingerprint import cause_of
from understudy.storage.tables.moves import Moves
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import SCHEMA_ROW, Lane, Table, due_sort, live_key, ready_sort

TASKS = 1_500
FIRST = new_id(EPOCH)
NAMES = ["jobs:etl", "jobs:etl_daily", "app.mail:send", "app.mail:rare"]


def make_records() -> list[Record]:
    """Tasks of all states, streams, errors and keys, made over two hours. The oldest comes first."""
    chance = random.Random(11)
    records: list[Record] = []
    for at in range(TASKS):
        created = EPOCH + at * 5
        id = FIRST if at == 0 else new_id(created)
        stream = FIRST if chance.randrange(4) == 0 else id
        name = NAMES[3] if at in (20, 700) else chance.choice(NAMES[:3])
        record = Record(id, name, created, stream, key=f"ship/{at}" if at % 50 == 3 else None)
        if stream != id:
            record.origin = chance.choice(records).id
        record.attempt = chance.randrange(1, 4)
        record.state = chance.choices(list(State), weights=[10, 2, 60, 10, 2, 5, 1])[0]
        if record.state in (State.FAILED, State.TIMED_OUT):
            record.error = chance.choice(
                [("ValueError", f"number {at}", "", {}), ("TimeoutError", "Connection RESET by peer", "", {})]
            )
        records.append(record)
    return records


def put(store: Store, record: Record, moves: Moves, at: int) -> None:
    if record.state in TERMINAL:
        record.ended = record.created + 1
    else:
        lane, sort = {State.RUNNING: (Lane.RUNNING, 0), State.IDLE: (Lane.IDLE, 0)}.get(
            record.state, (Lane.SYNC, ready_sort(at % 3 - 1))
        )
        if record.state is State.QUEUED and at % 2:
            record.due = EPOCH + 1e6 - at
            lane, sort = Lane.DELAYED, due_sort(record.due)
        record.place = (lane, sort)
        store.put(Table.LIVE, live_key(lane, sort, record.id), b"")
    if at % 3 == 0:
        packed = values.pack(([at % 7, {"customer": {"id": at}}], {"customer": at % 17, "ok": at % 2 == 0}))
        store.put(Table.ARGS, record.id, packed)
    store.put(Table.TASKS, record.id, record.pack())
    moves.take_in(record)


@pytest.fixture
def filled(home: Path, open_desk) -> Iterator[tuple[Reader, list[Record]]]:
    """A reader of a store with these tasks, written in commits that overlap in time."""
    desk = open_desk(place=home)
    records = make_records()
    order = list(enumerate(records))
    chance = random.Random(4)
    order.sort(key=lambda item: item[0] + chance.randrange(300))
    for start in range(0, TASKS, 97):
        moves = Moves()
        for at, record in order[start : start + 97]:
            put(desk.store, record, moves, at)
        moves.write(desk.store)
        desk.flush()
    desk.store.close(10)
    with Reader(home) as reader:
        yield reader, records


def found_by(reader: Reader, query: str, limit: int) -> list[bytes]:
    """The ids of all pages."""
    found: list[bytes] = []
    before = None
    while True:
        page = reader.search(parse(query), limit=limit, before=before)
        assert len(page.records) <= limit
        found += [record.id for record in page.records]
        before = page.last
        if before is None:
            return found
        assert page.stopped or len(page.records) == limit


def kind_of_error(record: Record) -> str:
    return record.error[0] if record.error else ""


CAUSE = cause_of("jobs:etl", "ValueError", "number 7", "").fingerprint.hex()


LATE = datetime.fromisoformat("2023-11-14T23:00:00+00:00").timestamp()


def is_of_cause(record: Record) -> bool:
    return record.name == "jobs:etl" and kind_of_error(record) == "ValueError"


def has_ended_late(record: Record) -> bool:
    return record.state in TERMINAL and record.created + 1 > LATE


CASES: list[tuple[str, Callable[[int, Record], bool]]] = [
    ("", lambda at, r: True),
    ("state:failed", lambda at, r: r.state is State.FAILED),
    ("state:completed", lambda at, r: r.state is State.COMPLETED),
    ("state:queued", lambda at, r: r.state is State.QUEUED),
    ("state:running,idle", lambda at, r: r.state in (State.RUNNING, State.IDLE)),
    ("state:failed,queued", lambda at, r: r.state in (State.FAILED, State.QUEUED)),
    ("-state:completed", lambda at, r: r.state is not State.COMPLETED),
    ("state:failed -state:failed", lambda at, r: False),
    ("task:jobs:etl", lambda at, r: r.name == "jobs:etl"),
    ("task:etl*", lambda at, r: r.name.startswith("jobs:etl")),
    ("task:rare,send state:queued", lambda at, r: r.name in NAMES[2:] and r.state is State.QUEUED),
    ("task:rare", lambda at, r: at in (20, 700)),
    ("-task:etl*", lambda at, r: not r.name.startswith("jobs:etl")),
    ("task:nothing", lambda at, r: False),
    ("task:etl state:idle,failed", lambda at, r: r.name == NAMES[0] and r.state in (State.IDLE, State.FAILED)),
    (f"stream:{id_text(FIRST)}", lambda at, r: r.stream == FIRST),
    (f"-stream:{id_text(FIRST)}", lambda at, r: r.stream != FIRST),
    (f"origin:{id_text(FIRST)}", lambda at, r: r.origin == FIRST),
    ("key:ship/53", lambda at, r: at == 53),
    ("key:ship/5*", lambda at, r: (r.key or "").startswith("ship/5")),
    ("error:ValueError", lambda at, r: kind_of_error(r) == "ValueError"),
    ("error:V*", lambda at, r: kind_of_error(r) == "ValueError"),
    ("state:failed -error:TimeoutError", lambda at, r: r.state is State.FAILED and kind_of_error(r) != "TimeoutError"),
    (f"cause:{CAUSE}", lambda at, r: is_of_cause(r)),
    (f"task:jobs:etl cause:0123456789abcdef,{CAUSE.upper()}", lambda at, r: is_of_cause(r)),
    (f"-cause:{CAUSE} state:failed", lambda at, r: r.state is State.FAILED and not is_of_cause(r)),
    (f"state:queued cause:{CAUSE}", lambda at, r: False),
    ("ended:2023-11-14T23:00:00+00:00", lambda at, r: has_ended_late(r)),
    ("-ended:2023-11-14T23:00:00+00:00", lambda at, r: not has_ended_late(r)),
    ("attempt:>1", lambda at, r: r.attempt > 1),
    ("attempt:3 state:failed", lambda at, r: r.attempt == 3 and r.state is State.FAILED),
    ("kind:task", lambda at, r: True),
    ("kind:call", lambda at, r: False),
    ("'connection reset'", lambda at, r: bool(r.error) and "RESET" in r.error[1]),
    ("-reset state:failed", lambda at, r: r.state is State.FAILED and "RESET" not in r.error[1]),  # type: ignore[index]
    ("SHIP/3", lambda at, r: (r.key or "").startswith("ship/3")),
    ("customer", lambda at, r: at % 3 == 0),
    ("args.customer:3", lambda at, r: at % 3 == 0 and at % 17 == 3),
    ("args.ok:true", lambda at, r: at % 6 == 0),
    ("args.0:5", lambda at, r: at % 3 == 0 and at % 7 == 5),
    ("args.customer.id:9", lambda at, r: at == 9),
    ("-args.customer:3", lambda at, r: not (at % 3 == 0 and at % 17 == 3)),
    ("newer:2023-11-15T00:00:00+00:00", lambda at, r: r.created > 1_700_006_400),
    ("older:2023-11-15T00:00:00+00:00", lambda at, r: r.created < 1_700_006_400),
    ("newer:1h", lambda at, r: False),
]  # fmt: skip


@pytest.mark.parametrize("limit", [7, 100, 5_000])
def test_a_search_finds_what_a_look_at_every_record_finds(filled, limit: int, monkeypatch):
    reader, records = filled
    for query, fits in CASES:
        wanted = [record.id for at, record in enumerate(records) if fits(at, record)]
        assert found_by(reader, query, limit) == wanted[::-1], query
    monkeypatch.setattr(module, "MOST_FACETS", 1)
    monkeypatch.setattr(module, "MOST_UNSORTED", 10)
    for query, fits in CASES:
        wanted = [record.id for at, record in enumerate(records) if fits(at, record)]
        assert found_by(reader, query, limit) == wanted[::-1], query


def test_an_indexed_search_looks_at_no_other_tasks(filled, monkeypatch):
    reader, _ = filled
    looked: list[bytes] = []
    may_fit = module.Fit.may_fit
    monkeypatch.setattr(
        module.Fit, "may_fit", lambda self, id, row: (looked.append(id), may_fit(self, id, row))[1]
    )
    for query in (
        "state:failed",
        "task:rare",
        "state:queued",
        "error:ValueError",
        "key:ship/53",
        "state:running",
    ):
        looked.clear()
        found = reader.search(parse(query), limit=20).records
        assert len(looked) == len(found) > 0, query
    looked.clear()
    assert len(reader.records(name="app.mail:rare", limit=None)) == len(looked) == 2


def test_a_page_that_takes_long_stops_and_goes_on_there(filled, monkeypatch):
    reader, records = filled
    wanted = [record.id for record in reversed(records) if record.attempt == 3]
    ticks = iter(range(10**9))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(ticks) * 0.04)
    page = reader.search(parse("attempt:3"), limit=1_000)
    assert page.stopped
    assert page.last is not None
    assert len(page.records) < 130
    assert page.records[-1].id >= page.last
    assert found_by(reader, "attempt:3", 1_000) == wanted


def test_counts_are_those_of_the_records(filled):
    reader, records = filled
    counted: dict[str, dict[State, int]] = {}
    for record in records:
        own = counted.setdefault(record.name, {})
        own[record.state] = own.get(record.state, 0) + 1
    assert reader.counts() == counted


def test_an_empty_home_has_nothing(home: Path):
    with Reader(home) as reader:
        assert reader.counts() == {}
        page = reader.search(parse("state:failed task:x reset"), limit=5)
        assert (page.records, page.last, page.stopped) == ([], None, False)


def test_a_store_of_an_older_version_is_searched_without_its_index(filled, home: Path, open_desk):
    reader, records = filled
    desk = open_desk(place=home)
    desk.store.put(Table.META, SCHEMA_ROW, b"3")
    for key, _ in desk.store.scan(Table.INDEX):
        desk.store.delete(Table.INDEX, key)
    desk.store.close(10)
    for query, fits in CASES[:8]:
        wanted = [record.id for at, record in enumerate(records) if fits(at, record)]
        assert found_by(reader, query, 100) == wanted[::-1], query
    with pytest.raises(StoreError, match="start a supervisor on it once"):
        reader.counts()


def test_the_oldest_tasks_of_a_stream(filled, monkeypatch):
    reader, records = filled
    stream = sorted(record.id for record in records if record.stream == FIRST)
    assert [record.id for record in reader.stream_tasks(FIRST, TASKS)] == stream
    few = [record.id for record in reader.stream_tasks(FIRST, 10)]
    assert few == sorted(few)
    assert set(few) <= set(stream[:100])
    assert few[0] == FIRST
    monkeypatch.setattr(module, "is_indexed", lambda _: False)
    assert [record.id for record in reader.stream_tasks(FIRST, 10)] == stream[:10]
