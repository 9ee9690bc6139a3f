"""The settings of a supervisor, with their defaults and limits. No other place defines them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Final, Literal

from ..actors.checks import check_choice, check_names, check_seconds, check_whole, is_number
from ..actors.errors import InvalidOption
from ..actors.task.pool import checked_pool
from ..actors.values import VALUE_LIMIT

MIB: Final = 1024 * 1024

Durability = Literal["disk", "os"]

#: Bytes that a frame may hold in addition to its value.
FRAME_OVERHEAD: Final = 64 * 1024
#: Tasks or messages in one frame of start_many or send_many; a frame is one commit.
BATCH_LIMIT: Final = 10_000
#: Bytes of values in one such frame.
BATCH_BYTES: Final = 8 * MIB
#: Pools, and workers of one pool.
POOLS_LIMIT: Final = 64
POOL_WORKERS_LIMIT: Final = 1024
#: Characters of all variables of one pool together.
POOL_ENV_LIMIT: Final = 32 * 1024

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that the runtime needs as they are begin with this.
_OWN_VARIABLES: Final = "UNDERSTUDY_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a supervisor. Seconds are floats, sizes are bytes."""

    workers: int = 0
    """Worker processes; 0 means one per processor."""
    slots: int = 8
    """Sync tasks that one worker runs at once; waiting ones do not count."""
    async_slots: int = 1_000
    """Async tasks that one worker has on its event loop at once; waiting ones do not count."""
    run_slots: int = 4
    """Runs of HTTP requests that one worker has at work at once, in addition to `slots` and `async_slots`."""
    isolated: int = 8
    """Workers in addition to `workers` that may run at once for tasks that need a worker of their own."""
    pools: dict[str, int] = field(default_factory=dict)
    """Pools of workers in addition to `workers`, with the number of workers of each. They run the tasks that name the
    pool, and no others. As many more may run at once for tasks of the pool that need a worker of their own."""
    pool_slots: dict[str, int] = field(default_factory=dict)
    """Sync tasks that one worker of a pool runs at once; `slots` for a pool that is not named here."""
    pool_env: dict[str, dict[str, str]] = field(default_factory=dict)
    """Environment variables of the workers of pools. They are set when a worker is forked, before any task runs."""
    containers: int = 16
    """Container tasks that run at once; the others stay queued."""
    drain: float = 30.0
    """Seconds that running tasks have to reach a stopping point when the supervisor stops."""
    max_crashes: int = 3
    """Deaths of its worker within `crash_window` that make a task fail as Poisoned."""
    crash_window: float = 3600.0
    """Seconds for which such a death counts. After an attempt that ran as long, retry delays begin anew."""
    mailbox_messages: int = 10_000
    """Messages that may wait in one mailbox."""
    mailbox_bytes: int = 64 * MIB
    """Bytes that may wait in one mailbox."""
    value_limit: int = VALUE_LIMIT
    """Bytes of one encoded value."""
    log_limit: int = 10 * MIB
    """Bytes of log kept for one task; the oldest entries go first."""
    worker_tasks: int = 0
    """Tasks that a worker runs before it is replaced; 0 means no limit."""
    active_actors: int = 10_000
    """Actors that one worker keeps in memory while they have nothing to do; those that rested longest go first."""
    event_keep: float = 7 * 24 * 3600.0
    """Seconds for which events are kept. Their runs are kept as long as their handlers say."""
    event_handlers: int = 1_000
    """Handlers that one event may have."""
    task_listens: int = 100
    """Patterns that one task may listen to."""
    schedules: int = 100_000
    """Schedules that programs may make, of those that have not ended."""
    schedule_keep: float = 7 * 24 * 3600.0
    """Seconds for which schedules that have ended are kept, with their history."""
    stream_items: int = 10_000
    """Published items kept of one stream; the oldest go first."""
    stream_bytes: int = 16 * MIB
    """Bytes of published items kept of one stream; the oldest go first. The newest one always stays."""
    worker_memory: int = 0
    """Bytes of memory above which a worker is replaced; 0 means no limit."""
    restarts: int = 5
    """Deaths of workers or the fork server, not caused by a task, tolerated within `restarts_within` seconds."""
    restarts_within: float = 10.0
    durability: Durability = "disk"
    """`disk`: acknowledged data is on disk. `os`: it survives the death of processes, not of the machine."""
    map_size: int = 256 * MIB
    """Bytes of address space that the store starts with; it grows when needed."""
    start_timeout: float = 60.0
    """Seconds that importing the app may take."""
    traces: float = 0.0
    """Share of the tasks that are traced, from 0 (off) to 1. Those whose start is in a trace follow that."""
    group: str | None = None
    """A group, by name or number, whose members may use the home as well; none by default."""

    def __post_init__(self) -> None:
        whole = {
            "workers": (0, 1024),
            "slots": (1, 1024),
            "async_slots": (1, 1_000_000),
            "run_slots": (1, 1024),
            "isolated": (1, 1024),
            "containers": (1, 1024),
            "max_crashes": (1, 1_000_000),
            "mailbox_messages": (1, 10_000_000),
            "mailbox_bytes": (1, 1 << 40),
            "value_limit": (1024, 1 << 31),
            "log_limit": (64 * 1024, 1 << 40),
            "active_actors": (1, 1 << 60),
            "worker_tasks": (0, 1 << 60),
            "event_handlers": (1, 1_000_000),
            "task_listens": (1, 1_000_000),
            "schedules": (1, 100_000_000),
            "stream_items": (1, 10_000_000),
            "stream_bytes": (1024, 1 << 40),
            "worker_memory": (0, 1 << 60),
            "restarts": (0, 1_000_000),
            "map_size": (MIB // 4, 1 << 46),
        }
        for name, (least, most) in whole.items():
            check_whole(name, getattr(self, name), least, most)
        window = check_seconds("crash_window", self.crash_window, positive=True)
        object.__setattr__(self, "crash_window", window)
        for name in ("drain", "event_keep", "schedule_keep", "restarts_within", "start_timeout"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name)))
        object.__setattr__(self, "traces", _checked_share(self.traces))
        check_choice("durability", self.durability, ("disk", "os"))
        self._check_pools()
        if self.group is not None and not isinstance(self.group, str):
            raise InvalidOption(f"group must be the name of a group: {self.group!r:.80}")

    def check_needs(self) -> None:
        """Raise InvalidOption if tasks are to be traced, and the packages for it are absent."""
        if self.traces and (find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None):
            raise InvalidOption(
                "traces need OpenTelemetry, which is not installed: pip install 'understudy[otel]'"
            )

    def _check_pools(self) -> None:
        for name in ("pools", "pool_slots", "pool_env"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise InvalidOption(f"{name} must map names of pools, as in {_EXAMPLES[name]}: {value!r:.80}")
            object.__setattr__(self, name, dict(value))
        if len(self.pools) > POOLS_LIMIT:
            raise InvalidOption(f"there may be {POOLS_LIMIT} pools, not {len(self.pools)}")
        for pool, workers in self.pools.items():
            if checked_pool(pool) is None:
                raise InvalidOption(
                    "the workers of tasks without a pool are set by workers=, not by a pool None"
                )
            check_whole(f"the workers of pool {pool}", workers, 1, POOL_WORKERS_LIMIT)
        for name in ("pool_slots", "pool_env"):
            for pool in getattr(self, name):
                if pool not in self.pools:
                    raise InvalidOption(f"{name} names the pool {pool!r:.80}, which is not among pools=")
        for pool, slots in self.pool_slots.items():
            check_whole(f"the slots of pool {pool}", slots, 1, 1024)
        for pool, variables in self.pool_env.items():
            self.pool_env[pool] = _checked_variables(pool, variables)

    @property
    def worker_count(self) -> int:
        """Number of workers to run for tasks without a pool."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def pool_names(self) -> tuple[str | None, ...]:
        """The pools by name; None, which is the first, stands for the workers of tasks without one."""
        return (None, *self.pools)

    def workers_in(self, pool: str | None) -> int:
        """Number of workers to run for a pool."""
        return self.worker_count if pool is None else self.pools[pool]

    def isolated_in(self, pool: str | None) -> int:
        """Number of workers that may run at once for tasks of a pool that need a worker of their own."""
        return self.isolated if pool is None else self.pools[pool]

    def slots_in(self, pool: str | None) -> int:
        """Sync tasks that one worker of a pool runs at once."""
        return self.slots if pool is None else self.pool_slots.get(pool, self.slots)

    def env_in(self, pool: str | None) -> dict[str, str]:
        """Environment variables of the workers of a pool."""
        return {} if pool is None else self.pool_env.get(pool, {})

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def told(self) -> dict[str, Any]:
        """What clients are told, as plain data. Variables may hold secrets of the app."""
        return {**self.pack(), "pool_env": {}}

    @classmethod
    def of(cls, changes: dict[str, Any]) -> Settings:
        """Settings with some fields given; None means the default.

        Raises InvalidOption for an unknown field.
        """
        check_names(changes, [field.name for field in fields(cls)], "a supervisor")
        settings = cls(**{name: value for name, value in changes.items() if value is not None})
        settings.check_needs()
        return settings


def _checked_share(share: object) -> float:
    if not is_number(share) or not 0 <= share <= 1:
        raise InvalidOption(f"traces must be the share of tasks to trace, from 0 to 1: {share!r:.80}")
    return float(share)


_EXAMPLES: Final = {
    "pools": '{"gpu": 1}',
    "pool_slots": '{"gpu": 1}',
    "pool_env": '{"gpu": {"CUDA_VISIBLE_DEVICES": "0"}}',
}


def _checked_variables(pool: str, variables: object) -> dict[str, str]:
    """The variables of a pool; InvalidOption for anything that is none."""
    if not isinstance(variables, Mapping):
        raise InvalidOption(
            f"pool_env must give variables for pool {pool}, as in {_EXAMPLES['pool_env']}: {variables!r:.80}"
        )
    for name, value in variables.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or name.startswith(_OWN_VARIABLES):
            raise InvalidOption(
                f"a variable of pool {pool} is named by letters, digits and '_', and does not begin with "
                f"{_OWN_VARIABLES}: {name!r:.80}"
            )
        # The value may be a secret, so the message does not show it.
        if not isinstance(value, str) or "\0" in value or not _is_utf8(value):
            raise InvalidOption(f"the variable {name} of pool {pool} must be text without a null character")
    if sum(len(name) + len(value) for name, value in variables.items()) > POOL_ENV_LIMIT:
        raise InvalidOption(f"the variables of pool {pool} have more than {POOL_ENV_LIMIT:,} characters")
    return dict(variables)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
