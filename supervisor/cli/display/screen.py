"""Output to stdout, which may be a terminal, and notes to stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...text import value_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Columns without a terminal: a pipe gets whole lines.
BOUNDLESS: Final = 10_000


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def console(width: int | None = None) -> Console:
    """A console for stdout that prints text unchanged: no markup, no emoji codes, no automatic highlighting.

    There is no colour without a terminal or if NO_COLOR is set. Without a terminal, lines are not wrapped.
    """
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError  # main.py turns it into an exit code

    if width is None and not is_terminal() and not os.environ.get("COLUMNS", "").isdigit():
        width = BOUNDLESS
    return Screen(width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show(*renderables: RenderableType) -> None:
    """Print these. Without a terminal, trailing blanks of lines are removed."""
    out = console()
    with out.capture() as capture:
        for renderable in renderables:
            out.print(renderable)
    text = capture.get()
    if not out.is_terminal:
        text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    write(text)


def write(text: str) -> None:
    """Write text that is already escaped."""
    sys.stdout.write(text)
    sys.stdout.flush()


def line(text: str = "") -> None:
    """Write one line of escaped text."""
    write(f"{text}\n")


def status(text: str) -> None:
    """Replace the status line, the last line of stderr, by this escaped text. It does nothing without a terminal."""
    if sys.stderr.isatty():
        from rich.cells import set_cell_size

        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        print(f"\r\x1b[K{set_cell_size(text, width - 1).rstrip()}", end="", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Write one line for people to stderr."""
    print(text, file=sys.stderr, flush=True)


def json(value: Any) -> None:
    """Write a JSON document on one line."""
    line(value_json.dumps(value))


def answer(text: str, document: Any, *, as_json: bool) -> None:
    """Write a command's answer: the document with `as_json`, else one line of escaped text."""
    line(value_json.dumps(document) if as_json else text)


def value(value: Any, *, as_json: bool = False) -> None:
    """Write a task's value as JSON: indented on a terminal, else or with `as_json` on one line."""
    line(value_json.dumps(value, indent=is_terminal() and not as_json))
