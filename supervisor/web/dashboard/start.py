"""A form for every task that the app declares."""

from __future__ import annotations

import inspect
from typing import Any, Final

from ....actors.errors import InvalidOption
from ....actors.task.declaration import Task
from ...client.declared import parameters_of
from .page import ANSWER, Asked, Done, Page, tree_of
from .task import started

#: Parameters that take any number of arguments, and how the form takes them.
_REST: Final = {int(inspect.Parameter.VAR_POSITIONAL): "list", int(inspect.Parameter.VAR_KEYWORD): "object"}


def page(asked: Asked) -> Page:
    """The declared tasks; of the one in the address, a field for each parameter."""
    tree, why = tree_of(asked)
    names = sorted(tree["tasks_declared"]) if tree else []
    name = asked.text("task")
    return Page(
        "start.html",
        f"Start {name}" if name else "Start a task",
        {"names": names, "why": why, "name": name, "parameters": _parameters(asked, name) if name else None},
        still=True,
    )


def _parameters(asked: Asked, name: str) -> list[dict[str, Any]] | None:
    signature = parameters_of(asked.runtime, name, ANSWER)
    if signature is None:
        return None
    kinds = inspect.Parameter
    return [
        {
            "name": each.name,
            "needed": each.default is kinds.empty
            and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD),
            "rest": _REST.get(int(each.kind), ""),
            "place": each.kind is kinds.POSITIONAL_ONLY,
        }
        for each in signature.parameters.values()
    ]


def start(asked: Asked) -> Done:
    """Start the task with the fields of the form."""
    name = asked.field("task")
    if not name:
        raise InvalidOption("say which task to start")
    options: dict[str, Any] = {}
    if key := asked.field("key").strip():
        options["key"] = key
    if delay := asked.field("delay").strip():
        try:
            options["delay"] = float(delay)
        except ValueError:
            raise InvalidOption(f"the delay is a number of seconds, not {delay!r:.40}") from None
    args, kwargs = _arguments(asked, name)
    task = Task.named(name)
    info = started(asked, task.options(**options) if options else task, args, kwargs)
    return Done(asked.link(f"/tasks/{info.id}"), "Started.")


def _arguments(asked: Asked, name: str) -> tuple[list[Any], dict[str, Any]]:
    parameters = _parameters(asked, name)
    if parameters is None:
        return asked.value("args", "the list of arguments") or [], asked.value(
            "kwargs", "the named arguments"
        ) or {}
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for each in parameters:
        field = f"p.{each['name']}"
        if not asked.field(field).strip():
            continue
        value = asked.value(field, each["name"])
        if each["rest"] == "list":
            if not isinstance(value, list):
                raise InvalidOption(f"{each['name']} takes a JSON list")
            args += value
        elif each["rest"] == "object":
            if not isinstance(value, dict):
                raise InvalidOption(f"{each['name']} takes a JSON object")
            kwargs |= value
        elif each["place"] or (any(other["rest"] == "list" for other in parameters) and not kwargs):
            args.append(value)
        else:
            kwargs[each["name"]] = value
    return args, kwargs
