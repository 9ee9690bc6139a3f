from __future__ import annotations

import pytest

from understudy.storage.tables.fingerprint import MESSAGE, cause_of, innermost, without_numbers

TRACE = """Traceback (most recent call last):
  File "/srv/app/jobs.py", line 12, in load
    row = parse(text)
  File "/srv/app/parsers/rows.py", line 7, in parse
    raise ValueError(f"row {number}")
ValueError: row 3
"""

CHAINED = (
    TRACE
    + """
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app/jobs.py", line 14, in load
    raise Broken from None
jobs.Broken
"""
)

GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/app/jobs.py", line 3, in run
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    |   File "/srv/app/parts.py", line 9, in part
    | ValueError: 1
"""


@pytest.mark.parametrize(
    ("traceback", "frame"),
    [
        ("", ""),
        ("ValueError: no traceback", ""),
        (TRACE, "parsers/rows.py in parse"),
        (TRACE.replace("line 7", "line 900"), "parsers/rows.py in parse"),
        (CHAINED, "app/jobs.py in load"),
        (GROUP, "app/parts.py in part"),
        ('  File "<string>", line 1', "<string>"),
        ('  File "setup.py", line 1, in <module>\n', "setup.py in <module>"),
        (TRACE + '\nIn a message: File "x.py", line 1, in y', "parsers/rows.py in parse"),
        ("x" * 50_000 + "\n" + TRACE, "parsers/rows.py in parse"),
    ],
)
def test_the_innermost_frame_is_the_last_of_the_text_without_its_line(traceback: str, frame: str):
    assert innermost(traceback) == frame


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", ""),
        ("no header", "no header"),
        ("row 3 of 700", "row # of #"),
        ("took 1.25 s, limit 1,000", "took # s, limit #"),
        ("at -7.5e-3 and +4", "at # and #"),
        ("order-7 in v2", "order-# in v#"),
        ("id 01a2250d-9aee-7712-b554-0bdf6fa76b7f is gone", "id # is gone"),
        ("<Peer at 0x7F00ab12>", "<Peer at #>"),
        ("commit 8dd0f2bd12 of deadbeef", "commit # of deadbeef"),
        ("12:30:05 late", "# late"),
        ("10.0.0.7:5432 refused", "# refused"),
    ],
)
def test_numbers_ids_and_addresses_do_not_count(message: str, said: str):
    assert without_numbers(message) == said


def fingerprint(
    task: str = "etl", kind: str = "ValueError", message: str = "row 3", trace: str = TRACE
) -> bytes:
    return cause_of(task, kind, message, trace).fingerprint


@pytest.mark.parametrize(
    "change",
    [{"message": "row 17"}, {"trace": TRACE.replace("line 7", "line 8")}, {"message": "row 3\nand more"}],
)
def test_these_have_the_same_cause(change: dict[str, str]):
    assert fingerprint(**change) == fingerprint()


@pytest.mark.parametrize(
    "change", [{"task": "load"}, {"kind": "KeyError"}, {"message": "column 3"}, {"trace": CHAINED}]
)
def test_these_have_another_cause(change: dict[str, str]):
    assert fingerprint(**change) != fingerprint()


def test_a_long_message_counts_with_its_beginning():
    assert fingerprint(message="x" * MESSAGE + "y") == fingerprint(message="x" * MESSAGE + "z")
    assert fingerprint(message="x" * (MESSAGE - 1) + "y") != fingerprint(message="x" * (MESSAGE - 1) + "z")


def test_no_field_runs_into_the_next_one():
    assert fingerprint(kind="a", message="b") != fingerprint(kind="ab", message="")


def test_a_text_that_is_no_unicode_has_a_fingerprint():
    assert len(fingerprint(task="\ud800")) == 8
