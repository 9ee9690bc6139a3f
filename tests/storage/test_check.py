from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk import expire
from tasks import EPOCH, add_task
from understudy.actors.errors import StoreForeign
from understudy.actors.state import State
from understudy.storage import check as module
from understudy.storage.check import check
from understudy.storage.file.names import store_file
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, expiry_key, live_key, log_key, mail_key, ready_sort

SOME = b"\1" * 16

Cast = dict[State, Record]


def sound_cast(store: Any) -> Cast:
    """A task of each state, with all that belongs to it."""
    cast = {}
    for number, state in enumerate(State):
        cast[state] = add_task(store, state, EPOCH + number, key=f"key {number}")
        store.put(Table.LOGS, log_key(cast[state].id, 1), b"\x90")
        if cast[state].terminal:
            expire(store, cast[state], 60)
        else:
            store.put(Table.MAIL, mail_key(cast[state].id, 1), b"hello")
    return cast


@pytest.fixture
def filled(open_desk) -> Callable[[Callable[[Any, Cast], object]], None]:
    def fill(damage: Callable[[Any, Cast], object]) -> None:
        desk = open_desk()
        cast = sound_cast(desk.store)
        damage(desk.store, cast)
        desk.store.close(10)

    return fill


def test_a_sound_store_is_sound(home: Path, filled):
    filled(lambda store, cast: None)
    told: list[tuple[int, int]] = []
    report = check(home, lambda done, total: told.append((done, total)))
    assert report.problems == []
    assert report.sound
    assert report.counts[Table.TASKS] == 7
    assert report.counts[Table.LIVE] == 3
    total = sum(report.counts.values())
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert told == sorted(told)
    assert not list(home.glob("*.draft"))


def test_no_store_is_sound(home: Path):
    assert check(home).sound
    assert not home.exists()


def test_a_foreign_file_raises(home: Path):
    home.mkdir()
    store_file(home).write_bytes(b"x" * 10_000)
    with pytest.raises(StoreForeign):
        check(home)


def key_of(record: Record, lane: Lane = Lane.SYNC) -> bytes:
    return live_key(lane, ready_sort(0), record.id)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s, c: s.delete(Table.LIVE, key_of(c[State.QUEUED])), "would never run again"),
        (lambda s, c: s.put(Table.LIVE, key_of(c[State.QUEUED], Lane.ASYNC), b""), "more than one live row"),
        (lambda s, c: s.put(Table.LIVE, key_of(c[State.FAILED]), b""), "is failed but has a live row"),
        (lambda s, c: s.put(Table.LIVE, live_key(Lane.SYNC, 0, SOME), b""), "has no task"),
        (lambda s, c: s.put(Table.LIVE, b"\x7f" + live_key(Lane.SYNC, 0, SOME)[1:], b""), "malformed"),
        (
            lambda s, c: (
                s.delete(Table.LIVE, key_of(c[State.RUNNING], Lane.RUNNING)),
                s.put(Table.LIVE, key_of(c[State.RUNNING]), b""),
            ),
            "is running but in the lane SYNC",
        ),
        (
            lambda s, c: (
                s.delete(Table.LIVE, key_of(c[State.QUEUED])),
                s.put(Table.LIVE, key_of(c[State.QUEUED], Lane.RUNNING), b""),
            ),
            "is queued but in the lane RUNNING",
        ),
        (lambda s, c: s.put(Table.ARGS, SOME, b""), "of args has no task"),
        (lambda s, c: s.put(Table.CHECKPOINTS, SOME, b""), "of checkpoints has no task"),
        (lambda s, c: s.put(Table.RESULTS, SOME, b""), "of results has no task"),
        (lambda s, c: s.put(Table.LOGS, log_key(SOME, 1), b""), "of logs has no task"),
        (lambda s, c: s.put(Table.MAIL, mail_key(SOME, 1), b""), "of mail has no task"),
        (
            lambda s, c: s.put(Table.MAIL, mail_key(c[State.COMPLETED].id, 1), b""),
            "is completed but has the message",
        ),
        (lambda s, c: s.put(Table.RESULTS, c[State.RUNNING].id, b""), "is running but has a result"),
        (lambda s, c: s.put(Table.KEYS, b"lost", SOME), "which does not exist"),
        (lambda s, c: s.put(Table.KEYS, b"key 9", c[State.QUEUED].id), "whose key is 'key 0'"),
        (lambda s, c: s.put(Table.EXPIRY, expiry_key(EPOCH, SOME), b""), "has no task"),
        (lambda s, c: s.put(Table.EXPIRY, expiry_key(EPOCH, c[State.QUEUED].id), b""), "has an expiry row"),
        (lambda s, c: s.put(Table.TASKS, c[State.FAILED].id, b"garbage"), "not a task record"),
        (lambda s, c: s.put(Table.TASKS, b"short", c[State.FAILED].pack()), "an id of 5 bytes"),
    ],
)
def test_each_broken_rule_is_found_and_nothing_else(home: Path, filled, damage, said: str):
    filled(damage)
    report = check(home)
    assert not report.sound
    assert len(report.problems) == 1, report.problems
    assert said in report.problems[0]


