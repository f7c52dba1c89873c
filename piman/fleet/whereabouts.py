# -*- test-case-name: tests.test_fleet_whereabouts -*-
"""
Which board hangs on which port, and who it is: what the files say, beside what the switches have learned.

:func:`survey` asks all switches at once; the rest is pure.  A port where several boards were learned is an uplink, or
a node that runs virtual machines: it proves nothing about where one of them hangs.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

import attrs
from twisted.internet.defer import Deferred

from piman.fleet.interfaces import PowerFailed
from piman.fleet.model import MACAddress, Node, SwitchPort
from piman.fleet.operations.power import PowerDesk
from piman.fleet.operations.targets import Atlas, Learned


@attrs.frozen
class Survey:
    """What the switches have learned, and which of them did not tell."""

    learned: Learned
    silent: Mapping[IPv4Address, str] = attrs.field(factory=dict)
    """Why, by switch."""


@attrs.frozen(kw_only=True)
class Whereabouts:
    """One board."""

    mac: MACAddress
    node: Node | None = None
    """None: a stranger, no file names it."""
    configured: SwitchPort | None = None
    """Where the files put it."""
    seen: tuple[SwitchPort, ...] = ()
    """Ports where it alone was learned."""
    behind: tuple[SwitchPort, ...] = ()
    """Ports where others were learned, too: uplinks that lead to it."""

    @property
    def port(self) -> SwitchPort | None:
        """
        Where it hangs: the configured port, else the only one where it alone was learned.

        None also when two could be it.
        """
        if self.configured is not None:
            return self.configured
        return self.seen[0] if len(self.seen) == 1 else None

    @property
    def remark(self) -> str:
        """What an operator should know of it; empty when all is as it should be."""
        elsewhere = [port for port in self.seen if port != self.configured]
        if self.configured is not None and elsewhere:
            return f"the files say {self.configured}, the switch has learned it at {_listed(elsewhere)}"
        if len(self.seen) > 1:
            return f"learned at {_listed(self.seen)}: pull it out for a moment, or name its port under ports"
        if not self.seen and self.behind and self.configured is None:
            return f"learned only behind other boards, at {_listed(self.behind)}"
        return ""


@attrs.frozen(kw_only=True)
class Row:
    """A line of the map: a port, a node, or both."""

    port: SwitchPort | None
    label: str = ""
    """What people call the switch."""
    board: Whereabouts | None = None
    expected: IPv4Address | None = None
    """The address of the slot: a board is expected here that no file names yet."""
    remark: str = ""


async def survey(desk: PowerDesk, atlas: Atlas) -> Survey:
    """What all switches see, asked at the same time; one that does not tell costs the others nothing."""
    asked = [(place.address, Deferred.fromCoroutine(desk.learned(place.address))) for place in atlas.places]
    learned: dict[IPv4Address, Mapping[int, frozenset[MACAddress]]] = {}
    silent: dict[IPv4Address, str] = {}
    for address, answer in asked:
        try:
            learned[address] = await answer
        except PowerFailed as failure:
            silent[address] = failure.reason
    return Survey(learned, silent)


def find(mac: MACAddress, atlas: Atlas, learned: Learned) -> Whereabouts:
    """All that is known of where a board hangs."""
    node = next((node for node in atlas.nodes if node.mac == mac), None)
    return _whereabouts(mac, node, _sightings(learned).get(mac, []), learned)


def chart(atlas: Atlas, learned: Learned, strangers: Iterable[MACAddress] = ()) -> tuple[Row, ...]:
    """
    The map: ports in order with the boards on them, then nodes and strangers without a port.

    :param strangers: boards that were seen by other means.
    """
    sightings = _sightings(learned)
    macs = dict.fromkeys([*(node.mac for node in atlas.nodes), *strangers, *sorted(sightings)])
    nodes = {node.mac: node for node in reversed(atlas.nodes)}
    boards = [_whereabouts(mac, nodes.get(mac), sightings.get(mac, []), learned) for mac in macs]
    labels = {place.address: place.label for place in atlas.places}
    placed = {board.port for board in boards}
    slots = {slot.port: slot.address for slot in atlas.slots}
    rows = [_row(board, labels, slots) for board in boards if board.node or board.port or not board.behind]
    rows += [_empty(slot.port, labels, slot.address) for slot in atlas.slots if slot.port not in placed]
    rows += [_uplink(port, count, labels) for port, count in _uplinks(learned) if port not in placed]
    return tuple(sorted(rows, key=_order))


def hosts_line(row: Row) -> str | None:
    """The line for ``hosts.csv`` that makes the stranger of a row a node; None: there is no stranger."""
    if row.board is None or row.board.node is not None:
        return None
    return f"{str(row.board.mac).upper()};{row.expected or '0.0.0.0'};;0"


def _sightings(learned: Learned) -> dict[MACAddress, list[SwitchPort]]:
    found: dict[MACAddress, list[SwitchPort]] = {}
    for switch, ports in learned.items():
        for port, macs in ports.items():
            for mac in macs:
                found.setdefault(mac, []).append(SwitchPort(switch, port))
    return found


def _whereabouts(mac: MACAddress, node: Node | None, ports: Iterable[SwitchPort], learned: Learned) -> Whereabouts:
    alone = [port for port in sorted(ports) if len(learned[port.switch][port.port]) == 1]
    behind = [port for port in sorted(ports) if port not in alone]
    configured = node.port if node else None
    return Whereabouts(mac=mac, node=node, configured=configured, seen=tuple(alone), behind=tuple(behind))


def _row(board: Whereabouts, labels: Mapping[IPv4Address, str], slots: Mapping[SwitchPort, IPv4Address]) -> Row:
    port = board.port
    if port is None:
        return Row(port=None, board=board, remark=board.remark)
    expected = slots.get(port) if board.node is None else None
    label = labels.get(port.switch, str(port.switch))
    return Row(port=port, label=label, board=board, expected=expected, remark=board.remark)


def _empty(port: SwitchPort, labels: Mapping[IPv4Address, str], expected: IPv4Address) -> Row:
    label = labels.get(port.switch, str(port.switch))
    return Row(port=port, label=label, expected=expected, remark="no board was seen here yet")


def _uplinks(learned: Learned) -> Iterator[tuple[SwitchPort, int]]:
    for switch, ports in learned.items():
        for port, macs in ports.items():
            if len(macs) > 1:
                yield SwitchPort(switch, port), len(macs)


def _uplink(port: SwitchPort, count: int, labels: Mapping[IPv4Address, str]) -> Row:
    label = labels.get(port.switch, str(port.switch))
    return Row(port=port, label=label, remark=f"an uplink: {count} boards behind it")


def _order(row: Row) -> tuple[bool, int, int, bytes]:
    board = row.board.mac.octets if row.board else b""
    return row.port is None, int(row.port.switch) if row.port else 0, row.port.port if row.port else 0, board


def _listed(ports: Iterable[SwitchPort]) -> str:
    return " and ".join(map(str, ports))
