"""Lookup of a task by its id or by a prefix of the id that no other task shares."""

from __future__ import annotations

from typing import Final

from ...actors.ids import id_text
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..text import escape
from .exit_codes import ExitCode
from .failures import CliError

#: Tasks that an error lists if a prefix is ambiguous.
CANDIDATES: Final = 10
#: Length of the shortest prefix that is shown.
SHORTEST: Final = 13


def find(reader: Reader, text: str) -> Record:
    """The task that `text` names; CliError if there is none or more than one."""
    if not text.strip("-") or set(text.lower()) - set("0123456789abcdef-"):
        raise CliError(
            ExitCode.NOT_FOUND,
            f"{escape.one_line(text)!r:.80} is neither a task id nor the beginning of one; `understudy ps` lists ids",
        )
    ids = reader.resolve(text, CANDIDATES + 1)
    record = reader.record(ids[0]) if len(ids) == 1 else None
    if record is not None:
        return record
    if len(ids) < 2:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"no task has an id that starts with {text}; it may have been pruned. `understudy ps` lists ids",
        )
    raise CliError(ExitCode.AMBIGUOUS, _candidates(reader, text, ids))


def ended(reader: Reader, id: bytes) -> Record:
    """The record of a task that has ended; CliError if it was pruned since."""
    record = reader.record(id)
    if record is None:
        raise CliError(ExitCode.NOT_FOUND, "the task was pruned at its end, with its result")
    return record


def _candidates(reader: Reader, text: str, ids: list[bytes]) -> str:
    lines = [f"several tasks have an id that starts with {text}; give more characters:"]
    for id in ids[:CANDIDATES]:
        record = reader.record(id)
        if record is not None:
            lines.append(f"  {id_text(id)}  {record.state:<9}  {escape.one_line(record.name)}")
    if len(ids) > CANDIDATES:
        lines.append("  … and more")
    return "\n".join(lines)


def shorten(reader: Reader, id: bytes) -> str:
    """The shortest prefix by which `find` finds this id, at least SHORTEST characters long."""
    text = id_text(id)
    low, high = SHORTEST, len(text)
    while low < high:
        middle = (low + high) // 2
        if len(reader.resolve(text[:middle], 2)) > 1:
            low = middle + 1
        else:
            high = middle
    return text[:low].rstrip("-") if low > SHORTEST else text[:low]
