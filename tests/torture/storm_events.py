"""The handlers, listeners, publishers and scheduled tasks of a storm. Part of the app of its supervisors."""

from __future__ import annotations

import random
import time
from typing import Any

from storm_journal import AGAIN, on_stage, trace
from understudy import Event, checkpoint, current, emit, listen, on, publish, receive, restore, task

#: Events that clients emit, with the names of the handlers that must run, and one that has none.
HANDLED = {
    "storm.one": ["storm_events:hears", "storm_events:passes_on"],
    "storm.two.again": ["storm_events:passes_on"],
    "calm.one": [],
}
#: What `passes_on` emits, and what handles it.
FOLLOWS = "wake.one"
FOLLOWER = "storm_events:follows"
#: The event of a checkpoint, which nothing handles.
STEP = "step.made"
#: What listeners listen to.
HEARD = "storm.one"


@on("storm.one", retry=AGAIN)
def hears(event: Event) -> str:
    with on_stage():
        return event.id


@on("storm.**", retry=AGAIN)
def passes_on(event: Event) -> str:
    """Emits one event for each that it handles, however often it runs."""
    with on_stage():
        return emit(FOLLOWS, event.id, id=f"{event.id}/next").id


@on("wake.*", retry=AGAIN)
async def follows(event: Event) -> str:
    with on_stage():
        return str(event.data)


@task(retry=AGAIN, ack="checkpoint")
def listens() -> list[str]:
    """Keeps the ids of the events that it hears, until its mailbox is closed."""
    with on_stage():
        listen(HEARD)
        trace("listening", current().id, time.time())
        heard = restore() or []
        while isinstance(event := receive(), Event):
            heard.append(event.id)
            checkpoint(heard)
        return heard


@task(retry=AGAIN)
def publishes(count: int) -> int:
    """Publishes and emits each number with the checkpoint that says so; and tries, and lines, that may come again."""
    with on_stage():
        done = restore() or 0
        while done < count:
            publish("try", done)
            print(f"number {done}")
            done += 1
            checkpoint(done, publish=[("step", done)], emit=[(STEP, done, f"{current().id}/{done}")])
            time.sleep(random.uniform(0, 0.002))
        return int(done)


@task(retry=AGAIN)
def ticks() -> Any:
    """The run of a schedule. Some runs last until the next one is due."""
    with on_stage():
        if random.random() < 0.2:
            time.sleep(random.uniform(0, 1.2))
        trigger = current().trigger
        return None if trigger is None else trigger.scheduled_at
