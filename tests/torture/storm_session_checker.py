"""The invariants of the storm's WebSocket sessions: the server's journal against the tasks' states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

#: Close codes of a client that has completed, was stopped, or has failed.
GOODBYES = {None, 1000, 1001, 1011}


class Sessions:
    def __init__(self, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._fault = fault
        self._tally = tally
        #: Open connections, and the task of each that has introduced itself.
        self.open: dict[int, str] = {}
        self._heard: dict[str, set[tuple[str, int]]] = defaultdict(set)

    def told(self, verb: str, *row: Any) -> None:
        """One line of the server's journal."""
        match verb, *row:
            case "opened", number:
                self.open[number] = ""
                self._tally["connections"] += 1
            case "hello", number, task:
                self.open[number] = task
            case "heard", task, message:
                self._heard[task].add(tuple(message))
                self._tally["messages sent over connections"] += 1
            case "cut", _:
                self._tally["connections cut by the server"] += 1
            case "ended", number, code:
                self.open.pop(number)
                if code not in GOODBYES:
                    self._fault(f"connection {number} was closed with code {code}")

    def sent_out(self, id: str, messages: list[Any]) -> None:
        """A gateway has recorded exactly the messages that the server has recorded."""
        if unheard := {tuple(message) for message in messages} - self._heard[id]:
            self._fault(f"gateway {id} has noted as answered what the server never heard: {sorted(unheard)}")

    def open_of(self, ended: Callable[[str], bool]) -> dict[int, str]:
        """Open connections whose task has ended."""
        return {number: task for number, task in self.open.items() if task and ended(task)}
