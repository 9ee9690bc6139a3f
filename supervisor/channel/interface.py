"""A worker as the supervisor's execution sees it, wherever the worker runs: two protocols and nothing else.

`WorkerChannel` carries orders to one worker; `ChannelEvents` receives its reports. A channel knows ids, lanes and
assignments, never a task. How a worker is kept from beginning a task that was taken back is the channel's secret.
To run workers elsewhere, implement `WorkerChannel`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from ...actors.errors import UnderstudyError
from ...storage.tables.schema import Lane

Frame = tuple[Any, ...]
"""A report of a worker: a `Report` and its fields, as `wire/messages.py` describes them."""
AssignmentRow = tuple[Any, ...]
"""The fields of an `Assignment`, in their order."""

#: The lanes in which tasks are handed to a worker. A task that needs a worker of its own comes in the first.
HANDED: Final = (Lane.SYNC, Lane.ASYNC, Lane.RUN)


class ChannelEvents(Protocol):
    """The receiver of one worker's reports: its seat."""

    def reported(self, frame: Frame) -> None:
        """A report has come in. An exception out of here ends the worker."""

    def lost(self) -> None:
        """The connection is gone. The watch of the process reports its death apart from this."""

    def took_back(self, lane: Lane, count: int) -> None:
        """The answer to a `take_back` that returned None: the last `count` tasks of the lane have not begun."""

    def ready(self, lane: Lane) -> None:
        """The channel accepts tasks of the lane again."""


class WorkerChannel(Protocol):
    """The connection to one worker. Orders gather until `flush`; none of them blocks or raises."""

    pid: int
    """0 until the worker has come up."""
    place: str
    """The machine on which the worker runs."""
    ahead: int
    """Tasks that may be handed out ahead of free slots; 0 if tasks cannot be taken back at once."""

    def accepts(self, lane: Lane) -> bool:
        """Whether `run` may be called for this lane: not while a take-back is under way."""

    def run(self, lane: Lane, assignments: Sequence[AssignmentRow]) -> None:
        """Hand out tasks; the worker begins them in this order."""

    def unbegun(self, lane: Lane) -> int:
        """How many tasks of the lane have not begun; they are the last ones that were handed out."""

    def take_back(self, lane: Lane) -> int | None:
        """Take back the tasks that have not begun: how many, counted from the last one handed out.

        None: the worker has to be asked, and one `took_back` follows; a further call before it asks nothing more. The
        channel of a dead worker answers at once, also when an earlier question is still open.
        """

    def give(self, id: bytes, first: int, values: Sequence[bytes]) -> None:
        """Messages for a task; `first` is the number of the first."""

    def close_mailbox(self, id: bytes) -> None:
        """No more messages for a task after those given."""

    def forget(self, id: bytes) -> None:
        """Do not send messages and closes that have gathered for a task: it is not on this worker any more."""

    def signal(self, id: bytes, reason: str) -> None:
        """Ask a task to stop; `reason` is "cancel" or "timeout"."""

    def interrupt(self, id: bytes | None = None) -> None:
        """Interrupt a task, or all of them."""

    def forget_actors(self, ids: Sequence[bytes]) -> None:
        """The objects of these actors that the worker keeps are not used any more."""

    def aside(self, id: bytes, letter: bytes) -> None:
        """A read-only letter for an actor whose method waits."""

    def ask_stack(self, number: int, id: bytes) -> None:
        """Ask the worker's interpreter where the code of a task is. The report STACK with this number answers."""

    async def dump_stacks(self) -> tuple[str, Mapping[int, bytes]] | None:
        """The stacks of all threads of a worker whose interpreter does not answer, as `faulthandler` writes them, and
        the tasks of threads, as far as known. None if they cannot be had; within some seconds."""

    def declare(self, modules: Iterable[str]) -> None:
        """Name further modules that hold tasks, before any task of theirs is handed out."""

    def answer(self, request: int, payload: Any) -> None:
        """Answer a request of the worker."""

    def refuse(self, request: int, error: UnderstudyError) -> None:
        """Refuse a request of the worker."""

    def stop(self) -> None:
        """Let the worker exit once it has nothing left."""

    def flush(self) -> None:
        """Send the orders of this turn: tasks before their messages, messages before a close."""

    def read(self, go_on: bool) -> None:
        """Stop or continue reading reports: the back-pressure while the disk is behind."""

    def kill(self) -> None:
        """Kill the worker with everything it has started. Its death is reported by its watch."""

    def last_words(self) -> None:
        """The worker is dead: report everything that it had sent and that has not been read."""

    def waiting_at_death(self) -> Mapping[bytes, bool]:
        """For the tasks of a dead worker, as far as known: whether the task was waiting."""

    def building_at_death(self) -> Collection[bytes]:
        """The actors whose objects a dead worker was building, as far as known."""

    def close(self) -> None:
        """The worker is dead: release the connection. Nothing is reported after this."""
