# -*- test-case-name: tests.test_simulator_switch -*-
"""
A virtual PoE switch: ports that give power to virtual boards, and an SNMP agent that tells and takes orders.

:class:`VirtualSwitch` is the ports: orders, detection, the budget, faults; it knows no SNMP.  :class:`SwitchObjects` is
what its MIB shows of them.  :func:`listen` puts both behind a UDP port.  In what it is like real switches and in what
not: docs/reference/simulator.md

1. RFC 3621 (POWER-ETHERNET-MIB), RFC 2863 (IF-MIB), RFC 4188 (BRIDGE-MIB), RFC 4363 (Q-BRIDGE-MIB)
"""

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Any, Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime

from piman.simulator.wiring.snmp_agent import (
    NO_CREATION,
    NO_ERROR,
    NOT_WRITABLE,
    OID,
    WRONG_TYPE,
    WRONG_VALUE,
    AgentProtocol,
    Communities,
    Gauge,
    Table,
    Value,
)

PORTS = 48
"""Of a switch."""
BUDGET_WATTS = 370.0
"""What 48-port switches with IEEE 802.3af can commonly give: all ports at once, but not at 15.4 W each."""
BOARD_WATTS = 5.0
"""What a board draws while it boots."""
DETECT_SECONDS = 1.0
"""From searching to delivering: "about 1-2 s" (netboot reference 5.4, point 5)."""


class State(IntEnum):
    """pethPsePortDetectionStatus (RFC 3621)."""

    DISABLED = 1
    SEARCHING = 2
    DELIVERING = 3
    FAULT = 4


class Powered(Protocol):
    """What hangs on a port."""

    def power_on(self) -> None:
        """Power comes."""

    def power_off(self) -> None:
        """Power goes."""


@attrs.frozen(kw_only=True)
class SwitchFaults:
    """
    What is wrong with a switch.

    :ivar deaf: ports whose orders are accepted, and nothing happens.
    :ivar lying: ports that say that they deliver and have a link, whatever they do.
    :ivar stuck: ports that go on delivering when they are off.
    :ivar denied: ports that find a board and give it no power.
    :ivar is_silent: it answers nothing.
    :ivar slow_seconds: before each answer.
    """

    deaf: frozenset[int] = frozenset()
    lying: frozenset[int] = frozenset()
    stuck: frozenset[int] = frozenset()
    denied: frozenset[int] = frozenset()
    is_silent: bool = False
    slow_seconds: float = 0.0

    @property
    def delay(self) -> float | None:
        """Before an answer, in seconds; None: none comes."""
        return None if self.is_silent else self.slow_seconds


# Ports


@attrs.define(kw_only=True)
class Port:
    """
    One port.

    :ivar board: what hangs on it; None: nothing.
    :ivar is_plugged: whether the board's cable is in.
    :ivar macs: what was heard from there since power came.
    """

    number: int
    board: Powered | None = None
    is_plugged: bool = False
    admin_on: bool = True
    state: State = State.SEARCHING
    macs: set[bytes] = attrs.field(factory=set)
    _detecting: IDelayedCall | None = None

    @property
    def is_delivering(self) -> bool:
        """Whether power flows."""
        return self.state is State.DELIVERING


