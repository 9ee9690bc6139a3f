from __future__ import annotations

from understudy import BulkInfo, BulkOutcome
from understudy.supervisor.cli.display import bulk_table, screen

HOSTILE = "\x1b[2Jada\n[red]"


def info(**changes: object) -> BulkInfo:
    fields: dict[str, object] = {
        "id": "01900000-0000-7000-8000-000000000001",
        "action": "cancel",
        "query": HOSTILE,
        "by": HOSTILE,
        "state": "running",
        "total": 1_000_000,
        "done": 1_200,
        "outcomes": {"cancelled": 1_199, "refused": 1},
        "created": 1_000.0,
        "ended": None,
        "problem": HOSTILE,
    }
    return BulkInfo(**{**fields, **changes})  # type: ignore[arg-type]


def text(*tables: object) -> str:
    out = screen.console(200)
    with out.capture() as capture:
        for table in tables:
            out.print(table)
    return capture.get()


def test_the_list_says_how_far_each_is():
    shown = text(bulk_table.bulks([info(), info(state="completed", ended=1_010.0, query="")], 200, 1_060.0))
    assert "1,200" in shown
    assert "1,000,000" in shown
    assert "given tasks" in shown
    assert "\x1b[2J" not in shown


def test_the_sheet_says_what_became_of_them():
    shown = text(bulk_table.sheet(info(state="failed", ended=1_010.0), 1_060.0))
    assert "1,200 of 1,000,000" in shown
    assert "1,199" in shown
    assert "10s later" in shown
    assert "\x1b[2J" not in shown


def test_each_outcome_has_its_line():
    shown = text(bulk_table.outcomes([BulkOutcome("a", "retried", "b"), BulkOutcome("c", "refused")]))
    assert [line.split() for line in shown.splitlines()[1:]] == [["a", "retried", "b"], ["c", "refused"]]
