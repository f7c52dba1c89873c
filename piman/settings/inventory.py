# -*- test-case-name: tests.test_config -*-
"""
The fleet that the operator described: rows of hosts.csv and entries of pi_addresses, joined by address.

An entry without a MAC is a slot (it has power and a place); a row without a switch has no power.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from piman.fleet.model import Node, Slot, SwitchPort
from piman.hosts import HostRow
from piman.settings.sections import Switch


def ports_of(switch: Switch) -> dict[IPv4Address, int]:
    """
    The port of each Pi of a switch that is known: its ``ports`` entry, else its last octet.

    The last octet counts only when one Pi alone has it and no ``ports`` entry gives that port to another.
    """
    named = {address: port for port, address in switch.ports.items()}
    unnamed = [address for address in switch.pi_addresses if address not in named]
    octets = Counter(address.packed[3] for address in unnamed)
    guessed = {
        address: address.packed[3]
        for address in unnamed
        if octets[address.packed[3]] == 1 and address.packed[3] not in switch.ports and address.packed[3] > 0
    }
    return {**named, **guessed}


def places(switches: Iterable[Switch], server: IPv4Address) -> dict[IPv4Address, SwitchPort]:
    """Where each Pi's power comes from; the manager is no Pi, whatever the file says."""
    return {
        address: SwitchPort(switch.address, port)
        for switch in switches
        for address, port in ports_of(switch).items()
        if address != server
    }


def without_port(switches: Iterable[Switch], server: IPv4Address) -> list[tuple[Switch, IPv4Address]]:
    """Entries of pi_addresses of which nobody can say to which port they belong."""
    return [
        (switch, address)
        for switch in switches
        for known in [ports_of(switch)]
        for address in switch.pi_addresses
        if address not in known and address != server
    ]


def nodes_and_slots(
    rows: Iterable[HostRow], placed: Mapping[IPv4Address, SwitchPort]
) -> tuple[tuple[Node, ...], tuple[Slot, ...]]:
    """Join rows and places by address; the order is that of the files."""
    nodes = tuple(
        Node(
            mac=row.mac,
            address=row.address,
            hostname=row.hostname,
            port=placed.get(row.address) if row.address else None,
        )
        for row in rows
    )
    taken = {node.address for node in nodes}
    slots = tuple(Slot(address=address, port=port) for address, port in placed.items() if address not in taken)
    return nodes, slots
