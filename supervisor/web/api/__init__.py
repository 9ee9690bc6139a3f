"""The API: REST under /api, for programs that are not Python, with its OpenAPI document."""

from __future__ import annotations

from .routes import routes

__all__ = ["routes"]
