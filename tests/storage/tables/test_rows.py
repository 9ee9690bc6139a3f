from __future__ import annotations

from pathlib import Path

import lmdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.storage.tables.rows import apply, walk

KEYS = st.binary(min_size=1, max_size=2)
ROWS = st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=4), st.just(b"") | KEYS, st.none() | KEYS)
def test_walking_and_applying_do_what_a_sorted_dict_does(tmp_path: Path, batches, start, stop):
    path = tmp_path / "rows.mdb"
    path.unlink(missing_ok=True)
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=1, sync=False) as env:
        table = env.open_db(b"rows")
        expected: dict[bytes, bytes] = {}
        for rows in batches:
            with env.begin(write=True) as transaction:
                apply(transaction, table, rows)
            expected.update((key, value) for key, value in rows.items() if value is not None)
            for key in [key for key, value in rows.items() if value is None]:
                expected.pop(key, None)
        inside = [
            row for row in sorted(expected.items()) if row[0] >= start and (stop is None or row[0] < stop)
        ]
        with env.begin() as transaction:
            assert list(walk(transaction, table, start, stop)) == inside
            assert list(walk(transaction, table, start, stop, reverse=True)) == inside[::-1]


def test_more_rows_than_one_call_puts(tmp_path: Path):
    rows = {b"%06d" % number: b"v" for number in range(3000)}
    with lmdb.open(str(tmp_path / "rows.mdb"), subdir=False, lock=False, max_dbs=1, sync=False) as env:
        table = env.open_db(b"rows")
        for part in (dict(list(rows.items())[::2]), rows):
            with env.begin(write=True) as transaction:
                apply(transaction, table, part)
        with env.begin() as transaction:
            assert dict(walk(transaction, table)) == rows
