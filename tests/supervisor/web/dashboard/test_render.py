"""Text, times and numbers as pages show them."""

from __future__ import annotations

import math

import pytest

from understudy.supervisor.web.dashboard import render


def test_every_character_is_seen():
    assert render.visible("a\u202eb\x1b[31m\ud800\nc\td\r\n") == "a\\u202eb\\x1b[31m\\ud800\nc\td\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (math.nan, "–"), (0, "0 ms"), (0.0000021, "2 µs"), (0.12, "120 ms"), (3.45, "3.4 s"),
     (312, "5 m 12 s"), (11_100, "3 h 05 m"), (183_600, "2 d 03 h")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str):
    assert render.duration(seconds) == text


@pytest.mark.parametrize("at", [None, math.inf, 1e300, -1e300])
def test_times_that_are_none(at: float | None):
    assert "<time" not in render.stamp(at)


def test_a_time_is_exact_in_the_source():
    assert render.stamp(1_782_000_000.5) == (
        '<time datetime="2026-06-21T00:00:00.500Z" data-how="ago">2026-06-21 00:00:00 UTC</time>'
    )


def test_long_values_are_cut():
    text = render.as_json("x" * 30_000)
    assert len(text) < 20_100
    assert text.endswith("… and 10,002 more characters")
    assert render.short_json(["\n"] * 200).endswith("…")


def test_sizes_and_rates():
    assert [render.size(count) for count in (None, 12, 2048, 3 << 30)] == ["–", "12 B", "2.0 KiB", "3.0 GiB"]
    assert [render.rate(value) for value in (1234.5, 12.34, 0.01234)] == ["1,234", "12.3", "0.0123"]
