"""
When a node without an agent counts as up.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.arrivals import Arrivals
from piman.fleet.eventlog import EventLog
from piman.fleet.events import AddressLeased, Event, EventRepeated, LeaseRenewed, NodeUp, Recorded
from piman.fleet.model import MACAddress, Node, Phase, Stage
from piman.fleet.nodes import NodeRegistry
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC


class ArrivalTests(SynchronousTestCase):
    """An address for an installed system."""

    def setUp(self) -> None:
        """The fleet's core: log, registry, arrivals."""
        self.clock = Clock()
        self.with_agent: set[MACAddress] = set()
        self.registry = NodeRegistry([Node(mac=MAC)])
        self.log = EventLog(self.clock, [self.registry])
        self.arrivals = Arrivals(
            nodes=self.registry, events=self.log, has_agent=lambda mac: mac in self.with_agent
        )
        self.log.add_observer(self.arrivals)
        self.arrived: list[Event] = []
        test = self

        class Watcher:
            def observe(self, recorded: Recorded) -> None:
                if isinstance(recorded.event, NodeUp):
                    test.arrived.append(recorded.event)

        self.log.add_observer(Watcher())

    def lease(self, stage: Stage = Stage.OS, mac: MACAddress = MAC) -> None:
        """An ACK."""
        self.log.emit(AddressLeased(mac=mac, address=ADDRESS, stage=stage, expires=600.0))

    def renew(self) -> None:
        """An ACK to a renewal."""
        self.log.emit(LeaseRenewed(mac=MAC, address=ADDRESS, stage=Stage.OS, expires=600.0))

    @property
    def phase(self) -> Phase:
        """Where the node is."""
        return self.registry.status(MAC).phase

    def evidence(self) -> list[Any]:
        """Why the node is up, each time it was said."""
        return [event.evidence for event in self.arrived]

    def test_address(self) -> None:
        """Its installed system asks for an address: up, and said once."""
        self.lease()
        self.lease()
        self.assertEqual((self.phase, self.evidence()), (Phase.UP, ["address"]))

    def test_renewal(self) -> None:
        """A manager that starts anew learns from a renewal that the node is up; later ones say nothing."""
        self.renew()
        self.renew()
        self.assertEqual((self.phase, self.evidence()), (Phase.UP, ["address"]))

    def test_repeated(self) -> None:
        """A lease that is too frequent to be stored shows that the node is up, which is not stored then either."""
        leased = AddressLeased(mac=MAC, address=ADDRESS, stage=Stage.OS, expires=600.0)
        self.log.emit(EventRepeated(mac=MAC, event=leased))
        self.assertEqual((self.phase, self.evidence()), (Phase.UP, []))

    def test_other_stages(self) -> None:
        """Firmware, kernel and initramfs asking for an address are no systems that run."""
        for stage in Stage:
            if stage is not Stage.OS:
                self.lease(stage)
        self.assertEqual(self.evidence(), [])

    def test_agent(self) -> None:
        """Of a node with an agent the agent says when it is up."""
        self.with_agent.add(MAC)
        self.lease()
        self.assertEqual(self.evidence(), [])

    def test_stranger(self) -> None:
        """Of boards that no file names nothing is claimed."""
        self.lease(mac=OTHER_MAC)
        self.assertEqual(self.evidence(), [])
