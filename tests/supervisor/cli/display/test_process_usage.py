from __future__ import annotations

import os
import subprocess
import sys

from understudy.supervisor.cli.display.process_usage import ProcessUsage, ProcessUsages, pids_of


def test_a_tree_counts_with_its_descendants():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        looked = ProcessUsages().look([os.getpid()], [child.pid])
        assert looked[os.getpid()].processes == 1
        assert looked[os.getpid()].rss > 1 << 20
        assert looked[child.pid].processes == 1
        whole = ProcessUsages().look([], [os.getpid()])
        assert whole[os.getpid()].processes >= 2
        child.communicate(b"\n")


def test_the_second_look_knows_the_cpu():
    gauges = ProcessUsages()
    gauges.look([os.getpid()], [])
    end = os.times().user + 0.05
    while os.times().user < end:
        sum(range(10_000))
    assert gauges.look([os.getpid()], [])[os.getpid()].cpu > 0


def test_a_process_that_is_gone_takes_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert ProcessUsages().look([child.pid], [child.pid]) == {child.pid: ProcessUsage()}


def test_the_pids_of_a_tree():
    tree = {"pid": 1, "fork_server": None, "workers": [{"pid": 3}, {"pid": 0}]}
    assert pids_of(tree) == ([1], [3])
