"""The options of an actor class, with their defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from ..checks import check_flag, check_names, check_seconds, check_whole
from ..errors import InvalidOption
from ..task.options import LIMITS, UNIQUE, Options
from ..task.options import NAMES as TASK_NAMES
from ..values import VALUE_LIMIT

#: Seconds that one method may take, unless the class says otherwise.
TIMEOUT_DEFAULT: Final = 60.0
#: Seconds without a message after which an actor is passivated; None for never.
IDLE_DEFAULT: Final = 60.0
#: Seconds that the reply to an ask with a key of its caller is kept.
REPLY_KEEP_DEFAULT: Final = 3600.0
#: Bytes that the encoded attributes of an actor may take.
STATE_LIMIT_DEFAULT: Final = 1024 * 1024
#: The highest version of a state.
VERSION_LIMIT: Final = 2**31 - 1

#: Options of tasks that an actor class does not have: a message is acknowledged by the commit of its effects,
#: one message after the other is dealt with, and an actor is unique by its name.
_NOT_FOR_ACTORS: Final = ("ack", *LIMITS, *UNIQUE)


@dataclass(frozen=True, slots=True)
class ActorOptions(Options):
    """The options of an actor class: those of tasks, and its own."""

    timeout: float | None = TIMEOUT_DEFAULT
    """Seconds that one method may take; None for no limit."""
    durable: bool = False
    """Whether state, mailbox and replies are on disk."""
    idle: float | None = IDLE_DEFAULT
    """Seconds without a message after which the object leaves memory; None for never."""
    state_version: int = 1
    """Version of the attributes: `upgrade` is given state of an earlier one."""
    reply_keep: float = REPLY_KEEP_DEFAULT
    """Seconds that a reply under a key of the caller is kept."""
    state_limit: int = STATE_LIMIT_DEFAULT
    """Bytes that the encoded attributes may take."""

    def __post_init__(self) -> None:
        Options.__post_init__(self)  # super() does not find the class that slots=True makes
        check_flag("durable", self.durable)
        for name, optional in (("idle", True), ("reply_keep", False)):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name), optional=optional))
        check_whole("state_version", self.state_version, 0, VERSION_LIMIT)
        check_whole("state_limit in bytes", self.state_limit, 1, VALUE_LIMIT)
        if self.alone and not self.durable:
            raise InvalidOption(
                "isolate, memory_limit and capture_output give an actor a process that ends when it is put to rest, "
                "so they need durable=True"
            )
        if self.ack is not None:
            raise InvalidOption(
                "actors have no ack=: a message is acknowledged by the commit of what it changed"
            )

    def changed(self, changes: dict[str, Any]) -> ActorOptions:
        """A copy with these fields changed; InvalidOption names an unknown one."""
        check_names(changes, NAMES, "an actor class")
        return replace(self, **changes) if changes else self

    def pack_own(self) -> dict[str, Any]:
        """The fields that tasks do not have, as plain data."""
        return {name: getattr(self, name) for name in OWN}


#: Every option, and those that tasks do not have.
NAMES: Final = tuple(field.name for field in fields(ActorOptions) if field.name not in _NOT_FOR_ACTORS)
OWN: Final = tuple(name for name in NAMES if name not in TASK_NAMES)

__all__ = ["NAMES", "OWN", "ActorOptions"]
