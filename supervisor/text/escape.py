"""Text from tasks on its way to a terminal: nothing in it may move the cursor, colour the screen or forge a line.

Task names, log lines, error messages and notes come from anywhere. Whatever is not printable (the C0 and C1 controls,
escape sequences, bidirectional overrides, lone surrogates) is shown as `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

import logging


class Formatter(logging.Formatter):
    """Of log records that may quote tasks."""

    def format(self, record: logging.LogRecord) -> str:
        return block(super().format(record))


def one_line(text: object) -> str:
    """Printable, on one line; a line break becomes `\\n`."""
    raw = str(text)
    return raw if raw.isprintable() else "".join(map(_visible, raw))


def lines(text: object) -> list[str]:
    """Printable lines; tabs become blanks. Empty text is no line."""
    return (
        [one_line(line.rstrip("\r").expandtabs(8)) for line in str(text).rstrip("\n").split("\n")]
        if text
        else []
    )


def block(text: object) -> str:
    """Printable, its line breaks kept."""
    return "\n".join(lines(text))


def in_json(text: str) -> str:
    """JSON text with every character that is not printable written as JSON's own escape."""
    return text if text.isprintable() else "".join(_json_escape(char) for char in text)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")


def _json_escape(char: str) -> str:
    # Line breaks are the layout of indented JSON; inside its strings they are escaped already.
    if char == "\n" or char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
