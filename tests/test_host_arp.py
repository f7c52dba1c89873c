"""
Asking an Ethernet who has an address, with a socket that plays the Ethernet.

On a real one: tests/system/test_link_layer.py.
"""

import os
from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.model import MACAddress
from piman.host.arp import PACKETS_PER_WAKE_UP, ARPProber, ARPSocket
from piman.host.neighbours import LinkLayerUnavailable
from piman.testing.udp import MemoryDatagramReactor
from piman.wire.arp import Packet
from tests.captures import arp as captures

OWN = bytes.fromhex("020000000001")
FIRST, SECOND = MACAddress.parse("b8:27:eb:00:00:01"), MACAddress.parse("b8:27:eb:00:00:02")
ADDRESS, OTHER = IPv4Address("172.30.4.101"), IPv4Address("172.30.4.102")


class FakeSocket:
    """
    Keeps what was sent; what is in ``waiting`` is received.

    :ivar refusal: what :meth:`send` raises from now on.
    """

    mac = OWN

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self.refusal: OSError | None = None
        self.is_open = False

    def open(self) -> None:
        """Take it."""
        self.is_open = True

    def close(self) -> None:
        """Let go of it."""
        self.is_open = False

    def fileno(self) -> int:
        """A number."""
        return 7 if self.is_open else -1

    def send(self, packet: Packet) -> None:
        """Keep it, or raise."""
        if self.refusal:
            raise self.refusal
        self.sent.append(packet.to_wire())

    def receive(self) -> bytes | None:
        """What waits."""
        return self.waiting.pop(0) if self.waiting else None


