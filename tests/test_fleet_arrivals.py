"""
When a node without an agent counts as up.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.arrivals import QUIET_SECONDS, Arrivals
from piman.fleet.eventlog import EventLog
from piman.fleet.events import (
    AddressLeased,
    AddressOffered,
    BootOrdered,
    Event,
    FormatOrdered,
    Installed,
    InstallerReported,
    LeaseRenewed,
    NodeUp,
    Recorded,
)
from piman.fleet.model import MACAddress, Node, Phase, Stage
from piman.fleet.nodes import NodeRegistry
from tests.fleet_support import ADDRESS, MAC, OTHER_MAC


class ArrivalTests(SynchronousTestCase):
    """The three ways to be up."""

    def setUp(self) -> None:
        """The fleet's core: log, registry, arrivals."""
        self.clock = Clock()
        self.with_agent: set[MACAddress] = set()
        self.registry = NodeRegistry([Node(mac=MAC)])
        self.log = EventLog(self.clock, [self.registry])
        self.arrivals = Arrivals(
            self.clock, nodes=self.registry, events=self.log, has_agent=lambda mac: mac in self.with_agent
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
        self.log.emit(BootOrdered(mac=MAC))
        self.clock.advance(10 * QUIET_SECONDS)
        self.assertEqual((self.phase, self.evidence()), (Phase.BOOTING, []))

    def test_stranger(self) -> None:
        """Of boards that no file names nothing is claimed."""
        self.lease(mac=OTHER_MAC)
        self.assertEqual(self.evidence(), [])

    def test_time(self) -> None:
        """Told to boot and quiet for a minute: up."""
        for event in (BootOrdered(mac=MAC), Installed(mac=MAC, intent="1", digest="d")):
            self.log.emit(event)
            self.clock.advance(QUIET_SECONDS - 1)
            self.assertIs(self.phase, Phase.BOOTING)
            self.clock.advance(1)
            self.assertIs(self.phase, Phase.UP)
        self.assertEqual(self.evidence(), ["time", "time"])

    def test_still_talking(self) -> None:
        """While its conversation goes on, the minute begins anew."""
        self.log.emit(BootOrdered(mac=MAC))
        self.clock.advance(40)
        self.log.emit(InstallerReported(mac=MAC, text="unmounting"))
        self.clock.advance(59)
        self.assertIs(self.phase, Phase.BOOTING)
        self.clock.advance(61)
        self.assertEqual(self.evidence(), ["time"])

    def test_gone_elsewhere(self) -> None:
        """A node that was formatted or began to boot again in that minute is not up."""
        for event in (
            FormatOrdered(mac=MAC, intent="1", attempt=1, image="default", digest="d"),
            AddressOffered(mac=MAC, address=ADDRESS, stage=Stage.ROM),
        ):
            self.log.emit(BootOrdered(mac=MAC))
            self.log.emit(event)
            self.clock.advance(10 * QUIET_SECONDS)
        self.assertEqual((self.evidence(), self.clock.getDelayedCalls()), ([], []))

    def test_close(self) -> None:
        """At the end no timer is left."""
        self.log.emit(BootOrdered(mac=MAC))
        self.log.emit(BootOrdered(mac=MAC))
        self.arrivals.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
