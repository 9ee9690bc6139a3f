"""The audit: who has changed what, or was refused."""

from __future__ import annotations

from typing import Final

from .page import Asked, Page

ROWS: Final = 200


def page(asked: Asked) -> Page:
    """Entries, newest first. `find` is a part of an action, a name or an address."""
    find = asked.text("find").casefold()
    entries, before = asked.look.audit(ROWS, asked.text("before"), find)
    return Page(
        "audit.html",
        "Audit",
        {"entries": entries, "next": before, "find": asked.text("find"), "first": not asked.text("before")},
    )