class ProberTests(SynchronousTestCase):
    """Questions and answers."""

    def setUp(self) -> None:
        """A prober that is open."""
        self.reactor = MemoryDatagramReactor()
        self.socket = FakeSocket()
        self.prober = ARPProber(self.reactor, self.socket)
        self.prober.open()
        self.answers: list[Deferred[Any]] = []

    def tearDown(self) -> None:
        """Nothing is left over once it is closed."""
        self.prober.close()
        self.prober.close()
        for answer in self.answers:
            answer.addErrback(lambda failure: failure.trap(CancelledError))
        self.assertEqual((self.socket.is_open, self.reactor.getDelayedCalls()), (False, []))
        self.assertEqual(self.reactor.getReaders(), [])

    def hear(self, *packets: bytes) -> None:
        """These come in."""
        self.socket.waiting += packets
        while self.socket.waiting and self.reactor.getReaders():
            self.prober.doRead()

    def ask(self, address: IPv4Address = ADDRESS) -> "Deferred[Any]":
        """Ask for an address."""
        answer = self.prober.ask(address)
        self.answers.append(answer)
        return answer

    def test_interface(self) -> None:
        """It can be read by a reactor."""
        verifyObject(IReadDescriptor, self.prober)

    def test_silence(self) -> None:
        """Three probes in two seconds, and nobody has it after the third second."""
        answer = self.ask()
        self.assertEqual(len(self.socket.sent), 1)
        self.reactor.pump([0.5] * 5)
        self.assertEqual(self.socket.sent, [captures.ARPING_PROBE[:8] + OWN + captures.ARPING_PROBE[14:28]] * 3)
        self.assertNoResult(answer)
        self.reactor.advance(0.5)
        self.assertIs(self.successResultOf(answer), None)

    def test_answer(self) -> None:
        """Who answers is who has it, at once; no more is sent."""
        answer = self.ask()
        self.hear(captures.KERNEL_REPLY)
        self.assertEqual(self.successResultOf(answer), FIRST)
        self.reactor.advance(10)
        self.assertEqual(len(self.socket.sent), 1)

    def test_any_packet_of_it(self) -> None:
        """A request and an announcement from the address show as well that somebody has it."""
        first, second = self.ask(ADDRESS), self.ask(OTHER)
        self.hear(captures.KERNEL_REQUEST, captures.BUSYBOX_ANNOUNCEMENT)
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (FIRST, SECOND))

    def test_probes_of_others(self) -> None:
        """Who only asks for the address himself does not have it."""
        answer = self.ask()
        self.hear(captures.ARPING_PROBE, captures.BUSYBOX_PROBE)
        self.assertNoResult(answer)

    def test_other_address(self) -> None:
        """A packet from another address is no answer."""
        answer = self.ask(OTHER)
        self.hear(captures.KERNEL_REPLY)
        self.assertNoResult(answer)

    def test_own_packet(self) -> None:
        """A packet with our own hardware address, as a loop in the network brings it back, is no answer."""
        answer = self.ask()
        self.hear(captures.KERNEL_REPLY[:8] + OWN + captures.KERNEL_REPLY[14:])
        self.assertNoResult(answer)

    def test_malformed(self) -> None:
        """Malformed packets are counted and dropped, and the answer after them is heard."""
        answer = self.ask()
        self.hear(b"", captures.KERNEL_REPLY[:27], b"\0\x20" + captures.KERNEL_REPLY[2:], captures.KERNEL_REPLY)
        self.assertEqual((self.prober.malformed, self.successResultOf(answer)), (3, FIRST))

    @given(st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(lambda rest: captures.KERNEL_REPLY[:8] + rest)))
    def test_random_packets(self, packets: list[bytes]) -> None:
        """No packet raises; a good one after them is heard."""
        answer = self.ask()
        self.hear(*packets, captures.KERNEL_REPLY)
        self.successResultOf(answer)

    def test_stale(self) -> None:
        """What came before anybody asked is no answer: its sender may be long gone."""
        self.socket.waiting = [captures.KERNEL_REPLY] * 10
        answer = self.ask()
        self.assertEqual(self.socket.waiting, [])
        self.assertNoResult(answer)

    def test_listens_while_it_asks(self) -> None:
        """It reads from the first question to the last answer."""
        self.assertEqual(self.reactor.getReaders(), [])
        first, second = self.ask(ADDRESS), self.ask(OTHER)
        self.assertEqual(self.reactor.getReaders(), [self.prober])
        self.hear(captures.KERNEL_REPLY)
        self.assertEqual(self.reactor.getReaders(), [self.prober])
        self.reactor.pump([1.0] * 3)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (FIRST, None))

    def test_bounded(self) -> None:
        """One wake-up reads a bounded number of packets."""
        self.ask(OTHER)
        self.socket.waiting = [captures.KERNEL_REPLY] * 100
        self.prober.doRead()
        self.assertEqual(len(self.socket.waiting), 100 - PACKETS_PER_WAKE_UP)

    def test_not_sent(self) -> None:
        """A probe that does not leave proves nothing: the question fails, the first time or later."""
        first = self.ask(ADDRESS)
        self.socket.refusal = OSError("no carrier")
        self.failureResultOf(self.ask(OTHER), OSError)
        self.assertNoResult(first)
        self.reactor.advance(1)
        self.failureResultOf(first, OSError)

    def test_again(self) -> None:
        """An address can be asked for again after its answer, but not twice at once."""
        self.ask()
        self.assertRaises(ValueError, self.ask)
        self.hear(captures.KERNEL_REPLY)
        self.ask()
        self.assertEqual(len(self.socket.sent), 2)

    def test_close(self) -> None:
        """Who waits when it is closed, or when the reactor lets go of it, is told so."""
        answer = self.ask()
        self.prober.connectionLost(Failure(CancelledError()))
        self.failureResultOf(answer, CancelledError)


class SocketTests(SynchronousTestCase):
    """Sockets that are not to be had."""

    def test_loopback(self) -> None:
        """On lo there is no ARP, and without the right there is none anywhere; the line names the interface."""
        refusal = self.assertRaises(LinkLayerUnavailable, ARPSocket("lo").open)
        self.assertIn("lo", str(refusal))
        self.assertIn("no Ethernet" if os.geteuid() == 0 else "CAP_NET_RAW", str(refusal))

    def test_missing(self) -> None:
        """A missing interface is told in one line."""
        self.assertIn("nonesuch0", str(self.assertRaises(LinkLayerUnavailable, ARPSocket("nonesuch0").open)))

    def test_closed(self) -> None:
        """A closed socket sends nothing, hears nothing and has no descriptor."""
        sock = ARPSocket("lo")
        sock.close()
        self.assertRaises(OSError, sock.send, Packet.probe(OWN, ADDRESS))
        self.assertEqual((sock.receive(), sock.fileno()), (None, -1))
