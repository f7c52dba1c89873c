# -*- test-case-name: tests.test_wire_dhcp -*-
"""
DHCP and BOOTP messages: bytes to values and back.

RFC 951 and 2131 (the fixed fields), 2132 (options), 3396 (long and repeated options), 3046 (relay agent information),
8357 (a relay's own port), 4578 (PXE).  Only Ethernet.  What an option says is not judged here: unknown ones survive as
bytes.  Anything that cannot be decoded is a :class:`MalformedDatagram`.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Any, TypeVar

import attrs

from piman.wire.layout import Layout, MalformedDatagram

SERVER_PORT = 67
CLIENT_PORT = 68
COOKIE = bytes((99, 130, 83, 99))
"""The first four octets of the options field (RFC 2131, 3)."""
MINIMUM_BYTES = 300
"""A BOOTP message has 64 octets of vendor area; relays and old clients drop shorter ones (RFC 1542, 2.1)."""
MAXIMUM_BYTES = 4096
"""More than any client sends: bounds the work for one datagram."""
BROADCAST_FLAG = 0x8000
"""The other bits of ``flags`` are reserved: kept, never looked at."""

HEADER = Layout.parse("""
    B     op      1 = to the server, 2 = from the server
    B     htype   1 = Ethernet
    B     hlen    6 = length of the hardware address
    B     hops    relays on the way
    I     xid     chosen by the client, the same on all boards with a Raspberry Pi boot ROM
    H     secs    since the client began
    H     flags   highest bit: answer by broadcast
    I     ciaddr  the address that the client has and answers ARP for
    I     yiaddr  the address given to the client
    I     siaddr  the server of the next step of the boot
    I     giaddr  the relay
    16s   chaddr  the hardware address, padded with zeros
    64s   sname   name of the server, or options (52)
    128s  file    name of the boot file, or options (52)
