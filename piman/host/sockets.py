# -*- test-case-name: tests.test_host_sockets -*-
"""
How a UDP socket is made, and what the kernel says beside a datagram.

1. ip(7): ``IP_PKTINFO``; socket(7): ``SO_BINDTODEVICE``, ``SO_RCVBUF``, ``SO_TIMESTAMPNS``
"""

import errno
import socket
import struct
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address

import attrs
from twisted.internet.error import CannotListenError

RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
"""The kernel gives at most ``net.core.rmem_max`` of it."""

# Linux's numbers; Python's socket module does not name them.
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
IP_PKTINFO = 8

_PACKET_INFO = struct.Struct("=I4s4s")
"""``struct in_pktinfo``: interface index, local address, destination in the header."""
_TIMESPEC = struct.Struct("@ll")
ANCILLARY_BYTES = socket.CMSG_SPACE(_PACKET_INFO.size) + socket.CMSG_SPACE(_TIMESPEC.size)
_UNSPECIFIED = IPv4Address("0.0.0.0")


@attrs.frozen
class Arrival:
    """How a datagram came in."""

    received: float
    """Seconds: the kernel's receive time, in the host's time, where it was asked for; else the reactor's."""
    interface_index: int = 0
    """The network interface, as in ``if_nametoindex``; 0: not asked for."""
    local_address: IPv4Address = _UNSPECIFIED
    """Our address on that interface: where an answer should come from."""
    is_stamped: bool = False
    """Whether the time is the kernel's."""


# What is decided without a socket


@lru_cache(maxsize=64)
def _address(octets: bytes) -> IPv4Address:
    """One of the few addresses of this host; making it anew costs more than reading the datagram."""
    return IPv4Address(octets)


def arrival_of(ancillary: Iterable[tuple[int, int, bytes]], now: float) -> Arrival:
    """What the kernel said beside the datagram; ``now`` stands in for a missing receive time."""
    received, index, local, is_stamped = now, 0, _UNSPECIFIED, False
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            received, is_stamped = seconds + nanoseconds / 1e9, True
        elif level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            index, octets, _ = _PACKET_INFO.unpack_from(data)
            local = _address(octets)
    return Arrival(received, index, local, is_stamped)


def sending_from(source: IPv4Address, interface_index: int) -> tuple[tuple[int, int, bytes], ...]:
    """The control message that makes the kernel send from this address and, unless 0, out of this interface."""
    return ((socket.IPPROTO_IP, IP_PKTINFO, _PACKET_INFO.pack(interface_index, source.packed, bytes(4))),)


def remedy(reason: OSError, port: int, interface: str | None) -> str:
    """One line for the operator: why the socket cannot be had, and what to do."""
    match reason.errno:
        case errno.EADDRINUSE:
            return f"another program has this UDP port (ss -ulpn 'sport = :{port}' shows which)"
        case errno.EACCES:
            return "no right to a port below 1024: start as root or give CAP_NET_BIND_SERVICE"
        case errno.EPERM:
            return f"no right to bind to the interface {interface}: start as root or give CAP_NET_RAW"
        case errno.EADDRNOTAVAIL:
            return "this host does not have that address (ip addr shows which it has)"
        case errno.ENODEV:
            present = ", ".join(name for _, name in socket.if_nameindex())
            return f"there is no network interface {interface}; this host has {present}"
    return str(reason)


# The socket


@attrs.frozen(kw_only=True)
class SocketSettings:
    """How the socket is made."""

    port: int
    address: str = "0.0.0.0"
    interface: str | None = None
    receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES
    packet_info: bool = False
    timestamps: bool = False
    broadcast: bool = False


def _bind_to_device(sock: socket.socket, interface: str) -> None:
    """Take and give datagrams of one interface only."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except PermissionError:
        if interface != "lo":  # there the address alone says as much
            raise


def _enlarge_receive_buffer(sock: socket.socket, count: int) -> None:
    """As much as the kernel gives; with CAP_NET_ADMIN beyond ``net.core.rmem_max``."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, count)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, count)


def open_socket(settings: SocketSettings) -> socket.socket:
    """
    A bound, non-blocking socket; ``SO_REUSEADDR`` is left off, so that a port has one owner.

    :raises CannotListenError: with the remedy in its text.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _enlarge_receive_buffer(sock, settings.receive_buffer_bytes)
        if settings.interface:
            _bind_to_device(sock, settings.interface)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, settings.broadcast)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, settings.packet_info)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, settings.timestamps)
        sock.bind((settings.address, settings.port))
    except OSError as reason:
        sock.close()
        text = remedy(reason, settings.port, settings.interface)
        raise CannotListenError(settings.address, settings.port, text) from reason
    return sock
