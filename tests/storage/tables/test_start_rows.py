"""When supervisors have started, and with which code."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from puppets import end, said
from theatre import serving
from understudy import Runtime
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.storage.tables.start_rows import KEPT, Start, pack_starts, unpack_starts
from waiting import until


def test_a_deploy_is_a_start_with_other_code():
    starts = [Start(1.0, "a"), Start(2.0, "a"), Start(3.0, "b"), Start(4.0, "a")]
    found = unpack_starts(pack_starts(starts))
    assert [(start.time, start.code) for start in found] == [(1.0, "a"), (2.0, "a"), (3.0, "b"), (4.0, "a")]
    assert [start.is_deploy for start in found] == [False, False, True, True]
    assert unpack_starts(pack_starts([])) == []


def test_the_oldest_go_first():
    many = [Start(float(number), "a") for number in range(KEPT + 7)]
    found = unpack_starts(pack_starts(many))
    assert (len(found), found[0].time) == (KEPT, 7.0)


@pytest.mark.parametrize(
    "row", [b"", b"\xc1", msgpack.packb([1]), msgpack.packb([("x", "a")]), msgpack.packb(7)]
)
def test_a_damaged_row(row: bytes):
    with pytest.raises(ValueError, match="not the starts"):
        unpack_starts(row)


def test_supervisors_note_their_starts(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    app, beside = tmp_path / "drama.py", tmp_path / "props.py"
    beside.write_text("NUMBER = 1\n")
    app.write_text("import props\nfrom understudy import task\n\n@task\ndef scene(): return props.NUMBER\n")

    def starts() -> list[Start]:
        with Reader(home) as reader:
            return reader.starts()

    def serve(count: int) -> None:
        with serving(home, app=str(app)) as process:
            assert said(process) == ["ready"]
            with Runtime.connect(home) as rt:
                rt.tree()
            until(lambda: len(starts()) == count, 30)
            end(process)

    serve(1)
    serve(2)
    beside.write_text("NUMBER = 22\n")
    serve(3)
    assert [start.is_deploy for start in starts()] == [False, False, True]
    report = check(home)
    assert report.problems == []
