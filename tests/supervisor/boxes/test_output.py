from __future__ import annotations

import random

import pytest

from understudy.actors.line_buffer import LINE_LIMIT
from understudy.supervisor.boxes.output import HEAD, STREAM_LIMIT, Frames, Line, Output, seconds

STAMP = b"2026-11-22T17:10:56.564048011Z"
AT = seconds(STAMP)


def entry(text: bytes, stamp: bytes = STAMP) -> bytes:
    return stamp + b" " + text


def test_frames_whatever_the_pieces():
    sent = [(1, entry(b"one\n")), (2, entry(b"")), (1, entry(b"x" * 5000))]
    data = b"".join(HEAD.pack(number, len(body)) + body for number, body in sent)
    chance = random.Random(3)
    for _ in range(50):
        frames, got, start = Frames(), [], 0
        while start < len(data):
            end = start + chance.choice([1, 3, 7, 8, 9, 500, 10_000])
            got += frames.feed(data[start:end])
            start = end
        assert got == sent


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T02:00:01.25+02:00", 1.25),
        ("1969-12-31T23:00:01.000000001-01:00", 1.000000001),
    ],
)
def test_times(stamp: str, at: float):
    assert seconds(stamp) == pytest.approx(at, abs=1e-9)


def test_lines_of_both_streams():
    output = Output()
    assert output.add(1, entry(b"one\n")) == [Line("stdout", "one", AT)]
    assert output.add(2, entry(b"two\r\n")) == [Line("stderr", "two", AT)]
    assert output.add(1, entry(b"par")) == []
    assert output.add(3, entry(b"of no stream\n")) == []
    assert [line.text for line in output.add(1, entry(b"tial\n"))] == ["partial"]
    assert output.add(1, entry(b"rest")) == []
    assert [line.text for line in output.end()] == ["rest"]
    assert output.end() == []
    assert output.text("stdout") == "one\npartial\nrest"
    assert output.text("stderr") == "two\r\n"


def test_times_of_lines_always_grow():
    output = Output()
    lines = [line for n in range(100) for line in output.add(1, entry(b"%d\n" % n))]
    lines += output.add(1, entry(b"the clock was set back\n", b"2020-01-01T00:00:00.0Z"))
    times = [line.at for line in lines]
    assert times == sorted(set(times))
    assert times[-1] - times[0] < 0.001


def test_who_reads_again_gets_what_is_missing():
    entries = [(n % 2 + 1, entry(b"line %d\n" % n)) for n in range(60)] + [
        (1, entry(b"x" * 20_000)),
        (1, entry(b"end")),
    ]
    whole = Output()
    lines = [line for number, body in entries for line in whole.add(number, body)] + whole.end()
    for cut in range(len(lines) + 1):
        seen = {}
        for line in lines[:cut]:
            seen[line.level] = line.at
        again = Output(seen)
        rest = [line for number, body in entries for line in again.add(number, body)]
        assert [*rest, *again.end()] == lines[cut:]
        assert again.text("stdout") == whole.text("stdout")
        assert again.seen() == whole.seen()


def test_long_lines_are_cut_between_characters():
    output = Output()
    text = "ä" * 3 * LINE_LIMIT
    lines = output.add(1, entry(text.encode())) + output.add(1, entry(b"\n"))
    assert "".join(line.text for line in lines) == text
    assert max(len(line.text.encode()) for line in lines) <= LINE_LIMIT


def test_what_is_no_text_is_shown():
    assert Output().add(1, entry(b"\xff\n"))[0].text == "\\xff"


def test_a_stream_is_kept_up_to_its_limit_and_says_so():
    output = Output()
    piece = b"x" * 16_000 + b"\n"
    count = STREAM_LIMIT // len(piece)
    for _ in range(count):
        output.add(1, entry(piece))
    last = output.add(1, entry(piece))
    assert "rest of stdout is dropped" in last[-1].text
    assert output.add(1, entry(piece)) == output.end() == []
    assert len(output.text("stdout")) - STREAM_LIMIT < 200
    assert output.text("stdout").count("is dropped") == 1
    assert output.add(2, entry(b"the other one goes on\n"))
