"""Verifiers: how the signature of a request is checked, as plain data. `signature.py` does it.

A secret is named, never written: "env:NAME" is an environment variable of the supervisor, "file:PATH" a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal, Self, get_args

from ..checks import check_choice, check_seconds
from ..errors import InvalidOption

Scheme = Literal["hmac", "github", "stripe", "slack", "standard_webhooks"]
Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64"]

#: Seconds that the time in a signature may differ from the clock.
TOLERANCE: Final = 300.0
TOLERANCE_LIMIT: Final = 24 * 3600.0
#: Secrets of one verifier: the new one and those that it replaces.
SECRETS_LIMIT: Final = 10

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Verifier:
    """How to check a signature. Made by `github`, `stripe`, `slack`, `standard_webhooks` and `hmac_sha256`."""

    scheme: Scheme
    secrets: tuple[str, ...]
    """Where the secrets are. A request is accepted if it is signed with any of them."""
    header: str
    """The header with the signature, in lower case."""
    tolerance: float | None = None
    """Seconds that the signed time may differ from the clock; None if no time is signed."""
    prefix: str = ""
    """What stands before the signature in the header."""
    encoding: Encoding = "hex"
    timestamp: str | None = None
    """Of `hmac_sha256`, the header with the time, which is then signed as well: "TIME.BODY"."""

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, get_args(Scheme))
        check_choice("encoding", self.encoding, get_args(Encoding))
        object.__setattr__(self, "secrets", _checked_secrets(self.secrets))
        object.__setattr__(self, "header", check_header("header", self.header))
        if self.timestamp is not None:
            object.__setattr__(self, "timestamp", check_header("timestamp", self.timestamp))
        check_seconds("tolerance", self.tolerance, TOLERANCE_LIMIT, optional=True, positive=True)
        if not isinstance(self.prefix, str) or len(self.prefix) > 100 or not self.prefix.isascii():
            raise InvalidOption(f"prefix is the ASCII text before the signature: {self.prefix!r:.80}")

    @property
    def headers(self) -> frozenset[str]:
        """The headers that hold a signature, in lower case: they are not stored."""
        return frozenset({self.header})

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Self:
        """The inverse of `pack`."""
        return cls(**{**packed, "secrets": tuple(packed["secrets"])})


def github(*secrets: str) -> Verifier:
    """The signature of GitHub's webhooks, in X-Hub-Signature-256. It signs no time: `dedupe` keeps out repetitions."""
    return Verifier("github", secrets, "x-hub-signature-256", prefix="sha256=")


def stripe(*secrets: str, tolerance: float = TOLERANCE) -> Verifier:
    """The signature of Stripe's webhooks, in Stripe-Signature."""
    return Verifier("stripe", secrets, "stripe-signature", tolerance)


def slack(*secrets: str, tolerance: float = TOLERANCE) -> Verifier:
    """The signature of Slack's requests, in X-Slack-Signature and X-Slack-Request-Timestamp."""
    return Verifier(
        "slack",
        secrets,
        "x-slack-signature",
        tolerance,
        prefix="v0=",
        timestamp="x-slack-request-timestamp",
    )


def standard_webhooks(*secrets: str, tolerance: float = TOLERANCE) -> Verifier:
    """The signature of standardwebhooks.com, in webhook-signature. The secrets are base64, with or without "whsec_"."""
    return Verifier(
        "standard_webhooks",
        secrets,
        "webhook-signature",
        tolerance,
        encoding="base64",
        timestamp="webhook-timestamp",
    )


def hmac_sha256(
    *secrets: str,
    header: str,
    prefix: str = "",
    encoding: Encoding = "hex",
    timestamp: str | None = None,
    tolerance: float = TOLERANCE,
) -> Verifier:
    """HMAC-SHA256 of the body in a header. With `timestamp`, a header with seconds since the epoch, it signs
    "TIME.BODY", and a time that differs by more than `tolerance` seconds is refused.
    """
    return Verifier(
        "hmac", secrets, header, None if timestamp is None else tolerance, prefix, encoding, timestamp
    )


def check_header(what: str, name: object) -> str:
    """The name of a header, in lower case. InvalidOption if it is none."""
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not _TOKEN.issuperset(name.lower()):
        raise InvalidOption(f"{what} is the name of a header: {name!r:.80}")
    return name.lower()


def _checked_secrets(secrets: object) -> tuple[str, ...]:
    if isinstance(secrets, str) or not isinstance(secrets, Iterable):
        raise InvalidOption(f"secrets are names of secrets: {type(secrets).__name__}")
    given = tuple(secrets)
    if not 0 < len(given) <= SECRETS_LIMIT:
        raise InvalidOption(f"a verifier takes 1 to {SECRETS_LIMIT} secrets, and {len(given)} are given")
    for secret in given:
        kind, _, name = secret.partition(":") if isinstance(secret, str) else ("", "", "")
        if kind == "env" and name and "=" not in name and name.isprintable():
            continue
        if kind == "file" and name and "\0" not in name and PurePosixPath(name).is_absolute():
            continue
        # It may be the secret itself, which must not get into a log.
        raise InvalidOption(
            'a secret is named, never written into the code: "env:NAME" for an environment variable, "file:PATH" for '
            "a file with an absolute path"
        )
    return given
