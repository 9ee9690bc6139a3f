"""What a store in memory does beyond the conformance suite in test_store.py."""

from __future__ import annotations

from understudy.storage.batch import Batch
from understudy.storage.memory import MemoryStore
from understudy.storage.schema import Table


def test_a_batch_is_committed_before_seal_returns_and_may_be_taken_in_the_callback():
    told: list[Batch] = []

    def on_commit(batch: Batch) -> None:
        told.append(batch)
        store.committed(batch)

    store = MemoryStore(on_commit)
    store.put(Table.TASKS, b"a", b"1")
    assert store.seal()
    assert not store.busy
    assert store.scan(Table.TASKS) == [(b"a", b"1")]
    assert len(told) == 1


def test_a_test_may_say_that_it_is_full():
    store = MemoryStore(lambda batch: None)
    assert not store.full
    store.full = True
    assert store.full


def test_two_stores_share_nothing():
    one, other = MemoryStore(lambda batch: None), MemoryStore(lambda batch: None)
    assert one.home_id != other.home_id
