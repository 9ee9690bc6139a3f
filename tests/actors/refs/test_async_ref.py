"""References whose calls are coroutines."""

from __future__ import annotations

import asyncio
import copy
import pickle
from concurrent.futures import Future
from typing import Any

import pytest

from fake_port import FakePort
from understudy import Actor, ActorFuture, ActorRef, AskTimeout, AsyncActorRef, RemoteError
from understudy.actors import values
from understudy.actors.refs.letter import Kind


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def on_receive(self, message: Any) -> Any:
        return [message, self.count]

    def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    def fail(self) -> None:
        raise LookupError("no")


def started(port: FakePort) -> AsyncActorRef[Counter]:
    return AsyncActorRef(port.actor(Counter, "c", 3))


def test_its_calls(port: FakePort) -> None:
    ref = started(port)

    async def main() -> None:
        assert await ref.call(Counter.add, 2) == 5
        assert await ref.call("add") == 6
        assert await ref.tell("x") is None  # type: ignore[func-returns-value]
        assert await ref.cast(Counter.add) is None  # type: ignore[func-returns-value]
        assert await ref.ask("y") == ["y", 7]
        later = ref.submit(Counter.add)
        assert isinstance(later, ActorFuture)
        assert await later == 8
        assert await asyncio.gather(*(ref.call(Counter.add) for _ in range(3))) == [9, 10, 11]
        with pytest.raises(RemoteError, match="no"):
            await ref.call(Counter.fail)
        assert await ref.is_alive()
        assert (await ref.status()).id == ref.id
        assert await ref.stop()
        assert not await ref.stop()

    asyncio.run(main())
    kinds = [letter.kind for _, letter in port.letters]
    assert kinds[:4] == [Kind.ASK, Kind.ASK, Kind.TELL, Kind.TELL]


def test_a_call_that_is_given_up_leaves_nothing_behind(
    port: FakePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = started(port)
    asked: list[Future[bytes]] = []
    third = asyncio.Event()

    def silent(_id: bytes, _letter: bytes, **_: Any) -> Future[bytes]:
        asked.append(Future())
        if len(asked) == 3:
            third.set()
        return asked[-1]

    monkeypatch.setattr(port, "ask", silent)

    async def main() -> None:
        with pytest.raises(AskTimeout, match=r"within 0\.01 s"):
            await ref.ask("x", timeout=0.01)
        with pytest.raises(AskTimeout):
            await ref.options(timeout=0.01).call(Counter.add)
        calling = asyncio.ensure_future(ref.call(Counter.add))
        await third.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(main())
    assert [future.cancelled() for future in asked] == [True] * 3


def test_it_is_a_value(port: FakePort) -> None:
    ref = started(port)
    assert (ref.id, ref.name, ref.class_name) == (ref.sync.id, "c", ref.sync.class_name)
    assert values.pack(ref) == values.pack(ref.sync), (
        "one who is sent it need not import asyncio's references"
    )
    sent = values.unpack(values.pack(ref))
    assert isinstance(sent, ActorRef)
    assert sent == ref.sync
    for twin in (AsyncActorRef(sent), pickle.loads(pickle.dumps(ref)), copy.copy(ref)):
        assert isinstance(twin, AsyncActorRef)
        assert twin == ref
        assert hash(twin) == hash(ref)
    assert ref != sent
    assert "Counter/c" in repr(ref)
