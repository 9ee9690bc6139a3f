from __future__ import annotations

import pytest

from understudy.actors.errors import InvalidValue
from understudy.supervisor.wire.checks import checked_id, is_id


def test_ids():
    assert is_id(bytes(16))
    assert checked_id(bytes(16)) == bytes(16)
    for wrong in (bytes(15), bytes(17), "x" * 16, None, 16, bytearray(16)):
        assert not is_id(wrong)
        with pytest.raises(InvalidValue):
            checked_id(wrong)
