"""The list of all cases, in the order of the page."""

from __future__ import annotations

import importlib

from suite.case import Case

#: The programs beside `run.py`, by name.
CASES = (
    "throughput",
    "natural",
    "latency",
    "start",
    "messages",
    "events",
    "publish",
    "actor_asks",
    "actor_flight",
    "actor_death",
    "actor_rest",
    "schedules",
    "trees",
    "composing",
    "limits",
    "pools",
    "unique",
    "http_triggers",
    "watchers",
    "dashboard",
    "gateway",
    "checkpoints",
    "steps",
    "cancel",
    "bulk",
    "death",
    "restart",
    "parked",
    "ended",
    "traces",
    "large_values",
    "idle",
    "cpu_bound",
    "growth",
)


def load(name: str) -> Case:
    """The case of that program."""
    case: Case = importlib.import_module(name).CASE
    assert case.name == name, f"{name}.py calls itself {case.name}"
    return case
