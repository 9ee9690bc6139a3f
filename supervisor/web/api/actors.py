"""Class actors: those that are alive, what they know, and messages to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import Query
from pydantic import Field, JsonValue
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors import values
from ....actors.errors import InvalidOption, RemoteError
from ....actors.ids import id_bytes
from ....actors.refs.ref import ActorRef
from ...client.views import DeadLetter, attributes_of
from ...text import documents
from .call import PATIENCE, After, Call, Id, Key, Limit, Read, Run, json_answer, router_of
from .models import Body, answer, answer_of, many
from .tasks import TASK

MOST_CALL: Final = 60.0
"""Seconds that a request may wait for the answer of an actor."""

#: Calls of actors that wait at the same time. Others wait for these.
_CALLS: Final = CapacityLimiter(16)

ACTORS: Final = answer("ActorPage", "Actors that are alive.", actors=many(TASK), next=str | None)
STATE: Final = answer(
    "ActorState",
    "The attributes of an actor as of its last commit; null if nothing of it is on disk.",
    id=str,
    version=int | None,
    attributes=dict[str, Any] | None,
)
DEAD: Final = answer(
    "DeadLetters",
    "Messages that the actor could not handle, oldest first.",
    letters=many(answer_of("DeadLetter", DeadLetter, times=("time",))),
)
VALUE: Final = answer("Value", "What the method has returned.", value=Any)
REDRIVEN: Final = answer("Redriven", "How many messages were sent again.", redriven=int)


class Tell(Body):
    """A message for `on_receive`."""

    message: JsonValue


class MethodCall(Body):
    """A call of a public method."""

    method: str = Field(max_length=200, pattern=r"^[A-Za-z]\w*(\.[A-Za-z]\w*)*$")
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    timeout: float = Field(
        default=PATIENCE, gt=0, le=MOST_CALL, description="Seconds to wait for the answer."
    )


class Redrive(Body):
    """Which messages to send again."""

    letter: str | None = Field(
        default=None, max_length=40, description="The id of one of them; null for all."
    )


router = router_of("actors")


@router.get("/actors", response_model=ACTORS)
def list_actors(
    call: Read,
    cls: Annotated[
        str | None, Query(max_length=255, description="A class: its full name or its short one.")
    ] = None,
    prefix: Annotated[str, Query(max_length=500, description="What their names begin with.")] = "",
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """List the actors that are alive."""
    runtime = call.runtime.sync
    found = runtime.actors(cls, prefix=prefix, limit=limit, after=after)
    shown = [documents.task(runtime.status(ref.id)) for ref in found if call.sees(ref.class_name)]
    return json_answer({"actors": shown, "next": found[-1].id if len(found) == limit else None})


def _actor(call: Call, id: str) -> ActorRef[Any]:
    record = call.read_task(id)
    if record.actor is None:
        raise InvalidOption(f"task {record.id} ({record.task}) is no actor")
    return ActorRef(id_bytes(record.id), record.task, record.actor or None, call.runtime.sync)


@router.get("/actors/{id}/state", response_model=STATE)
def state(call: Read, id: Id) -> Response:
    """Read the attributes of an actor."""
    ref = _actor(call, id)
    packed = call.context.reader.state(ref.id_bytes)
    version, attributes = (None, None) if packed is None else attributes_of(packed)
    return json_answer({"id": ref.id, "version": version, "attributes": attributes})


@router.get("/actors/{id}/dead-letters", response_model=DEAD)
def dead_letters(call: Read, id: Id) -> Response:
    """List the messages that an actor could not handle."""
    found = call.runtime.sync.dead_letters(_actor(call, id))
    return json_answer({"letters": [documents.with_times(asdict(each), ("time",)) for each in found]})


@router.post("/actors/{id}/messages", status_code=204)
async def tell(call: Run, id: Id, body: Tell, key: Key = None) -> Response:
    """Send a message to an actor. One under a key that it has had is not handled again."""
    ref = await run_in_threadpool(_actor, call, id)
    await to_thread.run_sync(ref.options(key=key, timeout=PATIENCE).tell, body.message, limiter=_CALLS)
    return Response(status_code=204)


@router.post("/actors/{id}/calls", response_model=VALUE)
async def call_method(call: Run, id: Id, body: MethodCall, key: Key = None) -> Response:
    """Call a method of an actor, and wait for what it returns.

    A call under a key that the actor has had gets the stored answer. 409 if the method raises, 504 if no answer comes
    in time: the message may still be handled.
    """
    ref = (await run_in_threadpool(_actor, call, id)).options(key=key, timeout=body.timeout)
    return json_answer({"value": await to_thread.run_sync(_called, ref, body, limiter=_CALLS)})


def _called(ref: ActorRef[Any], body: MethodCall) -> Any:
    with values.foreign_allowed():
        try:
            return ref.call(body.method, *body.args, **body.kwargs)
        except RemoteError as error:
            # It is of the error's own class as well, if that is one of Python's.
            raise RemoteError(str(error.error), error.error) from None


@router.post("/actors/{id}/redrive", response_model=REDRIVEN)
async def redrive(call: Run, id: Id, body: Redrive) -> Response:
    """Send the dead letters of an actor again."""
    ref = await run_in_threadpool(_actor, call, id)
    return json_answer({"redriven": await call.runtime.redrive(ref.id, body.letter, timeout=PATIENCE)})
