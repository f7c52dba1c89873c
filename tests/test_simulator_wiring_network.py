"""
Real sockets on loopback under virtual boards.
"""

import os
import socket
from ipaddress import IPv4Address
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from piman.simulator.wiring.network import LoopbackNetwork, relayed, unrelayed
from piman.simulator.wiring.surroundings import Closed, Datagram, Opened, Received
from piman.wire.dhcp import Message, Operation, Option
from tests.captures import dhcp as captures

SERVER, BOARD = IPv4Address("127.77.0.1"), IPv4Address("127.77.200.9")


class RelayTests(SynchronousTestCase):
    """A board's DHCP as a relay passes it on."""

    def test_out(self) -> None:
        """The relay's address, a hop more, and the sub-option of RFC 8357; nothing else changes."""
        before, after = (
            Message.from_wire(data)
            for data in (captures.DISCOVER_PI400, relayed(captures.DISCOVER_PI400, BOARD))
        )
        self.assertEqual((after.giaddr, after.hops), (BOARD, 1))
        # RFC 8357, 5.1: code 19 and length 0, the port is that of the datagram.
        self.assertEqual(after.options[Option.RELAY_INFORMATION], bytes((19, 0)))
        rest = {code: value for code, value in after.options.items() if code != Option.RELAY_INFORMATION}
        self.assertEqual((list(rest), rest), (list(before.options), dict(before.options)))

    def test_back(self) -> None:
        """A board never sees option 82 (RFC 3046, 2.1)."""
        answer = Message(
            op=Operation.REPLY, xid=1, chaddr=bytes(6), options={53: b"\x02", 82: bytes((19, 0)), 54: bytes(4)}
        )
        self.assertEqual(list(Message.from_wire(unrelayed(answer.to_wire())).options), [53, 54])


class _Answering(Protocol):
    def connectionMade(self) -> None:
        self.factory.peers.append(self.transport.getPeer().host)
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.transport.loseConnection()


class LoopbackTests(TestCase):
    """Datagrams and streams."""

    def setUp(self) -> None:
        """A server's UDP socket."""
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind((str(SERVER), 0))
        self.server.settimeout(5)
        self.ports = {67: self.server.getsockname()[1], 69: self.server.getsockname()[1]}
        self.got: list[Any] = []
        self.arrived: Deferred[None] = Deferred()

    def network(self) -> LoopbackNetwork:
        """The board's cable."""
        return LoopbackNetwork(reactor, relay=BOARD, server=SERVER, ports=self.ports)

    def deliver(self, event: Any) -> None:
        """Keep what arrives."""
        self.got.append(event)
        if isinstance(event, Datagram | Closed) and not self.arrived.called:
            self.arrived.callback(None)

    async def test_dhcp(self) -> None:
        """A DISCOVER reaches the server from the relay's address; the answer to its source port reaches the board."""
        plug = self.network().dhcp(self.deliver)
        plug.send(captures.DISCOVER_PI400, ("255.255.255.255", 67))
        data, source = self.server.recvfrom(2048)
        self.assertEqual((source[0], Message.from_wire(data).giaddr), (str(BOARD), BOARD))
        reply = Message(op=Operation.REPLY, xid=7, chaddr=bytes(6), options={53: b"\x02", 82: bytes((19, 0))})
        self.server.sendto(reply.to_wire(), source)
        await self.arrived
        self.assertEqual(self.got[0].source, (str(SERVER), 67))
        self.assertNotIn(82, Message.from_wire(self.got[0].data).options)
        plug.close()

    async def test_udp(self) -> None:
        """A datagram leaves from the board's address and port to where port 69 really is, and back."""
        plug = self.network().udp(BOARD, 49_999, self.deliver)
        plug.send(b"RRQ", (str(SERVER), 69))
        data, source = self.server.recvfrom(2048)
        self.assertEqual((data, source), (b"RRQ", (str(BOARD), 49_999)))
        self.server.sendto(b"DATA", source)
        await self.arrived
        self.assertEqual(self.got, [Datagram(b"DATA", self.server.getsockname())])
        plug.close()

    def test_descriptors(self) -> None:
        """A closed socket leaves no descriptor behind."""
        before = len(os.listdir("/proc/self/fd"))
        plug = self.network().udp(BOARD, 49_998, self.deliver)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)
        plug.close()
        plug.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_taken_port(self) -> None:
        """A port that another socket has is refused, without a leak."""
        before = len(os.listdir("/proc/self/fd"))
        plug = self.network().udp(BOARD, 49_997, self.deliver)
        self.assertRaises(OSError, self.network().udp, BOARD, 49_997, self.deliver)
        plug.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    async def test_stream(self) -> None:
        """A stream comes from the board's address, carries bytes both ways, and says its end once."""
        factory: Any = Factory.forProtocol(_Answering)
        factory.peers = []
        listening = reactor.listenTCP(0, factory, interface=str(SERVER))
        self.ports[3333] = listening.getHost().port
        stream = self.network().connect(BOARD, (str(SERVER), 3333), self.deliver)
        stream.write(b"too early: nobody is there yet")
        while not any(isinstance(event, Received) for event in self.got):
            await _turn()
        stream.write(b"bye")
        await self.arrived
        self.assertEqual([type(event) for event in self.got], [Opened, Received, Closed])
        self.assertEqual(factory.peers, [str(BOARD)])
        await listening.stopListening()

    async def test_nobody_there(self) -> None:
        """A connection that is refused is over, and can be closed without harm."""
        self.ports[3333] = 1
        stream = self.network().connect(BOARD, (str(SERVER), 3333), self.deliver)
        await self.arrived
        self.assertEqual(len(self.got), 1)
        stream.close()
        stream.vanish()

    async def test_power_cut(self) -> None:
        """After a power cut nothing more is said."""
        factory: Any = Factory.forProtocol(_Answering)
        factory.peers = []
        listening = reactor.listenTCP(0, factory, interface=str(SERVER))
        self.ports[3333] = listening.getHost().port
        stream = self.network().connect(BOARD, (str(SERVER), 3333), self.deliver)
        while not self.got:
            await _turn()
        heard = len(self.got)
        stream.vanish()
        for _ in range(20):
            await _turn()
        self.assertEqual(len(self.got), heard)
        await listening.stopListening()


def _turn() -> "Deferred[None]":
    waiting: Deferred[None] = Deferred()
    reactor.callLater(0.001, waiting.callback, None)
    return waiting
