"""The work while the writes of a supervisor are recorded. Acknowledgements go into the same log."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from understudy import Runtime, checkpoint, current, receive, restore, task
from understudy.storage.backup import compact_offline

_HEAD = struct.Struct("=cQQQ")


def mark(*row: Any) -> None:
    """A record of kind A: this was acknowledged before all later records of the log."""
    data = json.dumps(row).encode()
    descriptor = os.open(os.environ["POWER_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, _HEAD.pack(b"A", 0, 0, len(data)) + data)
    finally:
        os.close(descriptor)


@task
def count(to: int) -> int:
    done = restore() or 0
    while done < to:
        done += 1
        checkpoint([done, "x" * (done % 7 * 1500)])
        mark("saved", current().id, done)
    return done


@task(ack="checkpoint")
def keep() -> list[int]:
    state = restore() or []
    while (message := receive()) is not None:
        state.append(message)
        checkpoint(state)
    return state


@task(ack="checkpoint")
def pass_on(to: str) -> int:
    passed = restore() or 0
    while (message := receive()) is not None:
        passed += 1
        checkpoint(passed, send=[(to, message)])
    return passed


@task
def double(number: int) -> int:
    return 2 * number


def main(home: str, rounds: int) -> None:
    with Runtime(home, app=__file__, workers=2) as rt:
        for number in range(rounds):
            sink = rt.start(keep)
            mark("started", sink.id)
            head = rt.start(pass_on, sink.id)
            mark("started", head.id)
            counting = rt.start(count, 8)
            mark("started", counting.id)
            many = rt.start_many(double, range(20 * number))
            for info in many:
                mark("started", info.id)
            for message in range(8):
                rt.send(sink.id, message)
                mark("sent", sink.id, message)
                rt.send(head.id, 100 + message)
                mark("passed", head.id, sink.id, 100 + message)
                if message == 4:
                    # Messages and checkpoints are under way meanwhile.
                    rt.compact()
                    mark("compacted")
            for info in (head, counting):
                if info is head:
                    rt.close(head.id)
                rt.result(info.id, 30)
                mark("ended", info.id)
            rt.close(sink.id)
            mark("closed", sink.id)
            assert sorted(rt.result(sink.id, 30)) == [*range(8), *range(100, 108)]
            mark("ended", sink.id)
            # This frees pages, so that later writes reuse them.
            rt.cancel(rt.start(keep).id)
            for info in many:
                rt.result(info.id, 30)
                mark("ended", info.id)
            if number % 2:
                rt.prune(all=True)
                rt.compact()
                mark("compacted")
    compact_offline(Path(home))
    mark("compacted")
    with Runtime(home, app=__file__, workers=1) as rt:
        info = rt.start(keep)
        mark("started", info.id)
        rt.send(info.id, 1)
        mark("sent", info.id, 1)
