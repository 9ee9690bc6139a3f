"""The handler and the listener of test_event_crash_points.py."""

from __future__ import annotations

from understudy import checkpoint, listen, on, receive, restore, task
from understudy.actors.events.event import Event


@on("order.*", name="bill", retry=5)
def bill(event: Event) -> int:
    return int(event.data)


@task(name="ship", timeout=60)
def ship(last: int) -> list[int]:
    """The numbers of all events up to the last one, in the order in which they came."""
    listen("order.*")
    numbers: list[int] = restore() or []
    checkpoint(numbers)
    while last not in numbers:
        numbers.append(receive(timeout=50).data)
        checkpoint(numbers)
    return numbers
