"""A bank that moves money between accounts while its workers, its supervisor and its clients are killed.

Each account is a class actor. `pay` takes the money and tells the other account to take it in; if the account
lacks the money, it raises, and nothing of it is left. Two tellers, programs of their own, ask for the
transfers, each under a key. A teller keeps nothing: one that is killed is started again, and asks for all its
transfers once more. This program SIGKILLs workers, the supervisor and tellers meanwhile. In the end it reads
the books of all accounts: each transfer must stand there once on both sides, or on neither if it was refused,
as its teller was told, and the bank must hold as much money as before. If not, the exit code is 1.

    python examples/bank.py [--transfers NUMBER] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from understudy import Actor, ActorRef, Runtime

OPENING = 100
"""What each account holds at first."""
OWNERS = ["ada", "bob", "cem", "dot", "eve", "fay", "gil", "hal"]
TELLERS = 2
AT_ONCE = 4
"""Transfers that one teller asks for at the same time."""
KILLS = [
    (0.15, "worker"),
    (0.3, "teller"),
    (0.45, "supervisor"),
    (0.6, "worker"),
    (0.7, "supervisor"),
    (0.8, "teller"),
]
"""The share of the transfers after which a process is killed, and which one."""

PAID, REFUSED = "paid", "refused"


# --- the accounts ---


class Overdrawn(Exception):
    """An account lacks the money."""


class Account(Actor, durable=True):
    """An account: its balance, and in its storage a row for each transfer."""

    def __init__(self, owner: str) -> None:
        self.owner, self.balance = owner, OPENING

    def pay(self, to: ActorRef[Account], amount: int, transfer: int) -> int:
        """Pay another account; what is left."""
        to.cast(Account.take_in, amount, transfer)  # leaves if this method returns
        self.storage[f"{transfer:06}"] = -amount
        self.balance -= amount
        if self.balance < 0:
            raise Overdrawn(f"{self.owner} lacks {-self.balance}")
        return self.balance

    def take_in(self, amount: int, transfer: int) -> None:
        """Take in what another account pays."""
        self.storage[f"{transfer:06}"] = amount
        self.balance += amount

    def book(self) -> tuple[int, dict[int, int]]:
        """The balance, and the amount of each transfer by its number."""
        return self.balance, {int(number): amount for number, amount in self.storage.items()}


@dataclass(frozen=True)
class Transfer:
    """Money that is to be moved."""

    number: int
    payer: str
    payee: str
    amount: int


def transfers(count: int) -> list[Transfer]:
    """The day's transfers, the same at each call."""
    rng = random.Random(1)
    day = []
    for number in range(count):
        payer, payee = rng.sample(OWNERS, 2)
        day.append(Transfer(number, payer, payee, rng.randrange(1, 80)))
    return day


# --- a teller: a program that knows only its list ---


def teller(home: Path, count: int, part: int) -> None:
    """Ask for every transfer of this part of the day, and print what became of each."""
    with Runtime.connect(home) as rt, ThreadPoolExecutor(AT_ONCE) as threads:
        accounts = {owner: rt.actor(Account, owner, owner) for owner in OWNERS}

        def ask_for(transfer: Transfer) -> str:
            payer = accounts[transfer.payer].options(key=f"transfer {transfer.number}")
            try:
                payer.call(Account.pay, accounts[transfer.payee], transfer.amount, transfer.number)
            except Overdrawn:
                return f"{transfer.number} {REFUSED}"
            return f"{transfer.number} {PAID}"

        for answer in threads.map(ask_for, transfers(count)[part::TELLERS]):
            print(answer, flush=True)


