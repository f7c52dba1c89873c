"""
Faults on a board's line.
"""

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.simulator.wiring.faults import Defects, Faults, FaultyNetwork
from piman.simulator.wiring.surroundings import Closed, Datagram, Opened, Received
from tests.simulator_support import ADDRESS, BenchNetwork

PEER = ("172.30.4.1", 69)


class DatagramTests(SynchronousTestCase):
    """Loss, duplication, reordering and stalls."""

    def plug(self, **shares: float) -> None:
        """A socket behind such faults."""
        self.clock = Clock()
        self.network = BenchNetwork(self.clock)
        self.line = FaultyNetwork(self.network, Faults(**shares), clock=self.clock, random=Random(1))
        self.got: list[Any] = []
        self.socket = self.line.udp(ADDRESS, 49_152, self.got.append)

    def sent(self) -> list[bytes]:
        """What reached the wire."""
        return [data for _, data, _ in self.network.sent]

    def test_none(self) -> None:
        """Without faults everything passes at once, both ways, in order."""
        self.plug()
        for data in (b"1", b"2"):
            self.socket.send(data, PEER)
            self.network.sockets[0].deliver(data, PEER)
        self.assertEqual(self.sent(), [b"1", b"2"])
        self.assertEqual(self.got, [Datagram(b"1", PEER), Datagram(b"2", PEER)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_loss(self) -> None:
        """About the share gets lost, each way, and is counted."""
        self.plug(loss=0.1)
        for _ in range(1000):
            self.socket.send(b"x", PEER)
            self.network.sockets[0].deliver(b"x", PEER)
        self.assertTrue(850 < len(self.sent()) < 950)
        self.assertTrue(850 < len(self.got) < 950)
        self.assertEqual(self.line.damage.lost, 2000 - len(self.sent()) - len(self.got))

    def test_duplicate(self) -> None:
        """A copy arrives a little later."""
        self.plug(duplicate=1.0)
        self.socket.send(b"x", PEER)
        self.assertEqual(self.sent(), [b"x"])
        self.clock.advance(0.01)
        self.assertEqual(self.sent(), [b"x", b"x"])

    def test_reorder(self) -> None:
        """A datagram is overtaken by the next one; without a next one it arrives late."""
        self.plug(reorder=0.999)
        self.socket.send(b"1", PEER)
        self.assertEqual(self.sent(), [])
        self.socket.send(b"2", PEER)
        self.assertEqual(self.sent(), [b"2", b"1"])
        self.socket.send(b"3", PEER)
        self.clock.advance(0.05)
        self.assertEqual(self.sent(), [b"2", b"1", b"3"])

    def test_stall(self) -> None:
        """While the line stands still nothing passes and nothing is lost."""
        self.plug(stall=1.0, stall_seconds=2.0)
        self.socket.send(b"1", PEER)
        self.network.sockets[0].deliver(b"2", PEER)
        self.clock.advance(1.9)
        self.assertEqual((self.sent(), self.got), ([], []))
        self.clock.advance(0.2)
        self.assertEqual((self.sent(), self.got), ([b"1"], [Datagram(b"2", PEER)]))

    def test_closed(self) -> None:
        """What is still under way when the socket closes never arrives."""
        self.plug(duplicate=1.0)
        self.network.sockets[0].deliver(b"x", PEER)
        self.socket.close()
        self.clock.advance(1.0)
        self.assertEqual(len(self.got), 1)

    def test_same_seed(self) -> None:
        """The same seed makes the same faults."""
        runs = []
        for _ in range(2):
            self.plug(loss=0.5)
            for number in range(50):
                self.socket.send(bytes((number,)), PEER)
            runs.append(self.sent())
        self.assertEqual(*runs)

    def test_dhcp_too(self) -> None:
        """The DHCP socket has the same faults."""
        self.plug(loss=1.0)
        socket = self.line.dhcp(self.got.append)
        socket.send(b"x", PEER)
        self.assertEqual(self.sent(), [])


class StreamTests(SynchronousTestCase):
    """Connections that break."""

    def connect(self, cut: float) -> None:
        """A stream behind the faults."""
        self.network = BenchNetwork(Clock())
        line = FaultyNetwork(self.network, Faults(cut=cut), clock=self.network.clock, random=Random(1))
        self.got: list[Any] = []
        self.stream = line.connect(ADDRESS, PEER, self.got.append)
        self.end = self.network.streams[0]

    def test_holds(self) -> None:
        """Events speak of the stream that the board knows; bytes pass both ways."""
        self.connect(0.0)
        self.end.open()
        self.end.receive(b"in")
        self.stream.write(b"out")
        self.end.end()
        self.assertEqual(
            self.got, [Opened(self.stream), Received(self.stream, b"in"), Closed(self.stream, "ended")]
        )
        self.assertEqual(self.end.written, b"out")

    def test_breaks(self) -> None:
        """A broken stream says so once, and both ends are closed."""
        self.connect(1.0)
        self.end.open()
        self.end.receive(b"lost")
        self.end.receive(b"lost")
        self.assertEqual(self.got[1:], [Closed(self.stream, "the connection broke")])
        self.assertFalse(self.end.is_open)

    def test_power(self) -> None:
        """When the power goes, the stream behind the faults vanishes."""
        self.connect(0.0)
        self.stream.vanish()
        self.assertFalse(self.end.has_power)


class DefectTests(SynchronousTestCase):
    """What is wrong with a line for good."""

    def plug(self, **defects: Any) -> None:
        """A line with such defects."""
        self.clock = Clock()
        self.network = BenchNetwork(self.clock)
        self.line = FaultyNetwork(
            self.network, Faults(), clock=self.clock, random=Random(1), defects=Defects(**defects)
        )
        self.got: list[Any] = []
        self.socket = self.line.udp(ADDRESS, 49_152, self.got.append)

    def passed(self, data: bytes, peer: tuple[str, int]) -> tuple[bool, bool]:
        """Whether a datagram gets out, and in."""
        sent, got = len(self.network.sent), len(self.got)
        self.socket.send(data, peer)
        self.network.sockets[0].deliver(data, peer)
        return len(self.network.sent) > sent, len(self.got) > got

    def test_wrong_vlan(self) -> None:
        """Nothing passes."""
        self.plug(wrong_vlan=True)
        self.assertEqual(self.passed(b"x", PEER), (False, False))

    def test_ignores_offer(self) -> None:
        """Only what comes from a DHCP server is lost."""
        self.plug(ignores_offer=True)
        self.assertEqual(self.passed(b"x", ("172.30.4.1", 67)), (True, False))
        self.assertEqual(self.passed(b"x", PEER), (True, True))

    def test_no_tftp(self) -> None:
        """Only requests for files are lost."""
        self.plug(no_tftp=True)
        self.assertEqual(self.passed(b"x", PEER), (False, True))
        self.assertEqual(self.passed(b"x", ("172.30.4.1", 67)), (True, True))

    def test_stalls_at_block(self) -> None:
        """DATA up to the block comes, later blocks do not; what is no DATA does (RFC 1350: opcode 3, ACK is 4)."""
        self.plug(stalls_at_block=2)
        peer = ("172.30.4.1", 50_000)
        for data, comes in ((b"\0\3\0\2x", True), (b"\0\3\0\3x", False), (b"\0\4\0\3", True)):
            self.assertEqual(self.passed(data, peer), (True, comes))

    def test_blocked(self) -> None:
        """Nothing passes until the time is over."""
        self.plug(blocked_seconds=30.0)
        self.line.powered_at = self.clock.seconds()
        self.assertEqual(self.passed(b"x", PEER), (False, False))
        self.clock.advance(30)
        self.assertEqual(self.passed(b"x", PEER), (True, True))

    def test_stream_ends(self) -> None:
        """Streams of images bring so many bytes in all; conversations go on."""
        self.plug(stream_ends_at=10)
        got: list[Any] = []
        for port in (4480, 4480, 3333):
            self.line.connect(ADDRESS, ("172.30.4.1", port), got.append)
            self.network.streams[-1].receive(b"12345678")
        self.assertEqual([type(event) for event in got], [Received, Closed, Received])
