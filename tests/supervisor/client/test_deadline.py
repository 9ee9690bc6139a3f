"""The limit of a call, from its `timeout=`."""

from __future__ import annotations

import math

import pytest

from understudy.actors.errors import InvalidOption
from understudy.supervisor.client.deadline import NO_DEADLINE, Deadline


def test_a_limit_runs_down_to_zero():
    deadline = Deadline(60)
    left = deadline.left()
    assert left is not None
    assert 0 < left <= 60
    assert (deadline.given, deadline.seconds) == (True, 60)
    assert Deadline(0).left() == Deadline(-5).left() == 0


def test_no_limit_and_one_that_never_comes():
    assert (NO_DEADLINE.left(), NO_DEADLINE.given) == (None, False)
    for endless in (math.inf, 1e300):
        assert (Deadline(endless).left(), Deadline(endless).given) == (None, True)


def test_what_is_no_number_is_refused():
    with pytest.raises(InvalidOption, match="call_timeout must be seconds"):
        Deadline("soon", "call_timeout")
