# -*- test-case-name: tests.test_wire_ntp -*-
"""
The packets of NTP, as far as a server needs them.

A request is read only in mode 3 (client); every other mode is malformed here, because answering symmetric, control
(6) or private (7) packets is what turns a time server into a weapon.  Extension fields and authenticators behind the
header are not read, and a reply never has any: it is never longer than its request.

1. RFC 5905: Network Time Protocol Version 4
2. RFC 8633: Network Time Protocol Best Current Practices
"""

import struct
from enum import IntEnum

import attrs

from piman.wire.layout import Layout, MalformedDatagram

PORT = 123
VERSIONS = range(1, 5)
SECONDS_1900_TO_1970 = 2_208_988_800
ERA_SECONDS = 1 << 32
"""An era ends in 2036; a timestamp is what is left of the division (RFC 5905, section 6)."""
LARGEST_SHORT_SECONDS = 65_535.0

HEADER = Layout.parse("""
    B   flags            leap 2 bits, version 3, mode 3
    B   stratum          hops to a reference clock; 0 = unspecified, or the packet is a kiss
    b   poll             log2 seconds between requests
    b   precision        log2 seconds of the clock
    I   root_delay       16.16 seconds to the reference clock and back
    I   root_dispersion  16.16 seconds of error against it
    4s  reference_id     the upstream server's address, or four letters
    Q   reference_time   when the clock was last corrected
    Q   origin_time      the client's transmit time, echoed
    Q   receive_time     when the request came
    Q   transmit_time    32.32 seconds since 1900
""")


class Leap(IntEnum):
    """The warning in front of a leap second (RFC 5905, figure 9)."""

    NONE = 0
    INSERT = 1
    DELETE = 2
    UNSYNCHRONISED = 3


class Mode(IntEnum):
    """What the sender is (RFC 5905, figure 10)."""

    RESERVED = 0
    SYMMETRIC_ACTIVE = 1
    SYMMETRIC_PASSIVE = 2
    CLIENT = 3
    SERVER = 4
    BROADCAST = 5
    CONTROL = 6
    PRIVATE = 7


def timestamp(seconds: float) -> int:
    """Seconds since 1970 as 32.32 seconds since 1900."""
    whole = int(seconds // 1)
    fraction = int((seconds - whole) * ERA_SECONDS)
    return ((whole + SECONDS_1900_TO_1970) % ERA_SECONDS) << 32 | fraction


def seconds_near(stamp: int, pivot: float) -> float:
    """A timestamp as seconds since 1970, in the era that brings it nearest to ``pivot``."""
    seconds = stamp / ERA_SECONDS - SECONDS_1900_TO_1970
    return seconds + round((pivot - seconds) / ERA_SECONDS) * ERA_SECONDS


def short(seconds: float) -> int:
    """A duration as 16.16 seconds, rounded up: an error must not be promised away."""
    return -int(-min(max(seconds, 0.0), LARGEST_SHORT_SECONDS) * 65_536 // 1)


_REQUEST = struct.Struct("!Bxb37xQ")
"""Of :data:`HEADER` the flags, the poll and the transmit time: 0.9 instead of 2.5 microseconds for each packet."""


@attrs.frozen
class Request:
    """What a client asks."""

    version: int
    poll: int
    transmit_time: int

    @classmethod
    def from_wire(cls, data: bytes) -> "Request":
        """
        Read a client's packet; what follows the header is ignored.

        :raises MalformedDatagram: when it is too short, of an unknown version or not a client's.
        """
        if len(data) < HEADER.size:
            raise MalformedDatagram(f"{len(data)} bytes, at least {HEADER.size} expected")
        flags, poll, transmit_time = _REQUEST.unpack_from(data)
        if flags & 7 != Mode.CLIENT:
            raise MalformedDatagram(f"NTP mode {flags & 7} ({Mode(flags & 7).name.lower()})")
        if flags >> 3 & 7 not in VERSIONS:
            raise MalformedDatagram(f"NTP version {flags >> 3 & 7}")
        return cls(flags >> 3 & 7, poll, transmit_time)

    def to_wire(self) -> bytes:
        """The packet of a client that tells nothing else."""
        return _REQUEST.pack(self.version << 3 | Mode.CLIENT, self.poll, self.transmit_time)


@attrs.frozen(kw_only=True)
class Reply:
    """What a server answers."""

    leap: Leap
    version: int
    stratum: int
    poll: int
    precision: int
    root_delay: int
    root_dispersion: int
    reference_id: bytes
    reference_time: int
    origin_time: int
    receive_time: int
    transmit_time: int

    @classmethod
    def from_wire(cls, data: bytes) -> "Reply":
        """
        Read a server's packet.

        :raises MalformedDatagram: when it is too short or not a server's.
        """
        fields = HEADER.unpack(data)
        flags = fields.pop("flags")
        if flags & 7 != Mode.SERVER:
            raise MalformedDatagram(f"NTP mode {flags & 7}, not a server's")
        return cls(leap=Leap(flags >> 6), version=flags >> 3 & 7, **fields)

    def to_wire(self) -> bytes:
        """The 48 bytes."""
        fields = attrs.asdict(self)
        leap, version = fields.pop("leap"), fields.pop("version")
        return HEADER.pack(flags=leap << 6 | version << 3 | Mode.SERVER, **fields)


_FIRST = struct.Struct("!BBbb")
_TIMES = struct.Struct("!QQQ")


@attrs.frozen
class Template:
    """
    A reply in which only the client's part is missing.

    The same bytes as :meth:`Reply.to_wire` in a sixth of the time, nearly all of which lies before the
    transmit time is taken; what lies after it is an error of every client's clock.
    """

    leap: int
    stratum: int
    precision: int
    middle: bytes
    """Bytes 4 to 23: what the reference clock is like."""

    @classmethod
    def of(cls, reply: Reply) -> "Template":
        """The template that gives this reply again."""
        return cls(reply.leap << 6 | Mode.SERVER, reply.stratum, reply.precision, reply.to_wire()[4:24])

    def fill(self, request: Request, receive_time: int, transmit_time: int) -> bytes:
        """The reply to one request."""
        first = _FIRST.pack(self.leap | request.version << 3, self.stratum, request.poll, self.precision)
        return first + self.middle + _TIMES.pack(request.transmit_time, receive_time, transmit_time)
