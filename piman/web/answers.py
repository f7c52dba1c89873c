# -*- test-case-name: tests.test_web_api -*-
"""
What is answered about the rack, as JSON values: the API sends them, pages show them.

Nothing here knows of requests; names are looked up and what is wrong is a :class:`~piman.web.wishes.Refusal`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from ipaddress import IPv4Address

import attrs
from twisted.internet.interfaces import IReactorTime

from piman.fleet.events import Recorded
from piman.fleet.model import MACAddress
from piman.fleet.nodes import NodeRegistry
from piman.fleet.operations.book import Operations
from piman.fleet.operations.contract import Explanation
from piman.fleet.operations.orders import Operation
from piman.fleet.operations.targets import Atlas, Place
from piman.fleet.walltime import WallTime
from piman.web import shapes, wishes
from piman.web.recalled import Recalled
from piman.web.shapes import JSON
from piman.web.stream import History
from piman.web.switchboard import WAIT_SECONDS, WAITING, Answer, Switchboard
from piman.web.wishes import Refusal

Why = Callable[[MACAddress], Awaitable[Explanation]]
Labels = Mapping[IPv4Address, str]


class Answers:
    """
    What is known, as JSON values.

    :param atlas: what words can name, as of now.
    :param why: why a node is where it is, and what to do; it may ask the node's switch first.
    :param wall: the host's time, in which moments are shown.
    :ivar recalled: the readings of nodes over time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        registry: NodeRegistry,
        operations: Operations,
        atlas: Callable[[], Atlas],
        history: History,
        why: Why,
        wall: WallTime,
        recalled: Recalled,
    ) -> None:
        self.recalled = recalled
        self._registry = registry
        self._operations = operations
        self._atlas = atlas
        self._history = history
        self._why = why
        self._wall = wall
        self._switchboard = Switchboard(clock, operations.desk)

    def now(self) -> float:
        """The moment in the host's time."""
        return self._wall.now()

    def labels(self) -> Labels:
        """What people call the switches."""
        return {place.address: place.label for place in self._atlas().places}

    # Nodes

    def board(self, name: str) -> MACAddress:
        """
        The board of this MAC, hostname or address.

        :raises Refusal: when there is none.
        """
        return wishes.board(name, self._atlas(), self._registry.strangers())

    def nodes(self) -> JSON:
        """All nodes, expected places and strangers."""
        registry, labels, busy = self._registry, self.labels(), self._busy()
        return {
            "nodes": [self._node(node.mac, labels, busy) for node in registry.nodes()],
            "strangers": [self._node(status.mac, labels, busy) for status in registry.strangers()],
            "slots": [shapes.slot(slot, labels) for slot in registry.slots()],
            "counts": {phase.value: count for phase, count in registry.counts().items()},
        }

    async def node(self, mac: MACAddress) -> JSON:
        """One node, and why it is where it is."""
        why = shapes.explanation(await self._why(mac))
        return {**self._node(mac, self.labels(), self._busy()), "why": why}

    async def why(self, mac: MACAddress) -> JSON:
        """Why a node is where it is."""
        why = shapes.explanation(await self._why(mac))
        node = self._registry.node(mac)
        status = self._wall.to_wall(self._registry.status(mac))
        known = {"id": str(mac), "name": node.name if node else str(mac)}
        return {**known, "phase": status.phase.value, "since": status.since, **why}

    def _node(self, mac: MACAddress, labels: Labels, busy: Mapping[MACAddress, Operation]) -> JSON:
        seen = self._wall.to_wall(self._registry.status(mac))
        return shapes.node(self._registry.node(mac), seen, busy.get(mac), labels)

    def _busy(self) -> Mapping[MACAddress, Operation]:
        """The operations that boards are in."""
        return {
            report.target.mac: operation
            for operation in self._operations.operations()
            for report in operation.reports
            if report.target.mac is not None and not report.step.is_final
        }

    # Events

    async def recorded(
        self,
        *,
        mac: MACAddress | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = wishes.USUAL_EVENTS,
        newest: bool = False,
        kinds: Collection[str] = (),
    ) -> list[Recorded]:
        """Stored events in the host's time, oldest first; :meth:`piman.fleet.state.history.HistoryStore.events`."""
        found = await self._history.events(
            mac=mac, after=after, before=before, limit=limit, newest=newest, kinds=kinds
        )
        return [self._wall.to_wall(each) for each in found]

    # Switches

    async def switches(self, wait_seconds: float = WAIT_SECONDS) -> JSON:
        """All switches, with the power of their ports where they answer in time."""
        atlas = self._atlas()
        answers = await self._switchboard.answers(wait_seconds)
        return {
            "switches": [self._switch(place, atlas, answers.get(place.address, WAITING)) for place in atlas.places]
        }

    def _switch(self, place: Place, atlas: Atlas, answer: Answer) -> JSON:
        nodes = {node.port.port: node for node in atlas.nodes if node.port and node.port.switch == place.address}
        slots = {slot.port.port: slot for slot in atlas.slots if slot.port.switch == place.address}
        powers = {power.port: power for power in answer.ports}
        ports = [
            {
                "port": number,
                "node": str(nodes[number].mac) if number in nodes else None,
                "name": nodes[number].name if number in nodes else None,
                "expected": str(slots[number].address) if number in slots else None,
                "protected": number in place.protected_ports,
                "power": shapes.power(powers[number]) if number in powers else None,
            }
            for number in sorted({*nodes, *slots, *powers, *place.protected_ports})
        ]
        told = {"reachable": answer.reachable, "reason": answer.reason, "remedy": answer.remedy}
        budget = attrs.asdict(answer.budget) if answer.budget else None
        return shapes.switch(place, ports, {**told, "budget": budget})

    # Operations

    def find_operation(self, identity: str) -> Operation:
        """
        The operation of this id.

        :raises Refusal: when there is none.
        """
        found = self._operations.operation(identity)
        if found is None:
            hint = "GET /api/v1/operations (piman-ctl operations) names those that are remembered."
            raise Refusal(404, "no-such-operation", f"found no operation {identity!r}", hint)
        return found

    def operations(self) -> JSON:
        """All operations that are remembered, without their reports, the newest last."""
        return {"operations": [shapes.summary(self._wall.to_wall(each)) for each in self._operations.operations()]}

    def operation(self, found: Operation) -> JSON:
        """One operation, whole."""
        return shapes.operation(self._wall.to_wall(found), self.labels())

    def running(self) -> list[JSON]:
        """The operations that go on, whole, the newest last."""
        return [self.operation(each) for each in self._operations.operations() if not each.is_final]
