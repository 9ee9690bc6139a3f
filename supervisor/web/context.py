"""WebContext: what every part of the web process works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import HTTPConnection

from ...storage.reader import Reader
from ...storage.totals_reader import ReadyAges
from ..client.async_runtime import AsyncRuntime
from ..web_settings import WebSettings
from .audit import Audit
from .live.hub import Hub
from .tokens import Tokens
from .traffic import Traffic


@dataclass(frozen=True)
class WebContext:
    """One listener's view of the home."""

    runtime: AsyncRuntime
    """A client of the supervisor. It reads the store by itself, so reading goes on while no supervisor runs."""
    reader: Reader
    """The store. Its `newest` tells in a microsecond whether anything has changed."""
    settings: WebSettings
    tokens: Tokens
    audit: Audit
    hub: Hub
    """Has those who watch tasks and streams told what is new."""
    closing: asyncio.Event
    """Set when the process stops: streams end then, within a second."""
    traffic: Traffic = field(default_factory=Traffic)
    """The requests of all listeners."""
    ages: ReadyAges = field(default_factory=ReadyAges)
    """How far the tasks of each name were looked through for the oldest one that waits."""
    listener: Literal["web", "http"] = "web"
    """`http` serves the app's triggers alone."""

    @property
    def insecure(self) -> bool:
        """Whether everybody who reaches this listener is an admin."""
        return self.settings.insecure and self.listener == "web"


def context_of(connection: HTTPConnection) -> WebContext:
    """The context of the listener of a request, which `Guard` has put there."""
    context: WebContext = connection.scope["state"]["context"]
    return context
