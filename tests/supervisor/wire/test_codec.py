"""Frames on a wire: any chunking, any garbage, any length."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.actors.errors import ProtocolError
from understudy.supervisor.settings import BATCH_BYTES, BATCH_LIMIT
from understudy.supervisor.wire.codec import Decoder, encode, parts

LIMIT = 1024
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=50)
    | st.text(max_size=20)
)
fields = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
frames = st.tuples(st.integers(-5, 300), fields, fields)


def decoded(decoder: Decoder, data: bytes) -> list[Any]:
    return list(decoder.feed(data))


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 40), max_size=30))
def test_whatever_the_chunks_the_frames_are_the_same(sent: list[Any], cuts: list[int]):
    data = b"".join(map(encode, sent))
    decoder, got = Decoder(LIMIT), []
    for cut in cuts:
        got += decoded(decoder, data[:cut])
        data = data[cut:]
    assert got + decoded(decoder, data) == sent


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_is_a_frame_an_error_or_not_complete_yet(data: bytes, step: int):
    decoder = Decoder(LIMIT)
    try:
        for start in range(0, len(data), step):
            for frame in decoder.feed(data[start : start + step]):
                assert type(frame) is tuple
                assert type(frame[0]) is int
    except ProtocolError:
        pass


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_a_flipped_byte_is_never_any_other_error(sent: list[Any], data: Any):
    wire = bytearray(b"".join(map(encode, sent)))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded(Decoder(LIMIT), bytes(wire))
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "value", [1, None, "text", {}, {"op": 1}, [], ["op"], [None], [True, 1], [1.0], [[1]]], ids=repr
)
def test_what_is_no_array_that_starts_with_an_int_is_refused(value: Any):
    with pytest.raises(ProtocolError, match="not a frame"):
        decoded(Decoder(LIMIT), msgpack.packb(value))


@pytest.mark.parametrize(
    "head",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\x92\x01\xc6\xff\xff\xff\xff",  # bytes
        b"\x92\x01\xdb\xff\xff\xff\xff",  # text
        b"\x92\x01\xc9\xff\xff\xff\xff\x01",  # an extension
        b"\x92\x01\xde\xff\xff",  # a map of 65,535 inside
    ],
    ids=["array", "map", "bytes", "text", "extension", "inner map"],
)
def test_a_giant_length_costs_no_memory(head: bytes):
    decoder = Decoder(LIMIT)
    tracemalloc.start()
    try:
        # Refused when what has come of it is past the limit.
        try:
            assert decoded(decoder, head) == []
        except ProtocolError:
            pass
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_giant_arrays_within_each_other_cost_no_memory():
    # Each header promises 40,000 elements, which would take 300 kB at once.
    bombs = [b"\xdc\x9c\x40" * 1_000, b"\x92\x01" + b"\xdc\x9c\x40\xc0" * 1_000] * 10
    decoders = [Decoder(LIMIT) for _ in bombs]
    tracemalloc.start()
    try:
        for decoder, bomb in zip(decoders, bombs, strict=True):
            assert decoded(decoder, bomb) == []
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "head", [b"\x92\x01\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"], ids=["bytes", "array"]
)
def test_a_frame_that_never_ends_is_refused_at_the_limit(head: bytes):
    decoder = Decoder(LIMIT)
    most = 2 * (LIMIT + BATCH_BYTES + 64 * 1024)
    decoded(decoder, head)
    fed = 0
    with pytest.raises(ProtocolError, match="too large"):  # noqa: PT012 - it is fed until it refuses
        while fed < 2 * most:
            decoded(decoder, bytes(1 << 20))
            fed += 1 << 20
    assert most - (1 << 20) <= fed <= most


def test_depth_is_an_error_not_a_crash():
    with pytest.raises(ProtocolError):
        decoded(Decoder(LIMIT), b"\x91" * 100_000)


def test_each_thread_encodes_for_itself():
    wrong: list[Any] = []

    def hammer(number: int) -> None:
        for round in range(300):
            frame = (number, round, b"x" * 100)
            if decoded(Decoder(LIMIT), encode(frame)) != [frame]:
                wrong.append(frame)

    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.integers(0, 3 * BATCH_BYTES), max_size=20))
def test_parts_keep_all_in_order_and_each_fits(sizes: list[int]):
    cut = list(parts(sizes, lambda size: size))
    assert [size for part in cut for size in part] == sizes
    assert all(part for part in cut)
    assert all(sum(part) <= BATCH_BYTES or len(part) == 1 for part in cut)


def test_parts_are_bounded_by_their_number_too():
    assert [len(part) for part in parts(range(BATCH_LIMIT + 1), lambda _: 0)] == [BATCH_LIMIT, 1]
