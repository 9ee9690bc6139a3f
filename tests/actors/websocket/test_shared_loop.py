from __future__ import annotations

import asyncio
import os
import threading
import warnings

from understudy.actors.websocket import shared_loop


def test_one_loop_for_all() -> None:
    async def where() -> str:
        return threading.current_thread().name

    loop = shared_loop.loop()
    assert shared_loop.loop() is loop
    assert asyncio.run_coroutine_threadsafe(where(), loop).result(10) == "understudy-ws"


def test_a_fork_gets_its_own() -> None:
    async def answer() -> int:
        return 7

    parent = shared_loop.loop()
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads; that is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ended = 1
        try:
            mine = shared_loop.loop()
            if mine is not parent and asyncio.run_coroutine_threadsafe(answer(), mine).result(10) == 7:
                ended = 0
        finally:
            os._exit(ended)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
