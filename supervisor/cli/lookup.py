"""Lookup of a task by its id, or by a beginning or an end of the id that no other task shares.

An actor is also found by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...actors.ids import id_text
from ...storage.reader import Reader
from ...storage.tables.record import Record
from ..client.views import DeadLetter
from ..text import escape
from .exit_codes import ExitCode
from .failures import CliError

#: Tasks that an error lists if a part of an id is ambiguous.
CANDIDATES: Final = 10


def find(reader: Reader, text: str) -> Record:
    """The task that `text` names; CliError if there is none or more than one."""
    if not _is_part_of_id(text):
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


def find_actor(reader: Reader, text: str) -> Record:
    """The actor that "Class/name" or an id names, by id also one that has ended. CliError if it is not exactly one."""
    if "/" in text:
        return _actor_named(reader, text)
    if not _is_part_of_id(text):
        raise CliError(
            ExitCode.NOT_FOUND,
            f"{escape.one_line(text)!r:.200} is neither Class/name nor the id of an actor; "
            "`understudy actor ls` lists the actors",
        )
    record = find(reader, text)
    if record.actor is None:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"task {id_text(record.id)} ({escape.one_line(record.name)}) is no actor; "
            "`understudy actor ls` lists the actors",
        )
    return record


def actor_classes(reader: Reader, text: str) -> list[str]:
    """The full names of the classes with named actors that `text` names: a full name, or one without the module."""
    return [full for full in reader.actor_classes() if text in (full, full.partition(":")[2])]


def _actor_named(reader: Reader, text: str) -> Record:
    class_name, _, name = text.partition("/")
    found: list[tuple[str, Record]] = []
    for full in actor_classes(reader, class_name) if name else []:
        id = reader.actor_id(full, name)
        record = None if id is None else reader.record(id)
        if record is not None:
            found.append((full, record))
    if len(found) > 1:
        lines = [f"several actors have the name {escape.one_line(text)}; give the module as well:"]
        lines += [f"  {escape.one_line(f'{full}/{name}')}" for full, _ in found[:CANDIDATES]]
        raise CliError(ExitCode.AMBIGUOUS, "\n".join(lines))
    if not found:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"no actor is alive under the name {escape.one_line(text):.400}; `understudy actor ls` lists those that "
            "are, and one that has stopped is found by its id",
        )
    return found[0][1]


def find_dead_letter(letters: Iterable[DeadLetter], text: str) -> str:
    """The id of the dead letter that `text` names; CliError if there is none or more than one."""
    digits = text.replace("-", "").lower()
    found = [
        each.id
        for each in letters
        if digits
        and (each.id.replace("-", "").startswith(digits) or each.id.replace("-", "").endswith(digits))
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CliError(
            ExitCode.NOT_FOUND,
            f"it has no dead letter whose id starts or ends with {escape.one_line(text):.80}; "
            "`understudy actor dead` lists them",
        )
    lines = [f"several dead letters have an id that starts or ends with {digits}; give more characters:"]
    raise CliError(ExitCode.AMBIGUOUS, "\n".join([*lines, *(f"  {id}" for id in found[:CANDIDATES])]))


def _is_part_of_id(text: str) -> bool:
    return bool(text.strip("-")) and not set(text.lower()) - set("0123456789abcdef-")


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
