"""Tasks whose attempts are traced."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from understudy import (
    Actor,
    Fail,
    Response,
    RetryLater,
    aio,
    current,
    emit,
    http,
    on,
    read_only,
    receive,
    sleep,
    task,
)


@task(name="traces:plain")
def plain(value: Any = None) -> Any:
    return value


@task(name="traces:traced")
def traced() -> str | None:
    """The id of the trace that its code is in; None for none."""
    if "opentelemetry.sdk.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


@task(name="traces:traced_async")
async def traced_async() -> str | None:
    await aio.sleep(0)
    return traced()


@task(name="traces:parent")
def parent() -> list[str]:
    """Its id, that of a task that it starts, and its trace."""
    child = plain.start(1)
    return [current().id, child.id, str(traced())]


@task(name="traces:second_try", retry=2)
def second_try() -> int:
    if current().attempt == 1:
        raise ValueError("not yet")
    return current().attempt


@task(name="traces:later", retry=2)
def later() -> int:
    if current().attempt == 1:
        raise RetryLater(0.01)
    return current().attempt


@task(name="traces:fails")
def fails() -> None:
    raise Fail("for good")


@task(name="traces:dies", retry=2)
def dies() -> int:
    """Kills its worker in its first attempt."""
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current().attempt


@task(name="traces:waits")
def waits() -> Any:
    return receive()


@task(name="traces:naps")
def naps() -> None:
    sleep(60)


@http("POST", "/traced", auth="none")
def hook(request: Any) -> Response:
    return Response(200, {}, str(traced()))


class Counter(Actor, name="traces:Counter"):
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def refuse(self) -> None:
        raise ValueError("not this")

    def tell_of_it(self, other: Any) -> None:
        other.cast("add")

    @read_only
    def seen(self) -> str | None:
        return traced()


class AsyncCounter(Actor, name="traces:AsyncCounter"):
    async def seen(self) -> str | None:
        await aio.sleep(0)
        return traced()


@on("trace.made")
def handles(event: Any) -> str | None:
    return traced()


@task(name="traces:emits")
def emits() -> str | None:
    emit("trace.made", {"by": "a task"})
    return traced()
