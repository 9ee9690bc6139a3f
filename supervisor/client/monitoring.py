"""Monitoring: the calls of a runtime by which a task or an actor is told of the ends of others."""

from __future__ import annotations

from ...actors.errors import NotInTask
from ...actors.inside.context import lineage_here
from ...actors.refs.async_ref import AsyncActorRef
from ...actors.refs.ref import ActorRef
from ...actors.task.handles import id_of
from ..wire.messages import Ask
from .actor_calls import ActorLike
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .runtime_part import RuntimePart
from .steps import Steps


class Monitoring(RuntimePart):
    """The part of a runtime that monitors. Only code of a task or an actor may call it."""

    def monitor(self, id: ActorLike, *, timeout: float | None = None) -> None:
        """See `understudy.monitor`."""
        deadline = self._deadline(timeout)
        return self._do(_monitor(self._client, deadline, _watched(id)), deadline)

    def demonitor(self, id: ActorLike, *, timeout: float | None = None) -> bool:
        """See `understudy.demonitor`."""
        deadline = self._deadline(timeout)
        return self._do(_demonitor(self._client, deadline, _watched(id)), deadline)


def _monitor(client: ReconnectingClient, deadline: Deadline, watched: bytes) -> Steps[None]:
    yield from client.ask(deadline, Ask.MONITOR, _watcher("monitor"), watched)


def _demonitor(client: ReconnectingClient, deadline: Deadline, watched: bytes) -> Steps[bool]:
    return bool((yield from client.ask(deadline, Ask.DEMONITOR, _watcher("demonitor"), watched)))


def _watched(id: ActorLike) -> bytes:
    if isinstance(id, AsyncActorRef):
        id = id.sync
    return id.id_bytes if isinstance(id, ActorRef) else id_of(id)


def _watcher(what: str) -> bytes:
    here = lineage_here()
    if here is None:
        raise NotInTask(f"{what} works only inside a task or an actor, whose mailbox gets the message")
    return here[0]
