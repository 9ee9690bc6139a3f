"""What pages are made of: `Asked`, a request for a page, and `Page`, its template and data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ....actors.errors import InvalidOption, UnderstudyError
from ...client.runtime import Runtime
from ...client.store_look import StoreLook

ANSWER = 2.0
"""Seconds that a page waits for the supervisor. After that it shows what the store says."""

ACT = 10.0
"""Seconds that an action waits for the supervisor."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a page or an action."""

    runtime: Runtime
    look: StoreLook
    path: Mapping[str, str]
    """What the address has in its named places."""
    query: Mapping[str, str]
    """The fields after the `?`."""
    form: Mapping[str, str]
    """The fields of the form that was sent."""
    base: str
    """The path under which the pages are."""
    admin: bool = False
    """Whether an admin asks."""
    who: str = ""
    """The name of who asks."""

    def text(self, name: str, default: str = "") -> str:
        """A field of the address."""
        return self.query.get(name, default)

    def field(self, name: str, default: str = "") -> str:
        """A field of the form."""
        return self.form.get(name, default)

    def value(self, name: str, what: str) -> Any:
        """A field of the form that is written as JSON; None if it is empty. InvalidOption says where the mistake is."""
        text = self.field(name).strip()
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidOption(f"{what} is no JSON: {error}") from error

    def link(self, path: str, **fields: Any) -> str:
        """An address within the dashboard; fields that are None or empty are left out."""
        given = {name: value for name, value in fields.items() if value not in (None, "")}
        return f"{self.base}{path}" + (f"?{urlencode(given)}" if given else "")


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its template and the data in it."""

    template: str
    title: str
    data: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    still: bool = False
    """Whether it does not follow the store."""


@dataclass(frozen=True, slots=True)
class Done:
    """An action was carried out: where to go on, and what to say there."""

    address: str
    say: str = ""


def tree_of(asked: Asked) -> tuple[dict[str, Any] | None, str]:
    """The supervisor's tree; None and the reason if no supervisor answers."""
    try:
        return asked.runtime.tree(timeout=ANSWER), ""
    except (UnderstudyError, TimeoutError) as error:
        return None, str(error)
