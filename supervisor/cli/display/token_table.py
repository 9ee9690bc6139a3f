"""Tokens and the audit as tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ....actors.access import AuditEntry, TokenInfo
from ...text import escape, units
from . import task_table


def tokens(rows: Sequence[TokenInfo], width: int, now: float) -> Table:
    """The table of tokens."""
    cells = [
        (
            Text(escape.one_line(each.name)),
            Text(str(each.role)),
            Text(units.local(each.created)),
            _expiry(each, now),
            Text(each.id),
            Text(escape.one_line(" ".join(each.tasks))),
        )
        for each in rows
    ]
    titles = ("NAME", "ROLE", "CREATED", "EXPIRES", "ID", "TASKS")
    return task_table.fitted(titles, cells, width, name="NAME", detail="TASKS")


def _expiry(token: TokenInfo, now: float) -> Text:
    if token.expires is None:
        return Text("never", "dim")
    return Text("expired", "red") if token.is_expired(now) else Text(f"in {units.age(token.expires - now)}")


def audit(rows: Sequence[AuditEntry], width: int) -> Table:
    """The table of the audit."""
    cells = [
        (
            Text(units.local(each.time)),
            Text(escape.one_line(each.who)),
            Text(each.role),
            Text(escape.one_line(each.outcome), "" if each.outcome[:1] in ("2", "3", "o") else "red"),
            Text(escape.one_line(each.address)),
            Text(escape.one_line(each.action)),
        )
        for each in rows
    ]
    return task_table.fitted(
        ("TIME", "WHO", "ROLE", "OUTCOME", "FROM", "ACTION"), cells, width, name="WHO", detail="ACTION"
    )
