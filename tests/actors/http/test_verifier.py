"""Verifiers: plain data, and refused when wrong."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from understudy import InvalidOption, github, hmac_sha256, slack, standard_webhooks, stripe
from understudy.actors.http.verifier import Verifier

SECRETS = ("env:NEW", "file:/run/secrets/old")


@pytest.mark.parametrize(
    "make",
    [github, stripe, slack, standard_webhooks, lambda *s: hmac_sha256(*s, header="X-Sum", timestamp="X-At")],
)
def test_they_are_plain_data(make: Any):
    verifier = make(*SECRETS)
    assert Verifier.unpack(msgpack.unpackb(msgpack.packb(verifier.pack()))) == verifier


@pytest.mark.parametrize(
    "secrets",
    [(), ("s3cret",), ("env:",), ("file:relative",), ("env:A=B",), (b"env:A",), ("env:A",) * 11, (7,)],
)
def test_a_secret_is_named_and_never_shown(secrets: Any):
    with pytest.raises(InvalidOption) as error:
        github(*secrets)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"header": "X Sum"},
        {"header": ""},
        {"header": "X-Sum", "encoding": "base32"},
        {"header": "X-Sum", "timestamp": "a:b"},
        {"header": "X-Sum", "timestamp": "X-At", "tolerance": 0},
        {"header": "X-Sum", "prefix": "é"},
    ],
)
def test_what_is_wrong_is_refused_at_once(wrong: dict[str, Any]):
    with pytest.raises(InvalidOption):
        hmac_sha256("env:A", **wrong)


def test_the_tolerance_is_bounded():
    assert stripe("env:A", tolerance=60).tolerance == 60
    with pytest.raises(InvalidOption):
        stripe("env:A", tolerance=float("inf"))
