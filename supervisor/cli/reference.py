"""`page`, the text of docs/cli.md: every command's help, the exit codes and the values as JSON.

`python -m understudy.supervisor.cli.reference > docs/cli.md` writes the page. A test fails if it is stale.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from ..text import value_json
from . import exit_codes
from .command import Command
from .main import COMMANDS, PROGRAM, cli

#: Columns of the help texts.
WIDTH: Final = 100

_HEAD: Final = """\
# The command line

<!-- Made by `python -m understudy.supervisor.cli.reference > docs/cli.md`; a test fails if it is stale. -->

`understudy` serves a home, starts tasks, shows them and controls them. [Running it](running.md) explains how to run a
supervisor as a service.

- **The home** is given by `--home PATH`, before or after the command. The default is `$UNDERSTUDY_HOME`, else
  `.understudy` in the working directory.
- **An ID** can be shortened to any beginning or end that no other task shares. Ids made within one minute begin alike,
  so narrow lists show the last 12 characters.
- **Reading needs no supervisor**: `ps`, `stats`, `errors`, `show`, `logs`, `watch`, `result`, `checkpoint`, `actor ls`,
  `actor show`, `actor state`, `actor dead`, `events list`, `events show`, `streams list`, `streams show`, `schedules
  list`, `schedules show`, `schedules next`, `tree PATH`, `bulk list`, `bulk show`, `token list`, `audit`, `backup` and
  `check` read the folder. `compact` works with and without one. The other commands need a supervisor that serves the
  home.
- **A try** such as `3 of 4` is the attempt and the most attempts that the task's retries allow: three retries after the
  first try are four tries.
- **`--json`** is for programs. It prints one document, or one on each line if there are several over time (`logs`,
  `top`, `ps --watch`, `watch`, `cancel`). Times are ISO 8601 in UTC, and durations are seconds. Without `--json`, times
  are local.
- **A JSON argument is a value**: `3`, `true`, `null`, `'{"a": [1, 2]}'`. Put text into double quotes inside the shell's
  quotes: `'"data.csv"'`. `-` reads the value from standard input.
- **Durations** are seconds or have units: `90`, `10m`, `1h30m`, `2d`. **Sizes** are bytes or have units, powers of
  1,024: `512M`, `1.5G`.
- **Text from tasks is escaped**: no name, log line or error can move the cursor or colour the screen.
- **Colour** is used only on a terminal, and only if `NO_COLOR` is not set. Without a terminal, tables are as wide as
  their text.
- **Errors** go to stderr as one line that begins with `Error:`. The usage, a failed task's traceback or the matching
  ids may come with it. `--debug` adds the program's own traceback.

Completion of commands, options and ids in the shell, for Bash (4.4 or newer), Zsh and Fish:

```console
$ echo 'eval "$(_UNDERSTUDY_COMPLETE=bash_source understudy)"' >> ~/.bashrc
$ echo 'eval "$(_UNDERSTUDY_COMPLETE=zsh_source understudy)"' >> ~/.zshrc
$ echo '_UNDERSTUDY_COMPLETE=fish_source understudy | source' > ~/.config/fish/completions/understudy.fish
```
"""

_VALUES: Final = """\
## Values as JSON

`run`, `result`, `checkpoint`, `show`, `actor`, `events` and `schedules` print JSON. Values that JSON does not have are
written like this:
"""


def page() -> str:
    """The page as Markdown."""
    parts = [
        _HEAD,
        f"## Exit codes\n\n{exit_codes.as_table()}\n",
        f"{_VALUES}\n{value_json.as_table()}\n",
        "## Commands\n\nEvery command takes `--home PATH`, `--debug` and `--help` as well.\n",
    ]
    root = click.Context(cli, info_name=PROGRAM, terminal_width=WIDTH)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if isinstance(command, click.Group):
            parts.append(f"### {name}\n\n{inspect.cleandoc(command.help or '')}\n")
            group = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
            commands = {inner: command.get_command(group, inner) for inner in command.list_commands(group)}
            parts += [
                _section(f"#### {name} {inner}", inner, found, group) for inner, found in commands.items()
            ]
        else:
            parts.append(_section(f"### {name}", name, command, root))
    return "\n".join(parts)


def leaves() -> Iterator[tuple[str, Command]]:
    """Every command that does something, by its whole name, such as "schedules list"."""
    root = click.Context(cli, info_name=PROGRAM)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if isinstance(command, click.Group):
            for inner in command.list_commands(root):
                found = command.get_command(root, inner)
                assert isinstance(found, Command)
                yield f"{name} {inner}", found
        else:
            assert isinstance(command, Command)
            yield name, command


def _section(heading: str, name: str, command: click.Command | None, context: click.Context) -> str:
    assert isinstance(command, Command)
    return f"{heading}\n\n```text\n{help_of(command, name, context)}\n```\n"


def help_of(command: Command, name: str, root: click.Context) -> str:
    """The command's help without the common options."""
    context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    rows = [
        row
        for param in command.params
        if isinstance(param, click.Option)
        and param.name not in {"home", "debug"}
        and (row := param.get_help_record(context))
    ]
    if rows:
        with formatter.section("Options"):
            formatter.write_dl(rows)
    return formatter.getvalue().rstrip("\n")


if __name__ == "__main__":
    print(page(), end="")
