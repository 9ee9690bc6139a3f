"""`Command`, a command with the common options, and `LazyGroup`, which imports a command when it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

from ..home import DEFAULT_HOME, HOME_VARIABLE
from .session import Session


def _take_home(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    session = ctx.find_object(Session)
    if session is not None and value is not None:
        session.home_path = value


def _take_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    session = ctx.find_object(Session)
    if session is not None:
        session.debug = session.debug or value


def common_options() -> list[click.Option]:
    """`--home` and `--debug`: accepted before the command as well as after it."""
    return [
        click.Option(
            ["--home"],
            metavar="PATH",
            type=click.Path(),
            expose_value=False,
            is_eager=True,  # so that completion of other parameters reads the right home
            callback=_take_home,
            help=f"The home folder.  [default: ${HOME_VARIABLE}, else {DEFAULT_HOME} in the working directory]",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_take_debug,
            help="Show the traceback of an error.",
        ),
    ]


class Command(click.Command):
    """A command that has the common options after its own."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.params = [*self.params, *common_options()]


def command(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command."""
    return click.command(name, cls=Command, **attrs)


class LazyGroup(click.Group):
    """A group that imports a command's module when it is used, so that `ps` does not load `serve`."""

    def __init__(self, *args: Any, homes: Mapping[str, str], prefix: str = "", **attrs: Any) -> None:
        """`homes`: each command's module in this package. Its function is named prefix + command."""
        super().__init__(*args, **attrs)
        self.params = [*self.params, *common_options()]
        self._homes = homes
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names in the order of their declaration."""
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._homes.get(cmd_name)
        if module is None:
            return None
        found = getattr(import_module(f"{__package__}.{module}"), self._prefix + cmd_name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if close := get_close_matches(args[0], self._homes, n=1):
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from error
            raise
