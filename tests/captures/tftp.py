"""
TFTP datagrams as programs that are not ours put them on the wire.

Those of Raspberry Pi firmware are written down in public: the boot ROM's and bootcode.bin's in Raspberry Pi's own
documentation of network booting and in raspberrypi/firmware issues 1041 (a hex dump) and 1700, the EEPROM's in captures
of a Pi 400.
"""

ROM_REQUEST = (
    b"\x00\x01"  # RRQ
    b"bootcode.bin\0"
    b"octet\0"
)
"""The boot ROM of a Pi 3: no options, 21 bytes."""

BOOTCODE_REQUEST = (
    b"\x00\x01"  # RRQ
    b"89eb9bb9/config.txt\0"
    b"octet\0"
    b"tsize\0"
    b"0\0"
)
"""bootcode.bin and start.elf of the Pi 3 family."""

BOOTCODE_REPLY = (
    b"\x00\x06"  # OACK
    b"tsize\0"
    b"2075\0"
)
"""What a server answers to :data:`BOOTCODE_REQUEST` for a file of 2075 bytes."""

EEPROM_REQUEST = (
    b"\x00\x01"  # RRQ
    b"e0ff06da/start4.elf\0"
    b"octet\0"
    b"tsize\0"
    b"0\0"
    b"blksize\0"
    b"1468\0"
)
"""The boot loader of a Pi 4 or 5 from 2022-10-03 on."""

EARLY_TERMINATE = (
    b"\x00\x05"  # ERROR
    b"\x00\x00"  # not defined
    b"Early terminate\0"
)
"""Firmware has seen the size and will ask again."""

RFC_2348_REQUEST = b"\x00\x01foobar\0octet\0blksize\x001428\0"
"""RFC 2348, "Example"."""

RFC_2347_REQUEST = b"\x00\x01foofile\0octet\0blksize\x001432\0"
"""RFC 2347, "Examples"."""

RFC_7440_REQUEST = b"\x00\x01foobar\0octet\0windowsize\x0016\0"
"""RFC 7440, 3: "For example"."""

RFC_7440_REPLY = b"\x00\x06windowsize\x0016\0"
"""The answer to :data:`RFC_7440_REQUEST`, in the format of RFC 2347."""
