"""Stacking: the call of a `Runtime` about the stack of running code."""

from __future__ import annotations

from ...actors.ids import id_text
from ...actors.task.handles import IdLike, id_of
from ...actors.task.stack import StackFrame, TaskStack, ThreadStack
from ..wire.messages import Ask
from .deadline import Deadline
from .reconnecting import ReconnectingClient
from .runtime_part import RuntimePart
from .steps import Steps


class Stacking(RuntimePart):
    """The part of a runtime that says where running code is."""

    def stack(self, id: IdLike, *, timeout: float | None = None) -> TaskStack:
        """Where the code of a running task is: its own thread or coroutine first, then the rest of its worker.

        It comes also from code that holds up its interpreter in a C call, within about three seconds. It disturbs
        nothing. Raises StackUnavailable if the task does not run or is a container, and TaskNotFound.
        """
        deadline = self._deadline(timeout)
        return self._do(_stack(self._client, deadline, id_of(id)), deadline)


def _stack(client: ReconnectingClient, deadline: Deadline, id: bytes) -> Steps[TaskStack]:
    name, pid, at, by, note, rows = yield from client.ask(deadline, Ask.STACK, id)
    threads = [
        ThreadStack(
            thread,
            role,
            None if task is None else id_text(task),
            tuple(StackFrame(*call) for call in calls),
            left_out,
        )
        for thread, role, task, left_out, calls in rows
    ]
    return TaskStack(id_text(id), name, pid, at, by, note, tuple(threads))
