from __future__ import annotations

from datetime import datetime

import pytest

from understudy.supervisor.text import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        ("1W", 604800),
    ],
)
def test_durations_are_read(text: str, seconds: float):
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "10 m", "1h30", "m", "1e9"])
def test_what_is_no_duration_is_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="1h30m"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("64kb", 64 << 10), ("7 B", 7)]
)
def test_sizes_are_read(text: str, count: int):
    assert units.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "5X"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ValueError, match="512M"):
        units.parse_size(text)


def test_moments_are_local_unless_they_name_a_zone():
    assert units.parse_moment("2030-01-31T08:00+00:00") == 1896076800
    assert units.parse_moment("2030-01-31T08:00") == datetime(2030, 1, 31, 8).astimezone().timestamp()
    assert units.parse_moment("1896076800.5") == 1896076800.5
    with pytest.raises(ValueError, match="2030-01-31T08:00"):
        units.parse_moment("tomorrow")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0ms"),
        (0.12, "120ms"),
        (0.9999, "999ms"),
        (1.2, "1.2s"),
        (3.49, "3.4s"),
        (9.96, "9.9s"),
        (59.6, "59s"),
        (312, "5m12s"),
        (11100, "3h05m"),
        (86400 * 2 + 3 * 3600, "2d03h"),
    ],
)
def test_durations_are_short(seconds: float, text: str):
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (59.9, "59s"), (3599, "59m"), (7200, "2h"), (9e5, "10d")]
)
def test_ages_have_one_unit(seconds: float, text: str):
    assert units.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_short(count: int, text: str):
    assert units.size(count) == text


def test_times_for_programs_are_utc_and_for_people_local():
    assert units.iso(1896076800.1234) == "2030-01-31T08:00:00.123+00:00"
    assert units.iso(None) is None
    noon = datetime(2030, 1, 31, 12).astimezone().timestamp()
    assert units.local(noon) == "2030-01-31 12:00:00"
    assert units.clock(noon + 0.25, noon) == "12:00:00.250"
    assert units.clock(noon, noon + 86400) == "2030-01-31 12:00:00.000"
