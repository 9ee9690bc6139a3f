from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from understudy.actors.errors import StoreCorrupt, StoreError, StoreFull
from understudy.storage import writer as module
from understudy.storage.batch import Batch
from understudy.storage.tables.schema import Table
from understudy.storage.writer import Writer
from waiting import until


class FakeEnvironment:
    """Takes batches; raises what it is told to."""

    def __init__(self) -> None:
        self.taken: list[Batch] = []
        self.tries = 0
        self.trouble: Callable[[], Exception] | None = None
        self.gate = threading.Event()
        self.gate.set()

    def commit(self, batch: Batch, *, patient: bool = True) -> bool:
        self.tries += 1
        assert self.gate.wait(10)
        if self.trouble is not None:
            raise self.trouble()
        self.taken.append(batch)
        return True


class Scene:
    def __init__(self) -> None:
        self.environment = FakeEnvironment()
        self.committed: list[Batch] = []
        self.troubles: list[StoreFull] = []
        self.recovered: list[None] = []
        self.failures: list[StoreError] = []
        self.writer = Writer(
            self.environment,  # type: ignore[arg-type]
            on_commit=self.committed.append,
            on_trouble=self.troubles.append,
            on_recovered=lambda: self.recovered.append(None),
            on_fatal=self.failures.append,
        )


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(module, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(module, "LAST_RETRY", 0.002)
    scene = Scene()
    yield scene
    scene.environment.gate.set()
    scene.writer.close(0.1)
    until(lambda: scene.writer.stopped)


def rows(count: int = 1) -> Batch:
    batch = Batch()
    for number in range(count):
        batch.put(Table.TASKS, b"%d" % number, b"x")
    return batch


def full() -> StoreFull:
    return StoreFull("full")


def test_batches_are_committed_in_order_and_told(scene: Scene):
    batches = [rows() for _ in range(50)]
    for batch in batches:
        scene.writer.submit(batch)
    assert scene.writer.close(5) is None
    assert scene.environment.taken == batches
    assert scene.committed == batches
    assert scene.writer.stopped


def test_a_batch_of_acks_is_told_without_a_transaction(scene: Scene):
    batch = Batch()
    batch.acks.append(lambda: None)
    scene.writer.submit(batch)
    until(lambda: scene.committed)
    assert scene.environment.tries == 0


def test_jobs_run_between_batches(scene: Scene):
    seen: list[int] = []
    scene.writer.submit(rows())
    scene.writer.submit(lambda: seen.append(len(scene.committed)))
    scene.writer.submit(rows())
    scene.writer.close(5)
    assert seen == [1]


def test_a_caller_may_commit_by_itself_while_the_thread_has_nothing_to_do(scene: Scene):
    batches = [rows() for _ in range(3)]
    assert scene.writer.commit(batches[0])
    assert scene.environment.taken == batches[:1]
    scene.environment.gate.clear()
    scene.writer.submit(batches[1])
    assert not scene.writer.commit(batches[2])
    scene.environment.gate.set()
    until(lambda: scene.writer.commit(batches[2]))
    assert scene.environment.taken == batches
    assert scene.committed == batches[1:2], "whoever commits knows that it has"
    job_began, job_may_end = threading.Event(), threading.Event()
    scene.writer.submit(lambda: job_began.set() or job_may_end.wait(10) or None)  # type: ignore[func-returns-value]
    assert job_began.wait(10)
    assert not scene.writer.commit(rows())
    job_may_end.set()
    acks_only = Batch()
    acks_only.acks.append(lambda: None)
    tries = scene.environment.tries
    until(lambda: scene.writer.commit(acks_only))
    assert scene.environment.tries == tries
    scene.writer.close(5)
    assert not scene.writer.commit(rows())


def test_a_caller_leaves_a_full_disk_to_the_thread(scene: Scene):
    scene.environment.trouble = full
    batch = rows()
    assert not scene.writer.commit(batch)
    assert scene.troubles == []
    scene.writer.submit(batch)
    until(lambda: scene.troubles)
    scene.environment.trouble = None
    until(lambda: scene.committed == [batch])


def test_a_fatal_error_of_a_caller_ends_the_writing(scene: Scene):
    scene.environment.trouble = lambda: StoreCorrupt("damaged", problems=[])
    assert not scene.writer.commit(rows())
    assert [type(failure) for failure in scene.failures] == [StoreCorrupt]
    scene.environment.trouble = None
    assert not scene.writer.commit(rows())
    with pytest.raises(StoreCorrupt):
        scene.writer.submit(rows())


def test_a_full_disk_keeps_the_batch_and_is_told_once_until_there_is_room(scene: Scene):
    scene.environment.trouble = full
    batch = rows()
    scene.writer.submit(batch)
    until(lambda: scene.environment.tries > 5)
    assert scene.writer.full
    assert len(scene.troubles) == 1
    assert scene.committed == []
    scene.environment.trouble = None
    until(lambda: scene.committed)
    assert scene.committed == [batch]
    assert scene.recovered == [None]
    assert not scene.writer.full


def test_closing_on_a_full_disk_gives_up_in_time_and_says_what_is_lost(scene: Scene):
    scene.environment.trouble = full
    scene.writer.submit(rows(3))
    scene.writer.submit(rows(4))
    until(lambda: scene.writer.full)
    started = time.monotonic()
    lost = scene.writer.close(0.05)
    assert time.monotonic() - started < 5
    until(lambda: scene.writer.stopped)
    lost = scene.writer.close(5)
    assert isinstance(lost, StoreFull)
    assert "7 rows" in str(lost)
    assert scene.committed == []


def test_closing_while_there_is_room_again_loses_nothing(scene: Scene):
    scene.environment.trouble = full
    scene.writer.submit(rows())
    until(lambda: scene.writer.full)

    def make_room() -> None:
        scene.environment.trouble = None

    timer = threading.Timer(0.02, make_room)
    timer.start()
    assert scene.writer.close(10) is None
    timer.join()
    assert len(scene.committed) == 1


def test_closing_does_not_wait_for_a_disk_that_does_not_answer(scene: Scene):
    scene.environment.gate.clear()
    scene.writer.submit(rows())
    lost = scene.writer.close(0.05)
    assert lost is not None
    assert "0.05 s" in str(lost)
    assert not scene.writer.stopped


@pytest.mark.parametrize("error", [StoreError("broken"), StoreCorrupt("damaged"), RuntimeError("a defect")])
def test_any_other_error_is_told_once_and_ends_it(scene: Scene, error: Exception):
    scene.environment.trouble = lambda: error
    scene.writer.submit(rows())
    until(lambda: scene.writer.stopped)
    assert len(scene.failures) == 1
    failure = scene.failures[0]
    assert failure is error or failure.__cause__ is error
    with pytest.raises(StoreError) as caught:
        scene.writer.submit(rows())
    assert caught.value is failure
    assert scene.writer.close(1) is failure


def test_an_error_in_a_callback_is_not_silent(scene: Scene):
    def broken(batch: Batch) -> None:
        raise KeyError("a defect of the loop")

    scene.writer._on_commit = broken
    scene.writer.submit(rows())
    until(lambda: scene.writer.stopped)
    assert isinstance(scene.failures[0].__cause__, KeyError)


def test_nothing_is_taken_after_the_close_which_may_come_twice(scene: Scene):
    assert scene.writer.close(5) is None
    assert scene.writer.close(5) is None
    with pytest.raises(StoreError, match="closed"):
        scene.writer.submit(rows())
