"""The reference to an actor, by which everybody else speaks to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

import pykka.messages

from .. import values
from ..errors import ActorDeadError, TaskNotFound, UnknownTask
from ..ids import id_text, new_id
from ..shapes import Shape, lift
from ..task.current_actor import running
from ..task.declaration import declared_as
from ..task.launch import checked_key
from ..timeouts import check_timeout
from ..tracing import tracer
from ..tracing.tracer import tracing
from .actor_options import REPLY_KEEP_DEFAULT, ActorOptions
from .futures import ActorFuture, Answer, check_may_block
from .letter import KEPT, READ_ONLY, WAITS, Kind, Letter, Op, keyed_id, what_is_asked
from .methods import checked_path, method_of, path_of
from .port import ActorPort, PostKind, Turn, ambient, turn_here
from .remote_error import unpack_reply

if TYPE_CHECKING:
    from ..task.handles import TaskRecord
    from .actor import Actor
    from .proxy import ActorProxy

A_co = TypeVar("A_co", bound="Actor", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

_INSTEAD: Final = "await ref.submit(method, …), ref.ask(…, block=False) or ref.tell(…, block=False)"


class ActorRef(Generic[A_co]):
    """A reference to an actor, which may be dead by now; frozen.

    It is a value: it can be pickled, and be an argument, a message, an attribute or a result. There it speaks to the
    ambient runtime. Two references to one actor are equal.
    """

    __slots__ = ("_id", "_key", "_name", "_port_or_none", "_task", "_timeout")

    def __init__(self, id: bytes, task: str, name: str | None = None, port: ActorPort | None = None) -> None:
        """`task` is the declared name of its class. Without a port, it speaks to the ambient runtime."""
        self._id = id
        self._task = task
        self._name = name
        self._port_or_none = port
        self._key: str | None = None
        self._timeout: float | None = None

    # --- what it is ---

    @property
    def id_bytes(self) -> bytes:
        """The id as 16 bytes."""
        return self._id

    @property
    def id(self) -> str:
        """UUIDv7: the id of the task that the actor is."""
        return id_text(self._id)

    @property
    def actor_urn(self) -> str:
        """The id as a URN."""
        return f"urn:uuid:{self.id}"

    @property
    def name(self) -> str | None:
        """Its name, which is unique within the class; None for none."""
        return self._name

    @property
    def class_name(self) -> str:
        """The declared name of its class, as "module:Class"."""
        return self._task

    @property
    def actor_class(self) -> type[A_co]:
        """Its class; UnknownTask if the module of the class is not imported here."""
        cls = self._class()
        if cls is None:
            raise UnknownTask(
                f"the actor class {self._task} is not imported here: import its module first", self._task
            )
        return cls

    def __str__(self) -> str:
        name = "" if self._name is None else f"/{self._name}"
        return f"{self._task.rpartition(':')[2].rpartition('.')[2]}{name} ({self.actor_urn})"

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>"

    def __eq__(self, other: object) -> bool:
        return self._id == other._id if isinstance(other, ActorRef) else NotImplemented

    def __lt__(self, other: ActorRef[Any]) -> bool:
        """In the order of their start."""
        return self._id < other._id if isinstance(other, ActorRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorRef, _fields(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    # --- options ---

    def options(self, *, key: str | None = None, timeout: float | None = None) -> ActorRef[A_co]:
        """A copy whose messages have these options.

        `key`: a message under a key that this actor has had is not handled again; an ask gets the stored answer. It is
        kept for `reply_keep` seconds, an option of the class. `timeout`: the seconds for which a call waits, unless it
        gives others.
        """
        if key is not None:
            checked_key(key)
        copy: ActorRef[A_co] = ActorRef(self._id, self._task, self._name, self._port_or_none)
        copy._key = self._key if key is None else key
        seconds = check_timeout(timeout)
        copy._timeout = self._timeout if seconds is None else seconds
        return copy

    # --- messages ---

    @overload
    def tell(self, message: Any, *, block: Literal[True] = True) -> None: ...
    @overload
    def tell(self, message: Any, *, block: Literal[False]) -> ActorFuture[None]: ...
    @overload
    def tell(self, message: Any, *, block: bool) -> ActorFuture[None] | None: ...
    def tell(self, message: Any, *, block: bool = True) -> ActorFuture[None] | None:
        """Send a message to `on_receive`, without an answer. Returns once it is on disk.

        With `block=False` it returns a future at once, which is done then. In a method of an actor the message leaves
        with the commit of the message that is handled there; the call returns at once.

        Raises ActorDeadError, MailboxFull, UnencodableValue.
        """
        return self._told(block, *self._content(message))

    @overload
    def ask(self, message: Any, *, block: Literal[True] = True, timeout: float | None = None) -> Any: ...
    @overload
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> ActorFuture[Any]: ...
    @overload
    def ask(self, message: Any, *, block: bool, timeout: float | None = None) -> Any: ...
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message to `on_receive`, and wait for what it returns. With `block=False`, the future of that.

        Raises what `on_receive` has raised, as a RemoteError; AskTimeout, ActorDeadError, Deadlock, MailboxFull.
        """
        return self._asked(block, timeout, None, *self._content(message))

    @overload
    def call(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    def call(self, method: Callable[Concatenate[A_co, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def call(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the actor, given as `Class.method` or by name, and wait for what it returns.

        Raises what the method has raised, as for `ask`.
        """
        return self._asked(True, None, *self._call(method, args, kwargs))

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
        """Call a method of the actor; the future of what it returns, at once."""
        future: ActorFuture[Any] = self._asked(False, None, *self._call(method, args, kwargs))
        return future

    @overload
    def cast(
        self, method: Callable[Concatenate[A_co, P], Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...
    @overload
    def cast(self, method: str, /, *args: Any, **kwargs: Any) -> None: ...
    def cast(self, method: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> None:
        """Call a method of the actor without an answer, as `tell` sends a message."""
        self._told(True, *self._call(method, args, kwargs)[1:])

    @overload
    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool: ...
    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> ActorFuture[bool]: ...
    @overload
    def stop(self, *, block: bool, timeout: float | None = None) -> bool | ActorFuture[bool]: ...
    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | ActorFuture[bool]:
        """Stop the actor once it has handled what was sent before. False if it was dead already.

        With `block=False`, the future of that.
        """
        future = self._stopped(block, timeout, waits=block)
        return _got(future) if block else future

    def proxy(self) -> ActorProxy[A_co]:
        """An object whose attributes and methods are those of the actor; ActorDeadError if the actor is dead."""
        from .proxy import ActorProxy

        return ActorProxy(self)

    # --- its state ---

    def is_alive(self) -> bool:
        """Whether it has not stopped, as far as the disk says."""
        try:
            return not self._port().actor_status(self._id).ended_already
        except TaskNotFound:
            return False

    def status(self) -> TaskRecord:
        """A snapshot of the task that the actor is. Its `worker_pid` is None while no worker has it in memory."""
        return self._port().status(id_text(self._id))

    # --- sending ---

    def _port(self) -> ActorPort:
        return ambient() if self._port_or_none is None else self._port_or_none

    def _class(self) -> type[A_co] | None:
        task = declared_as(self._task)
        return None if task is None else task.body  # type: ignore[return-value]  # the class of an actor's task

    def _content(self, message: Any) -> tuple[Op, str | None, bytes | None, int]:
        """(op, path, payload, flags) of a message. Pykka's own messages are calls."""
        match message:
            case pykka.messages.ProxyCall(attr_path, args, kwargs):
                return self._call(".".join(attr_path), tuple(args), kwargs)[1:]
            case pykka.messages.ProxyGetAttr(attr_path):
                return Op.GET, checked_path(".".join(attr_path)), None, 0
            case pykka.messages.ProxySetAttr(attr_path, value):
                return Op.SET, checked_path(".".join(attr_path)), values.pack(value, "value"), 0
        return Op.MESSAGE, None, None if message is None else values.pack(message, "message"), 0

    def _call(
        self, method: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Shape | None, Op, str, bytes | None, int]:
        """(shape of the result, op, path, payload, flags) of a call."""
        cls = self._class()
        path = path_of(cls, method)
        known = None if cls is None or "." in path else method_of(cls, path)  # type: ignore[arg-type]  # a class can be hashed
        given: Any = args, kwargs
        if known is not None:
            known.check(args, kwargs)
            if known.annotations.typed:
                given = known.annotations.lower(args, kwargs)
        payload = values.pack(given, "arguments") if args or kwargs else None
        flags = READ_ONLY if known is not None and known.read_only else 0
        return None if known is None else known.annotations.result, Op.CALL, path, payload, flags

    def _told(
        self, block: bool, op: Op, path: str | None, payload: bytes | None, flags: int
    ) -> ActorFuture[None] | None:
        turn = turn_here()
        if turn is not None:
            turn.post(
                self._id, self._letter(turn, Kind.TELL, op, path, payload, flags).pack(), PostKind.LETTER
            )
            return None if block else _done()
        if block:
            check_may_block(_INSTEAD)
        letter = self._letter(None, Kind.TELL, op, path, payload, flags)
        raw = self._port().post([(self._id, letter.pack())], timeout=self._timeout, soon=not block)
        answer = Answer(raw, _nothing, self, self._timeout)
        if not block:
            return answer
        return _got(answer)

    def _asked(
        self,
        block: bool,
        timeout: float | None,
        shape: Shape | None,
        op: Op,
        path: str | None,
        payload: bytes | None,
        flags: int,
        *,
        waits: bool = False,
    ) -> Any:
        """With `waits` the caller waits at once for the future that it is given."""
        flags |= WAITS if block or waits else 0
        answer = self._answer(Answer, block, timeout, shape, Kind.ASK, op, path, payload, flags)
        return _got(answer) if block else answer

    def _stopped(self, block: bool, timeout: float | None, *, waits: bool) -> Answer[bool]:
        flags = WAITS if waits else 0
        return self._answer(_Stopped, block, timeout, None, Kind.STOP, Op.MESSAGE, None, None, flags)

    def _answer(
        self,
        kind_of_answer: type[Answer[Any]],
        block: bool,
        timeout: float | None,
        shape: Shape | None,
        kind: Kind,
        op: Op,
        path: str | None,
        payload: bytes | None,
        flags: int,
    ) -> Answer[Any]:
        seconds = check_timeout(timeout)
        if block:
            check_may_block(_INSTEAD)
        turn = turn_here()
        if turn is None:
            flags &= ~WAITS
        letter = self._letter(turn, kind, op, path, payload, flags)
        if turn is not None and flags & WAITS:
            turn.commit_earlier()
        port = self._port()
        seconds = self._timeout if seconds is None else seconds
        raw = port.ask(self._id, letter.pack(), timeout=seconds, soon=not block)
        read = unpack_reply if shape is None else partial(_read_as, shape)
        asked = None if turn is None else _AskOfTurn(turn, port, self._id, letter)
        return kind_of_answer(raw, read, self, seconds, asked)

    def _letter(
        self,
        turn: Turn | None,
        kind: Kind,
        op: Op,
        path: str | None,
        payload: bytes | None,
        flags: int,
    ) -> Letter:
        actor = running()
        stream = None if actor is None else actor.assignment.stream
        sender = beside = None
        if turn is not None:
            sender, beside = turn.id, turn.beside
        keep = None
        if self._key is not None:
            flags |= KEPT
            id, keep = keyed_id(self._id, self._key), self._reply_keep()
        elif turn is None or kind is Kind.TELL:
            id = new_id()
        else:
            id = turn.next_ask_id(what_is_asked(self._id, kind, op, path))
        trace = None
        if tracing.tracer is not None:
            trace = tracer.start(self._task if path is None else f"{self._task}.{path}", id, stream or id)
        return Letter(kind, flags, id, sender, op, path, payload, stream, keep, beside, trace)

    def _reply_keep(self) -> float:
        task = declared_as(self._task)
        options = None if task is None else task.options_in_force
        return options.reply_keep if isinstance(options, ActorOptions) else REPLY_KEEP_DEFAULT


class _AskOfTurn:
    """What an answer tells the turn of an actor whose method has asked. See `Answer`."""

    __slots__ = ("_id", "_letter", "_port", "_told", "_turn")

    def __init__(self, turn: Turn, port: ActorPort, id: bytes, letter: Letter) -> None:
        self._turn = turn
        self._port = port
        self._id = id
        self._letter = letter
        self._told = False

    def __call__(self, answer: Answer[Any]) -> None:
        if turn_here() is not self._turn:
            return
        if answer.done():
            if not self._told:
                self._told = True
                self._turn.answered(self._letter.id)
        elif not self._letter.flags & WAITS:
            # It was sent by `submit` or by a proxy, and now the actor waits for it. The same letter says so: it has
            # the same id, so it is no second message.
            self._letter = self._letter._replace(flags=self._letter.flags | WAITS)
            self._turn.commit_earlier()
            answer.follow(self._port.ask(self._id, self._letter.pack()))


class _Stopped(Answer[bool]):
    """Whether the actor was alive when it was asked to stop."""

    __slots__ = ()

    def _result(self, seconds: float | None) -> bool:
        try:
            super()._result(seconds)
        except ActorDeadError:
            return False
        return True


def _got(answer: Answer[R]) -> R:
    """What the answer is. If the wait ends without one, nobody waits any more."""
    try:
        return answer.get()
    finally:
        if not answer.done():
            answer.cancel()


def _done() -> ActorFuture[None]:
    future: ActorFuture[None] = ActorFuture()
    future.set()
    return future


def _read_as(shape: Shape, reply: bytes) -> Any:
    return lift(shape, unpack_reply(reply), "result")


def _nothing(_: object) -> None:
    """What the answer to a `tell` says."""


def _fields(ref: ActorRef[Any]) -> tuple[bytes, str, str | None]:
    return ref._id, ref._task, ref._name


def _of(fields: list[Any]) -> ActorRef[Any]:
    id, task, name = fields
    if not (
        isinstance(id, bytes) and len(id) == 16 and isinstance(task, str) and isinstance(name, str | None)
    ):
        raise ValueError("not the fields of a reference to an actor")
    return ActorRef(id, task, name)


values.register(ActorRef, "understudy.ActorRef", _fields, _of)
