"""
DHCP and BOOTP messages, against bytes from elsewhere.
"""

from ipaddress import IPv4Address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire.dhcp import (
    COOKIE,
    HEADER,
    MAXIMUM_BYTES,
    Message,
    MessageType,
    Operation,
    Option,
    RelaySubOption,
    encode,
    encode_options,
)
from piman.wire.layout import MalformedDatagram
from tests.captures import dhcp as captures

CAPTURES = {name: value for name, value in vars(captures).items() if name.startswith(("DISCOVER", "REQUEST"))}

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
names = st.binary(max_size=60).map(lambda text: text.replace(b"\0", b""))
codes = st.integers(1, 254).filter(
    lambda code: code not in (Option.OVERLOAD, Option.MESSAGE_TYPE, Option.REQUESTED_ADDRESS, Option.SERVER_IDENTIFIER)
)
messages = st.builds(
    Message,
    op=st.sampled_from((1, 2)),
    xid=st.integers(0, 2**32 - 1),
    secs=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 2**16 - 1),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    chaddr=st.binary(min_size=6, max_size=6),
    hops=st.integers(0, 255),
    sname=names,
    file=names,
    options=st.dictionaries(codes, st.binary(max_size=600), max_size=4),
)


def plain(**fields: bytes) -> bytes:
    """A header with a cookie, these areas in it and no option."""
    header = Message(op=1, xid=1, chaddr=bytes(5) + b"\2").to_wire()[: HEADER.size]
    found = HEADER.unpack(header) | fields
    return HEADER.pack(**found) + COOKIE


class CaptureTests(SynchronousTestCase):
    """What real clients sent."""

    def test_fields(self) -> None:
        """Every field of a Pi 400's REQUEST is read from its place."""
        message = Message.from_wire(captures.REQUEST_PI400)
        self.assertEqual(
            message,
            Message(
                op=Operation.REQUEST,
                xid=0x3A1C0B2D,
                siaddr=IPv4Address("172.30.4.1"),
                chaddr=bytes.fromhex("dca632ecfc3c"),
                options={
                    53: b"\x03",
                    50: bytes((172, 30, 4, 13)),
                    54: bytes((172, 30, 4, 1)),
                    60: captures.VENDOR_CLASS,
                    97: bytes.fromhex("00525069343031c00032ecfc3cda06ffe0"),
                },
            ),
        )

    def test_order(self) -> None:
        """Options keep the order of the wire: 53, 55, 93, 94, 97, 60 of a boot ROM."""
        message = Message.from_wire(captures.DISCOVER_3B_MASK_ROM)
        self.assertEqual(list(message.options), [53, 55, 93, 94, 97, 60])

    def test_same_bytes_again(self) -> None:
        """Every captured datagram is written again octet for octet, but for zeros after the end."""
        for name, data in CAPTURES.items():
            written = Message.from_wire(data).to_wire()
            self.assertEqual(written.rstrip(b"\0"), data.rstrip(b"\0"), name)
            self.assertGreaterEqual(len(written), 300, name)

    def test_lengths_of_raspberry_pi(self) -> None:
        """Boot ROMs and boot loaders send no padding, and neither do we when 300 octets are passed."""
        for name in ("DISCOVER_3B_MASK_ROM", "DISCOVER_3BPLUS", "DISCOVER_PI400", "REQUEST_PI400"):
            self.assertEqual(Message.from_wire(CAPTURES[name]).to_wire(), CAPTURES[name], name)

    def test_seconds(self) -> None:
        """``secs`` and ``flags`` are two fields: the kernel counts seconds and sets no flag."""
        message = Message.from_wire(captures.DISCOVER_KERNEL)
        self.assertEqual((message.secs, message.flags, message.wants_broadcast), (3, 0, False))


