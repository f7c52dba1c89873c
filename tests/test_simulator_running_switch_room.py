"""
The switches of a virtual rack.
"""

from ipaddress import IPv4Address
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.booting.journal import Journal, Step
from piman.simulator.pi import MODELS, Pi
from piman.simulator.running.plan import Place, places
from piman.simulator.running.switch_room import SwitchRoom
from tests.simulator_support import BenchNetwork

FIRST, SECOND = IPv4Address("127.77.255.1"), IPv4Address("127.77.255.2")


class SwitchRoomTests(SynchronousTestCase):
    """Boards on switches, or without."""

    def rack(self, count: int, switches: int) -> SwitchRoom:
        """So many boards, their hands and their switches."""
        self.clock = Clock()
        seats = places(count, MODELS, 0.0, switches)
        room = SwitchRoom(self.clock, seats)
        self.pis = [self.board(room, place) for place in seats]
        self.hands = [room.hand(place, pi) for place, pi in zip(seats, self.pis, strict=True)]
        return room

    def board(self, room: SwitchRoom, place: Place) -> Pi:
        """A board that finds no server."""
        network = room.watched(place, BenchNetwork(self.clock))
        return Pi(place.board, clock=self.clock, network=network, journal=Journal(), random=Random(1))

    def test_power(self) -> None:
        """A board whose cable is put in gets its power from its own port."""
        room = self.rack(4, 2)
        self.hands[2].power_on()
        self.assertFalse(self.pis[2].journal.boots)
        self.clock.advance(1)
        self.assertEqual([pi.journal.boots for pi in self.pis], [0, 0, 1, 0])
        self.assertTrue(room.switches[SECOND].ports[1].is_delivering)
        room.switches[SECOND].order(1, False)
        self.assertIs(self.pis[2].journal.step, Step.DARK)
        self.assertEqual(room.orders, 1)

    def test_learned(self) -> None:
        """A board is learned on its port when it has asked for an address, not before."""
        room = self.rack(4, 2)
        self.hands[1].power_on()
        self.clock.pump([1.0] * 7)
        port = room.switches[FIRST].ports[2]
        self.assertEqual((self.pis[1].journal.step, port.macs), (Step.FIRMWARE, set()))
        self.clock.pump([1.0] * 5)
        self.assertEqual(port.macs, {self.pis[1].board.mac})

    def test_without_switches(self) -> None:
        """Where there are none, a board is its own hand."""
        room = self.rack(2, 0)
        self.assertEqual((room.switches, self.hands), ({}, self.pis))

    def test_close(self) -> None:
        """In the end everything is dark and nothing waits."""
        room = self.rack(4, 2)
        for hand in self.hands:
            hand.power_on()
        self.clock.pump([0.5] * 3)
        self.successResultOf(room.close())
        self.assertEqual([pi.journal.step for pi in self.pis], [Step.DARK] * 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])
