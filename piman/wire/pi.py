# -*- test-case-name: tests.test_wire_pi -*-
"""
What Raspberry Pis look like on the wire: which board it is, and which of its programs asks for an address.

All models send the same vendor class and the architecture of an x86 BIOS; they are told apart by option 97 (the
"GUID"), the transaction id of the boot ROMs, the list of wanted options and the OUI.  Sources: Raspberry Pi's
documentation of network boot, the release notes of rpi-eeprom, captures in raspberrypi/firmware issues 871, 941, 1265
and rpi-eeprom issues 58, 82, 103.  Nothing here decides anything.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address

import attrs

from piman.wire.dhcp import Message, MessageType, Operation, Option, encode_options

OUIS: frozenset[bytes] = frozenset(
    bytes.fromhex(oui) for oui in ("b827eb", "dca632", "e45f01", "28cdc1", "d83add", "2ccf67", "88a29e")
)
FIRST_OUI = bytes.fromhex("b827eb")
"""Raspberry Pi Foundation: all boards of the ROM family, Pi 0 to 3."""

ROM_XID = 0x26F30339
"""The transaction id of every boot ROM and bootcode.bin, on all boards, always (raspberrypi/firmware#1067)."""
VENDOR_CLASS = b"PXEClient:Arch:00000:UNDI:002001"
"""Option 60 of all models, and of every x86 PXE client too."""
ANSWERED_VENDOR_CLASS = b"PXEClient"
BOOT_MENU_TEXT = b"Raspberry Pi Boot"
"""What the firmware looks for in option 43."""

MASK_ROM_PARAMETERS = bytes((43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66))
"""Option 55 of the mask ROM of a Pi 3B; later stages and boards add 1 and 3."""
ROM_PARAMETERS = MASK_ROM_PARAMETERS + bytes((1, 3))
EEPROM_PARAMETERS = bytes((1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135))
KERNEL_PARAMETERS = frozenset((bytes((1, 3, 6, 12, 15, 17, 26, 40)), bytes((1, 3, 6, 12, 15, 17, 26, 42, 40))))
"""Option 55 of Linux ``ip=dhcp`` (net/ipv4/ipconfig.c), without and with the NTP servers of newer kernels."""

MASK_ROM_GUID = b"\0" + b"\x44" * 16
"""Option 97 of every Pi 3B's mask ROM: no information."""
FOURCC_PI4 = b"RPi4"
FOURCC_PI5 = b"RPi5"
_FOURCC = re.compile(rb"RPi([0-9])")

_MODELS: Mapping[int, str] = {
    0x00: "A", 0x01: "B", 0x02: "A+", 0x03: "B+", 0x04: "2B", 0x06: "CM1", 0x08: "3B", 0x09: "Zero", 0x0A: "CM3",
    0x0C: "Zero W", 0x0D: "3B+", 0x0E: "3A+", 0x10: "CM3+", 0x11: "4B", 0x12: "Zero 2 W", 0x13: "400", 0x14: "CM4",
    0x15: "CM4S", 0x17: "5", 0x18: "CM5", 0x19: "500", 0x1A: "CM5 Lite",
}  # fmt: skip
"""Bits 4 to 11 of a revision code of the new style (Raspberry Pi documentation, "New-style revision codes")."""
_OLD_MODELS: Mapping[int, str] = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x05, 0x06, 0x0D, 0x0E, 0x0F), "B"),
    **dict.fromkeys((0x07, 0x08, 0x09), "A"),
    **dict.fromkeys((0x10, 0x13), "B+"),
    **dict.fromkeys((0x11, 0x14), "CM1"),
    **dict.fromkeys((0x12, 0x15), "A+"),
}
_NEW_STYLE = 1 << 23

MODELS = frozenset({*_MODELS.values(), *_OLD_MODELS.values()})
"""Every model that is known."""

_SERIAL_PREFIX = re.compile(rb"/*([0-9a-fA-F]{8})/")
_MAC_PREFIX = re.compile(rb"/*([0-9a-fA-F]{2}(?:-[0-9a-fA-F]{2}){5})/")


@attrs.frozen(kw_only=True)
class Board:
    """What a message tells of its board, as far as it does."""

    serial: str | None = None
    """Low 32 bits, 8 lower-case hexadecimal digits: the TFTP prefix."""
    revision: int | None = None
    model: str | None = None


def model_of(revision: int) -> str | None:
    """The model that a revision code stands for."""
    if revision & _NEW_STYLE:
        return _MODELS.get(revision >> 4 & 0xFF)
    return _OLD_MODELS.get(revision & 0xFF)


