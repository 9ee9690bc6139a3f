"""Readers of a feed, without a store or a clock: each takes everything once and in order, however it lags."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from story import Story, taken
from understudy.storage.item_reader import Place
from understudy.supervisor.client.watch_source import WatchSource
from understudy.supervisor.web.live import feed as feeds
from understudy.supervisor.web.live.batch import Batch
from understudy.supervisor.web.live.feed import Feed, shared
from understudy.supervisor.web.live.reader import Ending, LiveReader


class Stage:
    """A feed, and the pages that its readers have asked for."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.feed = Feed(cast("WatchSource", story))
        self.asked: list[tuple[LiveReader, Place]] = []

    def reader(self, after: int = 0) -> LiveReader:
        place = Place(after)
        reader = LiveReader(self.feed, place, self.story.snapshot(place), lambda *ask: self.asked.append(ask))
        self.feed.readers.add(reader)
        return reader

    def answer(self) -> None:
        """Give every reader the page that it has asked for."""
        asked, self.asked = self.asked, []
        for reader, place in asked:
            page = self.story.page(place)
            reader.got(Batch(shared(self.feed.source, page)), page)

    def look(self) -> None:
        """Read what is new for all, as the hub does."""
        if self.feed.place is not None:
            self.feed.extend(self.story.page(self.feed.place))

    def all_of(self, reader: LiveReader) -> list[int]:
        numbers: list[int] = []
        while True:
            numbers += taken(reader)
            if not self.asked:
                return numbers
            self.answer()


def test_the_snapshot_comes_first_and_then_everything():
    stage = Stage(Story())
    stage.story.told = 7
    reader = stage.reader()
    first = reader.take()
    assert first is not None
    assert [each.entry.kind for each in first] == ["snapshot"]
    assert stage.all_of(reader) == [1, 2, 3, 4, 5, 6, 7]
    assert reader.ending is None


def test_one_page_is_read_for_all_readers_at_the_tip():
    stage = Stage(Story(page_size=10))
    readers = [stage.reader() for _ in range(50)]
    for reader in readers:
        assert stage.all_of(reader) == []
    stage.story.pages, stage.story.told = 0, 5
    stage.look()
    batches = [reader.take() for reader in readers]
    assert stage.story.pages == 1
    assert len(set(map(id, batches))) == 1, "all get the same bytes"
    assert all(taken(reader) == [] for reader in readers)


def test_a_reader_that_comes_back_goes_on_behind_its_cursor():
    stage = Stage(Story())
    stage.story.told = 9
    assert stage.all_of(stage.reader(4)) == [5, 6, 7, 8, 9]
    assert stage.all_of(stage.reader(9)) == []


def test_a_reader_that_lags_too_far_reads_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "KEPT", 2)
    stage = Stage(Story(page_size=100))
    slow, quick = stage.reader(), stage.reader()
    assert stage.all_of(slow) == stage.all_of(quick) == []
    seen = []
    for _ in range(10):
        stage.story.told += 3
        stage.look()
        seen += taken(quick)
        stage.feed.trim()
    assert seen == list(range(1, 31))
    assert stage.asked == []
    assert stage.all_of(slow) == list(range(1, 31))


def test_a_feed_keeps_no_more_than_its_limits():
    stage = Stage(Story(page_size=10_000, size=1_000))
    stage.all_of(stage.reader())
    stage.story.told = 1_000
    stage.look()
    stage.feed.trim()
    assert sum(entry.size for entry in stage.feed._kept) <= feeds.KEPT_BYTES
    stage.story.packed = b"x" * 1_000_000
    stage.story.told = 1_001
    stage.look()
    stage.feed.trim()
    assert len(stage.feed._kept) == 1, "the newest always stays"


def test_the_end_comes_after_everything_else():
    stage = Stage(Story())
    stage.story.told = 2
    early, late = stage.reader(), stage.reader()
    assert stage.all_of(early) == [1, 2]
    stage.story.told, stage.story.is_over = 4, True
    stage.look()
    assert taken(early) == [3, 4]
    assert early.ending is Ending.END
    assert stage.all_of(late) == [1, 2, 3, 4]
    assert late.ending is Ending.END
    behind = stage.reader(4)
    assert behind.is_at_end
    assert stage.all_of(behind) == []
    assert behind.ending is Ending.END


def test_a_reader_that_is_ended_takes_no_more():
    stage = Stage(Story())
    reader = stage.reader()
    told = []
    reader.on_news = lambda: told.append(reader.ending)
    stage.all_of(reader)
    reader.end(Ending.CLOSING)
    reader.end(Ending.EXPIRED)
    stage.story.told = 1
    stage.look()
    assert reader.take() is None
    assert told[-1] is Ending.CLOSING


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_which_order(seed: int, monkeypatch: pytest.MonkeyPatch):
    chance = random.Random(seed)
    monkeypatch.setattr(feeds, "KEPT", chance.randint(1, 5))
    stage = Stage(Story(page_size=chance.randint(1, 4)))
    seen: dict[LiveReader, list[int]] = {}

    def come() -> None:
        after = chance.randint(0, stage.story.told)
        seen[stage.reader(after)] = [after]

    def tell() -> None:
        stage.story.told += chance.randint(1, 4)

    def take() -> None:
        for reader in chance.sample(list(seen), min(len(seen), 3)):
            batch = reader.take()
            if batch is not None:
                seen[reader] += [each.entry.number for each in batch if each.entry.kind == "item"]

    doings: list[Any] = [come, tell, take, take, stage.answer, stage.look, stage.feed.trim]
    for _ in range(300):
        chance.choice(doings)()
    for reader, numbers in seen.items():
        while numbers[-1] < stage.story.told:
            numbers.extend(stage.all_of(reader))
            stage.look()
        assert numbers == list(range(numbers[0], stage.story.told + 1))
