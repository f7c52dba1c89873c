# -*- test-case-name: tests.test_simulator_running_truth -*-
"""
What the boards experienced against what the manager has on disk.

Read straight from its SQLite files, so that no code of the manager can hide a mistake of the manager.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs

from piman.fleet.model import Stage
from piman.simulator.pi import Pi
from piman.simulator.running.plan import Place


@attrs.frozen(kw_only=True)
class Truth:
    """
    What the manager has on disk.

    :ivar leases: by MAC.
    :ivar up: MACs that it has seen up.
    :ivar installed: how often each intent was completed.
    :ivar intents: how many it knows.
    """

    leases: dict[bytes, IPv4Address]
    up: frozenset[bytes]
    installed: Mapping[str, int]
    intents: int


def read(state_dir: Path) -> Truth:
    """The manager's files; it need not run, and may have been killed."""
    state = _rows(state_dir / "state.db", "SELECT mac, address FROM leases WHERE state IN ('bound', 'offered')")
    events = _rows(state_dir / "history.db", "SELECT kind, mac, payload FROM events")
    return Truth(
        leases={bytes(mac): IPv4Address(address) for mac, address in state},
        up=frozenset(bytes(mac) for kind, mac, _ in events if kind == "NodeUp"),
        installed=Counter(json.loads(payload)["intent"] for kind, _, payload in events if kind == "Installed"),
        intents=len(_rows(state_dir / "state.db", "SELECT id FROM intents")),
    )


def _rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


Seat = tuple[Place, Pi]


def lease_complaints(seats: Iterable[Seat], truth: Truth) -> Iterator[str]:
    """
    Leases that differ from what their board was told.

    Every address that a board was told with an ACK, or by an OFFER from the pool that is a lease, must be on disk;
    an OFFER of a reserved address promises nothing that hosts.csv does not promise.
    """
    holders: dict[IPv4Address, str] = {}
    for place, pi in seats:
        name = place.board.hostname
        told = [one.address for one in pi.journal.told if one.stage is not Stage.ROM or place.reserved is None]
        stored = truth.leases.get(place.board.mac)
        if told and stored != told[-1]:
            yield f"{name} was told {told[-1]}, the manager has {stored or 'nothing'}"
        if len(set(told)) > 1:
            yield f"{name} was told several addresses: {', '.join(map(str, sorted(set(told))))}"
        for address in set(told):
            other = holders.setdefault(address, name)
            if other != name:
                yield f"{address} was told to {other} and to {name}"


def complaints(seats: Iterable[Seat], truth: Truth, digest: str) -> Iterator[str]:
    """Everything in which the boards and the manager disagree."""
    seats = tuple(seats)
    yield from lease_complaints(seats, truth)
    for place, pi in seats:
        yield from (f"{place.board.hostname} {text}" for text in _about(place, pi, truth, digest))
    for intent, times in truth.installed.items():
        if times > 1:
            yield f"intent {intent} was completed {times} times"


def _about(place: Place, pi: Pi, truth: Truth, digest: str) -> Iterator[str]:
    wrong = {one.address for one in pi.journal.told} - {place.reserved}
    if place.reserved is not None and wrong:
        yield f"was told {', '.join(map(str, wrong))}, hosts.csv says {place.reserved}"
    is_up, is_seen_up = pi.is_up, place.board.mac in truth.up
    if is_up != is_seen_up:
        yield "is up, the manager has not noticed" if is_up else "is not up, the manager says that it is"
    if is_up and pi.card.digest != digest:
        yield "runs something else than the image"
    if pi.journal.mistakes:
        yield "met a mistake of the simulator, not of the manager; rack.log tells more"
    for name in pi.journal.damaged:
        yield f"loaded a damaged {name}"
