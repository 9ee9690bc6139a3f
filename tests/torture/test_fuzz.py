"""The short form of fuzz.py: seeded, bounded, without coverage."""

from __future__ import annotations

import pytest

fuzz = pytest.importorskip("fuzz")


def test_no_bytes_are_a_fault():
    assert fuzz.by_mutation(3, 1) > 1_000


@pytest.mark.parametrize("reader", fuzz.READERS, ids=lambda reader: reader.__name__)
def test_sound_bytes_are_read_by_all(reader):
    for seed in fuzz.SEEDS:
        reader(seed)
    reader(b"")
