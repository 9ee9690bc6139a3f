from __future__ import annotations

from checkout import ROOT
from understudy.supervisor.cli.exit_codes import ExitCode, as_table


def test_every_code_is_its_number_and_has_a_meaning():
    assert ExitCode(13) is ExitCode.WAIT_TIMED_OUT
    assert int(ExitCode.BROKEN_PIPE) == 141
    assert all(code.meaning for code in ExitCode)


def test_codes_that_scripts_rely_on_stay_what_they_are():
    assert (ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE) == (0, 1, 2)
    assert all(0 <= code < 200 for code in ExitCode), "from 200 on they are systemd's own"


def test_the_documented_table_is_the_code():
    assert as_table() in (ROOT / "docs/cli.md").read_text(encoding="utf-8")
