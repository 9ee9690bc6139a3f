"""The dashboard: pages that are made on the server, readable without JavaScript, and that follow the store."""

from __future__ import annotations

from .routes import routes

__all__ = ["routes"]
