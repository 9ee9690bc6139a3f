"""The reference to an actor for asyncio programs and async tasks: its calls are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .. import values
from .futures import ActorFuture, Answer
from .ref import ActorRef

if TYPE_CHECKING:
    from ..task.handles import TaskRecord
    from .actor import Actor

A_co = TypeVar("A_co", bound="Actor", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class AsyncActorRef(Generic[A_co]):
    """A reference to an actor whose calls wait on the event loop: `await ref.call(Account.deposit, 5)`.

    A call that is cancelled waits no longer, and leaves nothing behind; its message may be handled all the same. As a
    value it is an `ActorRef` where it arrives.
    """

    __slots__ = ("sync",)

    sync: ActorRef[A_co]
    """The same reference for code that may block. Its futures can be awaited, too."""

    def __init__(self, ref: ActorRef[A_co]) -> None:
        self.sync = ref

    @property
    def id(self) -> str:
        """See `ActorRef.id`."""
        return self.sync.id

    @property
    def name(self) -> str | None:
        """See `ActorRef.name`."""
        return self.sync.name

    @property
    def class_name(self) -> str:
        """See `ActorRef.class_name`."""
        return self.sync.class_name

    def __repr__(self) -> str:
        return f"<AsyncActorRef for {self.sync}>"

    def __eq__(self, other: object) -> bool:
        return self.sync == other.sync if isinstance(other, AsyncActorRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.sync)

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncActorRef, (self.sync,)

    def options(self, *, key: str | None = None, timeout: float | None = None) -> AsyncActorRef[A_co]:
        """See `ActorRef.options`."""
        return AsyncActorRef(self.sync.options(key=key, timeout=timeout))

    async def tell(self, message: Any) -> None:
        """See `ActorRef.tell`."""
        await _answer(self.sync.tell(message, block=False))

    async def ask(self, message: Any, *, timeout: float | None = None) -> Any:
        """See `ActorRef.ask`."""
        return await _answer(self.sync._asked(False, timeout, None, *self.sync._content(message), waits=True))

    @overload
    async def call(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    async def call(
        self, method: Callable[Concatenate[A_co, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def call(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """See `ActorRef.call`."""
        return await _answer(
            self.sync._asked(False, None, *self.sync._call(method, args, kwargs), waits=True)
        )

    @overload
    async def cast(
        self, method: Callable[Concatenate[A_co, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...
    @overload
    async def cast(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...
    async def cast(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> None:
        """See `ActorRef.cast`."""
        told = self.sync._told(False, *self.sync._call(method, args, kwargs)[1:])
        assert told is not None
        await _answer(told)

    @overload
    def submit(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ActorFuture[R]: ...
    @overload
    def submit(
        self, method: Callable[Concatenate[A_co, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorFuture[R]: ...
    @overload
    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> ActorFuture[Any]: ...
    def submit(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> ActorFuture[Any]:
        """See `ActorRef.submit`: the message is sent at once, and the future can be awaited later."""
        submit: Callable[..., ActorFuture[Any]] = self.sync.submit
        return submit(method, *args, **kwargs)

    async def stop(self, *, timeout: float | None = None) -> bool:
        """See `ActorRef.stop`."""
        return await _answer(self.sync._stopped(False, timeout, waits=True))

    async def is_alive(self) -> bool:
        """See `ActorRef.is_alive`. It reads the disk in a thread."""
        return await asyncio.to_thread(self.sync.is_alive)

    async def status(self) -> TaskRecord:
        """See `ActorRef.status`. It reads the disk and asks the supervisor in a thread."""
        return await asyncio.to_thread(self.sync.status)


async def _answer(future: ActorFuture[R]) -> R:
    """What the future gives; if the caller gives up, nobody waits for it any more."""
    try:
        return await future
    finally:
        if isinstance(future, Answer) and not future.done():
            future.cancel()


values.register_as(AsyncActorRef, ActorRef, lambda ref: ref.sync)