def test_a_state_that_contradicts_the_time_of_the_end(home: Path, filled):
    def damage(store: Any, cast: Cast) -> None:
        record = cast[State.FAILED]
        record.ended = None
        store.put(Table.TASKS, record.id, record.pack())

    filled(damage)
    assert ["time of its end" in line for line in check(home).problems] == [True]


def test_many_problems_are_counted(home: Path, filled, monkeypatch):
    monkeypatch.setattr(module, "MAX_PROBLEMS", 5)
    filled(lambda store, cast: [store.put(Table.ARGS, os.urandom(16), b"") for _ in range(20)])
    problems = check(home).problems
    assert len(problems) == 6
    assert problems[-1] == "and 15 more"


def test_live_rows_are_matched_in_parts(home: Path, filled, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)

    def damage(store: Any, cast: Cast) -> None:
        added = [add_task(store, at=EPOCH + 100 + number) for number in range(50)]
        for record in added[::10]:
            store.delete(Table.LIVE, key_of(record))

    filled(damage)
    problems = check(home).problems
    assert len(problems) == 5
    assert all("would never run again" in line for line in problems)


def test_flipped_bits_never_crash_and_damage_of_pages_is_found(home: Path, filled):
    """A flip inside a value may go unseen (LMDB has no checksums); one in the structure may not pass as sound."""
    filled(lambda store, cast: [add_task(store, at=EPOCH + number) for number in range(300)])
    path = store_file(home)
    whole = path.read_bytes()
    generator = random.Random(7)
    pages = range(2, len(whole) // 4096)
    found = 0
    for page in pages:
        place = page * 4096 + generator.choice([0, 10, 12, 14])  # its number, flags, and where its rows are
        flipped = bytearray(whole)
        flipped[place] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        try:
            found += not check(home).sound
        except StoreForeign:
            found += 1
    path.write_bytes(whole)
    assert check(home).sound
    assert found >= len(pages) // 2  # free pages hold nothing that could be damaged


def test_a_file_cut_short_is_found(home: Path, filled):
    filled(lambda store, cast: [store.put(Table.ARGS, cast[State.QUEUED].id, bytes(100_000))])
    path = store_file(home)
    os.truncate(path, path.stat().st_size - 50_000)
    assert any("cut short" in line for line in check(home).problems)


def test_a_store_in_use_is_checked_in_a_copy(home: Path, program):
    """The writer keeps every rule with each batch, so no check may ever see one broken."""
    writer = program(
        """
        import os, sys, time
        from pathlib import Path
        from desk import Desk
        from tasks import add_task
        from understudy.actors.state import State
        from desk import expire
        from understudy.storage.tables.prune import prune
        from understudy.storage.store import Store

        desk = Desk(Store, Path(sys.argv[1]), map_size=1 << 20, durability="os")
        number = 0
        while os.getppid() == int(sys.argv[2]):
            number += 1
            add_task(desk.store, State.QUEUED, number) if number < 200 else None
            expire(desk.store, add_task(desk.store, State.FAILED, number, key=str(number)), 300)
            prune(desk.store, number)
            desk.flush()
            if number % 50 == 0:
                print(number, flush=True)
        """,
        home,
        os.getpid(),
    )
    for _ in range(6):
        assert writer.stdout.readline()
        report = check(home)
        assert report.problems == []
        assert report.counts[Table.TASKS] > 0
    assert not list(home.glob("*.draft"))
