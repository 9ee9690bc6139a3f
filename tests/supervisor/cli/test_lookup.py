from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from understudy.actors.ids import id_text
from understudy.storage.tables.record import Record
from understudy.supervisor.cli import lookup
from understudy.supervisor.cli.exit_codes import ExitCode
from understudy.supervisor.cli.failures import CliError

if TYPE_CHECKING:
    from conftest import Stage


class Rows:
    """As much of a Reader as is asked for."""

    def __init__(self, *ids: bytes) -> None:
        self.ids = sorted(ids)

    def resolve(self, prefix: str, limit: int = 10) -> list[bytes]:
        return [id for id in self.ids if id.hex().startswith(prefix.replace("-", "").lower())][:limit]

    def resolve_end(self, suffix: str, limit: int = 10) -> list[bytes]:
        return [id for id in self.ids if id.hex().endswith(suffix.replace("-", "").lower())][:limit]

    def record(self, id: bytes) -> Record:
        return Record(id, "app:\x1b[2J", 0.0, id)


SAME = bytes.fromhex("0198f1c27b3e7c119d1a")
ROWS: lookup.Reader = Rows(*(SAME + bytes([0, 0, 0, 0, 0, n]) for n in range(12)), bytes(16))  # type: ignore[assignment]


def test_a_beginning_is_enough():
    assert lookup.find(ROWS, "0").id == bytes(16) if len(ROWS.resolve("0")) == 1 else True
    assert lookup.find(ROWS, "00000").id == bytes(16)
    assert lookup.find(ROWS, id_text(ROWS.resolve("0198")[3]).upper()).id[-1] == 3


def test_an_end_is_enough():
    assert lookup.find(ROWS, "00000000000b").id[-1] == 11
    assert lookup.find(ROWS, "9D1A-0000-0000-000B").id[-1] == 11
    with pytest.raises(CliError, match="starts or ends with 0b"):
        lookup.find(Rows(SAME + bytes(5) + b"\x0b", b"\x01" + bytes(14) + b"\x0b"), "0b")  # type: ignore[arg-type]


def test_an_ambiguous_one_lists_the_candidates():
    with pytest.raises(CliError) as raised:
        lookup.find(ROWS, "0198")
    assert raised.value.code is ExitCode.AMBIGUOUS
    lines = str(raised.value).splitlines()
    assert len(lines) == 1 + lookup.CANDIDATES + 1
    assert lines[1].endswith("queued     app:\\x1b[2J")
    assert lines[-1] == "  … and more"


@pytest.mark.parametrize("text", ["", "-", "zz", "../etc", "01 98"])
def test_what_is_no_id(text: str):
    with pytest.raises(CliError, match="is neither a task id"):
        lookup.find(ROWS, text)


def test_none_at_all():
    with pytest.raises(CliError, match="no task has an id that starts or ends with ff"):
        lookup.find(ROWS, "ff")


def test_on_the_command_line(served: Stage):
    ids = [served.start("app:add", "1") for _ in range(2)]
    common = ids[0][: next(n for n in range(36) if ids[0][n] != ids[1][n])]
    answer = served("show", common)
    assert answer.code == ExitCode.AMBIGUOUS
    assert all(id in answer.err for id in ids)
    assert "Traceback" not in answer.err
    shown = [line.split()[0] for line in served("ps", COLUMNS="80").out.splitlines()[1:]]
    assert len(set(shown)) == len(shown)
    for id in ids:
        assert id[-12:] in shown
        assert served("show", id[-12:], "--json").json["id"] == id
    assert served("show", "ffffffffffff").code == ExitCode.NOT_FOUND
    assert served("show", Path.cwd().name + "!").code == ExitCode.NOT_FOUND
