"""The supervisor process of a program that embeds it; it lives as long as that program.

The process gets one end of a socket pair. The owner sends one frame, `{home, app, settings, web}`, and gets one back:
`[True]` when the home is served, or `[False, error class, message, data]`. When the owner's end closes, the
supervisor stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import msgpack

from ...actors.errors import UnderstudyError
from ..app import AppSpec
from ..home import Home
from ..linux.processes import flush_output, set_name, tune_garbage_collection
from ..linux.standard_streams import open_missing_streams
from ..settings import Settings
from ..text import escape
from ..web_settings import WebSettings
from ..wire.error_codec import error_fields
from .supervisor import Supervisor
from .web_child import WebSockets

#: Exit code when the supervisor could not start or had to give up.
FAILED = 1


def main(fd: int) -> NoReturn:
    """Run until stopped; `fd` is the end of the socket pair."""
    open_missing_streams()
    with socket.socket(fileno=fd) as owner:
        code = _serve(owner)
    flush_output()
    os._exit(code)


def _serve(owner: socket.socket) -> int:
    owner.set_inheritable(False)
    tune_garbage_collection()
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        # The log goes to the program's terminal, and its lines may quote tasks.
        handler.setFormatter(escape.Formatter("understudy: %(message)s"))
    set_name("understudy")
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape")
    while data := owner.recv(65536):
        unpacker.feed(data)
        for config in unpacker:
            return asyncio.run(_run(owner, config))
    return FAILED


async def _run(owner: socket.socket, config: dict[str, Any]) -> int:
    try:
        wanted = WebSettings.of(config.get("web", {}))
        supervisor = Supervisor(
            Home(config["home"]),
            AppSpec.unpack(config["app"]),
            Settings.of(config["settings"]),
            embedded=True,
            open_web=partial(WebSockets, wanted, []) if wanted.asked else None,
        )
        owner.setblocking(False)
        await supervisor.run(lambda: _ready(owner, supervisor))
    except UnderstudyError as error:
        _tell(owner, [False, *error_fields(error)])
        return FAILED
    finally:
        asyncio.get_running_loop().remove_reader(owner)
    return 0


def _ready(owner: socket.socket, supervisor: Supervisor) -> None:
    _tell(owner, [True])
    asyncio.get_running_loop().add_reader(owner, _listen, owner, supervisor)


def _listen(owner: socket.socket, supervisor: Supervisor) -> None:
    try:
        if owner.recv(1024):
            return
    except BlockingIOError:
        return
    except OSError:
        pass
    asyncio.get_running_loop().remove_reader(owner)
    supervisor.orphaned()


def _tell(owner: socket.socket, answer: list[Any]) -> None:
    with suppress(OSError):  # The owner has ended.
        owner.send(msgpack.packb(answer))
