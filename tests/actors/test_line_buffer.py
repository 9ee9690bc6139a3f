from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.line_buffer import LINE_LIMIT, LineBuffer


@given(st.lists(st.text(st.sampled_from("ab\n"), max_size=8)))
def test_the_lines_are_those_of_the_whole_text(pieces: list[str]) -> None:
    lines = LineBuffer()
    got = [line for piece in pieces for line in lines.add("stdout", piece)]
    got += [text for _, text in lines.rest()]
    whole = "".join(pieces).split("\n")
    assert got == whole[:-1] + ([whole[-1]] if whole[-1] else [])


def test_streams_do_not_mix() -> None:
    lines = LineBuffer()
    assert lines.add("stdout", "a") == []
    assert lines.add("stderr", "b\n") == ["b"]
    assert lines.add("stdout", "c\n") == ["ac"]
    assert lines.rest() == []


@given(st.lists(st.text(st.sampled_from("ab\r\n"), max_size=8)))
def test_carriage_returns_do_not_depend_on_the_cut(pieces: list[str]) -> None:
    at_once, bit_by_bit = LineBuffer(), LineBuffer()
    whole = "".join(pieces)
    expected = at_once.add("x", whole) + [text for _, text in at_once.rest()]
    got = [line for char in whole for line in bit_by_bit.add("x", char)]
    assert got + [text for _, text in bit_by_bit.rest()] == expected


def test_a_progress_bar_leaves_its_last_state() -> None:
    lines = LineBuffer()
    for percent in range(100):
        assert lines.add("stderr", f"\r{percent} %") == []
    assert lines.add("stderr", "\n") == ["99 %"]
    assert lines.add("stdout", "dos\r\nlines\r\n") == ["dos", "lines"]


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    lines = LineBuffer()
    got = [line for _ in range(1_000) for line in lines.add("stdout", "x" * 100)]
    rest = "".join(text for _, text in lines.rest())
    assert all(len(line) == LINE_LIMIT for line in got)
    assert len(rest) <= LINE_LIMIT
    assert "".join(got) + rest == "x" * 100_000


def test_threads_lose_nothing() -> None:
    lines = LineBuffer()
    got: list[str] = []
    threads = [
        threading.Thread(target=lambda: [got.extend(lines.add("stdout", "line\n")) for _ in range(1_000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["line"] * 4_000


def test_bytes_that_are_cut_within_a_character():
    buffer = LineBuffer()
    for byte in "café\n☃".encode():
        lines = buffer.add("stdout", bytes([byte]))
        assert lines == (["café"] if byte == ord("\n") else [])
    assert buffer.add("stderr", b"\xff\n\xe2\x98") == ["\\xff"]
    assert sorted(buffer.rest()) == [("stderr", "\\xe2\\x98"), ("stdout", "☃")]
    assert buffer.add("stderr", b"next\n") == ["next"]
