"""`AsyncTree`, the handle on a supervision tree for asyncio programs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from .tree import Tree

P = ParamSpec("P")
T = TypeVar("T")

Call = Callable[..., Coroutine[Any, Any, Any]]
"""Calls a function in another thread."""


def _in_thread(
    method: Callable[Concatenate[Tree, P], T],
) -> Callable[Concatenate[AsyncTree, P], Coroutine[Any, Any, T]]:
    """The coroutine for a method of `Tree`: another thread calls it."""

    @functools.wraps(method)
    async def call(self: AsyncTree, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await self._call(method, self.sync, *args, **kwargs)
        return result

    return call


class AsyncTree:
    """A `Tree` whose calls are coroutines; `sync` is the plain one."""

    def __init__(self, tree: Tree, call: Call) -> None:
        self.sync = tree
        self._call = call

    @property
    def id(self) -> str:
        return self.sync.id

    status = _in_thread(Tree.status)
    child = _in_thread(Tree.child)
    info = _in_thread(Tree.info)
    start_child = _in_thread(Tree.start_child)
    terminate_child = _in_thread(Tree.terminate_child)
    restart_child = _in_thread(Tree.restart_child)
    delete_child = _in_thread(Tree.delete_child)
    stop = _in_thread(Tree.stop)
    restart = _in_thread(Tree.restart)
    wait = _in_thread(Tree.wait)
