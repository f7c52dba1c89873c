"""
NTP packets: bytes and values.
"""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire.layout import MalformedDatagram
from piman.wire.ntp import (
    ERA_SECONDS,
    HEADER,
    Leap,
    Mode,
    Reply,
    Request,
    Template,
    seconds_near,
    short,
    timestamp,
)
from tests.captures import ntp as captures

words = st.integers(0, 2**32 - 1)
stamps = st.integers(0, 2**64 - 1)
signed_bytes = st.integers(-128, 127)
replies = st.builds(
    Reply,
    leap=st.sampled_from(Leap),
    version=st.integers(1, 4),
    stratum=st.integers(0, 255),
    poll=signed_bytes,
    precision=signed_bytes,
    root_delay=words,
    root_dispersion=words,
    reference_id=st.binary(min_size=4, max_size=4),
    reference_time=stamps,
    origin_time=stamps,
    receive_time=stamps,
    transmit_time=stamps,
)


class RequestTests(SynchronousTestCase):
    """What clients send."""

    def test_chronyd(self) -> None:
        """The request of a real chronyd reads as a version 4 client with its transmit time."""
        self.assertEqual(Request.from_wire(captures.CHRONYD_REQUEST), Request(4, 6, 0x419E34780C3B3629))

    def test_ntpdate(self) -> None:
        """The request of a real ntpdate, which is not synchronised yet, is a client's too."""
        self.assertEqual(Request.from_wire(captures.NTPDATE_REQUEST), Request(4, 0, 0xEEAEA260969C5800))

    def test_extensions(self) -> None:
        """What follows the header is ignored."""
        self.assertEqual(
            Request.from_wire(captures.CHRONYD_REQUEST + bytes(20)), Request.from_wire(captures.CHRONYD_REQUEST)
        )

    def test_short(self) -> None:
        """A packet of 47 bytes is malformed."""
        self.assertRaises(MalformedDatagram, Request.from_wire, captures.CHRONYD_REQUEST[:47])

    def test_modes(self) -> None:
        """Of the eight modes only the client's is read."""
        for mode in Mode:
            data = bytes([4 << 3 | mode]) + captures.CHRONYD_REQUEST[1:]
            if mode is Mode.CLIENT:
                self.assertEqual(Request.from_wire(data).version, 4)
            else:
                self.assertRaises(MalformedDatagram, Request.from_wire, data)

    def test_versions(self) -> None:
        """Versions 1 to 4 are read, 0 and 5 to 7 are not."""
        for version in range(8):
            data = bytes([version << 3 | Mode.CLIENT]) + captures.CHRONYD_REQUEST[1:]
            if version in (1, 2, 3, 4):
                self.assertEqual(Request.from_wire(data).version, version)
            else:
                self.assertRaises(MalformedDatagram, Request.from_wire, data)

    @given(st.builds(Request, st.integers(1, 4), signed_bytes, stamps))
    def test_round_trip(self, request: Request) -> None:
        """What was written is read again."""
        self.assertEqual(Request.from_wire(request.to_wire()), request)
        self.assertEqual(len(request.to_wire()), HEADER.size)

    @given(st.binary(min_size=47, max_size=80), st.integers(1, 4))
    def test_same_as_header(self, rest: bytes, version: int) -> None:
        """The fast way reads what the header's table says."""
        data = bytes([version << 3 | Mode.CLIENT]) + rest
        fields = HEADER.unpack(data)
        self.assertEqual(Request.from_wire(data), Request(version, fields["poll"], fields["transmit_time"]))

    @given(st.binary(max_size=120))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes raise nothing but MalformedDatagram, and what is read was a client's."""
        try:
            Request.from_wire(data)
        except MalformedDatagram:
            return
        self.assertEqual(data[0] & 7, Mode.CLIENT)


