"""`Session`, one call of the command line: its home, and access to the store and the supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ...actors.errors import NotRunning
from ...storage.reader import Reader
from ..home import HOME_VARIABLE, Home
from .exit_codes import ExitCode
from .failures import CliError

if TYPE_CHECKING:
    from ..client.runtime import Runtime


@dataclass
class Session:
    """One call of the command line. The common options fill its fields."""

    home_path: str | None = None
    debug: bool = False

    @property
    def home(self) -> Home:
        """The home; HomeError if its path is something other than a folder."""
        return Home(self.home_path).checked()

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A reader of the home's store, with or without a supervisor. CliError if the home does not exist."""
        home = self.home
        if not home.path.is_dir():
            raise CliError(
                ExitCode.HOME_UNUSABLE,
                f"there is no home {home.path}; give another one with --home or ${HOME_VARIABLE}, "
                "or start a supervisor, which makes it: understudy serve APP",
            )
        with Reader(home.path) as reader:
            yield reader

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """A connection to the home's supervisor. NotRunning; CliError while it starts or stops."""
        from ..client.runtime import attached  # takes 0.1 s, which commands that only read do not need

        try:
            runtime = attached(self.home.path)
        except NotRunning:
            if server := self.home.server():
                raise CliError(
                    ExitCode.NOT_RUNNING,
                    f"the supervisor of {self.home.path} ({server}) is starting or stopping and does not answer; "
                    "try again later",
                ) from None
            raise
        try:
            yield runtime
        finally:
            runtime.close()

    def offline(self) -> Runtime:
        """A runtime for calls that only read the home's store. Close it."""
        from ..client.runtime import Runtime

        return Runtime.connect(self.home.path)


def current() -> Session:
    """The session of the current command."""
    session = click.get_current_context().find_object(Session)
    assert session is not None
    return session
