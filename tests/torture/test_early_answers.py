"""No answer of an actor leaves before its commit: the disk is held back, and then the supervisor is killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actor_tasks import Account, Witness
from puppets import end, program, said
from theatre import PATIENCE, SERVE
from understudy import ActorFuture, ActorRef, Runtime

#: A supervisor whose commits wait while a file is there. The loop goes on meanwhile: the writer's thread commits all.
HELD = (
    """
import os, time
from understudy.storage.environment import Environment
from understudy.supervisor.tasks import commit_loop

commit_loop.FEW_ROWS = -1
commit = Environment.commit

def held(self, batch):
    while os.path.exists(sys.argv[2]):
        time.sleep(0.002)
    return commit(self, batch)

Environment.commit = held
"""
    + SERVE
)


@contextmanager
def supervisor(home: Path, held: Path) -> Iterator[tuple[subprocess.Popen[str], Runtime]]:
    arguments = [str(home), "actor_tasks", {"workers": 1, "slots": 1}]
    process = program(HELD, json.dumps(arguments), str(held))
    try:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            yield process, rt
    finally:
        end(process)


Deed = Callable[[ActorRef[Account]], ActorFuture[Any]]

#: What clients do, by the name of the actor to which they do it. Each of it changes something on disk.
DEEDS: dict[str, Deed] = {
    "ask": lambda ref: ref.submit(Account.deposit, 1),
    "ask under a key": lambda ref: ref.options(key="1").submit(Account.deposit, 1),
    "see a change": lambda ref: (ref.submit(Account.deposit, 1), ref.submit(Account.peek))[1],
    "fail under a key": lambda ref: ref.options(key="1").submit(Account.refuse, "no"),
    "tell": lambda ref: ref.tell({"deposit": 1}, block=False),
    "tell under a key": lambda ref: ref.options(key="1").tell({"deposit": 1}, block=False),
    "stop": lambda ref: ref.stop(block=False),
}


def test_no_answer_comes_before_its_commit(home: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    with supervisor(home, held) as (process, rt):
        accounts = {name: rt.actor(Account, name, "Ada") for name in DEEDS}
        witness = rt.actor(Witness)
        assert [ref.call(Account.peek) for ref in accounts.values()] == [0] * len(DEEDS)
        assert witness.call(Witness.here) == "here"
        held.touch()
        answers = {name: deed(accounts[name]) for name, deed in DEEDS.items()}
        # The only slot has them before this, and the answers come in their order.
        assert witness.options(timeout=PATIENCE).call(Witness.here) == "here"
        early = [name for name, answer in answers.items() if answer.done()]
        end(process)
    held.unlink()
    with supervisor(home, held) as (_, rt):
        # Nothing of it is there, so each answer would have been wrong.
        assert [rt.call(f"Account/{name}", "peek") for name in DEEDS] == [0] * len(DEEDS)
    assert early == []
