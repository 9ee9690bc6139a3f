"""Signatures: those of each provider, altered, stale, with several secrets."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from understudy import github, hmac_sha256, slack, standard_webhooks, stripe
from understudy.actors.http.signature import refusal
from understudy.actors.http.verifier import Verifier

NOW = 1_700_000_000
BODY = b'{"text": "h\xc3\xa9"}'


def mac(secret: bytes, message: bytes) -> bytes:
    return hmac.new(secret, message, hashlib.sha256).digest()


class Case(NamedTuple):
    verifier: Verifier
    sign: Callable[[bytes, bytes, int], dict[str, str]]
    timed: bool = True
    spell: Callable[[bytes], bytes] = bytes


def by_github(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={mac(secret, body).hex()}"}


def by_stripe(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    return {"stripe-signature": f"v0=00,t={at},v1={mac(secret, b'%d.' % at + body).hex()}"}


def by_slack(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    signature = f"v0={mac(secret, b'v0:%d:' % at + body).hex()}"
    return {"x-slack-signature": signature, "x-slack-request-timestamp": str(at)}


def by_standard(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    signature = b64encode(mac(secret, b"msg_1.%d." % at + body)).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1a,no v1,{signature}",
    }


def plainly(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    return {"x-sum": b64encode(mac(secret, body)).decode()}


def with_time(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    return {"x-sum": mac(secret, b"%d." % at + body).hex(), "x-time": str(at)}


CASES = {
    "github": Case(github("env:S"), by_github, timed=False),
    "stripe": Case(stripe("env:S"), by_stripe),
    "slack": Case(slack("env:S"), by_slack),
    "standard": Case(standard_webhooks("env:S"), by_standard, spell=lambda s: b"whsec_" + b64encode(s)),
    "hmac": Case(hmac_sha256("env:S", header="X-Sum", encoding="base64"), plainly, timed=False),
    "hmac with a time": Case(hmac_sha256("env:S", header="X-Sum", timestamp="X-Time"), with_time),
}


@pytest.fixture(params=CASES)
def case(request: Any) -> Case:
    return CASES[request.param]


def refused(
    case: Case, headers: dict[str, str], body: bytes = BODY, *secrets: bytes, now: int = NOW
) -> str | None:
    return refusal(case.verifier, headers, body, [case.spell(s) for s in secrets or (b"key",)], now)


def test_what_the_provider_signs_is_accepted(case: Case):
    assert refused(case, case.sign(b"key", BODY, NOW)) is None


def test_the_old_and_the_new_secret_are_accepted(case: Case):
    for secret in (b"old", b"new"):
        assert refused(case, case.sign(secret, BODY, NOW), BODY, b"new", b"old") is None
    assert refused(case, case.sign(b"older", BODY, NOW), BODY, b"new", b"old")


def test_an_altered_body_is_refused(case: Case):
    headers = case.sign(b"key", BODY, NOW)
    for altered in (b"", BODY + b" ", BODY[:-1], BODY.replace(b"h", b"H")):
        assert refused(case, headers, altered) == "the signature does not match"


def test_altered_headers_are_refused(case: Case):
    headers = case.sign(b"key", BODY, NOW)
    for name in headers:
        assert refused(case, {**headers, name: headers[name][:-2]})
        assert refused(case, {**headers, name: ""})
        assert refused(case, {**headers, name: "\xff,=\x00 v1,"})
        assert refused(case, {each: text for each, text in headers.items() if each != name})


def test_a_stale_or_early_time_is_refused(case: Case):
    for at in (NOW - 301, NOW + 301):
        why = refused(case, case.sign(b"key", BODY, at))
        assert (why is not None and "s ago" in why) if case.timed else why is None
    for at in (NOW - 300, NOW + 300):
        assert refused(case, case.sign(b"key", BODY, at)) is None


def test_no_secret_accepts_nothing(case: Case):
    assert refusal(case.verifier, case.sign(b"", BODY, NOW), BODY, [], NOW)


def test_a_secret_that_is_not_base64_is_an_error():
    with pytest.raises(ValueError, match="base64"):
        refusal(standard_webhooks("env:S"), by_standard(b"key", BODY, NOW), BODY, [b"whsec_%"], NOW)


def test_the_library_of_standard_webhooks_agrees():
    library = pytest.importorskip("standardwebhooks")
    secret = "whsec_" + b64encode(b"k" * 24).decode()
    at = datetime.fromtimestamp(NOW, UTC)
    signature = library.Webhook(secret).sign("msg_2", at, BODY.decode())
    headers = {"webhook-id": "msg_2", "webhook-timestamp": str(NOW), "webhook-signature": signature}
    assert refusal(standard_webhooks("env:S"), headers, BODY, [secret.encode()], NOW) is None
