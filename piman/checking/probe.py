# -*- test-case-name: tests.test_checking_probe -*-
"""
Asks for an address on the LAN and listens who answers; takes none of what is offered.

In frames of our own (AF_PACKET): port 68 may belong to this host's own DHCP client, and this host's own server must not
be troubled: it does not hear frames that leave here.  The sender of the frame is the real interface, so that no switch
sees a second hardware address on its port.

1. RFC 2131, section 4.4.1; packet(7); Documentation/networking/filter.rst of Linux
"""

import ctypes
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.checking.rivals import Offer
from piman.wire.dhcp import CLIENT_PORT, SERVER_PORT, Message, MessageType, Operation
from piman.wire.frame import ETHERTYPE_IPV4, udp_frame, udp_in_frame
from piman.wire.layout import MalformedDatagram

LISTEN_SECONDS = 5.0
"""dnsmasq pings an address for up to 3 s before its first OFFER, ISC dhcpd for 1 s."""
ASK_AGAIN_SECONDS = 1.0
"""A frame may be lost, and the first may have woken a port that was not forwarding."""

LARGEST_FRAME = 65_535
FRAMES_PER_WAKE_UP = 64
MOST_OFFERS = 64
BROADCAST = b"\xff" * 6

SO_ATTACH_FILTER = 26
FILTER = (
    (0x28, 0, 0, 12),  # ldh [12]         EtherType
    (0x15, 0, 8, 0x0800),  # jeq IPv4, else drop
    (0x30, 0, 0, 23),  # ldb [23]         protocol
    (0x15, 0, 6, 17),  # jeq UDP, else drop
    (0x28, 0, 0, 20),  # ldh [20]         fragment offset
    (0x45, 4, 0, 0x1FFF),  # jset drop
    (0xB1, 0, 0, 14),  # ldxb 4*([14]&15) length of the IPv4 header
    (0x48, 0, 0, 16),  # ldh [x + 16]     destination port
    (0x15, 0, 1, CLIENT_PORT),  # jeq 68, else drop
    (0x06, 0, 0, 0xFFFF),  # take it
    (0x06, 0, 0, 0),  # drop
)
"""Of all frames only those to UDP port 68: a rack that loads is not read along."""


class ProbeUnavailable(Exception):
    """We cannot ask; the text says why and what to do."""


class ILink(Protocol):
    """An interface on which frames are sent and heard."""

    hardware_address: bytes

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def send(self, frame: bytes) -> None:
        """
        Send a frame.

        :raises OSError: when the kernel does not take it.
        """

    def receive(self) -> bytes | None:
        """A frame that waits; None: none does."""

    def close(self) -> None:
        """Let go."""


class PacketLink:
    """
    A packet socket that hears only what is sent to UDP port 68.

    :raises ProbeUnavailable: without the right, or the interface.
    """

    def __init__(self, interface: str) -> None:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # hears nothing until it is bound
        except PermissionError as reason:
            raise ProbeUnavailable(f"no right to send frames on {interface}") from reason
        try:
            self._socket.setblocking(False)
            _attach_filter(self._socket)
            self._socket.bind((interface, ETHERTYPE_IPV4))
        except OSError as reason:
            self._socket.close()
            raise ProbeUnavailable(f"no frames on {interface}: {reason.strerror}") from reason
        self.hardware_address: bytes = self._socket.getsockname()[4][:6]

    def fileno(self) -> int:
        """The socket's descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame; raises OSError."""
        self._socket.send(frame)

    def receive(self) -> bytes | None:
        """A frame that waits; None: none does."""
        try:
            return self._socket.recv(LARGEST_FRAME)
        except (BlockingIOError, InterruptedError):
            return None

    def close(self) -> None:
        """Close the socket; harmless twice."""
        self._socket.close()


def _attach_filter(sock: socket.socket) -> None:
    """``struct sock_fprog``: how many instructions, and where they are."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in FILTER))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(FILTER), ctypes.addressof(program)))


# Asking


def frame_of(question: Message, hardware_address: bytes) -> bytes:
    """The question as it goes on the wire, to everybody."""
    return udp_frame(
        source_mac=hardware_address,
        destination_mac=BROADCAST,
        source=("0.0.0.0", CLIENT_PORT),
        destination=("255.255.255.255", SERVER_PORT),
        payload=question.to_wire(),
    )


def offer_in(frame: bytes, question: Message) -> Offer | None:
    """The answer to our question in a frame; None: it is something else."""
    try:
        source, _, payload = udp_in_frame(frame)
        message = Message.from_wire(payload)
    except MalformedDatagram:
        return None
    is_ours = (message.op, message.xid, message.chaddr) == (Operation.REPLY, question.xid, question.chaddr)
    return Offer(source[0], message) if is_ours and message.message_type is MessageType.OFFER else None


@implementer(IReadDescriptor)
class _Listener:
    """Collects offers while the reactor reads for it."""

    _log = Logger()

    def __init__(self, link: ILink, question: Message) -> None:
        self.offers: list[Offer] = []
        self._link = link
        self._question = question

    def fileno(self) -> int:
        """The link's descriptor."""
        return self._link.fileno()

    def logPrefix(self) -> str:
        """What log lines begin with."""
        return "DHCP probe"

    def doRead(self) -> None:
        """Take what waits, a bounded number of frames."""
        for _ in range(FRAMES_PER_WAKE_UP):
            try:
                frame = self._link.receive()
            except OSError as reason:  # the interface went away
                self._log.debug("nothing heard: {reason}", reason=reason)
                return
            if frame is None:
                return
            offer = offer_in(frame, self._question)
            if offer is not None and len(self.offers) < MOST_OFFERS:
                self.offers.append(offer)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of every descriptor."""


async def ask(
    reactor: Any,
    question: Message,
    open_link: Callable[[], ILink],
    *,
    seconds: float = LISTEN_SECONDS,
) -> list[Offer]:
    """
    Ask twice, and listen for a while.

    :param reactor: provides IReactorTime and IReactorFDSet.
    :raises ProbeUnavailable: when we cannot.
    """
    link = open_link()
    listener = _Listener(link, question)
    frame = frame_of(question, link.hardware_address)
    try:
        reactor.addReader(listener)
        _send(link, frame)
        await _pause(reactor, ASK_AGAIN_SECONDS)
        _send(link, frame)
        await _pause(reactor, seconds - ASK_AGAIN_SECONDS)
    finally:
        reactor.removeReader(listener)
        link.close()
    return listener.offers


def _pause(clock: IReactorTime, seconds: float) -> "Deferred[None]":
    return deferLater(clock, seconds, lambda: None)


def _send(link: ILink, frame: bytes) -> None:
    try:
        link.send(frame)
    except OSError as reason:
        raise ProbeUnavailable(f"the question could not be sent: {reason.strerror}") from reason
