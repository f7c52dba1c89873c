# -*- test-case-name: tests.test_fleet_casebook -*-
"""
Gathers the evidence over each node: what was seen of it, the last events of it, how its port was when last read.

Memory is bounded, for each node and in all; a node that has been quiet for longest loses its events first, and the
verdict over it is then a plainer one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from piman.fleet.diagnosis import Evidence, Verdict, verdict
from piman.fleet.events import InstallerUnknown, Recorded
from piman.fleet.interfaces import IEventObserver, IPowerSwitch, PowerFailed
from piman.fleet.model import MACAddress, Node, NodeStatus, PortPower, PowerBudget, Slot, SwitchPort
from piman.fleet.operations.contract import Explanation

EVENTS_OF_NODE = 64
EVENTS = 200_000
"""In all: about fifty megabytes at worst."""
READING_SECONDS = 300.0
"""How a port was longer ago says nothing."""


class Directory(Protocol):
    """What is needed of the registry of nodes."""

    def node(self, mac: MACAddress) -> Node | None:
        """The operator's entry."""

    def status(self, mac: MACAddress) -> NodeStatus:
        """What was seen."""

    def reserved_by(self, address: IPv4Address) -> Node | None:
        """Whose address it is."""

    def slots(self) -> tuple[Slot, ...]:
        """The places whose nodes nobody has named yet."""


@attrs.frozen(kw_only=True)
class PowerReading:
    """How a port and the budget of its switch were."""

    time: float = float("-inf")
    power: PortPower | None = None
    budget: PowerBudget | None = None


def thinned(tail: list[Recorded]) -> list[Recorded]:
    """
    One event less: of the class that is most frequent the second-oldest.

    What a loop repeats gives way, never the first of it, which tells since when, nor the last of any class.
    """
    kinds = Counter(type(recorded.event) for recorded in tail)
    most, _ = kinds.most_common(1)[0]
    places = [place for place, recorded in enumerate(tail) if type(recorded.event) is most]
    doomed = places[1] if len(places) > 2 else 0
    return tail[:doomed] + tail[doomed + 1 :]


@implementer(IEventObserver)
class Casebook:
    """
    Says why a node is where it is.  An observer to be told after the registry, and before operations.

    :param nodes: the registry.
    :param switches: by address, as of now.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        nodes: Directory,
        switches: Callable[[], Mapping[IPv4Address, IPowerSwitch]] = dict,
        events_of_node: int = EVENTS_OF_NODE,
        events: int = EVENTS,
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._switches = switches
        self._events_of_node = events_of_node
        self._events = events
        self._tails: dict[MACAddress, list[Recorded]] = {}
        self._count = 0
        self._readings: dict[SwitchPort, PowerReading] = {}
        self._watched_since = clock.seconds()

    # Events

    def observe(self, recorded: Recorded) -> None:
        """Keep the event, if it is of a node and worth keeping."""
        mac = recorded.event.mac
        if mac is None and isinstance(recorded.event, InstallerUnknown):
            reserved = self._nodes.reserved_by(recorded.event.address)
            mac = reserved.mac if reserved is not None else None
        if mac is not None and recorded.event.durable:
            self._keep(mac, recorded)

    def recall(self, recorded: Iterable[Recorded]) -> None:
        """Take events of an earlier process, oldest first; what was observed meanwhile came after them."""
        newer, self._tails, self._count = self._tails, {}, 0
        for one in recorded:
            self.observe(one)
        for mac, tail in newer.items():
            known = {one.id for one in self._tails.get(mac, ())}
            for one in tail:
                if one.id not in known:
                    self._keep(mac, one)

    def _keep(self, mac: MACAddress, recorded: Recorded) -> None:
        tail = self._tails.pop(mac, [])
        self._tails[mac] = tail  # the last one to be forgotten
        tail.append(recorded)
        self._count += 1
        if len(tail) > self._events_of_node:
            self._tails[mac] = thinned(tail)
            self._count -= 1
        while self._count > self._events:
            self._count -= len(self._tails.pop(next(iter(self._tails))))

    def events_of(self, mac: MACAddress) -> tuple[Recorded, ...]:
        """What is remembered of the node, oldest first."""
        return tuple(self._tails.get(mac, ()))

    # Power

    def take_reading(self, port: SwitchPort, power: PortPower | None, budget: PowerBudget | None) -> None:
        """Somebody has read the port: what was found counts for a while, or until it is read again."""
        self._readings[port] = PowerReading(time=self._clock.seconds(), power=power, budget=budget)

    async def look(self, mac: MACAddress) -> Verdict:
        """Read the port of the node, and then say why it is where it is; a switch that does not tell is no evidence."""
        node = self._nodes.node(mac)
        if node is not None and node.port is not None:
            await self._read(node.port)
        return self.why(mac)

    async def _read(self, port: SwitchPort) -> None:
        switch = self._switches().get(port.switch)
        if switch is None:
            return
        try:
            self.take_reading(port, await switch.read(port.port), await switch.budget())
        except PowerFailed:
            self._readings.pop(port, None)

    # Verdicts

    def why(self, mac: MACAddress) -> Verdict:
        """Why the node is where it is, with what is known now."""
        return verdict(self.evidence(self._nodes.status(mac)))

    def explain(self, status: NodeStatus) -> Explanation:
        """The same for an operation, which has waited long enough."""
        found = verdict(attrs.evolve(self.evidence(status), is_given_up=True))
        return Explanation(found.sentence, found.remedy)

    def is_stuck(self, status: NodeStatus) -> bool:
        """Whether there is a fault: the node may be left to itself, or its power cycled once more."""
        return verdict(self.evidence(status)).fault is not None

    def evidence(self, status: NodeStatus) -> Evidence:
        """What is known of a node."""
        node = self._nodes.node(status.mac)
        now = self._clock.seconds()
        reading = self._reading(node.port if node is not None else None, now)
        return Evidence(
            now=now,
            status=status,
            node=node,
            events=self.events_of(status.mac),
            power=reading.power,
            budget=reading.budget,
            watched_since=self._watched_since,
            free_address=self._only_slot() if node is None else None,
        )

    def _reading(self, port: SwitchPort | None, now: float) -> PowerReading:
        found = self._readings.get(port) if port is not None else None
        return found if found is not None and now - found.time <= READING_SECONDS else PowerReading()

    def _only_slot(self) -> IPv4Address | None:
        """The address that waits for a board, if there is no other."""
        slots = self._nodes.slots()
        return slots[0].address if len(slots) == 1 else None