def has_pi_oui(chaddr: bytes) -> bool:
    """Whether the address is one that Raspberry Pi programmed; an operator may have changed it (``MAC_ADDRESS``)."""
    return chaddr[:3] in OUIS


def board_of(message: Message) -> Board:
    """Serial, revision and model, from option 97 and what only one model sends."""
    if is_mask_rom(message):
        return Board(model="3B")
    guid = message.options.get(Option.CLIENT_GUID, b"")
    if len(guid) != 17 or guid[0]:
        return Board()
    family = _family(guid)
    if family:
        return _board_of_family(guid, family)
    if _is_serial(guid) and (message.xid == ROM_XID or has_pi_oui(message.chaddr)):
        return Board(serial=_word(guid, 1))
    return Board()


def _family(guid: bytes) -> str | None:
    """``4`` or ``5``; both byte orders are in the field (a Pi 4 of 2021 sends "4iPR")."""
    found = _FOURCC.fullmatch(guid[1:5]) or _FOURCC.fullmatch(guid[4:0:-1])
    return found[1].decode() if found else None


def _board_of_family(guid: bytes, family: str) -> Board:
    revision = int.from_bytes(guid[5:9], "little")
    model = model_of(revision) or {"4": "4B"}.get(family, family)
    return Board(serial=_word(guid, 13), revision=revision or None, model=model)


def _word(guid: bytes, at: int) -> str:
    return guid[at : at + 4][::-1].hex()


def _is_serial(guid: bytes) -> bool:
    """The serial four times: bootcode.bin, Pi 3B+, and a Pi 4 before 2020-03 or with ``DHCP_OPTION97=0``."""
    return len(guid) == 17 and guid[1:5] * 4 == guid[1:] and guid[1:] not in (b"\0" * 16, b"\xff" * 16, b"\x44" * 16)


def is_rom(message: Message) -> bool:
    """Whether a client of the ROM family asks: it uses an OFFER at once and never sends a REQUEST."""
    return message.xid == ROM_XID and message.message_type is MessageType.DISCOVER


def is_mask_rom(message: Message) -> bool:
    """Whether it is the mask ROM of a Pi 3B, which must not be answered too fast."""
    return is_rom(message) and (
        message.options.get(Option.PARAMETER_LIST) == MASK_ROM_PARAMETERS
        or message.options.get(Option.CLIENT_GUID) == MASK_ROM_GUID
    )


def is_pxe(message: Message) -> bool:
    """Whether a network boot program of any make asks."""
    return message.options.get(Option.VENDOR_CLASS, b"").startswith(b"PXEClient")


def is_pi(message: Message) -> bool:
    """Whether the sender is a Raspberry Pi by its own words: its address, or what only Pi firmware sends."""
    guid = message.options.get(Option.CLIENT_GUID, b"")
    return has_pi_oui(message.chaddr) or is_rom(message) or (len(guid) == 17 and _family(guid) is not None)


def stage_of(message: Message, known: bool = False) -> str:
    """
    Which program on the board sent this: ``rom``, ``eeprom``, ``kernel``, ``initramfs``, ``os`` or ``other``.

    :param known: the operator says that the board is a Pi, whatever its address.
    """
    if message.message_type is None:
        return "other"
    if is_rom(message):
        return "rom"
    if _is_eeprom(message, known):
        return "eeprom"
    if message.options.get(Option.PARAMETER_LIST) in KERNEL_PARAMETERS:
        return "kernel"
    vendor_class = message.options.get(Option.VENDOR_CLASS, b"")
    if vendor_class.startswith(b"udhcp"):
        return "initramfs"
    if vendor_class.startswith((b"PXEClient", b"U-Boot", b"HTTPClient")):
        return "other"
    return "os" if known or has_pi_oui(message.chaddr) else "other"


def _is_eeprom(message: Message, known: bool) -> bool:
    """
    Whether the boot loader of a Pi 4 or later asks.

    Its REQUEST has no option 55, before 2020 not even option 60 (rpi-eeprom#82); the "RPi4" of its GUID can be set to
    anything or to nothing.  U-Boot and iPXE on a Pi send option 57 or another architecture.
    """
    guid = message.options.get(Option.CLIENT_GUID, b"")
    if message.options.get(Option.VENDOR_CLASS, VENDOR_CLASS) != VENDOR_CLASS or Option.MAXIMUM_SIZE in message.options:
        return False
    if len(guid) == 17 and _family(guid):
        return True
    if not (known or has_pi_oui(message.chaddr)):
        return False
    return _is_serial(guid) or message.options.get(Option.PARAMETER_LIST) == EEPROM_PARAMETERS


