"""`@http`, which has a task run for each HTTP request to a path."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final, Literal, Self

import msgpack

from ..checks import check_choice, check_flag, check_seconds
from ..errors import InvalidOption, InvalidTask
from ..task import parameters
from ..task.additions import Addition, task_of
from ..task.declaration import Task
from . import request, response  # registers their types, which every handler's worker has to know
from .path import Path
from .verifier import Verifier, check_header

Auth = Literal["token", "none"]
OnDisconnect = Literal["cancel"]

METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
#: Seconds that a caller waits for the answer of a run, and the most that may be asked for.
TIMEOUT: Final = 30.0
TIMEOUT_LIMIT: Final = 3600.0
#: Triggers of one task.
MOST: Final = 100
#: Paths of the web server itself.
RESERVED: Final = ("api", "ws", "healthz", "readyz", "metrics")

_ = request, response


@dataclass(frozen=True)
class HttpTrigger:
    """What `@http` declares. Plain data, so that the process that serves HTTP runs no code of the app."""

    method: str
    path: str
    verify: Verifier | None = None
    auth: Auth | None = None
    ack: bool = False
    """Whether the caller gets 202 as soon as the run is on disk, and not its value."""
    dedupe: str | None = None
    """The header, in lower case, that is the idempotency key of the run."""
    timeout: float = TIMEOUT
    """Seconds after which a caller gets 504. The run goes on."""
    on_disconnect: OnDisconnect | None = None
    """"cancel": the run is cancelled when its caller goes away."""

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        first = self.compiled.shape[0]
        if first in RESERVED:
            raise InvalidOption(
                f"the path {self.path} is the web server's own: paths under /{first} are taken"
            )
        if self.verify is not None and not isinstance(self.verify, Verifier):
            raise InvalidOption(
                "verify is made by github, stripe, slack, standard_webhooks or hmac_sha256, not "
                f"{type(self.verify).__name__}"
            )
        if self.auth is not None:
            check_choice("auth", self.auth, ("token", "none"))
        if self.verify is None and self.auth is None:
            raise InvalidOption(
                f"anybody could call {self.method} {self.path}: give it verify=, as verify=github('env:SECRET'), or "
                "auth='token'. If that is what you want, say auth='none'"
            )
        check_flag("ack", self.ack)
        object.__setattr__(
            self, "timeout", check_seconds("timeout", self.timeout, TIMEOUT_LIMIT, positive=True)
        )
        if self.on_disconnect is not None:
            check_choice("on_disconnect", self.on_disconnect, ("cancel",))
            if self.ack:
                raise InvalidOption("on_disconnect is for callers that wait: leave it out with ack=True")
        if self.dedupe is not None:
            object.__setattr__(self, "dedupe", check_header("dedupe", self.dedupe))
            if self.dedupe in SECRET_HEADERS or (self.verify and self.dedupe in self.verify.headers):
                raise InvalidOption(f"dedupe is stored, and the header {self.dedupe} is secret")

    @cached_property
    def compiled(self) -> Path:
        """Its path, for matching."""
        return Path.of(self.path)

    @cached_property
    def secret_headers(self) -> frozenset[str]:
        """The headers of a request that are not stored, in lower case."""
        return SECRET_HEADERS if self.verify is None else SECRET_HEADERS | self.verify.headers

    @cached_property
    def digest(self) -> str:
        """Differs for each definition: a request is checked by the definition that its run starts under."""
        return hashlib.sha256(msgpack.packb(self.pack())).hexdigest()[:16]

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        packed = {name: value for name, value in asdict(self).items() if value is not None}
        if self.verify is not None:
            packed["verify"] = self.verify.pack()
        return packed

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Self:
        """The inverse of `pack`."""
        verify = packed.get("verify")
        return cls(**{**packed, "verify": None if verify is None else Verifier.unpack(verify)})


#: Headers that say who the caller is. They are never stored.
SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-hub-signature",
        "x-hub-signature-256",
        "stripe-signature",
        "x-slack-signature",
        "webhook-signature",
    }
)


def http(
    method: str,
    path: str,
    /,
    *,
    verify: Verifier | None = None,
    auth: Auth | None = None,
    ack: bool = False,
    dedupe: str | None = None,
    timeout: float = TIMEOUT,
    on_disconnect: OnDisconnect | None = None,
    **options: Any,
) -> Addition:
    """Run this function, or this task, for every HTTP request of this method to this path.

    On a function it declares a task with these further options (those of `@task`) and a timeout of 300 s. Above `@task`
    it takes no further ones. The function gets one argument, the `Request`. `timeout` is how long the caller waits.
    The options are described in docs/http.md. Raises InvalidOption for what is not valid and for a trigger that
    anybody could call, InvalidTask for a function that cannot take one argument and for a path that another task has.
    """
    trigger = HttpTrigger(method, path, verify, auth, ack, dedupe, timeout, on_disconnect)

    def handle(body: Any) -> Any:
        handler = task_of(body, options, "@http")
        _add(handler, trigger)
        return handler

    return handle


def _add(handler: Task[..., Any], trigger: HttpTrigger) -> None:
    assert handler.body is not None
    least, most = parameters.positional(handler._signature)
    if not least <= 1 <= most:
        raise InvalidTask(
            f"{handler.name} cannot take one argument, the request: a handler is written as "
            f"def {handler.body.__name__}(request)"
        )
    if trigger in handler.triggers:
        return
    place = trigger.method, trigger.compiled.shape
    owner = _owners.get(place)
    if owner is not None and (owner[0] is handler or not owner[0].is_of_same_code(handler)):
        raise InvalidTask(
            f"two triggers have {trigger.method} {trigger.path}: that of {owner[0].name} and that of {handler.name}"
        )
    if len(handler.triggers) >= MOST:
        raise InvalidOption(f"{handler.name} has {MOST} triggers, and may have no more")
    _owners[place] = handler, trigger
    handler.triggers = (*handler.triggers, trigger)


#: The task that has declared the trigger of this method and of a path of this shape.
_owners: Final[dict[tuple[str, tuple[str, ...]], tuple[Task[..., Any], HttpTrigger]]] = {}