class ReplyTests(SynchronousTestCase):
    """What servers send."""

    def test_chronyd(self) -> None:
        """The reply of a real chronyd reads field by field."""
        reply = Reply.from_wire(captures.CHRONYD_REPLY)
        self.assertEqual(
            attrs.asdict(reply),
            {
                "leap": Leap.NONE,
                "version": 4,
                "stratum": 8,
                "poll": 6,
                "precision": -26,
                "root_delay": 0,
                "root_dispersion": 0,
                "reference_id": b"\x7f\x7f\x01\x01",
                "reference_time": 0xEEAEA25A717BED13,
                "origin_time": 0x419E34780C3B3629,
                "receive_time": 0xEEAEA25C71886615,
                "transmit_time": 0xEEAEA25C71A11F2A,
            },
        )
        self.assertEqual(reply.to_wire(), captures.CHRONYD_REPLY)

    def test_no_server(self) -> None:
        """A client's packet is no reply."""
        self.assertRaises(MalformedDatagram, Reply.from_wire, captures.CHRONYD_REQUEST)

    @given(replies)
    def test_round_trip(self, reply: Reply) -> None:
        """What was written is read again."""
        self.assertEqual(Reply.from_wire(reply.to_wire()), reply)

    @given(st.binary(max_size=120))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes raise nothing but MalformedDatagram."""
        try:
            Reply.from_wire(data)
        except MalformedDatagram:
            return
        self.assertGreaterEqual(len(data), HEADER.size)


class TemplateTests(SynchronousTestCase):
    """The fast way to the same bytes."""

    @given(replies)
    def test_same_bytes(self, reply: Reply) -> None:
        """A template filled with the client's part of a reply gives that reply's bytes."""
        request = Request(reply.version, reply.poll, reply.origin_time)
        filled = Template.of(reply).fill(request, reply.receive_time, reply.transmit_time)
        self.assertEqual(filled, reply.to_wire())

    def test_chronyd(self) -> None:
        """A template of chronyd's reply answers chronyd's request with chronyd's bytes."""
        reply = Reply.from_wire(captures.CHRONYD_REPLY)
        template = Template.of(attrs.evolve(reply, version=1, poll=0, origin_time=0, receive_time=0, transmit_time=0))
        request = Request.from_wire(captures.CHRONYD_REQUEST)
        self.assertEqual(template.fill(request, reply.receive_time, reply.transmit_time), captures.CHRONYD_REPLY)


class TimestampTests(SynchronousTestCase):
    """Seconds since 1970 and since 1900."""

    def test_capture(self) -> None:
        """The moment at which tcpdump saw a request is the receive time in chronyd's reply, to the microsecond."""
        stamp = Reply.from_wire(captures.CHRONYD_REPLY).receive_time
        self.assertApproximates(seconds_near(stamp, 1.8e9), captures.CHRONYD_REPLY_RECEIVED, 1e-6)
        self.assertApproximates(timestamp(captures.CHRONYD_REPLY_RECEIVED), stamp, 1e-6 * ERA_SECONDS)

    def test_epochs(self) -> None:
        """The dates of RFC 5905, figure 4: 1970 began 2,208,988,800 s after 1900, the next era begins in 2036."""
        self.assertEqual(timestamp(0.0), 2_208_988_800 << 32)
        self.assertEqual(timestamp(2_085_978_496.0), 0)  # 2036-02-07 06:28:16 UTC
        self.assertEqual(timestamp(2_085_978_495.5), 0xFFFFFFFF_80000000)

    @given(st.floats(0, 2.0**33))
    def test_round_trip(self, seconds: float) -> None:
        """A time survives within the resolution of a float, whatever its era."""
        self.assertApproximates(seconds_near(timestamp(seconds), seconds), seconds, 2e-6)

    @given(st.floats(-1e12, 1e12))
    def test_fits(self, seconds: float) -> None:
        """Whatever the clock says, the timestamp has 64 bits."""
        self.assertTrue(0 <= timestamp(seconds) < 2**64)

    def test_short(self) -> None:
        """Short durations are 16.16 seconds, rounded up, and stay within 32 bits."""
        self.assertEqual(short(0.0), 0)
        self.assertEqual(short(1.5), 0x0001_8000)
        self.assertEqual(short(1e-9), 1)
        self.assertEqual(short(-1.0), 0)
        self.assertEqual(short(1e9), 0xFFFF_0000)
