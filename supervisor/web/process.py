"""The web process: a child of the supervisor, which hands down the listening sockets and starts it again.

It gets one end of a socket pair, and on it one map: `{home, settings, web, http}`, the last two being descriptors or
None. It ends when the supervisor does, because the pair closes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Literal, NoReturn

import msgpack

from ...actors.errors import UnderstudyError
from ...storage.reader import Reader
from ..client.async_runtime import AsyncRuntime
from ..client.http_door import HttpDoor
from ..linux.processes import allow_open_files, flush_output, set_name
from ..linux.standard_streams import open_missing_streams
from ..text import escape
from ..web_settings import WebSettings
from . import callers_trace
from .app import create_app
from .audit import Audit
from .context import WebContext
from .guard import BodyMemory, Guard
from .live.hub import Hub
from .server import WebServer
from .tokens import Tokens
from .trigger_table import tell_of_secrets

#: Seconds that the app may take to be loaded until its triggers are looked at.
LOADED_WITHIN: Final = 600.0


def main(fd: int) -> NoReturn:
    """Serve until the other end of the socket pair closes."""
    open_missing_streams()
    # The supervisor says when to end; Ctrl-C is for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=fd) as line:
        line.set_inheritable(False)
        logging.basicConfig(level=logging.WARNING)
        for handler in logging.getLogger().handlers:
            handler.setFormatter(escape.Formatter("understudy web: %(message)s"))
        config = _config(line)
        if config is not None:
            set_name(f"understudy web {escape.one_line(config['home'])}")
            allow_open_files()
            asyncio.run(_run(line, config))
    flush_output()
    os._exit(0)


def _config(line: socket.socket) -> dict[str, Any] | None:
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape")
    while data := line.recv(65536):
        unpacker.feed(data)
        for config in unpacker:
            return dict(config)
    return None


async def _run(line: socket.socket, config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    line.setblocking(False)
    loop.add_reader(line, stop.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    settings = WebSettings.of(config["settings"])
    callers_trace.hand_on()
    runtime = AsyncRuntime.connect(config["home"])
    with Reader(config["home"]) as reader:
        closing = asyncio.Event()
        hub = Hub(reader, closing, settings.most_streams)
        context = WebContext(
            runtime, reader, settings, Tokens(reader, settings), Audit(runtime), hub, closing
        )
        server = WebServer(settings)
        memory = BodyMemory(settings.body_memory)
        listeners: tuple[Literal["web", "http"], ...] = ("web", "http")
        for listener in listeners:
            if config[listener] is not None:
                await _serve(server, context, listener, config[listener], memory)
        telling = asyncio.create_task(_tell_of_secrets(runtime))
        # All of this stays until the end.
        gc.collect()
        gc.freeze()
        await stop.wait()
        context.closing.set()
        telling.cancel()
        await server.stop()
        with suppress(Exception):
            await asyncio.wait_for(runtime.close(), 1)


async def _tell_of_secrets(runtime: AsyncRuntime) -> None:
    """Look whether triggers can check signatures once the app is loaded, and not when the first caller comes."""
    door = HttpDoor(runtime, patience=LOADED_WITHIN)
    with suppress(UnderstudyError, TimeoutError):  # The supervisor tells of an app that cannot be loaded.
        tell_of_secrets(await door.triggers())


async def _serve(
    server: WebServer, context: WebContext, listener: Literal["web", "http"], fd: int, memory: BodyMemory
) -> None:
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    bound = "" if sock.family == socket.AF_UNIX else sock.getsockname()[0]
    own = replace(context, listener=listener)
    await server.serve(Guard(create_app(own), own, bound, memory), sock)
