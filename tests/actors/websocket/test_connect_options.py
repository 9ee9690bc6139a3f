from __future__ import annotations

import math
import random
import ssl
from typing import Any

import pytest

from understudy.actors.errors import InvalidOption
from understudy.actors.websocket.connect_options import (
    FINAL,
    Backoff,
    ConnectKwargs,
    ConnectOptions,
    check_close,
)

URL = "wss://localhost:1/path?x=1"


def test_the_two_lists_of_options_agree() -> None:
    assert list(ConnectKwargs.__annotations__) == [
        name for name in ConnectOptions.__dataclass_fields__ if name != "url"
    ]


def test_what_is_accepted() -> None:
    context = ssl.create_default_context()
    terms = ConnectOptions.of(
        URL,
        {
            "headers": {"X-A": "1"},
            "subprotocols": ["a", "b"],
            "open_timeout": None,
            "close_timeout": 0,
            "ping_interval": 1,
            "ping_timeout": None,
            "max_size": 1,
            "max_queue": 1,
            "max_queue_bytes": 1,
            "write_limit": 1,
            "compression": True,
            "json": False,
            "ssl": context,
            "proxy": None,
            "reconnect": Backoff(),
            "on_connect": print,
        },
    )
    assert terms.headers == (("X-A", "1"),)
    assert terms.subprotocols == ("a", "b")
    assert (terms.close_timeout, type(terms.ping_interval)) == (0.0, float)
    assert ConnectOptions(URL, headers=[("a", "1"), ("a", "2")]).headers == (("a", "1"), ("a", "2"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "ws://",
        "ws://localhost:99999",
        "ws://localhost:0",
        "ws://localhost/#part",
        "ws://local host",
        "ws://localhost/\r\nX: y",
        "ws://[::1",
        7,
        None,
        b"ws://localhost",
    ],
)
def test_urls_that_are_none(url: Any) -> None:
    with pytest.raises(InvalidOption):
        ConnectOptions(url)


@pytest.mark.parametrize("url", ["ws://localhost", "ws://[::1]:80/a", "wss://u:p@host.example/?q", "WS://x"])
def test_urls(url: str) -> None:
    ConnectOptions(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("open_timeout", "ping_interval", "ping_timeout")
            for value in (0, -1, "1")
        ),
        *(("close_timeout", value) for value in (-1, math.nan, math.inf, True, None)),
        *((name, 0) for name in ("max_size", "max_queue", "max_queue_bytes", "write_limit")),
        *((name, 1.5) for name in ("max_size", "max_queue", "max_queue_bytes", "write_limit")),
        ("compression", "deflate"),
        ("json", 1),
        ("ssl", True),
        ("proxy", 8080),
        ("reconnect", 5),
        ("on_connect", "subscribe"),
        ("headers", {"a": 1}),
        ("headers", {"a b": "1"}),
        ("headers", {"ä": "1"}),
        ("headers", {"": "1"}),
        ("headers", {"a": "1\r\nb: 2"}),
        ("headers", ["a"]),
        ("headers", 7),
        ("subprotocols", "chat"),
        ("subprotocols", []),
        ("subprotocols", ["a b"]),
        ("subprotocols", [""]),
        ("nonsense", 1),
    ],
)
def test_options_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=name.rstrip("s")):
        ConnectOptions.of(URL, {name: value})


def test_tls_for_a_plain_url() -> None:
    with pytest.raises(InvalidOption, match="ssl= needs"):
        ConnectOptions("ws://localhost", ssl=ssl.create_default_context())


def test_the_place_names_no_secret() -> None:
    assert ConnectOptions("wss://me:secret@host:7/path?token=secret").place == "wss://host:7/path"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
def test_close_codes(code: int) -> None:
    assert check_close(code, "x" * 123) == (code, "x" * 123)


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000, "1000", None])
def test_close_codes_that_are_none(code: Any) -> None:
    with pytest.raises(InvalidOption, match="close code"):
        check_close(code, "")


@pytest.mark.parametrize("reason", ["x" * 124, "ä" * 62, b"x", None])
def test_close_reasons_that_are_none(reason: Any) -> None:
    with pytest.raises(InvalidOption, match="close reason"):
        check_close(1000, reason)


class TestBackoff:
    def test_waits_grow_up_to_the_cap(self) -> None:
        backoff = Backoff(delay=1, max_delay=10, factor=2, jitter=0)
        assert [backoff.wait(n) for n in range(6)] == [1, 2, 4, 8, 10, 10]
        assert backoff.wait(10**6) == 10

    def test_jitter_spreads_them(self) -> None:
        backoff = Backoff(delay=8, jitter=0.5)
        waits = [backoff.wait(0, random.Random(seed)) for seed in range(200)]
        assert min(waits) < 4.5
        assert max(waits) > 7.5
        assert all(4 <= wait <= 8 for wait in waits)

    def test_defaults(self) -> None:
        assert Backoff().final == frozenset(FINAL)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("delay", -1),
            ("max_delay", "1"),
            ("factor", 0.5),
            ("factor", 1001),
            ("jitter", 1.5),
            ("jitter", None),
            ("attempts", 0),
            ("attempts", 1.5),
            ("final", "1000"),
            ("final", ["1000"]),
            ("marker", None),
        ],
    )
    def test_out_of_range(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidOption, match=name):
            Backoff(**{name: value})
