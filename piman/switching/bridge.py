# -*- test-case-name: tests.test_switching_bridge -*-
"""
Where a switch has learned a board, and which network interface a port's power belongs to.

RFC 3621 leaves open how a PoE port relates to an interface; :func:`match_ports` knows the ways that vendors chose.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs

from piman.fleet.model import MACAddress
from piman.switching import mib
from piman.switching.poe import number, text
from piman.switching.profiles import CISCO, Profile
from piman.switching.session import OID, Agent, Datum

LEARNED = 3
"""dot1dTpFdbStatus and dot1qTpFdbStatus: the others are the switch's own, static or on their way out."""

ETHERNET = 6
"""ifType ethernetCsmacd."""

_LAST_NUMBER = re.compile(r"(\d+)$")


# Ports and interfaces


@attrs.frozen(kw_only=True)
class Interfaces:
    """The network interfaces of a switch, by ifIndex."""

    names: Mapping[int, str] = attrs.field(factory=dict)
    types: Mapping[int, int] = attrs.field(factory=dict)
    bridge_ports: Mapping[int, int] = attrs.field(factory=dict)
    """Bridge port -> ifIndex."""


def match_ports(
    ports: Iterable[int], interfaces: Interfaces, entities: Mapping[int, int] | None = None
) -> dict[int, int]:
    """
    PoE port -> ifIndex, by the first of these that fits all ports:

    what the switch says itself (``entities``, Cisco's way through the ENTITY-MIB); the port is a bridge port
    (Netgear, Comware, HP); it is an ifIndex; it is the last number of exactly one interface's name (``Gi1/0/7``);
    there are as many Ethernet interfaces as ports, in the same order.  A switch that shows no interfaces is taken
    to number ports and interfaces alike.
    """
    wanted = sorted(ports)
    ethernet = sorted(index for index, kind in interfaces.types.items() if kind == ETHERNET)
    ways = (
        entities or {},
        {port: index for port, index in interfaces.bridge_ports.items() if index in interfaces.types},
        {index: index for index in ethernet},
        _by_name(ethernet, interfaces.names),
        dict(zip(wanted, ethernet, strict=True)) if len(wanted) == len(ethernet) else {},
        {} if interfaces.types else {port: port for port in wanted},
    )
    for way in ways:
        if wanted and all(port in way for port in wanted):
            return {port: way[port] for port in wanted}
    return {}


def _by_name(ethernet: Iterable[int], names: Mapping[int, str]) -> dict[int, int]:
    found: dict[int, list[int]] = defaultdict(list)
    for index in ethernet:
        match = _LAST_NUMBER.search(names.get(index, ""))
        if match:
            found[int(match[1])].append(index)
    return {port: indices[0] for port, indices in found.items() if len(indices) == 1}


async def read_interfaces(agent: Agent) -> Interfaces:
    """Names and types, and the bridge's numbering."""
    names = await agent.walk(mib.IF_NAME) or await agent.walk(mib.IF_DESCR)
    return Interfaces(
        names={index[0]: text(value) for index, value in names.items()},
        types=_numbers(mib.IF_TYPE, await agent.walk(mib.IF_TYPE)),
        bridge_ports=await read_bridge_ports(agent),
    )


async def read_bridge_ports(agent: Agent) -> dict[int, int]:
    """Bridge port -> ifIndex; on Cisco switches those of one VLAN, which the credentials choose."""
    return _numbers(mib.BASE_PORT_IF_INDEX, await agent.walk(mib.BASE_PORT_IF_INDEX))


def _numbers(column: OID, rows: Mapping[OID, Datum]) -> dict[int, int]:
    found = {index[0]: number(column + index, value) for index, value in rows.items() if len(index) == 1}
    return {index: value for index, value in found.items() if value is not None}


async def read_entities(agent: Agent, profile: Profile, group: int) -> dict[int, int]:
    """PoE port -> ifIndex as Cisco's switches tell it; empty for others."""
    if profile is not CISCO:
        return {}
    aliases = {
        index[0]: value[-1]
        for index, value in (await agent.walk(mib.ENT_ALIAS_MAPPING)).items()
        if index and isinstance(value, tuple) and value
    }
    ports = await agent.walk(mib.CISCO_PORT_ENTITY)
    pairs = ((profile.port(group, index), value) for index, value in ports.items())
    return {port: aliases[value] for port, value in pairs if port is not None and value in aliases}


# What was learned


def learned_at(ports: Mapping[OID, Datum], statuses: Mapping[OID, Datum]) -> dict[int, set[MACAddress]]:
    """
    The boards by bridge port, from dot1dTpFdb or dot1qTpFdb columns: an index ends with six octets.

    Only what was learned; port 0 means that the switch does not know (RFC 4188).
    """
    found: dict[int, set[MACAddress]] = defaultdict(set)
    for index, value in ports.items():
        port = number(index, value)
        octets = index[-6:]
        if not port or len(octets) != 6 or max(octets) > 255 or statuses.get(index, LEARNED) != LEARNED:
            continue
        found[port].add(MACAddress(bytes(octets)))
    return dict(found)


async def read_learned(lookup: Agent) -> dict[int, set[MACAddress]]:
    """The boards by bridge port: Q-BRIDGE-MIB, which knows all VLANs, else BRIDGE-MIB."""
    for ports, statuses in ((mib.Q_FDB_PORT, mib.Q_FDB_STATUS), (mib.FDB_PORT, mib.FDB_STATUS)):
        rows = await lookup.walk(ports)
        if rows:
            return learned_at(rows, await lookup.walk(statuses))
    return {}


def by_power_port(
    learned: Mapping[int, set[MACAddress]], bridge_ports: Mapping[int, int], matched: Mapping[int, int]
) -> dict[int, frozenset[MACAddress]]:
    """The same by PoE port; boards on ports without power to switch are left out."""
    port_of = {index: port for port, index in matched.items()}
    found: dict[int, frozenset[MACAddress]] = {}
    for bridge_port, macs in learned.items():
        port = port_of.get(bridge_ports.get(bridge_port, bridge_port))
        if port is not None:
            found[port] = found.get(port, frozenset()) | frozenset(macs)
    return found
