from __future__ import annotations

from checkout import ROOT
from understudy.supervisor.cli.exit_codes import MEANINGS, ExitCode, as_table


def test_every_code_has_a_meaning_and_every_meaning_a_code():
    assert list(MEANINGS) == list(ExitCode)


def test_codes_that_scripts_rely_on_stay_what_they_are():
    assert (ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE) == (0, 1, 2)
    assert all(0 <= code < 200 for code in ExitCode), "from 200 on they are systemd's own"


def test_the_documented_table_is_the_code():
    assert as_table() in (ROOT / "docs/cli.md").read_text(encoding="utf-8")
