"""Stacks: which threads of a worker are shown for a task, in which order, and how much of them. Pure.

A row of a thread is (name, role, id of its task or None, number of outer calls left out, calls); a call is (file, line,
function, text of the line). The call made last comes last.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Call = tuple[str, int, str, str]
Row = tuple[str, str, bytes | None, int, list[Call]]

#: Calls of a thread that are shown: the task's own, and those of another.
OWN_CALLS: Final = 100
OTHER_CALLS: Final = 30
#: Other threads that are shown.
OTHERS: Final = 40
#: Characters of a file's or function's name, and of a line of code.
NAME: Final = 300
SOURCE: Final = 200

#: Where the code of a task begins: what is above is the runtime's. Parts of a file's path, and functions.
_ENTRIES: Final = {
    ("attempt/actor.py", "_perform"),
    ("attempt/actor.py", "_put_away"),
    ("attempt/async_actor.py", "_perform_async"),
    ("attempt/turn.py", "_perform"),
    ("attempt/resident.py", "driven"),
    ("attempt/resident.py", "driven_async"),
    ("attempt/aside.py", "perform"),
}
_LOOP: Final = ("asyncio/base_events.py", "run_forever")

_HEAD: Final = re.compile(
    r"(?:Current thread|Thread) 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):"
)
_CALL: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')
_MORE: Final = "  ..."


@dataclass(slots=True)
class Dumped:
    """A thread in the text that `faulthandler` writes."""

    ident: int
    """As `threading.get_ident` gives it."""
    name: str = ""
    calls: list[Call] = field(default_factory=list)
    """The call made last comes last."""
    cut: bool = False
    """Whether outer calls are absent."""


def parse(text: str) -> list[Dumped]:
    """The threads of a dump. Lines that say something else are left out, as is one that was cut off."""
    threads: list[Dumped] = []
    for line in text.splitlines():
        if head := _HEAD.fullmatch(line):
            threads.append(Dumped(int(head[1], 16), head[2] or ""))
        elif threads and (call := _CALL.fullmatch(line)):
            number = int(call[2]) if call[2].isdigit() else 0
            threads[-1].calls.append((call[1][:NAME], number, call[3][:NAME], ""))
        elif threads and line == _MORE:
            threads[-1].cut = True
    for thread in threads:
        thread.calls.reverse()
    return threads


def runs_task(calls: Iterable[Call]) -> bool:
    """Whether the code of a sync task runs in this thread."""
    return any(_is_entry(call, ("_perform", "_put_away")) for call in calls)


def runs_loop(calls: Iterable[Call]) -> bool:
    """Whether this thread runs an event loop."""
    file, function = _LOOP
    return any(call[2].endswith(function) and call[0].endswith(file) for call in calls)


def _is_entry(call: Call, functions: Collection[str] | None = None) -> bool:
    file, _, function, _ = call
    name = function.rpartition(".")[2]
    return (functions is None or name in functions) and any(
        name == entry and file.endswith(part) for part, entry in _ENTRIES
    )


def own_code(calls: Sequence[Call], plumbing: tuple[str, ...]) -> list[Call]:
    """The calls from where the task's code begins; all of them if there are none of the task's.

    `plumbing`: folders whose code begins no task: the runtime's and the standard library's.
    """
    begin = max((number + 1 for number, call in enumerate(calls) if _is_entry(call)), default=0)
    while begin < len(calls) and is_plumbing(calls[begin], plumbing):
        begin += 1
    return list(calls[begin:] or calls)


def is_plumbing(call: Call, plumbing: tuple[str, ...]) -> bool:
    """Whether it is code of the runtime or of the standard library."""
    file = call[0]
    return file.startswith("<") or (file.startswith(plumbing) and "/site-packages/" not in file)


def bounded(calls: Sequence[Call], most: int) -> tuple[int, list[Call]]:
    """(number of outer calls left out, the innermost calls)."""
    left_out = max(0, len(calls) - most)
    return left_out, [
        (file[:NAME], line, name[:NAME], source[:SOURCE]) for file, line, name, source in calls[left_out:]
    ]


def row(name: str, role: str, task: bytes | None, calls: Sequence[Call], *, cut: bool = False) -> Row:
    """The row of a thread."""
    left_out, kept = bounded(calls, OTHER_CALLS if role == "other" else OWN_CALLS)
    return name[:NAME], role, task, max(left_out, int(cut)), kept


def arranged(
    threads: Sequence[Dumped],
    id: bytes,
    tasks: Mapping[int, bytes],
    plumbing: tuple[str, ...],
    *,
    is_async: bool,
    alone: bool,
) -> tuple[str, list[Row]]:
    """(a note for the reader, the rows) of a dump, for a task whose worker did not answer.

    `tasks`: those whose thread is known, by its identifier. `alone`: whether the worker has this task only.
    """
    note, own = _own(threads, id, tasks, is_async=is_async, alone=alone)
    role = "loop" if is_async and not alone else "task" if len(own) == 1 else "maybe"
    rows = [
        row(
            each.name or f"thread {each.ident:#x}",
            role,
            id if role == "task" else None,
            own_code(each.calls, plumbing),
            cut=each.cut,
        )
        for each in own
    ]
    others = [
        each
        for each in threads
        if each not in own and any(not is_plumbing(call, plumbing) for call in own_code(each.calls, plumbing))
    ]
    rows += [
        row(
            each.name or f"thread {each.ident:#x}",
            "other",
            tasks.get(each.ident),
            own_code(each.calls, plumbing),
            cut=each.cut,
        )
        for each in others[:OTHERS]
    ]
    return note, rows


def _own(
    threads: Sequence[Dumped], id: bytes, tasks: Mapping[int, bytes], *, is_async: bool, alone: bool
) -> tuple[str, list[Dumped]]:
    stuck = "the interpreter of its worker did not answer: a call into C holds it up"
    if is_async:
        loops = [each for each in threads if runs_loop(each.calls)]
        return stuck if alone else f"{stuck}. Its event loop may run another task of the worker", loops
    known = [each for each in threads if tasks.get(each.ident) == id]
    if len(known) == 1:
        return stuck, known
    # Threads of tasks that have been quick so far are not marked: it is one of those that are nobody else's.
    maybe = [each for each in threads if runs_task(each.calls) and (alone or tasks.get(each.ident, id) == id)]
    if not maybe:
        return f"{stuck}. Its thread is not among the first ones of the worker", []
    return stuck if len(maybe) == 1 else f"{stuck}. It is one of these {len(maybe)} threads", maybe
