from __future__ import annotations

from typing import TYPE_CHECKING

from understudy import Runtime

if TYPE_CHECKING:
    from conftest import Stage


def test_pools_are_shown(served: Stage):
    (shown,) = served("pools", "--json").json
    with Runtime.connect(served.home) as rt:
        (info,) = rt.pools()
    assert shown.keys() == info.as_dict().keys()
    assert (shown["name"], shown["workers"], shown["slots"]) == (None, info.workers, info.slots)
    head, line = served("pools").out.splitlines()
    assert head.split()[0] == "POOL"
    assert line.split()[:2] == ["-", str(info.workers)]
