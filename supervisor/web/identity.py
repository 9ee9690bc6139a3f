"""Identity: who makes a request, and what it may do. `needs` is the dependency of every route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import HTTPConnection

from ...actors.access import Role, fits
from .context import context_of
from .problems import Refused


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request."""

    name: str
    """That of its token."""
    role: Role
    tasks: tuple[str, ...] = ("*",)
    """Patterns of the names of tasks that it may see and change."""
    token: str = ""
    """The public id of its token."""
    by: Literal["token", "session", "watch", "insecure"] = "token"
    expires: float | None = None
    """When its token expires, in seconds since the epoch; None: not by itself."""

    def may(self, role: Role | str) -> bool:
        """Whether it has this role, or one that includes it."""
        return self.role.includes(Role(role))

    def sees(self, task: str) -> bool:
        """Whether it may see and change tasks of this name."""
        return fits(self.tasks, task)

    @property
    def sees_all(self) -> bool:
        """Whether it may see all tasks."""
        return "*" in self.tasks


#: Who reaches a listener that is insecure on purpose.
EVERYBODY = Identity("insecure", Role.ADMIN, by="insecure")


def needs(role: Role | str) -> Callable[[HTTPConnection], Awaitable[Identity]]:
    """A dependency that gives who makes the request, and refuses those without this role.

    Without a token: 401, or the page to log in for a browser that asks for a page. With too small a role: 403. Its
    attribute `role` says what it needs.
    """
    needed = Role(role)

    async def identity(connection: HTTPConnection) -> Identity:
        found = await identify(connection)
        if not found.may(needed):
            raise Refused(
                403, f"this needs a token with the role {needed}; that of {found.name!r} is {found.role}"
            )
        return found

    identity.role = needed  # type: ignore[attr-defined]
    return identity


def needs_all(role: Role | str) -> Callable[[HTTPConnection], Awaitable[Identity]]:
    """As `needs`, for what is about tasks of every name: a token for some names alone gets 403."""
    whole = needs(role)

    async def identity(connection: HTTPConnection) -> Identity:
        found = await whole(connection)
        if not found.sees_all:
            raise Refused(
                403, f"the token of {found.name!r} is for some tasks alone, and this is about all of them"
            )
        return found

    identity.role = Role(role)  # type: ignore[attr-defined]
    return identity


async def identify(connection: HTTPConnection) -> Identity:
    """Who makes the request. Raises Refused without a valid token or session."""
    context = context_of(connection)
    found = EVERYBODY if context.insecure else context.tokens.identify(connection)
    # The audit reads it.
    connection.state.identity = found
    return found


async def identify_watcher(connection: HTTPConnection, id: bytes, *, is_stream: bool = False) -> Identity:
    """Who wants to watch this task or stream. Raises Refused.

    A signed token in the query (`?token=`) is enough if it is for this one. Any other must be for the task by its
    name, which is not checked here; and for a stream, for all tasks.
    """
    context = context_of(connection)
    signed = connection.query_params.get("token")
    if signed is not None:
        grant = context.tokens.watch_grant(connection, signed)
        if grant.id != id or grant.is_stream != is_stream:
            raise Refused(403, "this token is for another task or stream")
        role = Role.RUN if grant.send else Role.READ
        found = Identity("watch token", role, (), by="watch", expires=float(grant.expires))
        connection.state.identity = found
        return found
    found = await needs(Role.READ)(connection)
    if is_stream and not found.sees_all:
        raise Refused(
            403, f"the token of {found.name!r} is for some tasks alone, and a stream may have others"
        )
    return found
