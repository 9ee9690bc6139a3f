"""A queue on disk, of which only the next part is in memory.

A queue holds keys of the `live` table, which sort in the order in which they are taken. Memory holds a *window*:
every key up to the `horizon`. Keys behind the horizon are on disk only, so a million queued tasks cost disk, not
memory. Rules that keep the two in step:

1. `horizon is None` means that nothing is on disk only.
2. A new key up to the horizon goes into the window; one beyond it does not.
3. When the window runs low, the next rows are read from the disk and the horizon moves to the last of them.
4. A key that was turned away cannot be read back before it is committed. It is remembered as `late` until then, and
   a refill takes it in if it falls under the new horizon.
"""

from __future__ import annotations

import heapq
import operator
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

#: Keys held in memory; a window that grew to twice this is cut back.
WINDOW: Final = 65_536
#: Keys above which the queue is crowded: floods of starts are acknowledged late.
CROWD: Final = 8192
#: A window shorter than this is refilled, unless the queue says otherwise.
LOW: Final = 512
#: Rows read by one refill.
CHUNK: Final = 1024

START: Final = b""
"""A horizon before every key: nothing is in memory yet."""


class ReadyQueue:
    """One ordered queue of keys."""

    def __init__(
        self,
        read_after: Callable[[bytes, int], list[bytes]],
        window: int = WINDOW,
        low: int = LOW,
        chunk: int = CHUNK,
    ) -> None:
        """`read_after(key, count)` gives up to `count` committed keys of this lane that sort after `key`, in order."""
        self._read_after = read_after
        self._window = window
        self._low = low
        self._chunk = chunk
        # Most keys come in the order they are to be taken, as ids grow with time: those queue up, the others go to
        # a heap, and the smaller of the two heads is next.
        self._queue: deque[bytes] = deque()
        self._heap: list[bytes] = []
        self._held: set[bytes] = set()
        self._late: set[bytes] = set()
        self.horizon: bytes | None = START

    def __len__(self) -> int:
        """Keys held in memory."""
        return len(self._held)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take, in memory or on disk."""
        return not self._held and self.horizon is None

    @property
    def has_late(self) -> bool:
        """Whether keys that were turned away are not on disk yet."""
        return bool(self._late)

    @property
    def crowded(self) -> bool:
        """Whether it is long, as far as is known: what is on disk is not counted."""
        return bool(self.horizon) or len(self._held) > CROWD

    def holds(self, key: bytes) -> bool:
        """Whether the key is in memory."""
        return key in self._held

    def push(self, key: bytes) -> bool:
        """Add a key; False if it was turned away, as it lies on disk only (tell `committed` of it later)."""
        if self.horizon is None and len(self._held) >= self._window:
            self.horizon = max(self._held)
        if self.horizon is not None and key > self.horizon:
            self._late.add(key)
            return False
        self._hold(key)
        return True

    def extend(self, keys: Sequence[bytes]) -> None:
        """Add keys that were never here; like `push`, for many at once."""
        queue, held = self._queue, self._held
        if (
            self.horizon is None
            and len(held) + len(keys) <= self._window
            and (not queue or keys[0] > queue[-1])
            and all(map(operator.lt, keys, keys[1:]))
        ):
            # As it nearly always is: they grow with time.
            held.update(keys)
            queue.extend(keys)
            return
        for key in keys:
            self.push(key)

    def turn_away(self, keys: Iterable[bytes]) -> None:
        """Add keys that sort behind the horizon: they lie on disk only, once `committed` is told of them."""
        self._late.update(keys)

    def committed(self, keys: Iterable[bytes]) -> None:
        """Keys that were turned away are on disk now."""
        self._late.difference_update(keys)

    def discard(self, key: bytes) -> None:
        """Take a key out, wherever it is."""
        self._held.discard(key)
        self._late.discard(key)
        if len(self._queue) + len(self._heap) > 2 * len(self._held) + self._chunk:
            # What was taken out lies there until it comes to the top, which may never happen.
            self._queue, self._heap = deque(sorted(self._held)), []

    def peek(self, valid: Callable[[bytes], bool]) -> bytes | None:
        """The first key, left in place; None when the lane is empty. `valid` is asked about keys read from disk."""
        if len(self._held) < self._low and self.horizon is not None:
            self._refill(valid)
        while (key := self._take_head()) is not None:
            if key in self._held:
                # Whatever its place was, it comes before everything else now.
                self._queue.appendleft(key)
                return key
        return None

    def take(self, count: int, valid: Callable[[bytes], bool]) -> list[bytes]:
        """The first keys, up to so many, taken out in their order; none only when the lane is empty."""
        held = self._held
        if len(held) < self._low and self.horizon is not None:
            self._refill(valid)
        queue, heap = self._queue, self._heap
        taken: list[bytes] = []
        while len(taken) < count and (queue or heap):
            key = heapq.heappop(heap) if heap and (not queue or heap[0] < queue[0]) else queue.popleft()
            if key in held:
                held.remove(key)
                taken.append(key)
        return taken

    def take_one(self, valid: Callable[[bytes], bool]) -> bytes | None:
        """As `take` for one key; None when the lane is empty."""
        held = self._held
        if self.horizon is not None and len(held) < self._low:
            self._refill(valid)
        queue, heap = self._queue, self._heap
        while queue or heap:
            key = heapq.heappop(heap) if heap and (not queue or heap[0] < queue[0]) else queue.popleft()
            if key in held:
                held.remove(key)
                return key
        return None

    def coming(self, count: int) -> list[bytes]:
        """Some of the keys that come next, up to so many, left in place."""
        return [key for key in islice(self._queue, count) if key in self._held]

    def _take_head(self) -> bytes | None:
        """The smallest key of queue and heap, held or not."""
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0] < queue[0]):
            return heapq.heappop(heap)
        return queue.popleft() if queue else None

    def put_back(self, key: bytes) -> None:
        """A key that was just taken out is not wanted after all."""
        if self._queue and key < self._queue[0]:
            self._held.add(key)
            self._queue.appendleft(key)
        else:
            self._hold(key)

    def cut(self, committed: Callable[[bytes], bool]) -> list[bytes]:
        """Keys let go of because the window has grown far too long. `committed` says whether a key is on disk yet."""
        if len(self._held) <= 2 * self._window:
            return []
        ordered = sorted(self._held)
        kept, dropped = ordered[: self._window], ordered[self._window :]
        self._queue, self._heap, self._held = deque(kept), [], set(kept)
        self.horizon = kept[-1]
        self._late.update(key for key in dropped if not committed(key))
        return dropped

    def _hold(self, key: bytes) -> None:
        if key not in self._held:
            self._held.add(key)
            if not self._queue or key > self._queue[-1]:
                self._queue.append(key)
            else:
                heapq.heappush(self._heap, key)

    def _refill(self, valid: Callable[[bytes], bool]) -> None:
        """Read on from the horizon until the window is long enough or the disk has no more."""
        while self.horizon is not None and len(self._held) < self._low:
            rows = self._read_after(self.horizon, self._chunk)
            reached = rows[-1] if len(rows) == self._chunk else None
            self._take_in(rows, valid)
            # In their order: so they queue up, and `coming` finds them.
            self._take_in(sorted(key for key in self._late if reached is None or key <= reached), valid)
            self._late -= self._held
            self.horizon = reached

    def _take_in(self, keys: Iterable[bytes], valid: Callable[[bytes], bool]) -> None:
        for key in keys:
            if valid(key):
                self._hold(key)
