# -*- test-case-name: tests.test_simulator_booting_boards -*-
"""
The boards that can be simulated: what tells them apart, and one board's identity.

Names of files and their order come from logs of servers that such boards booted from; docs/reference/simulator.md
says what is known and what is a guess.
"""

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256

import attrs

from piman.wire.pi import FOURCC_PI4, FOURCC_PI5, MASK_ROM_GUID, guid_of_board, guid_of_serial


class Family(Enum):
    """Which boot program a board begins with."""

    ROM = "rom"
    """In the chip; takes an OFFER without a REQUEST, asks for blocks of 512 bytes."""
    EEPROM = "eeprom"
    """In flash memory; a whole DHCP exchange, negotiated blocks, tries again."""


@attrs.frozen(kw_only=True)
class Kind:
    """
    A model of board.

    :ivar firmware_seconds: from power to the first DISCOVER, at least and at most.
    :ivar start_files: what the second stage of the firmware is called, most wanted first; empty: there is none.
    :ivar probes: files that decide, when none is there, that names have no prefix.
    :ivar filters: sections of config.txt that are meant for it.
    """

    name: str
    family: Family
    oui: bytes
    revision: int
    fourcc: bytes = b""
    is_mask_rom: bool = False
    firmware_seconds: tuple[float, float]
    start_files: tuple[str, ...] = ()
    fixup_file: str = ""
    probes: tuple[str, ...]
    kernels: tuple[str, ...]
    initramfs: str
    """What ``auto_initramfs=1`` means."""
    device_tree: str
    normally_missing: tuple[str, ...]
    """Asked for by the last stage before the kernel; a "not found" is expected."""
    filters: tuple[str, ...]

    @property
    def has_serial_in_mac(self) -> bool:
        """Whether the MAC's last three octets are those of the serial (Pi 0 to 3)."""
        return self.family is Family.ROM


_ROM_MISSING = ("dt-blob.bin", "bootcfg.txt", "recovery8.img", "recovery8-32.img", "recovery7.img", "recovery.img")

KINDS: Mapping[str, Kind] = {
    "3B": Kind(
        name="3B",
        family=Family.ROM,
        oui=bytes.fromhex("b827eb"),
        revision=0xA02082,
        is_mask_rom=True,
        firmware_seconds=(8.0, 10.0),  # 5 s for the empty slot, 2 s for USB, 1 to 3 s for the link
        start_files=("start.elf",),
        fixup_file="fixup.dat",
        probes=("start.elf",),
        kernels=("kernel8.img", "kernel7.img", "kernel.img"),
        initramfs="initramfs8",
        device_tree="bcm2710-rpi-3-b.dtb",
        normally_missing=(*_ROM_MISSING, "armstub8.bin"),
        filters=("all", "pi3"),
    ),
    "3B+": Kind(
        name="3B+",
        family=Family.ROM,
        oui=bytes.fromhex("b827eb"),
        revision=0xA020D3,
        firmware_seconds=(8.0, 10.0),
        start_files=("start.elf",),
        fixup_file="fixup.dat",
        probes=("start.elf",),
        kernels=("kernel8.img", "kernel7.img", "kernel.img"),
        initramfs="initramfs8",
        device_tree="bcm2710-rpi-3-b-plus.dtb",
        normally_missing=(*_ROM_MISSING, "armstub8.bin"),
        filters=("all", "pi3", "pi3+"),
    ),
    "4B": Kind(
        name="4B",
        family=Family.EEPROM,
        oui=bytes.fromhex("dca632"),
        revision=0xC03111,
        fourcc=FOURCC_PI4,
        firmware_seconds=(5.0, 6.0),
        start_files=("start4.elf", "start.elf"),
        fixup_file="fixup4.dat",
        probes=("start4.elf", "start.elf"),
        kernels=("kernel8.img", "kernel7l.img", "kernel7.img", "kernel.img"),
        initramfs="initramfs8",
        device_tree="bcm2711-rpi-4-b.dtb",
        normally_missing=(
            "dt-blob.bin",
            "bootcfg.txt",
            "recovery8.img",
            "recovery8-32.img",
            "recovery7l.img",
            "recovery7.img",
            "recovery.img",
            "armstub8-32-gic.bin",
        ),
        filters=("all", "pi4"),
    ),
    "5": Kind(
        name="5",
        family=Family.EEPROM,
        oui=bytes.fromhex("2ccf67"),
        revision=0xD04170,
        fourcc=FOURCC_PI5,
        firmware_seconds=(10.0, 11.0),
        probes=("config.txt",),
        kernels=("kernel_2712.img", "kernel8.img"),
        initramfs="initramfs_2712",
        device_tree="bcm2712-rpi-5-b.dtb",
        normally_missing=("armstub8-2712.bin",),
        filters=("all", "pi5"),
    ),
}
"""By name."""


@attrs.frozen(kw_only=True)
class Board:
    """One board."""

    kind: Kind
    mac: bytes
    serial: str
    """Low 32 bits, 8 hexadecimal digits."""
    hostname: str = ""

    @property
    def prefix(self) -> str:
        """What its firmware puts before the names of files."""
        return f"{self.serial}/"

    @property
    def guid(self) -> bytes:
        """Option 97 of its boot loader; of a mask ROM's second stage, bootcode.bin."""
        if self.kind.fourcc:
            return guid_of_board(self.kind.fourcc, self.kind.revision, self.mac, self.serial)
        return guid_of_serial(self.serial)

    @property
    def rom_guid(self) -> bytes:
        """Option 97 of the first stage."""
        return MASK_ROM_GUID if self.kind.is_mask_rom else self.guid


def board_number(number: int, kind: Kind) -> Board:
    """The board of that kind with this number; always the same one, and no two numbers share a MAC."""
    tail = number.to_bytes(3, "big")
    noise = sha256(b"board %d" % number).digest()
    serial = noise[:1] + tail if kind.has_serial_in_mac else noise[:4]
    return Board(kind=kind, mac=kind.oui + tail, serial=serial.hex(), hostname=f"pi{number}")