class Tellers:
    """The tellers' programs. One that was killed is started again."""

    def __init__(self, home: Path, count: int) -> None:
        self.told: dict[int, set[str]] = {}
        """What the tellers were told of each transfer; more than one thing would be wrong."""
        self.news = threading.Condition()
        self.running: dict[int, subprocess.Popen[str]] = {}
        self._command = [sys.executable, __file__, "--home", str(home), "--transfers", str(count)]
        self._threads = [threading.Thread(target=self._keep, args=(part,)) for part in range(TELLERS)]
        for thread in self._threads:
            thread.start()

    def _keep(self, part: int) -> None:
        while True:
            with subprocess.Popen(
                [*self._command, "--teller", str(part)], stdout=subprocess.PIPE, text=True
            ) as process:
                self.running[part] = process
                assert process.stdout is not None
                for line in process.stdout:
                    number, outcome = line.split()
                    with self.news:
                        self.told.setdefault(int(number), set()).add(outcome)
                        self.news.notify_all()
            if process.returncode != -signal.SIGKILL:
                return

    def wait_for(self, number: int) -> None:
        """Wait until the tellers were told of so many transfers, or are gone."""
        with self.news:
            while len(self.told) < number and any(thread.is_alive() for thread in self._threads):
                self.news.wait(timeout=0.1)

    def kill(self) -> int:
        """Kill one that runs; its pid."""
        process = max(self.running.values(), key=lambda process: process.poll() is None)
        process.kill()
        return process.pid

    def join(self) -> None:
        """Wait until all is done."""
        for thread in self._threads:
            thread.join()


# --- the proof ---


def faults(rt: Runtime, day: list[Transfer], told: dict[int, set[str]]) -> list[str]:
    """What is wrong in the books."""
    books = {owner: rt.actor(Account, owner, owner).call(Account.book) for owner in OWNERS}
    found = [
        f"{owner} holds {balance}, and the book says {OPENING + sum(rows.values())}"
        for owner, (balance, rows) in books.items()
        if balance != OPENING + sum(rows.values())
    ]
    if (held := sum(balance for balance, _ in books.values())) != OPENING * len(OWNERS):
        found.append(f"the bank holds {held}, and held {OPENING * len(OWNERS)}")
    for transfer in day:
        rows = {owner: book[transfer.number] for owner, (_, book) in books.items() if transfer.number in book}
        paid = {transfer.payer: -transfer.amount, transfer.payee: transfer.amount}
        if rows != (paid if told.get(transfer.number) == {PAID} else {}) or transfer.number not in told:
            found.append(
                f"{transfer}: the tellers were told {told.get(transfer.number)}, the books say {rows}"
            )
    return found


def worker(rt: Runtime) -> int:
    """The pid of a worker."""
    while not (workers := rt.tree()["workers"]):
        time.sleep(0.01)
    pid: int = workers[0]["pid"]
    return pid


def run(home: Path, count: int) -> bool:
    """Move the money, kill, and read the books; whether all is right."""
    day = transfers(count)
    killed: Counter[str] = Counter()
    with Runtime(home, workers=2, max_crashes=1_000) as rt:
        print(f"{len(OWNERS)} accounts with {OPENING} each, {count} transfers, {TELLERS} tellers")
        tellers = Tellers(home, count)
        for part, what in KILLS:
            tellers.wait_for(int(part * count))
            if what == "teller":
                pid = tellers.kill()
            else:
                pid = rt.supervisor_pid if what == "supervisor" else worker(rt)
                os.kill(pid, signal.SIGKILL)
            killed[what] += 1
            print(f"{len(tellers.told):5} transfers answered: SIGKILL to the {what} {pid}")
        tellers.join()
        found = faults(rt, day, tellers.told)
    for fault in found:
        print(fault)
    refused = sum(outcomes == {REFUSED} for outcomes in tellers.told.values())
    print(f"{count - refused} transfers stand in both books once, {refused} refused ones in none")
    print(
        f"{'exact' if not found else 'NOT exact'}: the bank holds {OPENING * len(OWNERS)}, as before", end=" "
    )
    print(f"({', '.join(f'{number} {what}s killed' for what, number in killed.items())})")
    return not found


def main() -> int:
    """Run the example; 0 if the books are right."""
    parser = argparse.ArgumentParser(description="A bank that is killed while it moves money.")
    parser.add_argument("--transfers", type=int, default=2_000, help="transfers of the day")
    parser.add_argument("--home", type=Path, help="the home folder; by default a temporary one")
    parser.add_argument("--teller", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.teller is not None:
        teller(arguments.home, arguments.transfers, arguments.teller)
        return 0
    home = arguments.home or Path(tempfile.mkdtemp(prefix="understudy-"))
    try:
        return 0 if run(home, arguments.transfers) else 1
    finally:
        if arguments.home is None:
            shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
