from __future__ import annotations

import asyncio
import logging

import pytest

from understudy.actors.errors import StoreCorrupt
from understudy.supervisor.daemon.chores import repeat


@pytest.mark.parametrize(
    "error", [StoreCorrupt("damaged", problems=[]), ValueError("no id"), OSError(5, "disk")]
)
def test_an_error_of_any_kind_does_not_end_a_chore(error: Exception, caplog: pytest.LogCaptureFixture):
    rounds: list[int] = []

    async def story() -> None:
        done = asyncio.Event()

        async def job() -> None:
            rounds.append(1)
            if len(rounds) == 3:
                done.set()
            elif len(rounds) < 3:
                raise error

        chore = asyncio.create_task(repeat("sweeping", 0.001, job))
        await asyncio.wait_for(done.wait(), 10)
        chore.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chore

    with caplog.at_level(logging.ERROR, "understudy"):
        asyncio.run(story())
    assert [record.message for record in caplog.records] == [
        "sweeping failed; it is tried again in 0.001 s"
    ] * 2
    assert caplog.records[0].exc_info is not None
