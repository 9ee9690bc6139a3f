"""Class actors with real processes: transactions, names, rest, reminders, poison, circles, and kills of everything."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import money
from money import (
    Account,
    AsyncHermit,
    Brief,
    BriefHermit,
    Fussy,
    Gate,
    Hermit,
    Hoarder,
    Journal,
    Link,
    Neighbour,
    Patient,
    Scribe,
    Shelf,
    Volatile,
    Window,
)
from theatre import PATIENCE, for_many_tests, kill, ready
from understudy import (
    ActivationFailed,
    ActorDeadError,
    ActorFuture,
    ActorRef,
    AskTimeout,
    Deadlock,
    MailboxFull,
    Poisoned,
    ReadOnly,
    RemoteError,
    Runtime,
    State,
    UnencodableValue,
    ValueTooLarge,
)
from waiting import until

MIB = 1 << 20

#: Threads that send at once, and messages of each.
SENDERS = 4
EACH = 25
#: How often an actor is put to rest while its sender sends, and rows of a large storage: `make actors` has more.
RESTS = int(os.environ.get("UNDERSTUDY_RESTS", "20"))
ROWS = int(os.environ.get("UNDERSTUDY_ROWS", "2000"))


def serve(home: Path, **settings: Any) -> Runtime:
    return Runtime(home, **{"app": "money", "workers": 2, "drain": 1.0, **settings})


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    with for_many_tests(serve(home, restarts=1_000)) as runtime:
        yield runtime


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


# --- messages ---


def test_calls_tells_and_asks_in_their_order(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name, "Ada")
    assert ref.call(Account.deposit, 5) == 5
    ref.tell({"n": 10})
    assert ref.ask({"n": 1}) == 16
    assert ref.proxy().deposit(4).get() == 20
    assert ref.proxy().owner.get() == "Ada"
    for n in range(200):
        ref.cast(Account.numbered, n)
    assert ref.proxy().order.get() == list(range(200))


def test_one_name_is_one_actor(rt: Runtime, name: str) -> None:
    with ThreadPoolExecutor(16) as threads:
        refs = set(threads.map(lambda _: rt.actor(Account, name, "Ada"), range(64)))
    (ref,) = refs
    assert rt.lookup(Account, name) == ref
    assert rt.lookup(Account, f"no {name}") is None
    assert rt.actor(Journal, name) != ref, "the class belongs to the name"
    assert ref in rt.actors(Account, prefix=name)
    assert ref.is_alive()


def test_an_actor_knows_itself(rt: Runtime, name: str) -> None:
    ref = rt.actor(Link, name)
    other = rt.actor(Link, f"other {name}", ref)
    assert other.proxy().next.get() == ref, "a reference is a value"


def test_an_error_rolls_back_and_the_actor_lives_on(rt: Runtime, name: str) -> None:
    journal = rt.actor(Journal, name)
    ref = rt.actor(Account, name, "Ada", journal)
    ref.call(Account.deposit, 5)
    with pytest.raises(ValueError, match="no 3") as caught:
        ref.call(Account.fail_after, 3)
    assert isinstance(caught.value, RemoteError)
    assert "fail_after" in caught.value.traceback
    assert ref.call(Account.peek) == 5
    assert ref.call(Account.entries) == 0
    assert journal.call(Journal.sums) == (5, 1)


def test_a_tell_that_fails_is_a_dead_letter(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    ref.cast(Account.fail_after, 3)
    ref.cast(Account.deposit, 1)
    assert ref.call(Account.peek) == 1
    (dead,) = until(lambda: rt.dead_letters(ref), PATIENCE)
    assert dead.error.type == "ValueError"
    assert rt.redrive(ref) == 1
    until(lambda: [each.id for each in rt.dead_letters(ref)] != [dead.id], PATIENCE)


def test_state_that_cannot_be_kept_fails_its_message(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    ref.call(Account.deposit, 5)
    with pytest.raises(UnencodableValue):
        ref.call(Account.unencodable)
    with pytest.raises(ValueTooLarge):
        ref.call(Account.grow, 2_000_000)
    assert ref.call(Account.peek) == 5


def test_storage_is_rows_of_its_own(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    for n in range(50):
        ref.cast(Account.record, n)
    assert ref.call(Account.entries) == sum(range(50))


def test_a_key_is_done_once(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name).options(key="order-17")
    assert [ref.call(Account.deposit, 5) for _ in range(3)] == [5, 5, 5]
    other = rt.actor(Account, name).options(key="order-18")
    for _ in range(3):
        other.cast(Account.deposit, 1)
    assert rt.actor(Account, name).call(Account.peek) == 6


def test_after_a_timeout_the_same_key_gives_the_answer(rt: Runtime, name: str) -> None:
    slow = rt.actor(Link, name)
    ref = slow.options(key="once", timeout=0.0)
    with pytest.raises(AskTimeout):
        ref.call(Link.pass_on)
    assert ref.options(timeout=PATIENCE).call(Link.pass_on) == 1
    assert slow.call(Link.seen) == 1


def test_an_actor_is_stopped_and_its_name_is_free(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    ref.cast(Account.deposit, 5)
    assert ref.stop()
    assert not ref.stop()
    assert rt.result(ref.id) == 5
    assert rt.status(ref.id).state is State.COMPLETED
    with pytest.raises(ActorDeadError):
        ref.call(Account.peek)
    with pytest.raises(ActorDeadError):
        ref.tell({"n": 1})
    assert rt.actor(Account, name).call(Account.peek) == 0


# --- waiting for each other ---


def test_a_chain_of_actors(rt: Runtime, name: str) -> None:
    refs: list[ActorRef[Link]] = []
    for n in range(20):
        refs.append(rt.actor(Link, f"{name} {n}", *refs[-1:]))
    assert refs[-1].call(Link.pass_on) == 1, "more than there are slots: an actor that waits holds none"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_is_refused_at_once(rt: Runtime, name: str, length: int) -> None:
    refs = [rt.actor(Link, f"{name} {n}") for n in range(length)]
    for ref, following in zip(refs, [*refs[1:], refs[0]], strict=True):
        ref.call(Link.join, following)
    began = time.monotonic()
    with pytest.raises(Deadlock, match=" -> "):
        refs[0].call(Link.pass_on)
    assert time.monotonic() - began < PATIENCE
    assert refs[0].call(Link.seen) == 0, "rolled back"


def test_a_read_only_method_runs_while_another_waits(rt: Runtime, name: str) -> None:
    other = rt.actor(Link, f"other {name}")
    ref = rt.actor(Link, name, other)
    assert ref.call(Link.ask_with_me) == 1, "it sees what is not committed"


def test_a_read_only_method_runs_while_an_async_one_is_suspended(
    rt: Runtime, name: str, tmp_path: Path
) -> None:
    ref = rt.actor(Window, name)
    last = ref.submit(Window.last, str(tmp_path / "file"))
    assert until(lambda: ref.call(Window.counted)) == 1, "it sees what is not committed"
    assert not last.done()
    (tmp_path / "file").touch()
    assert last.get(timeout=PATIENCE) == 1


def test_a_read_only_method_changes_nothing(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    with pytest.raises(ReadOnly):
        ref.call(Account.spoil)
    assert ref.call(Account.peek) == 0


# --- life ---

#: A client whose threads want one name at once, when they are told.
WANTS = """
import json, threading
from concurrent.futures import ThreadPoolExecutor
from money import Account
from understudy import Runtime

