"""`Supervisor`, which specifies a supervision tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from ..checks import check_choice, check_flag, check_seconds, check_whole
from ..errors import InvalidOption
from ..task.retry import Retry
from .child import RESTARTS, ChildSpec, Restart, check_id

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""What is restarted with a child: nothing else; all its siblings; those that started after it."""
AutoShutdown = Literal["never", "any_significant", "all_significant"]
"""When the end of significant children ends the tree."""

STRATEGIES: Final = ("one_for_one", "one_for_all", "rest_for_one")
AUTO_SHUTDOWNS: Final = ("never", "any_significant", "all_significant")
#: How deep trees may be nested.
DEPTH_LIMIT: Final = 16


class Supervisor:
    """A supervision tree: children that are started in order, watched, restarted together, and stopped in reverse.

    `strategy` says what is restarted with a child that has failed: "one_for_one" itself alone, "one_for_all" all
    children, "rest_for_one" itself and those that started after it. More than `intensity` restarts within `period`
    seconds are too many: then the children are stopped and the tree has failed. `auto_shutdown` ends the tree when
    "any_significant" or "all_significant" children have ended. `backoff` is a pause before each restart: the delays of
    a `Retry` policy. A child may be another `Supervisor`, for which `restart` and `significant` count as in `child`.

    Hazard, as in OTP: a child that needs longer than `period / intensity` seconds to fail, or pauses that long, is
    restarted for ever.

    Raises InvalidOption.
    """

    def __init__(
        self,
        id: str,
        /,
        *,
        children: Iterable[ChildSpec | Supervisor],
        strategy: Strategy = "one_for_one",
        intensity: int = 3,
        period: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Retry | None = None,
        restart: Restart = "permanent",
        significant: bool = False,
    ) -> None:
        self.id = check_id(id, "a tree")
        check_choice(f"tree {id!r}: strategy", strategy, STRATEGIES)
        check_whole(f"tree {id!r}: intensity", intensity, 0, 1_000_000)
        check_choice(f"tree {id!r}: auto_shutdown", auto_shutdown, AUTO_SHUTDOWNS)
        check_choice(f"tree {id!r}: restart", restart, RESTARTS)
        check_flag(f"tree {id!r}: significant", significant)
        self.strategy: Strategy = strategy
        self.intensity = intensity
        self.period: float = check_seconds(f"tree {id!r}: period", period, positive=True)
        self.auto_shutdown: AutoShutdown = auto_shutdown
        if backoff is not None and not isinstance(backoff, Retry):
            raise InvalidOption(f"tree {id!r}: backoff is a Retry with its delays, not {backoff!r:.80}")
        self.backoff = backoff
        self.restart: Restart = restart
        if significant and restart == "permanent":
            raise InvalidOption(f"tree {id!r}: a permanent child cannot be significant, as it never ends")
        self.significant = significant
        self.children = tuple(self._checked(children))
        if self.depth > DEPTH_LIMIT:
            raise InvalidOption(f"tree {id!r}: trees are nested at most {DEPTH_LIMIT} deep")

    def _checked(self, children: Iterable[Any]) -> Iterator[ChildSpec | Supervisor]:
        ids: set[str] = set()
        for each in children:
            if not isinstance(each, ChildSpec | Supervisor):
                raise InvalidOption(
                    f"tree {self.id!r}: children are made by child(…) or are a Supervisor, not {each!r:.80}"
                )
            if each.id in ids:
                raise InvalidOption(f"tree {self.id!r}: two children have the id {each.id!r}")
            ids.add(each.id)
            if each.significant and self.auto_shutdown == "never":
                raise InvalidOption(
                    f"tree {self.id!r}: child {each.id!r} is significant, which needs auto_shutdown="
                    '"any_significant" or "all_significant"'
                )
            yield each

    @property
    def depth(self) -> int:
        """How many trees are nested in it, with itself."""
        return 1 + max((each.depth for each in self.children if isinstance(each, Supervisor)), default=0)

    def __repr__(self) -> str:
        return f"<supervisor {self.id}>"

    def pack(self) -> dict[str, Any]:
        """As plain data for the supervisor process. Raises TypeError, UnencodableValue."""
        return {
            "id": self.id,
            "strategy": self.strategy,
            "intensity": self.intensity,
            "period": self.period,
            "auto_shutdown": self.auto_shutdown,
            "backoff": None if self.backoff is None else self.backoff.pack(),
            "restart": self.restart,
            "significant": self.significant,
            "children": [each.pack() for each in self.children],
        }
