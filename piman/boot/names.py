# -*- test-case-name: tests.test_boot_files -*-
"""
The names that nodes ask for, and the prefix with which a Pi says who it is.

A Pi asks ``<serial>/start4.elf`` (8 hexadecimal digits), or ``<mac>/start4.elf`` (six pairs with dashes) when its
EEPROM says ``TFTP_PREFIX=2``; a Pi 5 also asks ``<serial>//cmdline.txt``.
"""

import re

from piman.fleet.interfaces import BootFileMissing, BootFileRefused
from piman.fleet.model import MACAddress

LONGEST_NAME_BYTES = 1024

Components = tuple[bytes, ...]
"""A relative path, one part each; none is empty, ``.`` or ``..``."""

_SERIAL = re.compile(rb"[0-9a-f]{8}", re.IGNORECASE)
_DASHED_MAC = re.compile(rb"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}", re.IGNORECASE)


def components_of(name: bytes) -> Components:
    """
    The parts of a requested name; leading and doubled slashes mean nothing.

    :raises BootFileRefused: when the name climbs (``..``) or holds NUL.
    :raises BootFileMissing: when no file can have that name.
    """
    if len(name) > LONGEST_NAME_BYTES:
        raise BootFileMissing(f"the name has {len(name)} bytes")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts or b"\0" in name:
        raise BootFileRefused("the name leads out of the boot files")
    if not parts:
        raise BootFileMissing("the name is empty")
    return parts


def serial_in(component: bytes) -> str | None:
    """The serial that a prefix names."""
    return component.decode("ascii").lower() if _SERIAL.fullmatch(component) else None


def mac_in(component: bytes) -> MACAddress | None:
    """The MAC that a prefix names."""
    return MACAddress.parse(component.decode("ascii")) if _DASHED_MAC.fullmatch(component) else None


def dashed(mac: MACAddress) -> bytes:
    """The MAC as a prefix."""
    return mac.octets.hex("-").encode("ascii")