class VirtualSwitch:
    """
    The ports of a switch.

    Power that is taken away is gone at once; a port that is given power looks for a board first, and the board has
    power when it was found.  A port for which the budget does not suffice is at fault until another one is freed.

    :param boards: by port; the others are empty.
    :param watts: its budget.
    :ivar faults: may be replaced at any time; ports that are at work already stay as they are.
    :ivar orders: how many SETs took effect.
    :ivar heard: told of each port and MAC that was learned or forgotten: is it known now?
    """

    def __init__(
        self,
        clock: IReactorTime,
        boards: Mapping[int, Powered],
        *,
        ports: int = PORTS,
        watts: float = BUDGET_WATTS,
        faults: SwitchFaults | None = None,
        detect_seconds: float = DETECT_SECONDS,
    ) -> None:
        self.ports = {number: Port(number=number, board=boards.get(number)) for number in range(1, ports + 1)}
        self.watts = watts
        self.faults = faults or SwitchFaults()
        self.orders = 0
        self.heard: Callable[[int, bytes, bool], None] = lambda port, mac, is_known: None
        self._clock = clock
        self._detect_seconds = detect_seconds

    @property
    def used_watts(self) -> float:
        """What is drawn."""
        return BOARD_WATTS * sum(port.is_delivering for port in self.ports.values())

    # What others do

    def order(self, number: int, on: bool) -> None:
        """
        Switch a port on or off.

        :raises KeyError: when there is no such port.
        """
        port = self.ports[number]
        if number in self.faults.deaf or port.admin_on is on:
            return
        self.orders += 1
        port.admin_on = on
        if number in self.faults.stuck and port.is_delivering:
            return
        if on:
            self._search(port)
        else:
            self._cut(port, State.DISABLED)

    def plug(self, number: int) -> None:
        """Put the board's cable in; harmless when it is."""
        port = self.ports[number]
        if not port.is_plugged:
            port.is_plugged = True
            if port.admin_on:
                self._search(port)

    def unplug(self, number: int) -> None:
        """Pull the board's cable: whatever the switch thinks of it, the board is dark."""
        port = self.ports[number]
        port.is_plugged = False
        self._cut(port, State.SEARCHING if port.admin_on else State.DISABLED)

    def hear(self, number: int, mac: bytes) -> None:
        """A frame came in; what has no power sends none."""
        port = self.ports[number]
        if port.is_delivering and mac not in port.macs:
            port.macs.add(mac)
            self.heard(number, mac, True)

    def close(self) -> None:
        """Cut all power, and leave nothing to be done later."""
        for port in self.ports.values():
            port.is_plugged = False
        for port in self.ports.values():
            self._cut(port, State.DISABLED)

    # How

    def _search(self, port: Port) -> None:
        port.state = State.SEARCHING
        _stop_detecting(port)
        if port.is_plugged and port.board is not None:
            port._detecting = self._clock.callLater(self._detect_seconds, self._found, port)

    def _found(self, port: Port) -> None:
        port._detecting = None
        if port.number in self.faults.denied or self.used_watts + BOARD_WATTS > self.watts:
            port.state = State.FAULT
            return
        port.state = State.DELIVERING
        assert port.board is not None
        port.board.power_on()

    def _cut(self, port: Port, state: State) -> None:
        _stop_detecting(port)
        was_delivering, port.state = port.is_delivering, state
        for mac in tuple(port.macs):
            port.macs.discard(mac)
            self.heard(port.number, mac, False)
        if was_delivering:
            assert port.board is not None
            port.board.power_off()
            self._try_denied()

    def _try_denied(self) -> None:
        """Power has become free: who was denied it looks again."""
        for port in self.ports.values():
            if port.state is State.FAULT and port.admin_on:
                self._search(port)


def _stop_detecting(port: Port) -> None:
    call, port._detecting = port._detecting, None
    if call is not None:
        call.cancel()


@attrs.frozen
class Outlet:
    """A port as whoever stands before the rack sees it: a cable that is put in and pulled."""

    switch: VirtualSwitch
    number: int

    def power_on(self) -> None:
        """Put it in."""
        self.switch.plug(self.number)

    def power_off(self) -> None:
        """Pull it."""
        self.switch.unplug(self.number)


# What the agent shows

SYS_DESCR, SYS_OBJECT_ID, SYS_NAME = ((1, 3, 6, 1, 2, 1, 1, number, 0) for number in (1, 2, 5))
EXAMPLE_ENTERPRISE: OID = (1, 3, 6, 1, 4, 1, 32473)
"""For documentation and examples (RFC 5612): no vendor's, so the manager takes it for a standard switch."""

POWER: OID = (1, 3, 6, 1, 2, 1, 105)
ADMIN: OID = (*POWER, 1, 1, 1, 3)
DETECTION: OID = (*POWER, 1, 1, 1, 6)
CLASSIFICATION: OID = (*POWER, 1, 1, 1, 10)
MAIN_POWER, MAIN_STATUS, MAIN_CONSUMPTION = ((*POWER, 1, 3, 1, 1, column) for column in (2, 3, 4))
IF_DESCR, IF_TYPE, IF_OPER_STATUS = ((1, 3, 6, 1, 2, 1, 2, 2, 1, column) for column in (2, 3, 8))
IF_NAME: OID = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)
BASE_PORT_IF_INDEX: OID = (1, 3, 6, 1, 2, 1, 17, 1, 4, 1, 2)
FDB_PORT, FDB_STATUS = ((1, 3, 6, 1, 2, 1, 17, 4, 3, 1, column) for column in (2, 3))
Q_FDB_PORT, Q_FDB_STATUS = ((1, 3, 6, 1, 2, 1, 17, 7, 1, 2, 2, 1, column) for column in (2, 3))

