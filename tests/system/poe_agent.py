#!/usr/bin/env python3
"""
A PoE switch behind snmpd: the program of ``pass_persist`` (snmpd.conf(5)).  Knows nothing of piman.

The switch is a file, ``state.json`` in the folder that is the first argument: its rows and what is wrong with it.
Several of these programs, one for each part of the MIB, share it.  ``requests.log`` gets a line for each question.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ADMIN = ".1.3.6.1.2.1.105.1.1.1.3."
STATUS = ".1.3.6.1.2.1.105.1.1.1.6."
LINK = ".1.3.6.1.2.1.2.2.1.8."
OFF, DISABLED, SEARCHING, DELIVERING, LINK_UP, LINK_DOWN = 2, 1, 2, 3, 1, 2


def numbers(oid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in oid.strip(".").split("."))


class Switch:
    """The file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.json"

    def load(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.path.read_text())
        due = [order for order in state["pending"] if order[0] <= time.time()]
        if due:
            state["pending"] = [order for order in state["pending"] if order not in due]
            for _, oid, value in due:
                state["rows"][oid] = ["integer", value]
            self.save(state)
        return state

    def save(self, state: dict[str, Any]) -> None:
        beside = self.path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(state))
        beside.rename(self.path)

    def rows(self, state: dict[str, Any]) -> dict[str, list[Any]]:
        """With what follows from the administrative states, and what is wrong."""
        rows = dict(state["rows"])
        faults = state["faults"]
        for oid, (_, value) in state["rows"].items():
            if not oid.startswith(ADMIN):
                continue
            index = oid.removeprefix(ADMIN)
            port = index.rpartition(".")[2]
            flows = value != OFF or "lying" in faults
            rows[STATUS + index] = ["integer", DELIVERING if flows else DISABLED]
            rows[LINK + port] = ["integer", LINK_UP if flows else LINK_DOWN]
            if "wrong-type" in faults:
                rows[oid] = ["string", "on"]
        for oid in faults.get("missing", []):
            rows.pop(oid, None)
        return rows

    def get(self, oid: str) -> list[str]:
        state = self.load()
        time.sleep(state["faults"].get("slow", 0))
        return answer(oid, self.rows(state).get(oid))

    def get_next(self, oid: str) -> list[str]:
        state = self.load()
        time.sleep(state["faults"].get("slow", 0))
        rows = self.rows(state)
        later = [each for each in rows if numbers(each) > numbers(oid)]
        if not later:
            return ["NONE"]
        found = min(later, key=numbers)
        return answer(found, rows[found])

    def set(self, oid: str, value: str) -> list[str]:
        state = self.load()
        faults = state["faults"]
        if oid not in self.rows(state) or not (oid.startswith(ADMIN) or oid in state["writable"]):
            return ["not-writable"]
        if "refuses" in faults:
            return [faults["refuses"]]
        kind, _, text = value.partition(" ")
        if kind != "integer":
            return ["wrong-type"]
        if "deaf" not in faults:
            state["pending"].append([time.time() + faults.get("late", 0), oid, int(text)])
            if "mute" in faults and int(text) == OFF:
                faults["silent"] = True
            self.save(state)
        return ["DONE"]

    def be_silent(self) -> None:
        """While that is wrong with it, until somebody makes the file ``speak``."""
        while "silent" in self.load()["faults"] and not (self.folder / "speak").exists():
            time.sleep(0.1)


def answer(oid: str, row: list[Any] | None) -> list[str]:
    return ["NONE"] if row is None else [oid, row[0], str(row[1])]


def main() -> None:
    switch = Switch(Path(sys.argv[1]))
    with (switch.folder / "requests.log").open("a", buffering=1) as log:
        for line in sys.stdin:
            word = line.strip()
            if not word:  # snmpd ends a set with an empty line
                continue
            if word == "PING":
                reply = ["PONG"]
            elif word in ("get", "getnext"):
                oid = sys.stdin.readline().strip()
                log.write(f"{word} {oid}\n")
                switch.be_silent()
                reply = switch.get(oid) if word == "get" else switch.get_next(oid)
            elif word == "set":
                oid, value = sys.stdin.readline().strip(), sys.stdin.readline().strip()
                log.write(f"set {oid} {value}\n")
                switch.be_silent()
                reply = switch.set(oid, value)
            else:
                return
            print("\n".join(reply), flush=True)


if __name__ == "__main__":
    main()
