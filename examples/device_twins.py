"""Twins of devices: what each device should be, what it says it is, and a reminder that notices its silence.

Each twin is a class actor. A heartbeat stores what the device reports, answers with what it should change, and
sets a reminder anew; if no heartbeat comes for a second, the reminder marks the device as offline and tells the
fleet. A twin that has nothing to do leaves memory; a heartbeat, an order or its reminder brings it back. What
happened is a row each in the twin's storage.

This program plays the devices. Every fourth one falls silent, and a worker and the supervisor are killed
meanwhile. In the end the history of each twin must hold each heartbeat, order and silence of its device exactly
once and in order, the fleet must have heard of each silence once, and each device must be what it should be.
If not, the exit code is 1.

    python examples/device_twins.py [--devices NUMBER] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from understudy import Actor, ActorRef, Runtime, get_all, read_only

SILENCE = 1.0
"""Seconds without a heartbeat after which a device is offline."""
PAUSE = 0.2
"""Seconds between two heartbeats."""

Settings = dict[str, Any]


# --- the actors ---


class Fleet(Actor, durable=True):
    """Counts how often each device has gone offline."""

    def __init__(self) -> None:
        self.silences: dict[str, int] = {}

    def went_offline(self, device: str) -> None:
        """One device is silent."""
        self.silences[device] = self.silences.get(device, 0) + 1

    @read_only
    def report(self) -> dict[str, int]:
        """The number of silences by device."""
        return self.silences


class Twin(Actor, durable=True, idle=0.5):
    """What is known of one device."""

    def __init__(self, device: str, fleet: ActorRef[Fleet]) -> None:
        self.device, self.fleet = device, fleet
        self.desired: Settings = {}
        self.reported: Settings = {}
        self.online = False
        self.beats = self.rows = 0

    def heartbeat(self, number: int, reported: Settings) -> Settings:
        """The device lives; what it should change."""
        self.beats, self.reported, self.online = number, reported, True
        self.write(f"heartbeat {number}")
        self.remind("silence", Twin.notice_silence, number, delay=SILENCE)  # in place of the last one
        return {name: value for name, value in self.desired.items() if reported.get(name) != value}

    def order(self, name: str, value: Any) -> None:
        """The operator wants the device to be so."""
        self.desired[name] = value
        self.write(f"order {name}={value}")

    def notice_silence(self, beats: int) -> None:
        """The device is offline, unless a heartbeat came just before this."""
        if beats == self.beats:
            self.online = False
            self.write("offline")
            self.fleet.cast(Fleet.went_offline, self.device)

    def write(self, event: str) -> None:
        """Add a row to the history."""
        self.storage[f"{self.rows:08}"] = event
        self.rows += 1

    def on_stop(self) -> list[str]:
        """The device is taken out of service; all that has happened."""
        return list(self.storage.values())


# --- the devices ---


class Device:
    """A simulated device. It keeps a list of what it has seen itself, for the proof."""

    def __init__(self, rt: Runtime, number: int, fleet: ActorRef[Fleet]) -> None:
        self.name = f"device-{number:03}"
        self.silent = number % 4 == 0
        self.twin = rt.actor(Twin, self.name, self.name, fleet)
        self.settings: Settings = {"firmware": 1}
        self.lived: list[str] = []

    def note(self, event: str) -> None:
        """Remember what must stand in the twin's history."""
        self.lived.append(event)


def beat(devices: list[Device]) -> None:
    """A heartbeat of each of these devices. They do what their twins answer."""
    answers = []
    for device in devices:
        number = sum(event.startswith("heartbeat") for event in device.lived) + 1
        device.note(f"heartbeat {number}")
        answers.append(device.twin.submit(Twin.heartbeat, number, device.settings))
    for device, changes in zip(devices, get_all(answers), strict=True):
        device.settings.update(changes)