GROUP = 1
TRUE, FALSE = 1, 2
"""TruthValue (RFC 2579)."""
CLASS_0 = 1
"""pethPsePortPowerClassifications."""
ETHERNET, LINK_UP, LINK_DOWN, PSE_ON, LEARNED = 6, 1, 2, 1, 3
FIRST_IF_INDEX = 10_101
"""ifIndex of port 1: not the port's own number, as on many switches; the bridge port is."""


class SwitchObjects(Table):
    """
    The MIB of a switch; only ``pethPsePortAdminEnable`` can be written.

    :param vlan: the forwarding database's.
    """

    def __init__(self, switch: VirtualSwitch, name: str, vlan: int = 1) -> None:
        super().__init__(dict(_of_switch(switch, name)))
        self._switch = switch
        self._vlan = vlan
        for port in switch.ports.values():
            self.add(dict(_of_port(switch, port)))
        switch.heard = self._heard

    def refusal(self, oid: OID, value: Value) -> int:
        """Why this cannot be written, as an error status; 0: it can."""
        if self.get(oid) is None:
            return NO_CREATION
        if oid[: len(ADMIN)] != ADMIN:
            return NOT_WRITABLE
        if not isinstance(value, int):
            return WRONG_TYPE
        return NO_ERROR if value in (TRUE, FALSE) else WRONG_VALUE

    def put(self, oid: OID, value: Value) -> None:
        """Switch a port."""
        self._switch.order(oid[-1], value == TRUE)

    def _heard(self, port: int, mac: bytes, is_known: bool) -> None:
        octets = tuple(mac)
        ports, statuses = (*FDB_PORT, *octets), (*FDB_STATUS, *octets)
        q_ports, q_statuses = (*Q_FDB_PORT, self._vlan, *octets), (*Q_FDB_STATUS, self._vlan, *octets)
        if is_known:
            self.add(dict.fromkeys((ports, q_ports), lambda: port))
            self.add(dict.fromkeys((statuses, q_statuses), lambda: LEARNED))
        else:
            self.remove((ports, statuses, q_ports, q_statuses))


Row = tuple[OID, Callable[[], Value]]


def _of_switch(switch: VirtualSwitch, name: str) -> Iterator[Row]:
    yield SYS_DESCR, lambda: b"A virtual PoE switch"
    yield SYS_OBJECT_ID, lambda: (*EXAMPLE_ENTERPRISE, 1)
    yield SYS_NAME, name.encode
    yield (*MAIN_POWER, GROUP), lambda: Gauge(switch.watts)
    yield (*MAIN_STATUS, GROUP), lambda: PSE_ON
    yield (*MAIN_CONSUMPTION, GROUP), lambda: Gauge(round(switch.used_watts))


def _of_port(switch: VirtualSwitch, port: Port) -> Iterator[Row]:
    number, index = port.number, FIRST_IF_INDEX + port.number - 1

    def seems_to_deliver() -> bool:
        return port.is_delivering or number in switch.faults.lying

    yield (*ADMIN, GROUP, number), lambda: TRUE if port.admin_on else FALSE
    yield (*DETECTION, GROUP, number), lambda: int(State.DELIVERING if seems_to_deliver() else port.state)
    yield (*CLASSIFICATION, GROUP, number), lambda: CLASS_0
    yield (*IF_DESCR, index), lambda: b"Port %d" % number
    yield (*IF_TYPE, index), lambda: ETHERNET
    yield (*IF_OPER_STATUS, index), lambda: LINK_UP if seems_to_deliver() else LINK_DOWN
    yield (*IF_NAME, index), lambda: b"ge%d" % number
    yield (*BASE_PORT_IF_INDEX, number), lambda: index


# The agent


@attrs.frozen
class Listening:
    """
    A switch's agent at work.

    :ivar agent: counts what it was asked.
    """

    port: IListeningPort
    agent: AgentProtocol


def communities(vlan: int) -> Communities:
    """Those that the manager shows when nothing else is configured."""
    return Communities(read=(b"public@%d" % vlan, b"public"), write=(b"private@%d" % vlan,))


def listen(
    reactor: Any, switch: VirtualSwitch, address: IPv4Address, port: int, *, name: str = "", vlan: int = 1
) -> Listening:
    """
    Answer there.

    :param port: UDP; 0: any that is free.
    :raises twisted.internet.error.CannotListenError: when somebody else does.
    """
    objects = SwitchObjects(switch, name or str(address), vlan)
    agent = AgentProtocol(reactor, objects, communities(vlan), lambda: switch.faults.delay)
    return Listening(reactor.listenUDP(port, agent, interface=str(address)), agent)
