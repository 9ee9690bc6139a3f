"""Marks: what a worker wrote is there after its death."""

from __future__ import annotations

import os
import signal
from unittest.mock import patch

from understudy.actors.ids import new_id
from understudy.supervisor import marks as marks_module
from understudy.supervisor.marks import Marks


def test_the_last_word_of_a_worker_that_was_killed():
    ours = Marks()
    ids = [new_id() for _ in range(4)]
    pid = os.fork()
    if pid == 0:
        theirs = Marks(ours.fd)
        for id in ids[:3]:
            theirs.waits(id)
        theirs.works(ids[0])
        theirs.ended(ids[1])
        theirs.works(ids[3])  # it never waited
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        assert ours.read() == {ids[0]: False, ids[2]: True}
    finally:
        ours.close()
    ours.close()


def test_places_are_used_again_and_those_past_the_end_have_no_mark():
    with patch.object(marks_module, "MARKS", 3):
        ours = Marks()
        theirs = Marks(os.dup(ours.fd))
        try:
            for _ in range(10):
                id = new_id()
                theirs.waits(id)
                assert ours.read() == {id: True}
                theirs.ended(id)
            ids = [new_id() for _ in range(5)]
            for id in ids:
                theirs.waits(id)
            assert ours.read() == dict.fromkeys(ids[:3], True)
            theirs.ended(ids[4])
            theirs.ended(ids[0])
            theirs.ended(ids[0])
            assert set(ours.read()) == set(ids[1:3])
        finally:
            theirs.close()
            ours.close()
