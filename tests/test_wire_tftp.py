"""
TFTP datagrams: bytes and values.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.wire.layout import MalformedDatagram
from piman.wire.tftp import (
    Acknowledgement,
    Data,
    Error,
    OptionAcknowledgement,
    ReadRequest,
    WriteRequest,
    from_wire,
    to_netascii,
)
from tests.captures import tftp as captures

words = st.integers(0, 0xFFFF)
opcodes = st.integers(0, 7)
texts = st.text(st.characters(max_codepoint=255, exclude_characters="\0"), max_size=40)
names = st.binary(max_size=60).map(lambda name: name.replace(b"\0", b"_"))
lower = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=1, max_size=12)
options = st.dictionaries(lower, texts, max_size=5)
datagrams = st.one_of(
    st.builds(ReadRequest, names, lower, options),
    st.builds(WriteRequest, names, lower, options),
    st.builds(Data, words, st.binary(max_size=600)),
    st.builds(Acknowledgement, words),
    st.builds(Error, words, texts),
    st.builds(OptionAcknowledgement, options),
)


class CaptureTests(SynchronousTestCase):
    """What foreign programs send."""

    def test_boot_rom(self) -> None:
        """The boot ROM's request has no options."""
        self.assertEqual(len(captures.ROM_REQUEST), 21)
        self.assertEqual(from_wire(captures.ROM_REQUEST), ReadRequest(b"bootcode.bin", "octet", {}))

    def test_bootcode(self) -> None:
        """bootcode.bin asks for the size."""
        request = from_wire(captures.BOOTCODE_REQUEST)
        self.assertEqual(request, ReadRequest(b"89eb9bb9/config.txt", "octet", {"tsize": "0"}))

    def test_bootcode_reply(self) -> None:
        """An OACK holds the options and nothing else."""
        self.assertEqual(OptionAcknowledgement({"tsize": "2075"}).to_wire(), captures.BOOTCODE_REPLY)

    def test_eeprom(self) -> None:
        """The EEPROM asks for size and block size, in that order."""
        request = from_wire(captures.EEPROM_REQUEST)
        assert isinstance(request, ReadRequest)
        self.assertEqual(request.filename, b"e0ff06da/start4.elf")
        self.assertEqual(list(request.options.items()), [("tsize", "0"), ("blksize", "1468")])

    def test_early_terminate(self) -> None:
        """The firmware's way to stop is an ERROR."""
        self.assertEqual(from_wire(captures.EARLY_TERMINATE), Error(0, "Early terminate"))
        self.assertEqual(Error(0, "Early terminate").to_wire(), captures.EARLY_TERMINATE)

    def test_requests_of_the_rfcs(self) -> None:
        """The examples of RFC 2347, 2348 and 7440 read as they say, and are written so."""
        for wire, filename, name, value in (
            (captures.RFC_2347_REQUEST, b"foofile", "blksize", "1432"),
            (captures.RFC_2348_REQUEST, b"foobar", "blksize", "1428"),
            (captures.RFC_7440_REQUEST, b"foobar", "windowsize", "16"),
        ):
            request = ReadRequest(filename, "octet", {name: value})
            self.assertEqual((from_wire(wire), request.to_wire()), (request, wire))
        self.assertEqual(from_wire(captures.RFC_7440_REPLY), OptionAcknowledgement({"windowsize": "16"}))

    def test_fixed_formats(self) -> None:
        """DATA, ACK and WRQ look as in RFC 1350, section 5."""
        self.assertEqual(from_wire(b"\0\3\0\1abc"), Data(1, b"abc"))
        self.assertEqual(from_wire(b"\0\3\0\2"), Data(2, b""))
        self.assertEqual(from_wire(b"\0\4\xff\xff"), Acknowledgement(65535))
        self.assertEqual(from_wire(b"\0\2up\0netascii\0"), WriteRequest(b"up", "netascii"))


class ReadingTests(SynchronousTestCase):
    """Bytes that are nearly or not at all right."""

    def test_case(self) -> None:
        """Option names and the mode do not depend on case."""
        request = from_wire(b"\0\1a\0OcTeT\0BLKSIZE\x001468\0")
        self.assertEqual(request, ReadRequest(b"a", "octet", {"blksize": "1468"}))

    def test_option_twice(self) -> None:
        """Of an option named twice the first counts."""
        request = from_wire(b"\0\1a\0octet\0tsize\x000\0TSIZE\x007\0")
        self.assertEqual(request, ReadRequest(b"a", "octet", {"tsize": "0"}))

    def test_padding(self) -> None:
        """Zeros after the last option are no option."""
        for zeros in range(5):
            request = from_wire(b"\0\1a\0octet\0tsize\x000\0" + bytes(zeros))
            self.assertEqual(request, ReadRequest(b"a", "octet", {"tsize": "0"}), zeros)

    def test_error_without_end(self) -> None:
        """An ERROR whose text does not end with NUL is read all the same."""
        self.assertEqual(from_wire(b"\0\5\0\3disk full"), Error(3, "disk full"))
        self.assertEqual(from_wire(b"\0\5\0\0"), Error(0, ""))

    def test_malformed(self) -> None:
        """What is cut off, unknown or lacks its parts is malformed."""
        for data in (
            b"",
            b"\0",
            b"\0\0",
            b"\0\7x",
            b"\1\1x\0octet\0",
            b"\0\1",
            b"\0\1name",
            b"\0\1name\0",
            b"\0\1name\0octet",
            b"\0\1name\0octet\0tsize\0",
            b"\0\1name\0octet\0tsize\x000",
            b"\0\3\0",
            b"\0\4",
            b"\0\5\0",
            b"\0\6tsize\0",
        ):
            self.assertRaises(MalformedDatagram, from_wire, data)

    @given(st.binary(max_size=80) | st.builds(lambda code, rest: bytes((0, code)) + rest, opcodes, st.binary()))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes are a datagram or malformed, nothing else."""
        try:
            from_wire(data)
        except MalformedDatagram:
            pass

    @given(datagrams)
    def test_round_trip(self, datagram: ReadRequest) -> None:
        """What is written is read as it was."""
        self.assertEqual(from_wire(datagram.to_wire()), datagram)


class WritingTests(SynchronousTestCase):
    """Values that cannot travel."""

    def test_nul(self) -> None:
        """A text with NUL would be read as two: it is refused."""
        self.assertRaises(ValueError, ReadRequest(b"a\0b").to_wire)
        self.assertRaises(ValueError, OptionAcknowledgement({"tsize": "1\0"}).to_wire)

    def test_foreign_letters(self) -> None:
        """A message with letters that TFTP does not know is sent with question marks."""
        self.assertEqual(Error(0, "\N{SNOWMAN}").to_wire(), b"\0\5\0\0?\0")


class NetasciiTests(SynchronousTestCase):
    """RFC 764 line ends."""

    def test_line_ends(self) -> None:
        """LF becomes CR LF and CR becomes CR NUL."""
        self.assertEqual(to_netascii(b"a\nb\rc\r\n"), b"a\r\nb\r\0c\r\0\r\n")

    @given(st.binary())
    def test_reversible(self, data: bytes) -> None:
        """What the RFC lets a receiver do gives the file back."""
        self.assertEqual(to_netascii(data).replace(b"\r\n", b"\n").replace(b"\r\0", b"\r"), data)