""")


class Operation(IntEnum):
    """Direction of a message."""

    REQUEST = 1
    REPLY = 2


class MessageType(IntEnum):
    """Option 53 (RFC 2132, 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """Option codes that we speak of; all others survive as bytes."""

    PAD = 0
    SUBNET_MASK = 1
    ROUTER = 3
    DNS_SERVERS = 6
    HOST_NAME = 12
    DOMAIN_NAME = 15
    ROOT_PATH = 17
    INTERFACE_MTU = 26
    BROADCAST_ADDRESS = 28
    NTP_SERVERS = 42
    VENDOR_SPECIFIC = 43
    REQUESTED_ADDRESS = 50
    LEASE_SECONDS = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_IDENTIFIER = 54
    PARAMETER_LIST = 55
    MESSAGE = 56
    MAXIMUM_SIZE = 57
    RENEWAL_SECONDS = 58
    REBINDING_SECONDS = 59
    VENDOR_CLASS = 60
    CLIENT_IDENTIFIER = 61
    TFTP_SERVER = 66
    BOOT_FILE = 67
    USER_CLASS = 77
    RELAY_INFORMATION = 82
    CLIENT_ARCHITECTURE = 93
    CLIENT_INTERFACE = 94
    CLIENT_GUID = 97
    END = 255


class RelaySubOption(IntEnum):
    """Codes inside option 82."""

    CIRCUIT_ID = 1
    REMOTE_ID = 2
    SOURCE_PORT = 19
    """RFC 8357: the relay wants its answers at the port that it sent from."""


@attrs.frozen
class Codec:
    """How one kind of option value is read and written; ``read`` raises ValueError for what it cannot be."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


def _parse_options(area: bytes, options: dict[int, bytes], pads: bool = True) -> None:
    """Add the options of one area; ``pads``: codes 0 and 255 are padding and end, as they are not in option 82."""
    position, size = 0, len(area)
    while position < size:
        code = area[position]
        if pads and code == Option.END:
            return
        if pads and code == Option.PAD:
            position += 1
            continue
        begin = position + 2
        position = begin + area[begin - 1] if begin <= size else size + 1
        if position > size:
            raise MalformedDatagram(f"option {code} ends after the datagram")
        value = area[begin:position]
        options[code] = options[code] + value if code in options else value


def _write_options(options: Mapping[int, bytes]) -> bytes:
    """The options without the end; values over 255 octets as several of the same code (RFC 3396, 5)."""
    written = bytearray()
    for code, value in options.items():
        rest = value
        while len(rest) > 255:
            written += bytes((code, 255)) + rest[:255]
            rest = rest[255:]
        written.append(code)
        written.append(len(rest))
        written += rest
    return bytes(written)


def _number(size: int) -> Codec:
    def read(data: bytes) -> int:
        if len(data) != size:
            raise ValueError(f"{len(data)} bytes, {size} expected")
        return int.from_bytes(data, "big")

    return Codec(read, lambda value: int(value).to_bytes(size, "big"))


def _read_addresses(data: bytes) -> tuple[IPv4Address, ...]:
    if not data or len(data) % 4:
        raise ValueError(f"{len(data)} bytes are no addresses")
    return tuple(IPv4Address(data[at : at + 4]) for at in range(0, len(data), 4))


def _read_suboptions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    _parse_options(data, found, pads=False)
    return found


BYTES = Codec(bytes, bytes)
ADDRESS = Codec(lambda data: IPv4Address(bytes(data)), lambda value: value.packed)
ADDRESSES = Codec(_read_addresses, lambda values: b"".join(value.packed for value in values))
TEXT = Codec(lambda data: data.rstrip(b"\0").decode("utf-8", "backslashreplace"), lambda value: str(value).encode())
OCTET, SHORT, SECONDS = _number(1), _number(2), _number(4)
SUBOPTIONS = Codec(_read_suboptions, _write_options)

OPTIONS: Mapping[int, Codec] = {
    Option.SUBNET_MASK: ADDRESS,
    Option.ROUTER: ADDRESSES,
    Option.DNS_SERVERS: ADDRESSES,
    Option.HOST_NAME: TEXT,
    Option.DOMAIN_NAME: TEXT,
    Option.ROOT_PATH: TEXT,
    Option.INTERFACE_MTU: SHORT,
    Option.BROADCAST_ADDRESS: ADDRESS,
    Option.NTP_SERVERS: ADDRESSES,
    Option.REQUESTED_ADDRESS: ADDRESS,
    Option.LEASE_SECONDS: SECONDS,
    Option.MESSAGE_TYPE: OCTET,
    Option.SERVER_IDENTIFIER: ADDRESS,
    Option.MESSAGE: TEXT,
    Option.MAXIMUM_SIZE: SHORT,
    Option.RENEWAL_SECONDS: SECONDS,
    Option.REBINDING_SECONDS: SECONDS,
    Option.VENDOR_CLASS: TEXT,
    Option.TFTP_SERVER: TEXT,
    Option.BOOT_FILE: TEXT,
    Option.RELAY_INFORMATION: SUBOPTIONS,
    Option.CLIENT_ARCHITECTURE: SHORT,
}
"""How the values of options are read; bytes where a code is not listed."""

_STEERING = (Option.REQUESTED_ADDRESS, Option.MESSAGE_TYPE, Option.SERVER_IDENTIFIER)
"""Read as absent, a broken one of these would change what the message asks for."""
_TYPES = {bytes((kind,)): kind for kind in MessageType}
_NOWHERE = IPv4Address(0)


def encode(option: int, value: Any) -> bytes:
    """The bytes of an option's value."""
    return OPTIONS.get(option, BYTES).write(value)


_Code = TypeVar("_Code", bound=int)


def encode_options(values: Mapping[_Code, Any]) -> dict[int, bytes]:
    """Options with typed values, as :attr:`Message.options` wants them, in the same order."""
    return {int(option): encode(option, value) for option, value in values.items()}


@attrs.frozen(kw_only=True)
class Message:
    """
    One DHCP or BOOTP message.

    :ivar options: code to value, in the order of the wire; parts of a repeated option are joined (RFC 3396).
    """

    op: int
    xid: int
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = _NOWHERE
    yiaddr: IPv4Address = _NOWHERE
    siaddr: IPv4Address = _NOWHERE
    giaddr: IPv4Address = _NOWHERE
    chaddr: bytes
    hops: int = 0
    htype: int = 1
    sname: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = attrs.Factory(dict)

    @classmethod
    def from_wire(cls, data: bytes) -> "Message":
        """
        Decode a datagram.

        :raises MalformedDatagram: for anything that is no message of an Ethernet client or of its server.
        """
        if len(data) > MAXIMUM_BYTES:
            raise MalformedDatagram(f"{len(data)} bytes, at most {MAXIMUM_BYTES} expected")
        fields = HEADER.unpack(data)
        _check_header(fields)
        options, sname, file = _read_areas(data[HEADER.size :], fields["sname"], fields["file"])
        _check_options(options)
        return cls(
            op=fields["op"],
            xid=fields["xid"],
            secs=fields["secs"],
            flags=fields["flags"],
            ciaddr=_address(fields["ciaddr"]),
            yiaddr=_address(fields["yiaddr"]),
            siaddr=_address(fields["siaddr"]),
            giaddr=_address(fields["giaddr"]),
            chaddr=fields["chaddr"][:6],
            hops=fields["hops"],
            sname=sname,
            file=file,
            options=options,
        )

    def to_wire(self) -> bytes:
        """
        Encode: options in the order of the mapping, the end option, zeros up to 300 octets.

        Options never go into ``sname`` and ``file``, whatever option 52 of the mapping may say.
        """
        header = HEADER.pack(
            op=self.op,
            htype=self.htype,
            hlen=6,
            hops=self.hops,
            xid=self.xid,
            secs=self.secs,
            flags=self.flags,
            ciaddr=int(self.ciaddr),
            yiaddr=int(self.yiaddr),
            siaddr=int(self.siaddr),
            giaddr=int(self.giaddr),
            chaddr=self.chaddr,
            sname=self.sname,
            file=self.file,
        )
        return (header + COOKIE + _write_options(self.options) + b"\xff").ljust(MINIMUM_BYTES, b"\0")

    @property
    def message_type(self) -> MessageType | None:
        """What kind of message it is; None: plain BOOTP."""
        value = self.options.get(Option.MESSAGE_TYPE)
        return None if value is None else _TYPES.get(value)

    @property
    def wants_broadcast(self) -> bool:
        """Whether the client cannot take unicast before it has its address (RFC 2131, 4.1)."""
        return bool(self.flags & BROADCAST_FLAG)

    def option(self, option: int) -> Any:
        """The value of an option in its own type; None when it is absent or its bytes cannot be such a value."""
        data = self.options.get(option)
        if data is None:
            return None
        try:
            return OPTIONS.get(option, BYTES).read(data)
        except ValueError:
            return None


def _address(number: int) -> IPv4Address:
    return IPv4Address(number) if number else _NOWHERE


def _check_header(fields: Mapping[str, Any]) -> None:
    if fields["op"] not in (Operation.REQUEST, Operation.REPLY):
        raise MalformedDatagram(f"op {fields['op']} is neither request nor reply")
    if (fields["htype"], fields["hlen"]) != (1, 6):
        raise MalformedDatagram(f"hardware type {fields['htype']}, length {fields['hlen']}: not Ethernet")


def _check_options(options: Mapping[int, bytes]) -> None:
    for option in _STEERING:
        value = options.get(option)
        if value is not None and len(value) != (1 if option is Option.MESSAGE_TYPE else 4):
            raise MalformedDatagram(f"option {option:d} has {len(value)} bytes")
    kind = options.get(Option.MESSAGE_TYPE)
    if kind is not None and kind not in _TYPES:
        raise MalformedDatagram(f"message type {kind[0]} is not one of RFC 2131")


def _read_areas(area: bytes, sname: bytes, file: bytes) -> tuple[dict[int, bytes], bytes, bytes]:
    """
    The options of all areas, and what is left of ``sname`` and ``file``.

    RFC 2131, 4.1: "The options in the 'options' field MUST be interpreted first, so that any 'option overload' options
    may be interpreted.  The 'file' field MUST be interpreted next [...], followed by the 'sname' field."
    """
    options: dict[int, bytes] = {}
    if area.startswith(COOKIE):
        _parse_options(area[len(COOKIE) :], options)
    overload = options.pop(Option.OVERLOAD, b"\0")
    used = overload[0] & 3 if len(overload) == 1 else 0
    if used & 1:
        _parse_options(file, options)
    if used & 2:
        _parse_options(sname, options)
    if used:
        options.pop(Option.OVERLOAD, None)
    return options, b"" if used & 2 else _text(sname), b"" if used & 1 else _text(file)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
