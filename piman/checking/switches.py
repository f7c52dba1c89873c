# -*- test-case-name: tests.test_checking_switches -*-
"""
Do the switches answer, and is what they say what ``piman.yaml`` says?
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address

import attrs

from piman.checking.findings import Finding, fail, fine, warn
from piman.config import Config
from piman.fleet.interfaces import IPowerSwitch, NoSuchPort, PowerFailed
from piman.fleet.model import MACAddress, PortPower, PowerBudget
from piman.settings.sections import Switch

SUBJECT = "switch"
FULL = 0.95
"""The share of its power that a switch may have given away before we speak of it."""
LISTED = 8
"""Ports in one line of the report."""


@attrs.frozen(kw_only=True)
class Expected:
    """
    What the configuration says of one switch.

    :ivar boards: for each port the name of the node, or the address of a slot.
    :ivar macs: for each port the board that hangs there, where that is known.
    :ivar names: all boards of the rack, for those that hang elsewhere.
    """

    label: str
    boards: Mapping[int, str]
    macs: Mapping[int, MACAddress] = attrs.Factory(dict)
    protected: tuple[int, ...] = ()
    names: Mapping[MACAddress, str] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Seen:
    """
    What the switch itself says.

    :ivar ports: the ports that piman uses, or all that the switch lists; None in it: there is no such port.
    """

    ports: Mapping[int, PortPower | None]
    budget: PowerBudget | None = None
    learned: Mapping[int, frozenset[MACAddress]] = attrs.Factory(dict)


def expected_of(config: Config, switch: Switch) -> Expected:
    """The nodes and slots on this switch."""
    on_it = [node for node in config.nodes if node.port is not None and node.port.switch == switch.address]
    slots = [slot for slot in config.slots if slot.port.switch == switch.address]
    boards = {slot.port.port: str(slot.address) for slot in slots}
    boards |= {node.port.port: node.name for node in on_it if node.port is not None}
    return Expected(
        label=switch.label,
        boards=boards,
        macs={node.port.port: node.mac for node in on_it if node.port is not None},
        protected=switch.protected_ports,
        names={node.mac: node.name for node in config.nodes},
    )


# Judging


def judge_switch(expected: Expected, seen: Seen) -> list[Finding]:
    """One line of summary, and one for each thing that is not as the configuration says."""
    return [
        _summary(expected, seen),
        *_missing(expected, seen),
        *_powerless(expected, seen),
        *_misplaced(expected, seen),
        *_budget(expected, seen),
    ]


def _subject(expected: Expected) -> str:
    return f"{SUBJECT} {expected.label}"


def _summary(expected: Expected, seen: Seen) -> Finding:
    there = [power for power in seen.ports.values() if power is not None]
    wanted = [seen.ports.get(port) for port in expected.boards]
    giving = sum(power is not None and bool(power.delivering) for power in wanted)
    text = f"answers; {len(there)} ports, {giving} of {len(wanted)} nodes' ports give power"
    if seen.budget is not None and seen.budget.total_watts:
        text += f", {seen.budget.used_watts or 0:.0f} of {seen.budget.total_watts:.0f} W in use"
    return fine(_subject(expected), text)


def _ports(numbers: Iterable[int], expected: Expected) -> str:
    """``ports 3 (pi3), 4 (pi4)``; a few of them, when they are many."""
    given = sorted(numbers)
    named = [f"{port} ({expected.boards[port]})" if port in expected.boards else str(port) for port in given]
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return f"port{'s' * (len(named) > 1)} {', '.join(named[:LISTED])}{more}"


def _missing(expected: Expected, seen: Seen) -> Iterator[Finding]:
    wanted = {*expected.boards, *expected.protected}
    gone = [port for port in wanted if seen.ports.get(port) is None]
    if gone:
        text = f"has no {_ports(gone, expected)}, or no power to switch there"
        yield fail(_subject(expected), text, "Mend ports: or pi_addresses: of that switch in piman.yaml.")


def _powerless(expected: Expected, seen: Seen) -> Iterator[Finding]:
    on_it = {port: power for port in sorted(expected.boards) if (power := seen.ports.get(port)) is not None}
    off = [port for port, power in on_it.items() if power.admin_on is False]
    if off:
        text = f"{_ports(off, expected)} switched off"
        yield warn(_subject(expected), text, "As it was ordered?  Else: piman power on, with the names.")
    silent: dict[str, list[int]] = {}
    for port, power in on_it.items():
        if power.admin_on is not False and power.delivering is False:
            silent.setdefault(power.state or "unknown", []).append(port)
    for state, ports in silent.items():
        text = f"no power is drawn from {_ports(ports, expected)}: the switch says {state}"
        yield warn(_subject(expected), text, "Board, PoE hat and cable there?  A fault stays until the port is cycled.")


def _misplaced(expected: Expected, seen: Seen) -> Iterator[Finding]:
    """Boards that the switch has learned alone on a port that is not theirs; ports with several are uplinks."""
    places = {mac: port for port, macs in seen.learned.items() if len(macs) == 1 for mac in macs}
    homes = {mac: port for port, mac in expected.macs.items()}
    for mac, port in sorted(places.items(), key=lambda place: place[1]):
        home, occupant = homes.get(mac), expected.macs.get(port)
        if home is not None and home != port:
            text = f"{expected.names.get(mac, mac)} ({mac}) hangs on port {port}; the configuration says port {home}"
        elif home is None and mac in expected.names and port in expected.boards:
            text = f"{expected.names[mac]} ({mac}) hangs on port {port}, where {expected.boards[port]} is said to be"
        elif home is None and occupant is not None:
            text = f"{mac}, which nobody knows, hangs on port {port}, where {expected.boards[port]} is said to be"
        else:
            continue
        yield fail(_subject(expected), text, "Move the cable, or mend piman.yaml: a restart would hit the wrong board.")


def _budget(expected: Expected, seen: Seen) -> Iterator[Finding]:
    budget = seen.budget
    if budget is None or not budget.total_watts or budget.used_watts is None:
        return
    if budget.used_watts > FULL * budget.total_watts:
        text = f"gives {budget.used_watts:.0f} of its {budget.total_watts:.0f} W"
        yield warn(_subject(expected), text, "The next board may be refused power: move some to another switch.")


# Looking


async def look_at(switch: IPowerSwitch, expected: Expected) -> Seen:
    """
    Ask a switch.

    :raises PowerFailed: when it does not answer.
    """
    listed: Sequence[PortPower] = await switch.ports()
    ports: dict[int, PortPower | None] = {power.port: power for power in listed}
    if not ports:  # it cannot list them
        for port in sorted({*expected.boards, *expected.protected}):
            ports[port] = await _read(switch, port)
    return Seen(ports=ports, budget=await switch.budget(), learned=await switch.learned())


async def _read(switch: IPowerSwitch, port: int) -> PortPower | None:
    try:
        return await switch.read(port)
    except NoSuchPort:
        return None


async def check_switch(config: Config, switch: Switch, power: IPowerSwitch | None) -> list[Finding]:
    """One switch of the configuration."""
    expected = expected_of(config, switch)
    if power is None:
        kind = switch.power.get("kind", "")
        return [warn(_subject(expected), f"not asked: no power switches of kind {kind} here", "")]
    try:
        return judge_switch(expected, await look_at(power, expected))
    except PowerFailed as failure:
        return [fail(_subject(expected), failure.reason.rstrip("."), failure.remedy or _unreachable(switch.address))]


def _unreachable(address: IPv4Address) -> str:
    return f"Is {address} right, and reachable from here (ping)?"
