# -*- test-case-name: tests.test_wire_tftp -*-
"""
TFTP datagrams: RFC 1350, with options (RFC 2347: names do not depend on case, here they are lower-case).

The options themselves (RFC 2348 ``blksize``, RFC 2349 ``tsize`` and ``timeout``, RFC 7440 ``windowsize``) are plain
text here; what they mean is decided elsewhere.  Texts are ISO 8859-1, so that every byte survives.
"""

import struct
from collections.abc import Callable, Mapping
from enum import IntEnum

import attrs

from piman.wire.layout import MalformedDatagram

PORT = 69
DEFAULT_BLOCK_BYTES = 512
MINIMUM_BLOCK_BYTES = 8
"""RFC 2348."""
MAXIMUM_BLOCK_BYTES = 65464
"""RFC 2348."""
HEADER_BYTES = 4
"""Before the payload of a DATA datagram."""


class Opcode(IntEnum):
    """The first two bytes of every datagram."""

    READ_REQUEST = 1
    WRITE_REQUEST = 2
    DATA = 3
    ACKNOWLEDGEMENT = 4
    ERROR = 5
    OPTION_ACKNOWLEDGEMENT = 6


class ErrorCode(IntEnum):
    """RFC 1350, appendix; 8 is RFC 2347."""

    UNDEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER_ID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_REFUSED = 8


_WORD = struct.Struct("!H")
_TWO_WORDS = struct.Struct("!HH")


@attrs.frozen
class ReadRequest:
    """RRQ: somebody wants a file."""

    filename: bytes
    mode: str = "octet"
    """Lower-case: ``octet``, ``netascii`` or whatever the client says."""
    options: Mapping[str, str] = attrs.field(factory=dict)
    """In the order of the request; of an option named twice the first counts."""

    def to_wire(self) -> bytes:
        """The datagram."""
        return _request(Opcode.READ_REQUEST, self.filename, self.mode, self.options)


@attrs.frozen
class WriteRequest:
    """WRQ: somebody wants to send a file."""

    filename: bytes
    mode: str = "octet"
    options: Mapping[str, str] = attrs.field(factory=dict)

    def to_wire(self) -> bytes:
        """The datagram."""
        return _request(Opcode.WRITE_REQUEST, self.filename, self.mode, self.options)


@attrs.frozen
class Data:
    """DATA: a block of the file; one shorter than the block size is the last."""

    block: int
    """Modulo 65536; the first is 1, and 0 follows 65535."""
    payload: bytes

    def to_wire(self) -> bytes:
        """The datagram."""
        return _TWO_WORDS.pack(Opcode.DATA, self.block) + self.payload


@attrs.frozen
class Acknowledgement:
    """ACK: this block, or the OACK (block 0), has arrived."""

    block: int

    def to_wire(self) -> bytes:
        """The datagram."""
        return _TWO_WORDS.pack(Opcode.ACKNOWLEDGEMENT, self.block)


@attrs.frozen
class Error:
    """ERROR: the transfer is over."""

    code: int
    message: str

    def to_wire(self) -> bytes:
        """The datagram."""
        return _TWO_WORDS.pack(Opcode.ERROR, self.code) + _terminated(_encoded(self.message))


@attrs.frozen
class OptionAcknowledgement:
    """OACK: the options that the server agrees to."""

    options: Mapping[str, str]

    def to_wire(self) -> bytes:
        """The datagram."""
        return _WORD.pack(Opcode.OPTION_ACKNOWLEDGEMENT) + _options_to_wire(self.options)


Datagram = ReadRequest | WriteRequest | Data | Acknowledgement | Error | OptionAcknowledgement


def from_wire(data: bytes) -> Datagram:
    """
    Read one datagram.

    :raises MalformedDatagram: when the bytes are not TFTP.
    """
    if len(data) < _WORD.size:
        raise MalformedDatagram(f"{len(data)} bytes are too few for TFTP")
    reader = _READERS.get(data[0] << 8 | data[1])
    if reader is None:
        raise MalformedDatagram(f"opcode {data[0] << 8 | data[1]} is not TFTP")
    return reader(data[_WORD.size :])


def to_netascii(data: bytes) -> bytes:
    """RFC 1350 says netascii is RFC 764's: a line ends with CR LF, and a bare CR is CR NUL."""
    return data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


def _read_request(body: bytes) -> ReadRequest:
    return ReadRequest(*_request_fields(body))


def _read_write_request(body: bytes) -> WriteRequest:
    return WriteRequest(*_request_fields(body))


def _read_data(body: bytes) -> Data:
    return Data(_number(body), body[_WORD.size :])


def _read_acknowledgement(body: bytes) -> Acknowledgement:
    return Acknowledgement(_number(body))


def _read_error(body: bytes) -> Error:
    # The text ends at its NUL; several boot ROMs send none, so the end of the datagram serves as well.
    return Error(_number(body), body[_WORD.size :].partition(b"\0")[0].decode("latin-1"))


def _read_option_acknowledgement(body: bytes) -> OptionAcknowledgement:
    return OptionAcknowledgement(_options_from_wire(_texts(body)))


_READERS: Mapping[int, Callable[[bytes], Datagram]] = {
    Opcode.READ_REQUEST: _read_request,
    Opcode.WRITE_REQUEST: _read_write_request,
    Opcode.DATA: _read_data,
    Opcode.ACKNOWLEDGEMENT: _read_acknowledgement,
    Opcode.ERROR: _read_error,
    Opcode.OPTION_ACKNOWLEDGEMENT: _read_option_acknowledgement,
}


def _number(body: bytes) -> int:
    if len(body) < _WORD.size:
        raise MalformedDatagram("the number after the opcode is cut off")
    return body[0] << 8 | body[1]


def _texts(body: bytes) -> list[bytes]:
    """The NUL-terminated texts that fill ``body``."""
    if body and not body.endswith(b"\0"):
        raise MalformedDatagram("the last text does not end with NUL")
    return body.split(b"\0")[:-1]


def _request_fields(body: bytes) -> tuple[bytes, str, dict[str, str]]:
    texts = _texts(body)
    if len(texts) < 2:
        raise MalformedDatagram("a request has a file name and a mode")
    return texts[0], texts[1].lower().decode("latin-1"), _options_from_wire(texts[2:])


def _options_from_wire(texts: list[bytes]) -> dict[str, str]:
    while texts and not texts[-1] and (len(texts) % 2 or not texts[-2]):
        texts = texts[:-1]  # zeros that pad the datagram
    if len(texts) % 2:
        raise MalformedDatagram("an option has no value")
    options: dict[str, str] = {}
    for name, value in zip(texts[::2], texts[1::2], strict=True):
        options.setdefault(name.lower().decode("latin-1"), value.decode("latin-1"))
    return options


def _request(opcode: Opcode, filename: bytes, mode: str, options: Mapping[str, str]) -> bytes:
    return _WORD.pack(opcode) + _terminated(filename) + _terminated(_encoded(mode)) + _options_to_wire(options)


def _options_to_wire(options: Mapping[str, str]) -> bytes:
    return b"".join(_terminated(_encoded(text)) for option in options.items() for text in option)


def _encoded(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _terminated(text: bytes) -> bytes:
    if b"\0" in text:
        raise ValueError(f"{text!r} cannot travel in a datagram: it holds NUL")
    return text + b"\0"
