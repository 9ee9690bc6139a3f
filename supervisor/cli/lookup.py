"""Lookup of a task by its id, or by a beginning or an end of the id that no other task shares."""

from __future__ import annotations

from typing import Final

from ...actors.ids import id_text
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..text import escape
from .exit_codes import ExitCode
from .failures import CliError

#: Tasks that an error lists if a part of an id is ambiguous.
CANDIDATES: Final = 10


def find(reader: Reader, text: str) -> Record:
    """The task that `text` names; CliError if there is none or more than one."""
    if not text.strip("-") or set(text.lower()) - set("0123456789abcdef-"):
        raise CliError(
            ExitCode.NOT_FOUND,
            f"{escape.one_line(text)!r:.80} is neither a task id nor a part of one; `understudy ps` lists ids",
        )
    # An end last: it is looked for in the ids of all tasks.
    ids = reader.resolve(text, CANDIDATES + 1) or reader.resolve_end(text, CANDIDATES + 1)
    record = reader.record(ids[0]) if len(ids) == 1 else None
    if record is not None:
        return record
    if len(ids) < 2:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"no task has an id that starts or ends with {text}; it may have been pruned. `understudy ps` lists ids",
        )
    raise CliError(ExitCode.AMBIGUOUS, _candidates(reader, text, ids))


def ended(reader: Reader, id: bytes) -> Record:
    """The record of a task that has ended; CliError if it was pruned since."""
    record = reader.record(id)
    if record is None:
        raise CliError(ExitCode.NOT_FOUND, "the task was pruned at its end, with its result")
    return record


def _candidates(reader: Reader, text: str, ids: list[bytes]) -> str:
    lines = [f"several tasks have an id that starts or ends with {text}; give more characters:"]
    for id in ids[:CANDIDATES]:
        record = reader.record(id)
        if record is not None:
            lines.append(f"  {id_text(id)}  {record.state:<9}  {escape.one_line(record.name)}")
    if len(ids) > CANDIDATES:
        lines.append("  … and more")
    return "\n".join(lines)
