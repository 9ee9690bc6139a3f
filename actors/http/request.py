"""`Request`: an HTTP request, as its handler gets it and as it is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from ..errors import BadRequest
from ..values import register

#: Fields of a form.
FIELDS_LIMIT: Final = 1_000

Pairs = Iterable[tuple[str, str]]


class Headers(Mapping[str, str]):
    """The headers of a request. Their names are compared without regard to case; equal ones are joined by ", "."""

    __slots__ = ("_joined", "pairs")

    def __init__(self, pairs: Pairs | Mapping[str, str] = ()) -> None:
        given = pairs.items() if isinstance(pairs, Mapping) else pairs
        #: Name in lower case and value of each, in their order.
        self.pairs = tuple((name.lower(), value) for name, value in given)
        self._joined: dict[str, str] = {}
        for name, value in self.pairs:
            self._joined[name] = f"{self._joined[name]}, {value}" if name in self._joined else value

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"Headers({self._joined!r})"


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file in a form."""

    filename: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. In tests of a handler make one: `Request("POST", "/hooks/github", body=b"{}")`.

    Headers that tell who the caller is (Authorization, cookies, signatures) are left out.
    """

    method: str
    path: str
    """The path, decoded, without the query."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The parameters behind the question mark; of several with one name, the last."""
    headers: Mapping[str, str] = field(default_factory=Headers)
    """By name, in any case."""
    body: bytes = b""
    """The raw bytes."""
    params: Mapping[str, str] = field(default_factory=dict)
    """The parameters in the path of the trigger."""
    query_pairs: tuple[tuple[str, str], ...] = ()
    """All parameters behind the question mark, in their order."""

    def __post_init__(self) -> None:
        if not isinstance(self.headers, Headers):
            object.__setattr__(self, "headers", Headers(self.headers))
        if self.query_pairs:
            object.__setattr__(self, "query", dict(self.query_pairs))
        elif self.query:
            object.__setattr__(self, "query_pairs", tuple(self.query.items()))

    def json(self) -> Any:
        """The body, read as JSON. BadRequest if it is none: then the answer is 400, and no retry follows."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from error

    def form(self) -> dict[str, str | FormFile]:
        """The fields of a form by name; of several with one name, the last. BadRequest if the body is none."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind == "application/x-www-form-urlencoded":
                text = self.body.decode("ascii")
                return dict(
                    parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
                )
            if kind == "multipart/form-data":
                return self._parts()
        except ValueError as error:
            raise BadRequest(f"the body is not a form: {error}") from error
        raise BadRequest(f"the body is not a form but {kind or 'of no stated type'}")

    def _parts(self) -> dict[str, str | FormFile]:
        # No supervisor and hardly any worker needs them, and they take 8 ms.
        from email.parser import BytesParser
        from email.policy import HTTP

        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        if not message.is_multipart():
            raise ValueError("it has no parts")
        fields: dict[str, str | FormFile] = {}
        for number, part in enumerate(message.iter_parts()):
            if number >= FIELDS_LIMIT:
                raise ValueError(f"it has more than {FIELDS_LIMIT:,} fields")
            name = part.get_param("name", header="content-disposition")
            if not name:
                raise ValueError("a part has no name")
            payload = part.get_payload(decode=True)
            body = payload if isinstance(payload, bytes) else b""
            filename = part.get_filename()
            fields[str(name)] = (
                body.decode() if filename is None else FormFile(filename, part.get_content_type(), body)
            )
        return fields

    def pack(self) -> list[Any]:
        """As plain data."""
        assert isinstance(self.headers, Headers)
        return [
            self.method, self.path, self.query_pairs, self.headers.pairs, self.body, dict(self.params),
        ]  # fmt: skip

    @classmethod
    def unpack(cls, packed: list[Any]) -> Self:
        """The inverse of `pack`. Fields of a later release are left out."""
        method, path, query, headers, body, params, *_ = packed
        return cls(
            method,
            path,
            headers=Headers((name, value) for name, value in headers),
            body=body,
            params=params,
            query_pairs=tuple((name, value) for name, value in query),
        )


register(Request, "understudy.Request", Request.pack, Request.unpack)