def order(devices: list[Device], name: str, value: Any) -> None:
    """The operator orders something of all devices."""
    for device in devices:
        device.note(f"order {name}={value}")
    get_all([device.twin.submit(Twin.order, name, value) for device in devices])


def kill(what: str, pid: int) -> None:
    """Kill a process."""
    os.kill(pid, signal.SIGKILL)
    print(f"SIGKILL to the {what} {pid}")


def in_memory(rt: Runtime) -> int:
    """The number of actors that are in the memory of workers."""
    return sum(worker["actor_count"] for worker in rt.tree()["workers"])


# --- the story and the proof ---


def run(home: Path, count: int) -> bool:
    """Play the devices and kill; whether all histories are right."""
    with Runtime(home, workers=2, max_crashes=1_000) as rt:
        fleet = rt.actor(Fleet, "all")
        devices = [Device(rt, number, fleet) for number in range(count)]
        silent = [device for device in devices if device.silent]
        others = [device for device in devices if not device.silent]
        beat(devices)
        print(f"{count} devices have sent a heartbeat")
        order(devices, "interval", 30)
        kill("worker", max(rt.tree()["workers"], key=lambda worker: worker["actor_count"])["pid"])
        beat(devices)
        beat(devices)
        done = sum(device.settings.get("interval") == 30 for device in devices)
        print(f"{done} devices have got the order interval=30")

        print(f"{len(silent)} devices fall silent")
        kill("supervisor", rt.supervisor_pid)
        names = {device.name for device in silent}
        while not names <= set(fleet.call(Fleet.report)) or in_memory(rt) > len(others) + 1:
            beat(others)
            time.sleep(PAUSE)
        print(f"reminders have marked {len(silent)} of them as offline, and their twins have left memory")

        order(devices, "firmware", 2)
        print("the order firmware=2 has woken them")
        beat(devices)
        beat(devices)
        done = sum(device.settings["firmware"] == 2 for device in devices)
        print(f"the silent devices are back: {done} devices run firmware 2")
        found = faults(rt, devices, fleet)
    for fault in found:
        print(fault)
    rows = sum(len(device.lived) for device in devices)
    print(
        f"{'exact' if not found else 'NOT exact'}: {count} histories hold {rows} heartbeats and orders once each, "
        f"in order, and {len(silent)} devices went offline and came back"
    )
    return not found


def faults(rt: Runtime, devices: list[Device], fleet: ActorRef[Fleet]) -> list[str]:
    """Take the devices out of service; what is wrong in their histories."""
    found = []
    get_all([device.twin.stop(block=False) for device in devices])
    histories: list[list[str]] = list(rt.results([device.twin.id for device in devices]))
    silences = fleet.call(Fleet.report)
    for device, history in zip(devices, histories, strict=True):
        if [event for event in history if event != "offline"] != device.lived:
            found.append(f"{device.name} did {device.lived}, and its twin says {history}")
        # On a busy machine others may have been late, too. Nobody may be offline twice without a heartbeat between.
        offline = Counter(history)["offline"]
        if offline != silences.get(device.name, 0) or ("offline", "offline") in pairwise(history):
            found.append(
                f"{device.name} was offline {offline} times, and the fleet says {silences}: {history}"
            )
        if device.silent and not offline:
            found.append(f"{device.name} was silent, and nobody noticed: {history}")
        if device.settings != {"firmware": 2, "interval": 30}:
            found.append(f"{device.name} should have firmware 2 and interval 30: {device.settings}")
    return found


def main() -> int:
    """Run the example; 0 if the histories are right."""
    parser = argparse.ArgumentParser(description="Twins of devices that notice when these fall silent.")
    parser.add_argument("--devices", type=int, default=100, help="number of devices")
    parser.add_argument("--home", type=Path, help="the home folder; by default a temporary one")
    arguments = parser.parse_args()
    home = arguments.home or Path(tempfile.mkdtemp(prefix="understudy-"))
    try:
        return 0 if run(home, arguments.devices) else 1
    finally:
        if arguments.home is None:
            shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
