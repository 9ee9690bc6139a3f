"""The check of a signature: over the raw bytes, in constant time, within a window of time. Pure.

A request that fails is told no more than that: the reason is for the log.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from .verifier import Verifier

#: Signatures in one header that are looked at: some providers send one for each of several secrets.
MOST: Final = 10


def refusal(
    verifier: Verifier, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> str | None:
    """Why a request is not accepted; None if it is.

    The names of the headers are in lower case; `now` is in seconds since the epoch.
    """
    given = headers.get(verifier.header, "")
    if not given:
        return f"it has no header {verifier.header}"
    read = _READERS[verifier.scheme]
    time, message, signatures = read(verifier, given, headers, body)
    if verifier.tolerance is not None:
        if not (time.isascii() and time.isdigit() and len(time) <= 12):
            return "it does not say when it was signed"
        if abs(now - int(time)) > verifier.tolerance:
            return f"it was signed {now - int(time):,.0f} s ago; {verifier.tolerance:g} s are allowed"
    if not signatures:
        return f"the header {verifier.header} holds no signature of this kind"
    matches = False
    for secret in secrets:
        digest = hmac.new(key_of(verifier, secret), message, hashlib.sha256).digest()
        made = b64encode(digest) if verifier.encoding == "base64" else digest.hex().encode()
        for signature in signatures:
            # Without a break: the time does not tell which of them matches.
            matches |= hmac.compare_digest(made, signature.encode("utf-8", "surrogateescape"))
    return None if matches else "the signature does not match"


def key_of(verifier: Verifier, secret: bytes) -> bytes:
    """The key that a secret stands for. ValueError if the scheme does not write keys so."""
    if verifier.scheme != "standard_webhooks":
        return secret
    try:
        return b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError(
            "a secret of standard_webhooks is base64, with or without whsec_ before it"
        ) from error


_Read = tuple[str, bytes, list[str]]
"""The time that was signed, what was signed, and the signatures."""


def _plain(verifier: Verifier, given: str, headers: Mapping[str, str], body: bytes) -> _Read:
    if verifier.timestamp is None:
        return "", body, _without(verifier.prefix, [given])
    time = headers.get(verifier.timestamp, "")
    return time, _bytes(time) + b"." + body, _without(verifier.prefix, [given])


def _stripe(_verifier: Verifier, given: str, _headers: Mapping[str, str], body: bytes) -> _Read:
    fields = [field.strip().partition("=") for field in given.split(",")]
    time = next((value for name, _, value in fields if name == "t"), "")
    signatures = [value for name, _, value in fields if name == "v1"]
    return time, _bytes(time) + b"." + body, signatures[:MOST]


def _slack(verifier: Verifier, given: str, headers: Mapping[str, str], body: bytes) -> _Read:
    time = headers.get(verifier.timestamp or "", "")
    return time, b"v0:" + _bytes(time) + b":" + body, _without(verifier.prefix, [given])


def _standard(verifier: Verifier, given: str, headers: Mapping[str, str], body: bytes) -> _Read:
    time, id = headers.get(verifier.timestamp or "", ""), headers.get("webhook-id", "")
    if not id:
        return time, b"", []
    return time, b".".join((_bytes(id), _bytes(time), body)), _without("v1,", given.split(" "))


def _without(prefix: str, signatures: Iterable[str]) -> list[str]:
    return [each.removeprefix(prefix) for each in signatures if each.startswith(prefix)][:MOST]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_READERS: Final[dict[str, Callable[[Verifier, str, Mapping[str, str], bytes], _Read]]] = {
    "hmac": _plain,
    "github": _plain,
    "stripe": _stripe,
    "slack": _slack,
    "standard_webhooks": _standard,
}
