"""SnapshotReader: what the parts of `Reader` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from .shared_view import Snapshot


class SnapshotReader(ABC):
    """Reads the store. Each answer comes from one snapshot."""

    @abstractmethod
    def _read(self) -> AbstractContextManager[Snapshot]:
        """A block with the snapshot that an answer comes from."""
