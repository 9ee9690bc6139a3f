from __future__ import annotations

import inspect

from understudy import aio, box
from understudy.actors.box import aio as box_aio


def test_it_is_found_like_aio_ws():
    import understudy.aio.box

    assert understudy.aio.box is aio.box is box_aio


def test_each_call_has_its_awaitable_sibling():
    for name in box.__all__:
        ours, theirs = getattr(box_aio, name), getattr(box, name)
        if name in ("run", "start"):
            assert inspect.iscoroutinefunction(ours)
            others = set(inspect.signature(theirs).parameters) - {"runtime"}
            assert set(inspect.signature(ours).parameters) == others
        else:
            assert ours is theirs
