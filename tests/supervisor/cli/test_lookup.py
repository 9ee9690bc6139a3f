from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from understudy.actors.errors import ErrorInfo
from understudy.actors.ids import id_text
from understudy.storage.tables.record import Record
from understudy.supervisor.cli import lookup
from understudy.supervisor.cli.exit_codes import ExitCode
from understudy.supervisor.cli.failures import CliError
from understudy.supervisor.client.views import DeadLetter

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


class ActorRows(Rows):
    """Two classes of the same short name, whose actors have these names."""

    names: ClassVar = {"bank:Account": ["ada", "bob"], "shop:Account": ["ada", "a/b"], "shop:Cart": ["ada"]}

    def actor_classes(self) -> list[str]:
        return list(self.names)

    def actor_id(self, class_name: str, name: str) -> bytes | None:
        return f"{class_name}/{name}".encode().rjust(20)[:16] if name in self.names[class_name] else None

    def record(self, id: bytes) -> Record:
        record = Record(id, "shop:Cart", 0.0, id)
        if id not in self.ids:
            record.actor = id.decode()
        return record


ACTORS: lookup.Reader = ActorRows(bytes(16))  # type: ignore[assignment]


@pytest.mark.parametrize("text", ["Account/bob", "bank:Account/ada", "Account/a/b", "Cart/ada"])
def test_an_actor_has_a_class_and_a_name(text: str):
    assert lookup.find_actor(ACTORS, text).actor is not None


@pytest.mark.parametrize(
    ("text", "code", "advice"),
    [
        ("Account/ada", ExitCode.AMBIGUOUS, "  bank:Account/ada\n  shop:Account/ada"),
        ("Account/zoe", ExitCode.NOT_FOUND, "actor ls"),
        ("Nothing/ada", ExitCode.NOT_FOUND, "actor ls"),
        ("Account/", ExitCode.NOT_FOUND, "actor ls"),
        ("/ada", ExitCode.NOT_FOUND, "actor ls"),
        ("Account", ExitCode.NOT_FOUND, "neither Class/name"),
        ("0000", ExitCode.NOT_FOUND, "is no actor"),
    ],
)
def test_an_actor_that_is_not_there_gets_advice(text: str, code: ExitCode, advice: str):
    with pytest.raises(CliError) as raised:
        lookup.find_actor(ACTORS, text)
    assert raised.value.code is code
    assert advice in str(raised.value)


def test_a_dead_letter_is_found_by_a_part_of_its_id():
    ids = [id_text(id) for id in ROWS.resolve("0198", 20)]
    letters = [DeadLetter(id, None, ErrorInfo("E", ""), 0.0) for id in ids]
    assert lookup.find_dead_letter(letters, ids[3]) == ids[3]
    assert lookup.find_dead_letter(letters, ids[3][-4:]) == ids[3]
    for text, code in (("0198", ExitCode.AMBIGUOUS), ("ff", ExitCode.NOT_FOUND), ("", ExitCode.NOT_FOUND)):
        with pytest.raises(CliError) as raised:
            lookup.find_dead_letter(letters, text)
        assert raised.value.code is code


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
