# -*- test-case-name: tests.test_host_arp -*-
"""
Asks an Ethernet who has an IPv4 address.

It listens only while it waits for answers, and never blocks.  What it hears of others it forgets.

1. RFC 5227: IPv4 Address Conflict Detection; section 2.1.1 for probes
2. packet(7): ``SOCK_DGRAM``, the kernel writes and removes the Ethernet header; netdevice(7): ``SIOCGIFFLAGS``
"""

import errno
import fcntl
import socket
import struct
from ipaddress import IPv4Address
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.model import MACAddress
from piman.host.neighbours import LinkLayerUnavailable
from piman.wire.arp import ETHERTYPE_ARP, HARDWARE_ETHERNET, Packet
from piman.wire.layout import MalformedDatagram

PROBES_AT = (0.0, 1.0, 2.0)
"""
Seconds: PROBE_NUM probes, PROBE_MIN apart (RFC 5227, 1.1).

A board that boots, or a switch port that just came up, may miss one.  The RFC's random delays keep hosts that were
switched on together apart from each other; we are alone.
"""
ANSWERED_WITHIN = 1.0
"""
Seconds after the last probe: a LAN answers within milliseconds, Wi-Fi that saves power within some hundred.

The RFC's ANNOUNCE_WAIT of 2 s is for an address about to be used; ours are only about to be offered, and whoever
takes one may look for himself.
"""

PACKETS_PER_WAKE_UP = 64
"""Then timers and other sockets have their turn: a flood of ARP must not delay an answer to a board."""
STALE_PACKETS = 1024
"""More than a receive buffer holds: what came while nobody asked is thrown away."""
LONGEST_PACKET_BYTES = 64
_BROADCAST = b"\xff" * 6

SIOCGIFFLAGS = 0x8913
IFF_RUNNING = 0x40
"""The interface is up and has its carrier: what is sent leaves."""


class ARPSocket:
    """
    ARP packets of one Ethernet, without their Ethernet headers.

    :ivar mac: our own hardware address there, from :meth:`open` on.
    """

    _log = Logger()

    def __init__(self, interface: str) -> None:
        self.mac = bytes(6)
        self._interface = interface
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """
        Take the socket; call it while we have the right.

        :raises LinkLayerUnavailable: without CAP_NET_RAW or the interface, or when that is no Ethernet (as ``lo``).
        """
        try:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # protocol 0: receives nothing before bind
        except PermissionError as reason:
            raise LinkLayerUnavailable(
                f"no right to send ARP on {self._interface}: start as root or give CAP_NET_RAW"
            ) from reason
        try:
            sock.setblocking(False)
            sock.bind((self._interface, ETHERTYPE_ARP))
        except OSError as reason:
            sock.close()
            raise LinkLayerUnavailable(f"no ARP can be sent on {self._interface}: {reason.strerror}") from reason
        _, _, _, hardware, mac = sock.getsockname()
        if hardware != HARDWARE_ETHERNET:
            sock.close()
            raise LinkLayerUnavailable(f"there is no ARP on {self._interface}, which is no Ethernet")
        self._socket, self.mac = sock, mac

    def close(self) -> None:
        """Let go of the socket; harmless twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The socket's descriptor; -1 while it is closed."""
        return self._socket.fileno() if self._socket else -1

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise OSError(errno.EBADF, "the ARP socket is closed")
        return self._socket

    def send(self, packet: Packet) -> None:
        """
        Send a packet to everybody.

        :raises OSError: when it cannot leave; without a carrier the kernel would take it and drop it.
        """
        sock = self._opened()
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh14x", self._interface.encode()[:15], 0))
        if not struct.unpack_from("16sh", answer)[1] & IFF_RUNNING:
            raise OSError(errno.ENETDOWN, f"{self._interface} is down or has no carrier")
        sock.sendto(packet.to_wire(), (self._interface, ETHERTYPE_ARP, 0, HARDWARE_ETHERNET, _BROADCAST))

    def receive(self) -> bytes | None:
        """The next packet that waits, None when there is none."""
        try:
            return self._opened().recv(LONGEST_PACKET_BYTES)
        except BlockingIOError:
            return None
        except OSError as reason:  # the interface went down
            self._log.debug("nothing received: {reason}", reason=reason)
            return None


