"""Measures a case in rounds. Each round runs all contenders, so that noise affects all of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from suite.case import OURS, Bench, Case, Measure
from suite.figures import number, significant, summary
from suite.peer import Peer, PeerMissing

Tell = Callable[[str], None]
Size = Literal["short", "usual", "full"]

#: Seconds that a round of a peer should take, which sets its number of calls; and the most rounds.
PEER_SECONDS = 1.0
PEER_ROUNDS = 4

#: The rows of schedules: how late the runs are, in seconds.
LATE: Final[Mapping[str, Callable[[Peer, Mapping[str, int]], float]]] = {
    "late, one due": lambda peer, sizes: peer.one_by_one(sizes["single"])["p99"] / 1e3,
    "late, many due": lambda peer, sizes: peer.many(sizes["at once"]),
}

#: The contenders that take turns with a peer: ours, and the floor to show the noise.
BESIDE_PEERS = (OURS, "floor")


def measure(
    case: Case, rounds: int, folder: Path | None, peers: Iterable[str], size: Size, tell: Tell
) -> dict[str, Any]:
    """Run the case; return its figures as plain data. Raises any error of a contender of our own.

    `folder` is the place of the temporary folders; None: the system's default.
    """
    began = time.monotonic()
    sizes = {**case.sizes, **(case.short if size == "short" else case.full if size == "full" else {})}
    done: list[dict[str, dict[str, float]]] = []
    told: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=folder)))
        measures: dict[str, Measure] = {}
        for name, contender in case.contenders.items():
            tell(f"{name}: setting up")
            own = base / str(len(measures))  # short: the path of a socket must fit into 107 bytes
            own.mkdir()
            measures[name] = stack.enter_context(contender(Bench(own, sizes)))
        done += _turns(measures, rounds, tell)
        beside = {name: found for name, found in measures.items() if name in BESIDE_PEERS}
        for name in peers:
            try:
                with Peer(name, base / f"peer-{name}") as peer:
                    tell(f"{name}: setting up")
                    facts = peer.facts()
                    tell(f"{name}: a first round")
                    turn = _peer_measure(peer, case, case.peers[name], sizes)
                    done += _turns({**beside, peer.title: turn}, min(rounds, PEER_ROUNDS), tell)
                    told[peer.title] = facts
            except PeerMissing as error:
                missing[error.title] = str(error)
                tell(f"{name}: missing: {error}")
    durable = [title for title, facts in told.items() if facts["durable"]]
    return {
        "title": case.title,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.monotonic() - began),
        "sizes": sizes,
        "peers": told,
        "missing": missing,
        **summary(case, done, durable),
        "rounds": [
            {
                name: {row: significant(value) for row, value in figures.items()}
                for name, figures in turn.items()
            }
            for turn in done
        ],
    }


def _turns(measures: Mapping[str, Measure], rounds: int, tell: Tell) -> list[dict[str, dict[str, float]]]:
    """Each contender once in a round; each round begins with another one."""
    done: list[dict[str, dict[str, float]]] = []
    names = list(measures)
    for turn in range(rounds):
        found: dict[str, dict[str, float]] = {}
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name] = dict(measures[name]())
            said = ", ".join(f"{row} {number(value)}" for row, value in found[name].items())
            tell(f"round {turn + 1} of {rounds}: {name}: {said}")
        done.append({name: found[name] for name in names})
    return done


def _peer_measure(peer: Peer, case: Case, rows: tuple[str, ...], sizes: Mapping[str, int]) -> Measure:
    """A peer's round of its rows: all calls at once for a rate, one at a time for percentiles."""
    if LATE.keys() >= {*rows}:
        return lambda: {row: 1e3 * LATE[row](peer, sizes) for row in rows}
    most = sizes.get("tasks") or sizes["asks"]
    if all(row.endswith(("p50", "p99")) for row in rows):
        typical = peer.one_by_one(20)["p50"] / 1e3
        count = _count(1 / typical, most)

        def percentiles() -> dict[str, float]:
            found = peer.one_by_one(count)
            return {row: found[row[-3:]] for row in rows}

        return percentiles
    actors = {row: [case.actors[row]] if row in case.actors else [] for row in rows}
    counts = {}
    for row in rows:
        peer.many(20, *actors[row])
        counts[row] = _count(100 / peer.many(100, *actors[row]), most)
    return lambda: {row: counts[row] / peer.many(counts[row], *actors[row]) for row in rows}


def _count(rate: float, most: int) -> int:
    return max(20, min(most, round(rate * PEER_SECONDS)))