class ReadTests(SynchronousTestCase):
    """What is tolerated, and what is not."""

    def options_of(self, area: bytes, **fields: bytes) -> dict[int, bytes]:
        """The options read from this area."""
        return dict(Message.from_wire(plain(**fields) + area).options)

    def refused(self, data: bytes) -> None:
        """The datagram is malformed."""
        self.assertRaises(MalformedDatagram, Message.from_wire, data)

    def test_unknown_option(self) -> None:
        """An option nobody knows survives as bytes."""
        self.assertEqual(self.options_of(b"\xe0\x03abc\xff"), {224: b"abc"})

    def test_repeated_option(self) -> None:
        """Parts of a repeated option are joined in their order (RFC 3396)."""
        self.assertEqual(self.options_of(b"\x0c\x02ab\x06\x04\1\2\3\4\x0c\x01c\xff"), {12: b"abc", 6: b"\1\2\3\4"})

    def test_padding(self) -> None:
        """Zeros between options are padding, and nothing after the end is read."""
        self.assertEqual(self.options_of(b"\0\0\x0c\x01a\0\0\x0f\x01b\xff\x06\xff"), {12: b"a", 15: b"b"})

    def test_missing_end(self) -> None:
        """An options field without the end option is read as far as it goes."""
        self.assertEqual(self.options_of(b"\x0c\x01a"), {12: b"a"})

    def test_empty_option(self) -> None:
        """An option without a value is there."""
        self.assertEqual(self.options_of(b"\x50\x00\xff"), {80: b""})

    def test_truncated_option(self) -> None:
        """An option that ends after the datagram is malformed, and so is one without its length."""
        self.refused(plain() + b"\x0c\x05ab")
        self.refused(plain() + b"\x0c")

    def test_overload(self) -> None:
        """Option 52 puts options into ``file`` and ``sname``, read in this order after the others (RFC 2131, 4.1)."""
        fields = {"file": b"\x0c\x02bc\xff".ljust(128, b"\0"), "sname": b"\x0c\x01d\xff".ljust(64, b"\0")}
        for value, expected in ((1, b"abc"), (2, b"ad"), (3, b"abcd")):
            message = Message.from_wire(plain(**fields) + b"\x0c\x01a\x34\x01" + bytes((value,)) + b"\xff")
            self.assertEqual(dict(message.options), {12: expected}, value)
            self.assertEqual(message.file == b"", value in (1, 3))
            self.assertEqual(message.sname == b"", value in (2, 3))

    def test_overload_of_nothing(self) -> None:
        """An option 52 that says nothing sensible overloads nothing."""
        for area in (b"\x34\x01\x04\xff", b"\x34\x02\x01\x01\xff", b"\x34\x00\xff"):
            self.assertEqual(self.options_of(area, file=b"boot".ljust(128, b"\0")), {})

    def test_names(self) -> None:
        """``sname`` and ``file`` end at their first zero."""
        message = Message.from_wire(plain(sname=b"a\0b".ljust(64, b"\0"), file=b"c".ljust(128, b"\0")))
        self.assertEqual((message.sname, message.file), (b"a", b"c"))

    def test_bootp(self) -> None:
        """A message without cookie or without option 53 is plain BOOTP."""
        for area in (b"", bytes(64), COOKIE + b"\x0c\x01a\xff"):
            message = Message.from_wire(plain()[: HEADER.size] + area)
            self.assertIs(message.message_type, None)

    def test_reserved_flags(self) -> None:
        """Reserved flags are kept and mean nothing."""
        data = bytearray(plain())
        data[10:12] = b"\x7f\xff"
        message = Message.from_wire(bytes(data))
        self.assertEqual((message.flags, message.wants_broadcast), (0x7FFF, False))
        data[10] = 0x80
        self.assertTrue(Message.from_wire(bytes(data)).wants_broadcast)

    def test_not_ethernet(self) -> None:
        """Only Ethernet addresses are served, in either direction of a message."""
        for place, value in ((0, 0), (0, 3), (1, 6), (2, 16), (2, 0)):
            data = bytearray(plain())
            data[place] = value
            self.refused(bytes(data))

    def test_short(self) -> None:
        """Less than the fixed fields is malformed."""
        self.refused(b"")
        self.refused(plain()[: HEADER.size - 1])

    def test_long(self) -> None:
        """A datagram that takes long to read is not read."""
        self.refused(plain().ljust(MAXIMUM_BYTES + 1, b"\0"))

    def test_steering_options(self) -> None:
        """What decides on the answer must be well-formed: message type, requested address, server."""
        for area in (b"\x35\x00", b"\x35\x02\x01\x01", b"\x35\x01\x63", b"\x32\x03\1\2\3", b"\x36\x05\1\2\3\4\5"):
            self.refused(plain() + area + b"\xff")

    def test_broken_value(self) -> None:
        """The typed reader takes a value that cannot be one as absent."""
        message = Message.from_wire(plain() + b"\x39\x01\x02\x03\x03\1\2\3\x52\x02\x01\x05\x33\x04\0\0\2\x58\xff")
        self.assertIs(message.option(Option.MAXIMUM_SIZE), None)
        self.assertIs(message.option(Option.ROUTER), None)
        self.assertIs(message.option(Option.RELAY_INFORMATION), None)
        self.assertIs(message.option(Option.DOMAIN_NAME), None)
        self.assertEqual(message.option(Option.LEASE_SECONDS), 600)

    @given(st.binary(max_size=700))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes are a message or malformed, nothing else."""
        for candidate in (data, plain() + data, captures.DISCOVER_PI400[:240] + data):
            try:
                message = Message.from_wire(candidate)
            except MalformedDatagram:
                continue
            for option in message.options:
                message.option(option)
            self.assertEqual(Message.from_wire(message.to_wire()), message)

    @given(st.sampled_from(sorted(CAPTURES)), st.integers(0, 319), st.integers(0, 255))
    def test_damaged_captures(self, name: str, place: int, value: int) -> None:
        """A capture with one octet changed is a message or malformed, nothing else."""
        data = bytearray(CAPTURES[name])
        data[place % len(data)] = value
        try:
            message = Message.from_wire(bytes(data))
        except MalformedDatagram:
            return
        self.assertEqual(Message.from_wire(message.to_wire()), message)


class WriteTests(SynchronousTestCase):
    """Values to bytes."""

    @given(messages)
    def test_round_trip(self, message: Message) -> None:
        """What is written is read again, in the same order."""
        again = Message.from_wire(message.to_wire())
        self.assertEqual(again, message)
        self.assertEqual(list(again.options), list(message.options))

    def test_long_option(self) -> None:
        """A value of more than 255 octets becomes several options of one code (RFC 3396, 5)."""
        message = Message(op=2, xid=1, chaddr=bytes(6), options={12: b"a" * 300, 15: b"b"})
        area = message.to_wire()[HEADER.size + 4 :]
        self.assertEqual(area, b"\x0c\xff" + b"a" * 255 + b"\x0c\x2d" + b"a" * 45 + b"\x0f\x01b\xff")

    def test_minimum(self) -> None:
        """No message is shorter than 300 octets (RFC 1542, 2.1)."""
        data = Message(op=2, xid=1, chaddr=bytes(6)).to_wire()
        self.assertEqual((len(data), data[240], data[241:]), (300, 255, bytes(59)))

    def test_typed_values(self) -> None:
        """Each kind of value is written as RFC 2132 shows it and read again."""
        for option, value, data in (
            (Option.SUBNET_MASK, IPv4Address("255.255.255.0"), b"\xff\xff\xff\0"),
            (Option.ROUTER, (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")), b"\x0a\0\0\1\x0a\0\0\2"),
            (Option.LEASE_SECONDS, 600, b"\0\0\2\x58"),
            (Option.MAXIMUM_SIZE, 576, b"\2\x40"),
            (Option.MESSAGE_TYPE, MessageType.OFFER, b"\2"),
            (Option.HOST_NAME, "pi13", b"pi13"),
            (Option.RELAY_INFORMATION, {1: b"p3"}, captures.RELAY_INFORMATION),
            (Option.CLIENT_GUID, b"\0" * 17, b"\0" * 17),
        ):
            self.assertEqual(encode(option, value), data)
            message = Message(op=1, xid=1, chaddr=bytes(6), options=encode_options({option: value}))
            self.assertEqual(message.option(option), value)

    def test_absent_option(self) -> None:
        """The typed reader gives None for an option that is not there."""
        self.assertIs(Message(op=1, xid=1, chaddr=bytes(6)).option(Option.ROUTER), None)

    def test_relay_sub_options(self) -> None:
        """Option 82 holds sub-options, 0 and 255 among them; RFC 8357's is empty."""
        message = Message(op=1, xid=1, chaddr=bytes(6), options={82: captures.RELAY_INFORMATION_WITH_PORT})
        self.assertEqual(message.option(82), {1: b"p3", RelaySubOption.SOURCE_PORT: b""})
        odd = attrs.evolve(message, options={82: b"\0\1a\xff\1b"})
        self.assertEqual(odd.option(82), {0: b"a", 255: b"b"})