@attrs.frozen
class _Question:
    """An address that is asked for."""

    answer: "Deferred[MACAddress | None]"
    calls: list[IDelayedCall]


@implementer(IReadDescriptor)
class ARPProber:
    """
    Asks for many addresses at once.

    :ivar malformed: packets that were no ARP for IPv4 on Ethernet.
    :param sock: an :class:`ARPSocket`.
    """

    def __init__(self, reactor: Any, sock: Any) -> None:
        self.malformed = 0
        self._reactor = reactor
        self._socket = sock
        self._questions: dict[IPv4Address, _Question] = {}

    def open(self) -> None:
        """
        Take the socket; call it while we have the right.

        :raises LinkLayerUnavailable: when there is none to be had.
        """
        self._socket.open()

    def close(self) -> None:
        """Let go of the socket; who still waits for an answer gets CancelledError.  Harmless twice."""
        for question in list(self._questions.values()):
            question.answer.cancel()
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor; -1 while it is closed."""
        return cast(int, self._socket.fileno())

    def logPrefix(self) -> str:
        """What log lines begin with."""
        return "ARP"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of every descriptor."""
        self.close()

    # Asking

    def ask(self, address: IPv4Address) -> "Deferred[MACAddress | None]":
        """
        Who answers for the address, None when nobody does in three seconds.

        Fails with OSError when a probe did not leave, for then silence would prove nothing.

        :raises ValueError: when the address is asked for already.
        """
        if address in self._questions:
            raise ValueError(f"{address} is asked for already")
        if not self._questions:
            self._listen()
        answer: Deferred[MACAddress | None] = Deferred(lambda _: self._forget(address))
        calls = [self._reactor.callLater(delay, self._probe, address) for delay in PROBES_AT[1:]]
        calls.append(self._reactor.callLater(PROBES_AT[-1] + ANSWERED_WITHIN, self._answer, address, None))
        self._questions[address] = _Question(answer, calls)
        self._probe(address)
        return answer

    def _listen(self) -> None:
        """Hear what comes from now on: what came before may be long past."""
        for _ in range(STALE_PACKETS):
            if self._socket.receive() is None:
                break
        self._reactor.addReader(self)

    def _probe(self, address: IPv4Address) -> None:
        """Send one probe."""
        try:
            self._socket.send(Packet.probe(self._socket.mac, address))
        except OSError as reason:
            self._withdraw(address).errback(reason)

    # Answers

    def doRead(self) -> None:
        """Hear what waits, a bounded number of packets."""
        for _ in range(PACKETS_PER_WAKE_UP):
            data = self._socket.receive() if self._questions else None
            if data is None:
                return
            try:
                packet = Packet.from_wire(data)
            except MalformedDatagram:
                self.malformed += 1
                continue
            self._hear(packet)

    def _hear(self, packet: Packet) -> None:
        """
        Take whatever shows that somebody has an address that we ask for.

        "... receives any ARP packet (Request *or* Reply) ... where the packet's 'sender IP address' is the address
        being probed for" (RFC 5227, 2.1.1).  A probe of somebody else is no such sign: two managers that look at one
        pool would take each other for its inhabitants.
        """
        if packet.sender_mac != self._socket.mac and packet.sender_address in self._questions:
            self._answer(packet.sender_address, MACAddress(packet.sender_mac))

    def _answer(self, address: IPv4Address, holder: MACAddress | None) -> None:
        self._withdraw(address).callback(holder)

    def _withdraw(self, address: IPv4Address) -> "Deferred[MACAddress | None]":
        """Forget the question; who asked it has to be told."""
        answer = self._questions[address].answer
        self._forget(address)
        return answer

    def _forget(self, address: IPv4Address) -> None:
        """Without the last question nobody listens."""
        for call in self._questions.pop(address).calls:
            if call.active():
                call.cancel()
        if not self._questions:
            self._reactor.removeReader(self)
