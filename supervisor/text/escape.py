"""Escaping of text from tasks for a terminal: it cannot move the cursor, colour the screen or forge a line.

Task names, log lines, error messages and notes are untrusted. Characters that are not printable (the C0 and C1
controls, escape sequences, bidirectional overrides, lone surrogates) are shown as `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

import logging


class Formatter(logging.Formatter):
    """Formats log records that may quote tasks."""

    def format(self, record: logging.LogRecord) -> str:
        return block(super().format(record))


def one_line(text: object) -> str:
    """Printable text on one line; a line break becomes `\\n`."""
    raw = str(text)
    return raw if raw.isprintable() else "".join(map(_visible, raw))


def lines(text: object) -> list[str]:
    """Printable lines; tabs become blanks. Empty text gives no line."""
    return (
        [one_line(line.rstrip("\r").expandtabs(8)) for line in str(text).rstrip("\n").split("\n")]
        if text
        else []
    )


def block(text: object) -> str:
    """Printable text with its line breaks."""
    return "\n".join(lines(text))


def in_json(text: str) -> str:
    """JSON text in which every character that is not printable is a JSON escape."""
    return text if text.isprintable() else "".join(_json_escape(char) for char in text)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    # A line break belongs to the layout of indented JSON; those inside strings are escaped already.
    if char == "\n" or char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
