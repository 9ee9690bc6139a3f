"""What a handler may return instead of a value: a `Response`, or another task that answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from ..checks import check_choice, check_whole
from ..errors import InvalidOption
from ..ids import id_text
from ..task.handles import IdLike, id_of
from ..values import register
from .verifier import check_header

#: Headers that belong to the connection, which is the server's.
_SERVERS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
)
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: `Response(201, {"Location": "/orders/7"}, b"made")`. A body of text is sent as UTF-8."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""

    def __post_init__(self) -> None:
        check_whole("status", self.status, 200, 599)
        if not isinstance(self.body, bytes | str):
            raise InvalidOption(f"the body of a Response is bytes or text, not {type(self.body).__name__}")
        if not isinstance(self.headers, Mapping):
            raise InvalidOption(f"the headers of a Response are a mapping, not {type(self.headers).__name__}")
        for name, value in self.headers.items():
            if check_header("a header of a Response", name) in _SERVERS:
                raise InvalidOption(f"{name} is for the server to send")
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise InvalidOption(f"the header {name} must be text on one line: {value!r:.80}")
        if self.status in (204, 304) and self.body:
            raise InvalidOption(f"an answer with the status {self.status} has no body")

    def pack(self) -> list[Any]:
        """As plain data."""
        return [self.status, list(self.headers.items()), self.body]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Self:
        """The inverse of `pack`."""
        status, headers, body, *_ = packed
        return cls(status, dict(headers), body)


@dataclass(frozen=True, slots=True)
class Handover:
    """The answer is that of another task: its stream, or that it was accepted. Made by `live` and `accepted`."""

    kind: str
    task_id: str

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("live", "accepted"))

    def pack(self) -> list[Any]:
        """As plain data."""
        return [self.kind, self.task_id]

    @classmethod
    def unpack(cls, packed: list[Any]) -> Self:
        """The inverse of `pack`."""
        return cls(*packed[:2])


def live(task: IdLike) -> Handover:
    """Answer with what this task publishes, as a stream of server-sent events that ends with the task."""
    return Handover("live", id_text(id_of(task)))


def accepted(task: IdLike) -> Handover:
    """Answer 202 with the id of this task, which goes on by itself."""
    return Handover("accepted", id_text(id_of(task)))


register(Response, "understudy.Response", Response.pack, Response.unpack)
register(Handover, "understudy.Handover", Handover.pack, Handover.unpack)
