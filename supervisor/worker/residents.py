"""`Residents`: the objects of actors that this worker keeps between their turns.

The supervisor decides which ones. It says in each turn whether it believes the object of that activation to be here,
and names those that are not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...actors.attempt.resident import Resident


class Residents:
    """By the actor's id. Any thread may call any method."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Resident] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, id: bytes, generation: int, *, is_here: bool) -> Resident | None:
        """The object for a turn that begins; None if there is none of that activation, or none is wanted."""
        resident = self._kept.pop(id, None)
        return resident if is_here and resident is not None and resident.generation == generation else None

    def keep(self, id: bytes, resident: Resident) -> None:
        """Keep the object for the next turn."""
        self._kept[id] = resident

    def forget(self, ids: Iterable[bytes]) -> None:
        """These will not be used any more."""
        for id in ids:
            self._kept.pop(id, None)
