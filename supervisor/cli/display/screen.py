"""The way to the terminal, or to whatever stdout is."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...text import value_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Columns where there is no terminal to fit into: a pipe gets whole lines.
BOUNDLESS: Final = 10_000


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def console(width: int | None = None) -> Console:
    """A console for stdout that takes text as it is: no markup, no emoji codes, no guesses at what to highlight.

    No colour without a terminal, nor where NO_COLOR is set; all of the line's width where there is no terminal.
    """
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError  # main.py knows what to do

    if width is None and not is_terminal() and not os.environ.get("COLUMNS", "").isdigit():
        width = BOUNDLESS
    return Screen(width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def show(*renderables: RenderableType) -> None:
    """Print these; without a terminal, without the blanks that fill a table up."""
    out = console()
    with out.capture() as capture:
        for renderable in renderables:
            out.print(renderable)
    text = capture.get()
    if not out.is_terminal:
        text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    write(text)


def write(text: str) -> None:
    """Text that is escaped already."""
    sys.stdout.write(text)
    sys.stdout.flush()


def line(text: str = "") -> None:
    """One line of escaped text."""
    write(f"{text}\n")


def note(text: str) -> None:
    """One line for people, beside the output: to stderr."""
    print(text, file=sys.stderr, flush=True)


def json(value: Any) -> None:
    """One JSON document on one line."""
    line(value_json.dumps(value))


def value(value: Any, *, as_json: bool = False) -> None:
    """A task's value: JSON, indented for a person, on one line for a program."""
    line(value_json.dumps(value, indent=is_terminal() and not as_json))
