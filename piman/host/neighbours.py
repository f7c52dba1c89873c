# -*- test-case-name: tests.test_host_neighbours -*-
"""
The link next door: whom the kernel has seen there, and how to reach those who have no address yet.

1. arp(7), packet(7), netdevice(7)
"""

import errno
import fcntl
import re
import socket
import struct
from ipaddress import IPv4Address
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.interfaces import INeighbours
from piman.fleet.model import MACAddress
from piman.wire.frame import Endpoint, udp_frame

ARP_TABLE = Path("/proc/net/arp")
CACHED_SECONDS = 1.0
SIOCGIFMTU = 0x8921
INTERFACES = Path("/sys/class/net")

_ARP_ROW = re.compile(
    r"(?P<address>\d+\.\d+\.\d+\.\d+)\s+0x1\s+0x(?P<flags>[0-9a-f]+)\s+(?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5})\s"
)
"""An Ethernet entry: address, hardware type 1, flags, hardware address."""
ATF_COM = 0x02
"""The entry is complete; without it the hardware address is zeros."""


def parse_arp_table(text: str) -> dict[IPv4Address, MACAddress]:
    """The complete Ethernet entries of ``/proc/net/arp``."""
    rows = (_ARP_ROW.match(line) for line in text.splitlines())
    return {
        IPv4Address(row["address"]): MACAddress.parse(row["mac"])
        for row in rows
        if row and int(row["flags"], 16) & ATF_COM
    }


@implementer(INeighbours)
class KernelNeighbours:
    """The kernel's neighbour table, read at most once a second."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, path: Path = ARP_TABLE) -> None:
        self._clock = clock
        self._path = path
        self._entries: dict[IPv4Address, MACAddress] = {}
        self._read_at = float("-inf")

    def mac_at(self, address: IPv4Address) -> MACAddress | None:
        """The hardware address that the kernel has seen there lately."""
        now = self._clock.seconds()
        if not 0 <= now - self._read_at < CACHED_SECONDS:  # also when the clock was set back
            self._read_at = now
            self._entries = self._read()
        return self._entries.get(address)

    def _read(self) -> dict[IPv4Address, MACAddress]:
        try:
            return parse_arp_table(self._path.read_text("ascii"))
        except OSError as reason:
            self._log.debug("no neighbour table: {reason}", reason=reason)
            return {}


def mtu_of(interface: str) -> int:
    """
    The largest IP packet that the interface takes.

    :raises OSError: when there is no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16si12x", interface.encode()[:15], 0))
    mtu: int = struct.unpack_from("16si", answer)[1]
    return mtu


def mac_of(interface: str, folder: Path = INTERFACES) -> MACAddress | None:
    """The hardware address of an interface of this host; None when it has none, or there is no such interface."""
    try:
        found = MACAddress.parse((folder / interface / "address").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return found if any(found.octets) else None


class LinkLayerUnavailable(Exception):
    """No frames can be sent on this interface; the text says why and what to do."""


class LinkLayerSender:
    """
    Sends UDP datagrams in Ethernet frames of our own making (AF_PACKET).

    :ivar sent: frames given to the kernel.
    :ivar refused: frames that it did not take.
    """

    _log = Logger()

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._socket: socket.socket | None = None
        self._hardware_address = bytes(6)
        self.sent = 0
        self.refused = 0

    def open(self) -> None:
        """
        Take the socket; call it while we have the right.

        :raises LinkLayerUnavailable: without CAP_NET_RAW or the interface.
        """
        try:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: receives nothing
        except PermissionError as reason:
            raise LinkLayerUnavailable(
                f"no right to send frames on {self._interface}: start as root or give CAP_NET_RAW"
            ) from reason
        try:
            sock.setblocking(False)
            sock.bind((self._interface, 0))
        except OSError as reason:
            sock.close()
            raise LinkLayerUnavailable(f"no frames can be sent on {self._interface}: {reason.strerror}") from reason
        self._socket, self._hardware_address = sock, sock.getsockname()[4][:6]

    def close(self) -> None:
        """Let go of the socket; harmless twice."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def send_udp(self, destination_mac: bytes, source: Endpoint, destination: Endpoint, payload: bytes) -> bool:
        """
        Send one datagram to a hardware address, or drop it and count that.

        :returns: whether the kernel took it.
        """
        frame = udp_frame(
            source_mac=self._hardware_address,
            destination_mac=destination_mac,
            source=source,
            destination=destination,
            payload=payload,
        )
        try:
            self._opened().send(frame)
        except OSError as reason:
            self.refused += 1
            self._log.debug("no frame to {mac}: {reason}", mac=destination_mac.hex(":"), reason=reason)
            return False
        self.sent += 1
        return True

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise OSError(errno.EBADF, "the sender is closed")
        return self._socket
