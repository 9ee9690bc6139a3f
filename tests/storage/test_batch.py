from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.errors import InvalidOption
from understudy.storage.batch import MISSING, Batch
from understudy.storage.tables.schema import Table

CHANGES = st.lists(
    st.tuples(
        st.sampled_from([Table.TASKS, Table.MAIL]),
        st.binary(min_size=1, max_size=2),
        st.none() | st.binary(max_size=3),
    )
)


@given(CHANGES)
def test_the_last_word_about_a_key_wins_and_the_size_is_what_is_held(changes):
    batch = Batch()
    expected: dict[tuple[Table, bytes], bytes | None] = {}
    for table, key, value in changes:
        if value is None:
            batch.delete(table, key)
        else:
            batch.put(table, key, value)
        expected[table, key] = value
    assert len(batch) == len(expected)
    assert batch.size == sum(len(key) + len(value or b"") for (_, key), value in expected.items())
    for (table, key), value in expected.items():
        assert batch.rows[table].get(key, MISSING) == value
    assert batch.empty == (not expected)


def test_a_key_that_was_not_touched_is_missing_which_is_not_deleted():
    batch = Batch()
    batch.delete(Table.TASKS, b"gone")
    assert batch.rows[Table.TASKS].get(b"gone", MISSING) is None
    assert batch.rows[Table.TASKS].get(b"other", MISSING) is MISSING
    assert batch.rows[Table.ARGS].get(b"gone", MISSING) is MISSING


def test_what_is_removed_before_it_was_written_is_forgotten():
    batch = Batch()
    batch.merge(Table.MAIL, {b"here": b"value"}, 9)
    batch.remove(Table.MAIL, [b"here", b"on disk"])
    assert batch.rows[Table.MAIL].get(b"here", MISSING) is MISSING
    assert batch.rows[Table.MAIL].get(b"on disk", MISSING) is None
    assert len(batch) == 1


def test_a_batch_of_nothing_but_acks_is_not_empty():
    batch = Batch()
    assert batch.empty
    assert not batch
    batch.acks.append(lambda: None)
    assert not batch.empty
    assert batch
    assert len(batch) == 0


@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_a_key_that_lmdb_would_refuse_is_refused_at_the_call_and_changes_nothing(key: bytes):
    batch = Batch()
    with pytest.raises(InvalidOption, match="tasks"):
        batch.put(Table.TASKS, key, b"")
    with pytest.raises(InvalidOption, match="tasks"):
        batch.delete(Table.TASKS, key)
    assert batch.empty
    assert batch.size == 0
