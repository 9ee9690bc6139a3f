"""A chat agent that keeps its conversation although its worker is killed twice.

`agent` is one long `async def` task. It joins a chat room over a WebSocket and answers the questions there.
An operator sends it notes through its mailbox, and its tools are tasks of their own. Its checkpoint is the
history: questions, tool results and answers. A few rules stand in for a language model. Like a model, they
see only the history.

The room numbers the questions. When the agent joins, it says which number it has answered last, and the room
asks the later questions again. If the agent is killed between an answer and its checkpoint, it answers twice
and the room keeps the first answer. This program kills the agent's worker twice and checks that the
conversation is unchanged.

    python examples/chat_agent.py [--home FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from understudy import AsyncRuntime, Retry, aio, task

CONVERSATION = [
    ("Hello, my name is Ada.", "Hello, Ada. What can I do for you?"),
    ("What is 6 * 7?", "6 * 7 is 42."),
    ("And what is that plus 100?", "42 + 100 is 142."),
    ("When do you close?", "We close at six today."),
    ("What was my name again?", "You are Ada."),
    ("How many questions have I asked?", "Four, and this one."),
]
"""The customer's sentences and the agent's expected answers."""

KILL_AFTER = {1, 3}
"""The questions after which the agent's worker is killed."""

NOTE_BEFORE = 3
"""The question before which the operator sends the agent a note."""

Entry = dict[str, Any]


# --- the agent ---


@task(retry=Retry(attempts=100, delay=0.1))
def calculate(left: int, sign: str, right: int) -> int:
    """A tool of the agent's."""
    signs = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    return int(signs[sign](left, right))


@task(timeout=None, retry=Retry(attempts=1_000, delay=0.1))
async def agent(url: str) -> list[Entry]:
    """Answer until the room closes; returns the whole conversation."""
    history: list[Entry] = await aio.restore() or []

    async def join(room: aio.ws.Connection) -> None:
        await room.send({"op": "join", "answered": answered(history)})

    reconnect = aio.ws.Backoff(delay=0.05, marker=False)
    async with aio.ws.connect(url, reconnect=reconnect, on_connect=join) as room:
        while True:
            source, message = await aio.ws.select(room, aio.ws.mailbox)
            if message is None:
                return history
            if source is aio.ws.mailbox:
                history.append({"role": "operator", "text": message})
                await aio.checkpoint(history)
                continue
            if message["number"] <= answered(history):
                continue
            history.append({"role": "user", "text": message["text"], "number": message["number"]})
            while "text" not in (step := think(history)):
                call = step["call"]
                tool = await aio.start(calculate.options(key=f"{message['number']}: {call}"), *call)
                history.append({"role": "tool", "call": call, "value": await aio.result(tool)})
            await room.send({"op": "answer", "number": message["number"], "text": step["text"]})
            history.append({"role": "agent", "text": step["text"], "number": message["number"]})
            await aio.checkpoint(history)


def answered(history: list[Entry]) -> int:
    """The number of the last answered question."""
    return max((entry["number"] for entry in history if entry["role"] == "agent"), default=0)


def think(history: list[Entry]) -> Entry:
    """The next step: a tool to call, or the text to say. A real agent would ask a model."""
    last = history[-1]
    if last["role"] == "tool":
        left, sign, right = last["call"]
        return {"text": f"{left} {sign} {right} is {last['value']}."}
    said = last["text"]
    if asked := re.search(r"(\d+) ([-+*]) (\d+)", said):
        return {"call": [int(asked[1]), asked[2], int(asked[3])]}
    if asked := re.search(r"that plus (\d+)", said):
        before = next(entry["value"] for entry in reversed(history) if entry["role"] == "tool")
        return {"call": [before, "+", int(asked[1])]}
    names = [
        found[1] for entry in history if (found := re.search(r"my name is (\w+)", entry.get("text", "")))
    ]
    if "name is" in said:
        return {"text": f"Hello, {names[-1]}. What can I do for you?"}
    if "my name" in said:
        return {"text": f"You are {names[-1]}."}
    if "close" in said:
        notes = [entry["text"] for entry in history if entry["role"] == "operator"]
        return {"text": f"We close {notes[-1]} today."}
    questions = [e for e in history if e["role"] == "user" and e["text"].endswith("?")]
    return {"text": f"{['None', 'One', 'Two', 'Three', 'Four'][len(questions) - 1]}, and this one."}


# --- the room ---


class Room:
    """The chat room. It keeps the questions and the answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[int, str] = {}
        self.client: ServerConnection | None = None
        self.joined = 0
        self.news = asyncio.Condition()

    async def serve_client(self, client: ServerConnection) -> None:
        """One connection of the agent."""
        try:
            answered = json.loads(await client.recv())["answered"]
            async with self.news:
                self.client = client
                self.joined += 1
                for number in range(answered + 1, len(self.asked) + 1):
                    await self.pass_on(number)
                self.news.notify_all()
            async for text in client:
                answer = json.loads(text)
                async with self.news:
                    self.answers.setdefault(answer["number"], answer["text"])
                    self.news.notify_all()
        except ConnectionClosed:
            pass

    async def pass_on(self, number: int) -> None:
        """Ask the agent if it is connected. If not, it is asked when it joins."""
        assert self.client is not None
        try:
            await self.client.send(json.dumps({"number": number, "text": self.asked[number - 1]}))
        except ConnectionClosed:
            pass

    async def ask(self, text: str) -> str:
        """Ask a question and wait for the answer."""
        async with self.news:
            self.asked.append(text)
            number = len(self.asked)
            await self.pass_on(number)
            await self.news.wait_for(lambda: number in self.answers)
            return self.answers[number]

    async def here(self) -> None:
        """Wait until the agent has joined for the first time."""
        async with self.news:
            await self.news.wait_for(lambda: self.joined)


async def converse(home: Path) -> bool:
    """Hold the conversation and kill the worker; whether all answers were right."""
    room = Room()
    async with serve(room.serve_client, "127.0.0.1", 0) as server, AsyncRuntime(home, workers=2) as rt:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/room"
        info = await rt.start(agent, url)
        await room.here()
        right = True
        for number, (said, expected) in enumerate(CONVERSATION):
            if number == NOTE_BEFORE:
                await rt.send(info.id, "at six")
                while (await rt.status(info.id)).mailbox_depth:  # noqa: ASYNC110 - it reads the note first
                    await asyncio.sleep(0.01)
            print(f"customer: {said}")
            answer = await room.ask(said)
            print(f"   agent: {answer}")
            right = right and answer == expected
            if number in KILL_AFTER:
                pid = (await rt.status(info.id)).worker_pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                print(f"          (SIGKILL to the agent's worker, {pid})")
        assert room.client is not None
        await room.client.close(1000, "good night")
        history = await rt.result(info.id, timeout=30)
        record = await rt.status(info.id)
        begun = record.attempt + record.interruptions
    roles = [entry["role"] for entry in history]
    print(
        f"{roles.count('user')} questions, {roles.count('tool')} tools used, begun {begun} times, history intact"
    )
    return right and roles.count("user") == len(CONVERSATION)


def main() -> int:
    """Run the example; 0 if all answers were right."""
    parser = argparse.ArgumentParser(description="An agent in a chat, which is killed in the middle of it.")
    parser.add_argument("--home", type=Path, help="the home folder; by default a temporary one")
    arguments = parser.parse_args()
    home = arguments.home or Path(tempfile.mkdtemp(prefix="understudy-"))
    try:
        return 0 if asyncio.run(converse(home)) else 1
    finally:
        if arguments.home is None:
            shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
