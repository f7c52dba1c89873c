"""
The link that all boards share.
"""

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.wiring.faults import Faults, FaultyNetwork
from piman.simulator.wiring.uplink import Uplink
from tests.simulator_support import ADDRESS, BenchNetwork

PEER = ("172.30.4.1", 69)


class UplinkTests(SynchronousTestCase):
    """Four datagrams a second, two may wait."""

    def setUp(self) -> None:
        """The link."""
        self.clock = Clock()
        self.uplink = Uplink(self.clock, per_second=4.0, kept=2)

    def test_queue(self) -> None:
        """Each waits for those before it; when the queue is full, the next is dropped, until there is room again."""
        self.assertEqual([self.uplink.cross() for _ in range(5)], [0.25, 0.5, 0.75, None, None])
        self.assertEqual(self.uplink.dropped, 2)
        self.clock.advance(0.25)
        self.assertEqual([self.uplink.cross(), self.uplink.cross()], [0.75, None])

    def test_idle(self) -> None:
        """What was not carried while nobody sent is not made up for."""
        self.clock.advance(100)
        self.assertEqual(self.uplink.cross(), 0.25)

    def test_shared(self) -> None:
        """Boards wait for each other on it, both ways, and what is dropped counts as lost."""
        wires, got = [BenchNetwork(self.clock) for _ in range(2)], list[Any]()
        lines = [
            FaultyNetwork(wire, Faults(), clock=self.clock, random=Random(1), uplink=self.uplink) for wire in wires
        ]
        sockets = [line.udp(ADDRESS, 49_152, got.append) for line in lines]
        sockets[0].send(b"1", PEER)
        sockets[1].send(b"2", PEER)
        wires[0].sockets[0].deliver(b"3", PEER)
        sockets[1].send(b"4", PEER)
        self.assertEqual(([len(wire.sent) for wire in wires], got), ([0, 0], []))
        self.clock.pump([0.25] * 2)
        self.assertEqual(([len(wire.sent) for wire in wires], got), ([1, 1], []))
        self.clock.advance(0.25)
        self.assertEqual((len(got), lines[1].damage.lost), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
