"""Metrics: the numbers of the store, the supervisor and this process, as OpenMetrics text."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...actors.errors import UnderstudyError
from ...actors.state import TERMINAL, State
from ...actors.task.limits_info import LimitInfo
from ...actors.task.pool_info import PoolInfo
from ...storage.reader import Reader
from ...storage.search import Counts
from ...storage.tables.histogram import Counted, middle
from ...storage.tables.step_rows import ENDS, RETRIED, Step
from ...storage.totals_reader import ReadyAges, Sums
from ..client.store_look import StoreLook
from .context import WebContext
from .identity import Identity, needs_all
from .traffic import BOUNDS, Traffic

PATIENCE: Final = 2.0
"""Seconds that the supervisor gets to answer. Without it, its own numbers are left out."""

MOST_NAMES: Final = 200
"""Names of one label, the first ones of the alphabet; what the others have is added up as OTHER."""

OTHER: Final = "other"

NO_POOL: Final = "-"
"""The label of the workers of tasks without a pool. No pool has this name."""

LATE: Final = 10.0
"""Seconds after which a schedule whose time has come is late."""

TIME_BOUNDS: Final = tuple(4.0**power for power in range(-5, 9))
"""Upper bounds of the times of attempts, in seconds: 1 ms to 18 h. The stored buckets begin exactly there."""


class Kind(NamedTuple):
    """A metric: its type, its labels and what it tells."""

    type: str
    labels: tuple[str, ...]
    says: str


#: All metrics, by name. docs/metrics.md holds the same table.
METRICS: Final[dict[str, Kind]] = {
    "understudy_up": Kind("gauge", (), "1 if the supervisor answers, else 0."),
    "understudy_tasks_started": Kind("counter", ("task",), "Tasks that were started."),
    "understudy_tasks_ended": Kind("counter", ("task", "state"), "Tasks that have ended, by final state."),
    "understudy_attempts_retried": Kind(
        "counter", ("task",), "Attempts that failed or timed out and were retried."
    ),
    "understudy_attempt_wait_seconds": Kind(
        "histogram", ("task",), "From the time at which an attempt could begin until it began."
    ),
    "understudy_attempt_run_seconds": Kind(
        "histogram", ("task",), "From the beginning of an attempt to its end."
    ),
    "understudy_tasks_live": Kind(
        "gauge", ("task", "state"), "Tasks and actors that have not ended, by state."
    ),
    "understudy_oldest_ready_seconds": Kind(
        "gauge", ("task",), "Age of the oldest task that waits for a place on a worker; 0 if none does."
    ),
    "understudy_workers": Kind("gauge", (), "Worker processes."),
    "understudy_workers_busy": Kind("gauge", (), "Worker processes that have a task."),
    "understudy_commits": Kind("counter", (), "Commits of the store. `understudy compact` begins anew."),
    "understudy_store_bytes": Kind("gauge", (), "Size of the store's file."),
    "understudy_schedules": Kind("gauge", ("state",), "Schedules, by state."),
    "understudy_schedules_late": Kind("gauge", (), "Active schedules that were due more than 10 s ago."),
    "understudy_schedule_runs": Kind("counter", (), "Runs that schedules have started."),
    "understudy_schedule_skips": Kind("counter", (), "Occurrences of schedules that were skipped."),
    "understudy_events": Kind("counter", (), "Events that were emitted."),
    "understudy_tree_restarts": Kind(
        "counter",
        ("tree",),
        "Restarts of the children of a supervision tree. A deleted child takes its own along.",
    ),
    "understudy_limit_used": Kind("gauge", ("limit",), "Places of a limit that are used, of all its keys."),
    "understudy_limit_waiting": Kind("gauge", ("limit",), "Ready tasks that wait at a limit."),
    "understudy_pool_processes": Kind("gauge", ("pool",), "Worker processes of a pool."),
    "understudy_pool_slots": Kind("gauge", ("pool",), "Slots for sync tasks in a pool's workers."),
    "understudy_pool_used": Kind("gauge", ("pool",), "Slots of a pool in which a task is at work."),
    "understudy_pool_queued": Kind(
        "gauge", ("pool",), "Ready tasks that wait for a worker of a pool; at most 100,000 are counted."
    ),
    "understudy_http_requests": Kind(
        "counter", ("method", "status"), "Requests that the web process has answered since its start."
    ),
    "understudy_http_request_seconds": Kind("histogram", ("method",), "Until the answer began."),
}

_FAMILIES: Final[dict[str, Any]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


def routes(context: WebContext) -> APIRouter:
    """The route of the metrics."""
    router = APIRouter(include_in_schema=False)
    meter = Meter(context.reader, StoreLook(context.runtime.sync), context.traffic)

    @router.get("/metrics")
    async def metrics(identity: Annotated[Identity, Depends(needs_all("read"))]) -> Response:
        supervisor = await _asked(context)
        text = await run_in_threadpool(meter.text, supervisor, time.time())
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


@dataclass(frozen=True, slots=True)
class Answers:
    """What the supervisor says of itself."""

    workers: list[dict[str, Any]] = field(default_factory=list)
    limits: list[LimitInfo] = field(default_factory=list)
    pools: list[PoolInfo] = field(default_factory=list)


async def _asked(context: WebContext) -> Answers | None:
    try:
        runtime = context.runtime
        tree = await runtime.tree(timeout=PATIENCE)
        limits = await runtime.limits(timeout=PATIENCE)
        return Answers(tree["workers"], limits, await runtime.pools(timeout=PATIENCE))
    except (UnderstudyError, TimeoutError):
        return None


class Meter:
    """Makes the text. What it has added up once it does not read again."""

    def __init__(self, reader: Reader, look: StoreLook, traffic: Traffic) -> None:
        self._reader = reader
        self._look = look
        self._traffic = traffic
        # Only one is made at a time: it may take long on a large store.
        self._lock = Lock()
        self._sums = Sums()
        self._ages = ReadyAges()
        #: Events until now, and the uid of the last one; None before the first look.
        self._events: tuple[int, bytes] | None = None

    def text(self, supervisor: Answers | None, now: float) -> bytes:
        """The metrics in the OpenMetrics format."""
        with self._lock:
            self._supervisor, self._now = supervisor, now
            made: bytes = generate_latest(self)  # type: ignore[no-untyped-call] # it calls `collect` alone
            return made

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        yield from self._tasks()
        yield from self._store()
        yield from self._schedules()
        yield from self._live()
        yield from self._http()

    def _tasks(self) -> Iterator[Metric]:
        steps, counts = self._reader.totals(self._sums, self._now)
        shown = shown_names({*steps, *counts})
        own = _merged(steps, shown)
        live = _alive(counts, shown)
        started = Counter({name: sum(states.values()) for name, states in live.items()})
        for name, step in own.items():
            started[name] += sum(step.ended[:RETRIED])
        yield _family("understudy_tasks_started", {(name,): number for name, number in started.items()})
        yield _family(
            "understudy_tasks_ended",
            {
                (name, str(state)): number
                for name, step in own.items()
                for state, number in zip(ENDS, step.ended, strict=False)
            },
        )
        yield _family(
            "understudy_attempts_retried", {(name,): step.ended[RETRIED] for name, step in own.items()}
        )
        yield _histograms("understudy_attempt_wait_seconds", {name: step.waits for name, step in own.items()})
        yield _histograms("understudy_attempt_run_seconds", {name: step.runs for name, step in own.items()})
        yield _family(
            "understudy_tasks_live",
            {(name, state): number for name, states in live.items() for state, number in states.items()},
        )

    def _store(self) -> Iterator[Metric]:
        yield _family("understudy_oldest_ready_seconds", self._oldest())
        yield _family("understudy_commits", self._reader.newest())
        yield _family("understudy_store_bytes", self._look.size())

    def _oldest(self) -> dict[tuple[str, ...], float]:
        counts = self._reader.counts()
        queued = [name for name, states in counts.items() if states.get(State.QUEUED)]
        found, unknown = self._reader.oldest_ready(self._ages, queued)
        shown = shown_names(counts)
        ages: dict[tuple[str, ...], float] = {(name,): 0.0 for name in shown - unknown}
        for name, oldest in found.items():
            label = (name if name in shown else OTHER,)
            ages[label] = max(ages.get(label, 0.0), self._now - oldest.created)
        return ages

    def _schedules(self) -> Iterator[Metric]:
        totals = self._reader.schedule_totals(self._now - LATE)
        yield _family("understudy_schedules", {(state,): number for state, number in totals.states.items()})
        yield _family("understudy_schedules_late", totals.late)
        yield _family("understudy_schedule_runs", totals.runs)
        yield _family("understudy_schedule_skips", totals.skips)
        more, uid, removed = self._reader.events_behind(self._events[1] if self._events else b"")
        # What is pruned later has been counted before.
        before = self._events[0] if self._events else removed
        self._events = before + more, uid
        yield _family("understudy_events", before + more)

    def _live(self) -> Iterator[Metric]:
        yield _family("understudy_up", int(self._supervisor is not None))
        restarts = {tree.id: tree.restarts for tree in self._look.trees()}
        yield _family("understudy_tree_restarts", _summed(restarts))
        if self._supervisor is None:
            return
        workers = self._supervisor.workers
        yield _family("understudy_workers", len(workers))
        yield _family("understudy_workers_busy", sum(bool(each["task_count"]) for each in workers))
        used: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for info in self._supervisor.limits:
            used[info.name] += info.used
            waiting[info.name] += info.waiting
        yield _family("understudy_limit_used", _summed(used))
        yield _family("understudy_limit_waiting", _summed(waiting))
        for number in ("processes", "slots", "used", "queued"):
            numbers: dict[tuple[str, ...], float] = {
                (info.name or NO_POOL,): getattr(info, number) for info in self._supervisor.pools
            }
            yield _family(f"understudy_pool_{number}", numbers)

    def _http(self) -> Iterator[Metric]:
        traffic = self._traffic
        yield _family(
            "understudy_http_requests",
            {(method, str(status)): number for (method, status), number in list(traffic.requests.items())},
        )
        family = _empty("understudy_http_request_seconds")
        for method, numbers in list(traffic.times.items()):
            family.add_metric([method], _buckets(BOUNDS, numbers), float(traffic.seconds[method]))
        yield family


def shown_names(names: Iterable[str]) -> set[str]:
    """Those that are told apart. A new name may push another one to the rest, never back: the rest only grows."""
    return set(sorted(names)[:MOST_NAMES])


def _merged(steps: Mapping[str, Step], shown: set[str]) -> dict[str, Step]:
    """What has ended, by shown name. The steps are not changed."""
    merged: dict[str, Step] = {}
    for name, step in steps.items():
        if name in shown:
            merged[name] = step
        else:
            merged.setdefault(OTHER, Step(OTHER)).add(step)
    return merged


def _alive(counts: Counts, shown: set[str]) -> dict[str, Counter[str]]:
    """How many tasks have not ended, by shown name and state."""
    live: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, states in counts.items():
        for state, number in states.items():
            if state not in TERMINAL:
                live[name if name in shown else OTHER][str(state)] += number
    return live


def _summed(numbers: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    shown = shown_names(numbers)
    summed: Counter[tuple[str, ...]] = Counter()
    for name, number in numbers.items():
        summed[(name if name in shown else OTHER,)] += number
    return dict(summed)


def _empty(name: str) -> Any:
    kind = METRICS[name]
    return _FAMILIES[kind.type](name, kind.says, labels=kind.labels)


def _family(name: str, numbers: Mapping[tuple[str, ...], float] | float) -> Metric:
    """The family with these numbers: by the values of its labels, or the only one."""
    family = _empty(name)
    for labels, number in ({(): numbers} if isinstance(numbers, int | float) else numbers).items():
        family.add_metric(labels, number)
    made: Metric = family
    return made


def _histograms(name: str, counted: Mapping[str, Counted]) -> Metric:
    family = _empty(name)
    for label, buckets in counted.items():
        numbers = [0] * (len(TIME_BOUNDS) + 1)
        total = 0.0
        for bucket, number in buckets.items():
            seconds = middle(bucket)
            total += seconds * number
            numbers[next((at for at, bound in enumerate(TIME_BOUNDS) if seconds < bound), -1)] += number
        family.add_metric([label], _buckets(TIME_BOUNDS, numbers), total)
    made: Metric = family
    return made


def _buckets(bounds: Iterable[float], numbers: list[int]) -> list[tuple[str, float]]:
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(numbers), strict=True))