def boot_menu(padded: bool = False) -> bytes:
    """
    Option 43 as the firmware wants it: a PXE boot menu with the one entry "Raspberry Pi Boot".

    :param padded: with the three spaces after the text that the mask ROM of a Pi 3B needs.
    """
    text = BOOT_MENU_TEXT + b"   " * padded
    entry = b"\0\0" + bytes((len(text),)) + text
    discovery_control = b"\x06\x01\x03"  # neither broadcast nor multicast discovery
    prompt = b"\x0a\x04\x00PXE"  # no time to wait
    return discovery_control + prompt + b"\x09" + bytes((len(entry),)) + entry + b"\xff"


_MENU, _PADDED_MENU = boot_menu(), boot_menu(padded=True)


def boot_menu_for(chaddr: bytes) -> bytes:
    """The padded menu for boards that may be a Pi 3B, the standard one for others."""
    return _PADDED_MENU if chaddr[:3] == FIRST_OUI else _MENU


def serial_prefix(name: bytes) -> str | None:
    """The serial that a file name begins with, as in ``8d8696f5/config.txt``."""
    found = _SERIAL_PREFIX.match(name)
    return found[1].decode().lower() if found else None


def mac_prefix(name: bytes) -> bytes | None:
    """The hardware address that a file name begins with, as in ``dc-a6-32-01-36-c2/config.txt``."""
    found = _MAC_PREFIX.match(name)
    return bytes.fromhex(found[1].decode().replace("-", "")) if found else None


# What boards send, for the simulator and for tests.


def guid_of_serial(serial: str) -> bytes:
    """Option 97 of a Pi 3B+, of bootcode.bin, and of early Pi 4 firmware."""
    return b"\0" + bytes.fromhex(serial)[::-1] * 4


def guid_of_board(fourcc: bytes, revision: int, chaddr: bytes, serial: str) -> bytes:
    """Option 97 of a Pi 4 or 5."""
    return b"\0" + fourcc + revision.to_bytes(4, "little") + chaddr[2:6] + bytes.fromhex(serial)[::-1]


def rom_discover(chaddr: bytes, guid: bytes = MASK_ROM_GUID) -> Message:
    """The DISCOVER of the ROM family: of a 3B's mask ROM, or with a serial in its GUID of all others."""
    parameters = MASK_ROM_PARAMETERS if guid == MASK_ROM_GUID else ROM_PARAMETERS
    return _request(
        ROM_XID,
        chaddr,
        {
            Option.MESSAGE_TYPE: MessageType.DISCOVER,
            Option.PARAMETER_LIST: parameters,
            Option.CLIENT_ARCHITECTURE: 0,
            Option.CLIENT_INTERFACE: b"\x01\x02\x01",
            Option.CLIENT_GUID: guid,
            Option.VENDOR_CLASS: VENDOR_CLASS.decode(),
        },
    )


def eeprom_discover(chaddr: bytes, guid: bytes, xid: int) -> Message:
    """The DISCOVER of a Pi 4 or 5."""
    return _request(
        xid,
        chaddr,
        {
            Option.MESSAGE_TYPE: MessageType.DISCOVER,
            Option.PARAMETER_LIST: EEPROM_PARAMETERS,
            Option.VENDOR_CLASS: VENDOR_CLASS.decode(),
            Option.CLIENT_ARCHITECTURE: 0,
            Option.CLIENT_INTERFACE: b"\x01\x02\x01",
            Option.CLIENT_GUID: guid,
        },
    )


def eeprom_request(discover: Message, address: IPv4Address, server: IPv4Address) -> Message:
    """The REQUEST that follows: no list of wanted options, and ``siaddr`` set although it is a request."""
    asked = _request(
        discover.xid,
        discover.chaddr,
        {
            Option.MESSAGE_TYPE: MessageType.REQUEST,
            Option.REQUESTED_ADDRESS: address,
            Option.SERVER_IDENTIFIER: server,
            Option.VENDOR_CLASS: VENDOR_CLASS.decode(),
            Option.CLIENT_GUID: discover.options[Option.CLIENT_GUID],
        },
    )
    return attrs.evolve(asked, siaddr=server)


def _request(xid: int, chaddr: bytes, values: Mapping[int, object]) -> Message:
    return Message(op=Operation.REQUEST, xid=xid, chaddr=chaddr, options=encode_options(values))
