from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.actors.errors import StoreCorrupt, StoreForeign, StoreVersion
from understudy.storage import environment as environment_module
from understudy.storage.backup import backup, compact_offline
from understudy.storage.batch import Batch
from understudy.storage.check import check
from understudy.storage.environment import Environment
from understudy.storage.file import header as header_module
from understudy.storage.file import locks, page_check
from understudy.storage.file.header import inspect
from understudy.storage.file.names import lock_file, store_file, voucher_file
from understudy.storage.reader import Reader
from understudy.storage.tables.schema import Table

PAGE = 4096

#: What a child process says by its exit code of a store that it used for reading and writing.
USED, REFUSED = 0, 10


def store_of(home: Path, tasks: int = 900) -> bytes:
    """A store with pages of every kind: branches, leaves, overflows, free ones; and its bytes."""
    rng = random.Random(tasks)
    environment = Environment(home, 1 << 20)
    for part in range(3):
        batch = Batch()
        for number in range(part, tasks, 3):
            key = number.to_bytes(16, "big")
            batch.put(Table.TASKS, key, rng.randbytes(150))
            batch.put(Table.LIVE, b"\1" + bytes(8) + key, b"")
            if not number % 20:
                batch.put(Table.RESULTS, key, rng.randbytes(9000))
        for number in range(part * 40):
            batch.delete(Table.TASKS, number.to_bytes(16, "big"))
        environment.commit(batch)
    environment.close()
    return store_file(home).read_bytes()


def use(home: Path) -> int:
    """Read every row and write some, as a supervisor does."""
    try:
        environment = Environment(home, 1 << 20)
        for table in Table:
            environment.scan(table)
        for part in range(3):
            batch = Batch()
            for number in range(part * 100, part * 100 + 300):
                batch.delete(Table.TASKS, number.to_bytes(16, "big"))
                batch.put(Table.RESULTS, (10_000 * part + number).to_bytes(16, "big"), bytes(5000))
            environment.commit(batch)
        environment.close()
    except (StoreCorrupt, StoreForeign, StoreVersion) as error:
        return REFUSED if "estore" in str(error) or "another home" in str(error) else 1
    return USED


def read(home: Path) -> int:
    """Read every row, as a client does."""
    try:
        with Reader(home) as reader, reader._view.read() as snapshot:
            for table in Table:
                list(snapshot.rows(table))
    except (StoreCorrupt, StoreForeign, StoreVersion):
        return REFUSED
    return USED


def in_a_child(job: Callable[[Path], int], home: Path) -> int:
    """Its exit code; minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(20)
            code = job(home)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def cut_short(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def one_bit(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def one_bit_of_a_page_header(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data) // PAGE) * PAGE + rng.randrange(64)] ^= 1 << rng.randrange(8)


def a_page_of_nothing(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) // PAGE) * PAGE
    data[start : start + PAGE] = bytes(PAGE)


def a_page_in_the_place_of_another(data: bytearray, rng: random.Random) -> None:
    start, other = (rng.randrange(2, len(data) // PAGE) * PAGE for _ in range(2))
    data[start : start + PAGE] = data[other : other + PAGE]


def old_and_new_pages_mixed(data: bytearray, rng: random.Random) -> None:
    """What copying a file under its writer's hands gives: some pages from before, others from after."""
    for start in range(rng.randrange(2, 6) * PAGE, len(data) - PAGE, 7 * PAGE):
        data[start : start + PAGE] = bytes(PAGE)