with Runtime.connect(sys.argv[1]) as rt:
    ready = threading.Barrier(16)
    def want(_):
        ready.wait()
        return rt.actor(Account, "the one").call(Account.deposit, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(16) as threads:
        print(json.dumps(list(threads.map(want, range(16)))), flush=True)
"""


def test_64_threads_of_4_processes_that_want_one_name_get_one_actor(rt: Runtime) -> None:
    path = os.pathsep.join(sys.path)
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", "import sys\n" + WANTS, rt.home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(4)
    ]
    try:
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
        replies = [n for client in clients for n in json.loads(client.communicate(timeout=PATIENCE)[0])]
    finally:
        for client in clients:
            with client:
                client.kill()
    assert sorted(replies) == list(range(1, 65))
    assert [ref.name for ref in rt.actors(Account, prefix="the one")] == ["the one"]


#: An app whose attributes have another meaning in version 2.
VERSION_1 = """
from understudy import Actor

class Tank(Actor, durable=True):
    def __init__(self):
        self.litres = 0
    def fill(self, litres):
        self.litres += litres
        return self.litres
"""
VERSION_2 = """
from understudy import Actor

class Tank(Actor, durable=True, state_version=2):
    def __init__(self):
        self.millilitres = 0
    def fill(self, litres):
        self.millilitres += 1000 * litres
        return self.millilitres
    @classmethod
    def upgrade(cls, state, version):
        return {"millilitres": 1000 * state["litres"]}
"""


def test_deploys_of_other_versions_of_the_state_harm_nothing(home: Path, tmp_path: Path) -> None:
    app = tmp_path / "tanks.py"

    def deployed(code: str) -> Runtime:
        app.write_text(code)
        return Runtime(home, app=str(app), workers=1, drain=1.0)

    def fill(rt: Runtime, litres: int) -> int:
        return rt.actor("tanks:Tank", "tank").call("fill", litres)

    with deployed(VERSION_1) as rt:
        assert fill(rt, 5) == 5
    for code in (
        VERSION_2.replace('litres"]}', 'absent"]}'),
        VERSION_2.replace("version):", "version, no):"),
    ):
        with deployed(code) as rt:
            rt.actor("tanks:Tank", "tank").cast("fill", 1)
            with pytest.raises(ActivationFailed):
                fill(rt, 100)
    with deployed(VERSION_1) as rt:
        assert fill(rt, 0) == 7, "what was told while it could not be built"
    with deployed(VERSION_2) as rt:
        assert fill(rt, 1) == 8_000
    with deployed(VERSION_1) as rt:
        rt.actor("tanks:Tank", "tank").cast("fill", 2)
        with pytest.raises(ActivationFailed, match="state_version 1"):
            fill(rt, 100)
    with deployed(VERSION_2) as rt:
        assert fill(rt, 0) == 10_000


def test_a_large_storage_is_read_as_it_is_used(rt: Runtime, name: str) -> None:
    ref = rt.actor(Shelf, name)
    ref.call(Shelf.fill, ROWS)
    assert ref.call(Shelf.counts) == (ROWS + 1, sum(range(ROWS)))
    assert ref.call(Shelf.first, f"book/{ROWS - 1:06}") == (f"book/{ROWS - 1:06}", ROWS - 1)
    began = time.perf_counter()
    assert ref.call(Shelf.first, "book/") == ("book/000000", 0)
    assert time.perf_counter() - began < 1.0


def test_a_reminder_comes_as_a_message(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    ref.call(Account.remind_me, 0.01, 7)
    until(lambda: ref.call(Account.peek) == 7, PATIENCE)


def test_the_status_names_the_worker_that_has_an_actor_in_memory(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    for _ in range(3):
        pid = ref.call(Account.pid)
        assert ref.status().worker_pid == rt.status(ref.id).worker_pid == pid
        assert ref.status().state is State.IDLE
    assert ref.call(Account.leave) == pid
    until(lambda: ref.status().worker_pid is None, PATIENCE)
    kill(ref.call(Account.pid))
    until(lambda: ref.status().worker_pid is None, PATIENCE)


@pytest.mark.parametrize(
    ("cls", "method"), [(Hermit, Hermit.add), (AsyncHermit, AsyncHermit.add_slowly)], ids=["sync", "async"]
)
def test_an_isolated_actor_keeps_its_process(rt: Runtime, name: str, cls: Any, method: Any) -> None:
    ref, other = rt.actor(cls, name), rt.actor(cls, f"{name}, other")
    pid, *counts = ref.call(method)
    assert counts == [1, 1]
    assert other.call(method)[0] != pid
    for n in range(2, 6):
        assert ref.call(method) == (pid, 1, n)
        assert ref.status().worker_pid == pid
    assert ref.call(cls.leave) == pid
    until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)
    fresh, *counts = ref.call(method)
    assert fresh != pid
    assert counts == [1, 6]
    kill(fresh)
    assert ref.call(method)[1:] == (1, 7)


def test_the_process_of_an_isolated_actor_ends_when_it_is_passive(rt: Runtime, name: str) -> None:
    pid, *_ = rt.actor(BriefHermit, name).call(BriefHermit.add)
    until(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE)


def test_so_many_isolated_actors_keep_their_processes_and_no_more(home: Path) -> None:
    with serve(home, isolated=2, workers=1) as rt:
        refs = [rt.actor(Hermit, f"{n}") for n in range(5)]
        for round_ in range(1, 3):
            assert [ref.call(Hermit.add)[2] for ref in refs] == [round_] * 5
        until(lambda: sum(worker["alone"] for worker in rt.tree()["workers"]) == 2, PATIENCE)
        kept = [ref for ref in refs if ref.status().worker_pid is not None]
        assert kept == refs[-2:], "those that have rested longest have left"
        pids = [ref.status().worker_pid for ref in kept]
        assert [ref.call(Hermit.add)[0] for ref in kept] == pids


def test_what_an_actor_with_captured_output_writes_in_each_turn_is_in_its_log(rt: Runtime, name: str) -> None:
    ref = rt.actor(Scribe, name)
    assert len({ref.call(Scribe.say, f"line {n}") for n in range(4)}) == 1
    until(lambda: [line.text for line in rt.logs(ref.id)] == [f"line {n}" for n in range(4)], PATIENCE)


def test_the_memory_of_an_actor_that_keeps_its_process_is_watched(rt: Runtime, name: str) -> None:
    ref = rt.actor(Hoarder, name)
    pid = ref.call(Hoarder.take, 1)
    assert ref.call(Hoarder.take, 1) == pid
    with pytest.raises(RemoteError, match="memory_limit"):
        ref.call(Hoarder.take, 400)
    assert ref.call(Hoarder.take, 1) != pid


def test_a_status_is_read_although_no_supervisor_answers(rt: Runtime, name: str) -> None:
    ref = rt.actor(Account, name)
    ref.call(Account.deposit, 5)
    os.kill(rt.supervisor_pid, signal.SIGSTOP)
    try:
        record = ref.status()
    finally:
        os.kill(rt.supervisor_pid, signal.SIGCONT)
    assert (record.state, record.worker_pid) == (State.IDLE, None)


def test_no_message_falls_between_rest_and_work(rt: Runtime, name: str) -> None:
    ref = rt.actor(Brief, name)
    chance = random.Random(1)
    n = 0
    while n < 300 or n % 50 or ref.call(Brief.rested) < RESTS:
        n += 1
        assert ref.call(Brief.add) == n
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.003))  # so that it is being put to rest, now and then


@pytest.mark.parametrize("how", ["not now", "kill", "hang"])
def test_activation_is_tried_again_and_loses_no_tell(
    rt: Runtime, name: str, tmp_path: Path, how: str
) -> None:
    blocker = tmp_path / "blocker"
    blocker.write_text(how)
    ref = rt.actor(Fussy, name, str(blocker))
    ref.cast(Fussy.add)
    for _ in range(4 if how == "kill" else 1):
        with pytest.raises(
            ActivationFailed, match={"kill": "SIGKILL", "hang": "longer than 0.5 s"}.get(how, how)
        ):
            ref.call(Fussy.add)
    blocker.unlink()

    def answered() -> int | None:
        try:
            return ref.call(Fussy.add)
        except ActivationFailed:
            return None

    assert until(answered, PATIENCE) == 2


def test_an_actor_without_durable_state(rt: Runtime, name: str) -> None:
    ref = rt.actor(Volatile, name)
    assert [ref.call(Volatile.add) for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="no"):
        ref.call(Volatile.fail)
    assert ref.call(Volatile.add) == 6
    ref.cast(Volatile.fail)
    until(lambda: not ref.is_alive(), PATIENCE)
    with pytest.raises(ActorDeadError):
        ref.call(Volatile.add)


def test_no_answer_ends_its_worker(home: Path) -> None:
    with serve(home, workers=1, value_limit=MIB) as rt:
        refs: list[ActorRef[Any]] = [rt.actor(Account, "ada"), rt.actor(Volatile, "v")]
        for ref in refs:
            for size in range(MIB - 20, MIB):
                with suppress(ValueTooLarge):
                    assert ref.call("large", size) == "x" * size
            with pytest.raises(AttributeError):
                ref.call("absent")
        assert refs[1].call(Volatile.add) == 1, "it died with the worker"


# --- kills ---


def test_an_ask_outlives_its_worker(home: Path, tmp_path: Path) -> None:
    with serve(home) as rt:
        ref = rt.actor(Account, "ada")
        ref.call(Account.deposit, 5)
        assert ref.call(Account.kill_worker_once, str(tmp_path / "mark")) == 6
        volatile = rt.actor(Volatile, "v")
        volatile.call(Volatile.add)
        with pytest.raises(ActorDeadError):
            volatile.call(Volatile.kill_worker)


def test_poison_among_good_messages(home: Path) -> None:
    with serve(home, restarts=100, durability="os") as rt:
        ref = rt.actor(Account, "ada")
        for n in range(1_000):
            ref.cast(Account.numbered, n)
            if n == 500:
                asked = ref.submit(Account.kill_worker)
        with pytest.raises(Poisoned):
            asked.get(timeout=4 * PATIENCE)
        assert ref.proxy().order.get(timeout=PATIENCE) == list(range(1_000))
        (dead,) = rt.dead_letters(ref)
        assert dead.error.type == "Poisoned"


def test_a_method_that_hangs_fails_alone(home: Path) -> None:
    with serve(home, restarts=100) as rt:
        ref = rt.actor(money.Hasty, "ada")
        with pytest.raises(RemoteError, match="longer than"):
            ref.call(money.Hasty.hang)
        assert ref.call(money.Hasty.add) == 1


def test_an_answer_does_not_wait_for_the_message_behind_it(home: Path, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / "file"
    with serve(home) as rt:
        ref = rt.actor(Gate, "ada")
        ref.call(Gate.add)
        quick = [ref.submit(Gate.add) for _ in range(5)]
        ref.cast(Gate.last, str(mark), str(file))
        behind = ref.submit(Gate.add)
        assert [future.get(timeout=PATIENCE) for future in quick] == [2, 3, 4, 5, 6]
        file.touch()
        assert behind.get(timeout=PATIENCE) == 8


def test_a_method_that_takes_too_long_runs_once_whatever_stands_around_it(home: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with serve(home, restarts=100) as rt:
        ref = rt.actor(Gate, "ada")
        before = [ref.submit(Gate.add) for _ in range(5)]
        slow = ref.submit(Gate.last, str(mark), "/nonexistent")
        behind = ref.submit(Gate.add)
        with pytest.raises(RemoteError, match="longer than"):
            slow.get(timeout=PATIENCE)
        assert [future.get(timeout=PATIENCE) for future in (*before, behind)] == [1, 2, 3, 4, 5, 6]
    assert mark.read_text(encoding="ascii") == "begun\n"


def test_a_full_mailbox_is_the_senders_matter(home: Path) -> None:
    with serve(home, mailbox_messages=10) as rt:
        ref = rt.actor(money.Hasty, "ada")
        ref.cast(money.Hasty.doze, 0.5)
        with pytest.raises(MailboxFull):
            flood(ref)


def test_an_actor_that_waits_for_one_that_waits_for_its_room(home: Path, tmp_path: Path) -> None:
    with serve(home, mailbox_messages=2) as rt:
        ada, bob = (rt.actor(Neighbour, name) for name in ("ada", "bob"))
        go = tmp_path / "go"
        asks = ada.submit(Neighbour.asks, str(go), bob)
        ada.tell("her mailbox is full")
        tells = bob.submit(Neighbour.tells, ada)
        go.touch()
        # The one that closes the circle fails, whichever it is; the other one goes on.
        ends = [outcome(future) for future in (asks, tells)]
        assert ends in ([Deadlock, None], [0, MailboxFull])
        heard = 2 if ends[1] is None else 1
        until(lambda: outcome(ada.submit(Neighbour.heard)) == heard)


def test_more_bytes_of_messages_than_a_worker_reads_at_once(home: Path, tmp_path: Path) -> None:
    with serve(home, value_limit=MIB) as rt:
        ada, bob = (rt.actor(Neighbour, name) for name in ("ada", "bob"))
        before = ready(rt, 2)
        asks = ada.submit(Neighbour.asks, str(tmp_path / "go"), bob)
        for _ in range(40):
            ada.tell("x" * 900_000)
        (tmp_path / "go").touch()
        assert asks.get(timeout=PATIENCE) == 0
        assert ada.call(Neighbour.heard) == 40
        assert ready(rt, 2) == before, "no worker has died of it"


def outcome(future: ActorFuture[Any]) -> object:
    try:
        return future.get(timeout=PATIENCE)
    except (Deadlock, MailboxFull) as error:
        return next(kind for kind in (Deadlock, MailboxFull) if isinstance(error, kind))


def test_a_cancel_ends_an_actor_in_the_middle_of_a_message(rt: Runtime, name: str, tmp_path: Path) -> None:
    ref = rt.actor(Patient, name)
    asked = ref.submit(Patient.wait_once, str(tmp_path / "mark"))
    until((tmp_path / "mark").exists, PATIENCE)
    assert rt.cancel(ref.id)
    with pytest.raises(ActorDeadError):
        asked.get(timeout=PATIENCE)
    assert rt.wait(ref.id, PATIENCE).state is State.CANCELLED
    assert rt.actor(Patient, name).call(Patient.counted) == 0


def test_a_drain_in_the_middle_of_a_message_does_it_again(home: Path, tmp_path: Path) -> None:
    with serve(home) as rt:
        ref = rt.actor(Patient, "ada")
        ref.cast(Patient.wait_once, str(tmp_path / "mark"))
        until((tmp_path / "mark").exists, PATIENCE)
        assert ref.call(Patient.counted) == 1, "asked aside, it sees what is not committed"
    with serve(home) as rt:
        again = rt.actor(Patient, "ada")
        until(lambda: again.proxy().count.get() == 1, PATIENCE)
        assert rt.dead_letters(again) == []


def flood(ref: ActorRef[money.Hasty]) -> None:
    for _ in range(1_000):
        ref.cast(money.Hasty.add)


def stormed(
    rt: Runtime, act: Callable[[int, int], None], victims: Callable[[], list[int]], kills: int
) -> None:
    """Have SENDERS threads act EACH times while processes are killed."""
    failures: list[BaseException] = []
    over = threading.Event()

    def go(sender: int) -> None:
        try:
            for n in range(EACH):
                act(sender, n)
        except BaseException as error:  # noqa: BLE001 - raised again by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=go, args=(sender,)) for sender in range(SENDERS)]

    def strike() -> None:
        chance = random.Random(7)
        for _ in range(kills):
            if over.wait(chance.uniform(0.01, 0.2)):
                return
            for pid in victims()[:1]:
                try:
                    kill(pid)
                except ProcessLookupError:
                    continue

    killer = threading.Thread(target=strike)
    for thread in (*threads, killer):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    killer.join()
    if failures:
        raise failures[0]


def workers_of(rt: Runtime) -> list[int]:
    return [worker["pid"] for worker in rt.tree()["workers"] if worker["pid"]]


@pytest.mark.parametrize("victim", ["worker", "supervisor"])
def test_money_is_exact_whatever_is_killed(home: Path, victim: str) -> None:
    """Through a chain of three: one account moves money to another, which tells a journal."""
    with serve(home, restarts=1_000, max_crashes=1_000) as rt:
        ready(rt, 2)
        journal = rt.actor(Journal, "journal")
        target = rt.actor(Account, "target", "", journal)
        sources = [rt.actor(Account, f"source {n}") for n in range(SENDERS)]

        def act(sender: int, n: int) -> None:
            sources[sender].call(Account.move, target, 1)
            sources[sender].options(key=f"number {n}").cast(Account.numbered, n)

        def victims() -> list[int]:
            if victim == "supervisor":
                return [rt.supervisor_pid]
            pids = workers_of(rt)
            random.shuffle(pids)
            return pids

        stormed(rt, act, victims, 8 if victim == "worker" else 4)
        total = SENDERS * EACH
        assert [source.call(Account.peek) for source in sources] == [-EACH] * SENDERS
        assert [source.proxy().order.get() for source in sources] == [list(range(EACH))] * SENDERS
        assert target.call(Account.peek) == total
        until(lambda: journal.call(Journal.sums) == (total, total), PATIENCE)
        assert all(rt.dead_letters(ref) == [] for ref in (journal, target, *sources))


def test_actors_and_their_reminders_outlive_a_restart(home: Path) -> None:
    with serve(home) as rt:
        ref = rt.actor(Account, "ada")
        ref.call(Account.deposit, 5)
        ref.call(Account.remind_me, 0.5, 7)
        volatile = rt.actor(Volatile, "v")
        assert volatile.call(Volatile.add) == 1
    with serve(home) as rt:
        again = rt.lookup(Account, "ada")
        assert again == ref
        until(lambda: again.call(Account.peek) == 12, PATIENCE)
        assert rt.status(volatile.id).state is State.FAILED
        assert rt.lookup(Volatile, "v") is None