DAMAGES = (
    cut_short, one_bit, one_bit_of_a_page_header, a_page_of_nothing, a_page_in_the_place_of_another,
    old_and_new_pages_mixed,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_damaged_file_ends_the_process_that_opens_it(home: Path, tmp_path: Path, damage):
    whole = store_of(home)
    rng = random.Random(damage.__name__)
    seen: Counter[str] = Counter()
    for number in range(int(os.environ.get("UNDERSTUDY_FUZZ", "4"))):
        data = bytearray(whole)
        damage(data, rng)
        folder = tmp_path / str(number)
        folder.mkdir()
        store_file(folder).write_bytes(data)
        read_by, used_by = in_a_child(read, folder), in_a_child(use, folder)
        assert used_by in (USED, REFUSED), f"{damage.__name__} {number}: {used_by}"
        # An empty file is no store yet, and becomes one when it is written.
        assert read_by == used_by, f"{damage.__name__} {number}: {read_by}, {used_by}"
        if used_by == REFUSED:
            assert store_file(folder).read_bytes() == data, "not touched"
            try:
                assert check(folder).problems, f"{damage.__name__} {number}: refused, and check finds nothing"
            except (StoreForeign, StoreVersion):
                pass
        seen["refused" if used_by == REFUSED else "used"] += 1
        shutil.rmtree(folder)
    assert damage in (one_bit, one_bit_of_a_page_header) or seen["refused"], seen


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were walked through; those of more than a page count as large."""
    walked: list[Path] = []

    def problems_of(path: Path) -> list[str]:
        walked.append(path)
        return page_check.problems_of(path)

    monkeypatch.setattr(header_module, "problems_of", problems_of)
    monkeypatch.setattr(page_check, "ALWAYS_WALKED", PAGE)
    return walked


def test_a_large_file_is_walked_through_once(home: Path, walks: list[Path]):
    environment = Environment(home)
    walks.clear()
    environment.close()
    assert voucher_file(home).stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        Environment(home).close()
        with Reader(home) as reader:
            assert reader.records() == []
    assert walks == []


def test_a_small_file_is_walked_through_each_time(home: Path, walks: list[Path], monkeypatch):
    monkeypatch.setattr(page_check, "ALWAYS_WALKED", 1 << 30)
    for _ in range(3):
        Environment(home).close()
    assert len(walks) == 3
    voucher_file(home).unlink()
    with Reader(home) as reader:
        reader.records()
    assert len(walks) == 4
    # Who only reads leaves nothing behind.
    assert not voucher_file(home).exists()


def test_a_file_that_has_grown_large_in_the_hands_of_one_who_was_killed_is_not(
    home: Path, walks, monkeypatch, program
):
    monkeypatch.setattr(page_check, "ALWAYS_WALKED", 1 << 20)
    grow = """
        import os, signal, sys
        from pathlib import Path
        from understudy.storage.batch import Batch
        from understudy.storage.environment import Environment
        from understudy.storage.tables.schema import Table

        environment = Environment(Path(sys.argv[1]))
        batch = Batch()
        for number in range(100):
            batch.put(Table.RESULTS, b"%016d" % number, bytes(20_000))
        environment.commit(batch)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert program(grow, home).wait() == -signal.SIGKILL
    assert store_file(home).stat().st_size > 1 << 20
    Environment(home).close()
    assert walks == []


def test_another_file_or_another_boot_is_walked_through_again(home: Path, tmp_path: Path, walks, monkeypatch):
    Environment(home).close()
    walks.clear()
    copied = tmp_path / "copy"
    shutil.copytree(home, copied)
    Environment(copied).close()
    assert walks == [store_file(copied)]
    boot = tmp_path / "boot_id"
    boot.write_text("the next one\n")
    monkeypatch.setattr(page_check, "_BOOT", boot)
    Environment(home).close()
    Environment(home).close()
    assert walks == [store_file(copied), store_file(home)]


def test_what_grew_large_or_was_compacted_here_is_vouched_for(home: Path, tmp_path: Path, walks, monkeypatch):
    monkeypatch.setattr(page_check, "ALWAYS_WALKED", 1 << 18)
    store_of(home)
    walks.clear()
    Environment(home).close()
    compact_offline(home)
    Environment(home).close()
    assert walks == []
    # A backup is another file, and walked when it is opened.
    backup(home, tmp_path / "backup")
    Environment(tmp_path / "backup").close()
    assert walks == [store_file(tmp_path / "backup")]


def test_readers_do_not_walk_through_what_a_living_writer_writes(home: Path, program):
    look = """
        import sys
        from pathlib import Path
        from understudy.storage.file import header, page_check
        from understudy.storage.reader import Reader

        walked = []
        header.problems_of = lambda path: walked.append(path) or page_check.problems_of(path)
        with Reader(Path(sys.argv[1])) as reader:
            reader.records()
        print(len(walked))
    """
    environment = Environment(home)
    assert locks.claimed(store_file(home))
    assert program(look, home).communicate()[0] == "0\n"
    environment.close()
    assert not locks.claimed(store_file(home))
    assert program(look, home).communicate()[0] == "1\n"


def test_the_claim_moves_to_the_file_that_a_compaction_made(home: Path, tmp_path: Path):
    environment = Environment(home)
    environment.compact()
    assert locks.claimed(store_file(home))
    environment.close()
    assert not locks.claimed(store_file(home))


def test_without_a_place_for_the_voucher_it_goes_on(home: Path, walks):
    voucher_file(home).mkdir(parents=True)
    Environment(home).close()
    Environment(home).close()
    assert len(walks) == 2
    assert not page_check.vouched_for(home / "nothing")


def test_a_file_that_a_writer_changes_meanwhile_is_looked_at_again(home: Path, walks, monkeypatch):
    monkeypatch.setattr(page_check, "ALWAYS_WALKED", 1 << 30)
    Environment(home).close()
    before = inspect(store_file(home))
    assert before is not None
    environment = Environment(home)
    looks = []

    def torn(path: Path) -> list[str]:
        # Somebody commits while we look, and we see half of it.
        batch = Batch()
        batch.put(Table.TASKS, b"k", b"v" * (len(looks) + 1))
        environment.commit(batch)
        looks.append(path)
        return ["page 7 is not what it should be"] if len(looks) < 3 else []

    monkeypatch.setattr(header_module, "problems_of", torn)
    monkeypatch.setattr(header_module, "claimed", lambda path: False)
    after = header_module.ensure_sound(store_file(home), before)
    assert len(looks) == 3
    assert after.txnid > before.txnid
    monkeypatch.setattr(header_module, "claimed", lambda path: True)
    looks.clear()
    header_module.ensure_sound(store_file(home), after)
    assert len(looks) == 1
    environment.close()


def test_a_store_that_cannot_be_claimed_is_not_opened(home: Path, monkeypatch):
    Environment(home).close()

    def gone(path: Path) -> int:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(environment_module, "claim", gone)
    with pytest.raises(Exception, match="cannot open"):
        Environment(home)


def test_a_copy_of_a_home_at_work_is_sound_or_refused(home: Path, tmp_path: Path):
    """Copied file by file under its writer's hands, with whatever lock files lie there."""
    store_of(home)
    environment = Environment(home, 1 << 20, durability="os")
    outcomes = set()
    for number in range(8):
        copied = tmp_path / str(number)
        copied.mkdir()
        with store_file(home).open("rb") as source, store_file(copied).open("wb") as target:
            while data := source.read(16 * PAGE):
                target.write(data)
                batch = Batch()
                for row in range(5):
                    batch.put(Table.TASKS, bytes([number, row]) + os.urandom(14), bytes(300))
                if number % 2:
                    batch.delete(Table.TASKS, bytes([number - 1, row]))
                environment.commit(batch)
        # Not of this home's: closing the file here would let go of the locks that LMDB has on it.
        lock_file(copied).write_bytes(os.urandom(8192))
        outcomes.add(in_a_child(use, copied))
    environment.close()
    assert outcomes <= {USED, REFUSED}
