"""
Bytes that others sent or published, each with its origin.  None was made by this project's code.

Published excerpts begin at the options; the fixed fields before them are written out here from the same sources
(flags 0, no broadcast flag, zeros everywhere but in op, htype, hlen, xid and chaddr).
"""


def _bytes(*parts: str) -> bytes:
    return bytes.fromhex("".join("".join(parts).split()))


def _header(xid: str, chaddr: str, ciaddr: str = "00000000", siaddr: str = "00000000", secs: str = "0000") -> str:
    """The 236 octets of RFC 2131, section 2, and the cookie."""
    return (
        "01"  # op: request
        "01"  # htype: Ethernet
        "06"  # hlen
        "00"  # hops
        f"{xid}"
        f"{secs}"
        "0000"  # flags
        f"{ciaddr}"
        "00000000"  # yiaddr
        f"{siaddr}"
        "00000000"  # giaddr
        f"{chaddr}" + "00" * 10 + "00" * 64 + "00" * 128 + "63825363"
    )


# Option values: Raspberry Pi documentation, "Network booting" (tcpdump of a DISCOVER), and a published hex dump of a
# Pi 400's exchange with dnsmasq; the same in raspberrypi/firmware issues 871 and 1265.

VENDOR_CLASS = _bytes("50584543 6c69656e 743a4172 63683a30 30303030 3a554e44 493a3030 32303031")
MASK_ROM_PARAMETERS = _bytes("2b 3c 43 80 81 82 83 84 85 86 87 42")
ROM_PARAMETERS = _bytes("2b 3c 43 80 81 82 83 84 85 86 87 42 01 03")
EEPROM_PARAMETERS = _bytes("01 03 2b 3c 42 43 80 81 82 83 84 85 86 87")

# Option 43, value only: dnsmasq's --pxe-service=0,"Raspberry Pi Boot" as in Raspberry Pi's network boot tutorial, and
# the same with the three spaces that the documentation asks for because of the mask ROM of the Pi 3B.

BOOT_MENU = _bytes(
    "06 01 03",  # PXE_DISCOVERY_CONTROL: neither broadcast nor multicast discovery
    "0a 04 00 50 58 45",  # PXE_MENU_PROMPT: timeout 0, "PXE"
    "09 14 00 00 11",  # PXE_BOOT_MENU: 20 octets, type 0, a text of 17
    "52 61 73 70 62 65 72 72 79 20 50 69 20 42 6f 6f 74",  # "Raspberry Pi Boot"
    "ff",
)
PADDED_BOOT_MENU = _bytes(
    "06 01 03",
    "0a 04 00 50 58 45",
    "09 17 00 00 14",
    "52 61 73 70 62 65 72 72 79 20 50 69 20 42 6f 6f 74 20 20 20",
    "ff",
)

# The mask ROM of a Pi 3B: 320 octets of payload, options 53, 55, 93, 94, 97, 60 (Raspberry Pi documentation;
# raspberrypi/firmware#871).  The transaction id is the same on every board (raspberrypi/firmware#1067).

DISCOVER_3B_MASK_ROM = _bytes(
    _header(xid="26f30339", chaddr="b827eb64247d"),
    "35 01 01",
    "37 0c 2b 3c 43 80 81 82 83 84 85 86 87 42",
    "5d 02 00 00",
    "5e 03 01 02 01",
    "61 11 00 44444444 44444444 44444444 44444444",
    "3c 20 50584543 6c69656e 743a4172 63683a30 30303030 3a554e44 493a3030 32303031",
    "ff",
)

# A Pi 3B+ (ROM, and bootcode.bin the same): 322 octets, serial 8d8696f5 four times, low octet first
# (raspberrypi/firmware#941).

DISCOVER_3BPLUS = _bytes(
    _header(xid="26f30339", chaddr="b827eb8696f5"),
    "35 01 01",
    "37 0e 2b 3c 43 80 81 82 83 84 85 86 87 42 01 03",
    "5d 02 00 00",
    "5e 03 01 02 01",
    "61 11 00 f596868d f596868d f596868d f596868d",
    "3c 20 50584543 6c69656e 743a4172 63683a30 30303030 3a554e44 493a3030 32303031",
    "ff",
)

# A Pi 400, DISCOVER of 322 octets and REQUEST of 309 (published hex dump; server and address as in it are not known,
# ours are written).  The transaction id varies per boot.

DISCOVER_PI400 = _bytes(
    _header(xid="3a1c0b2d", chaddr="dca632ecfc3c"),
    "35 01 01",
    "37 0e 01 03 2b 3c 42 43 80 81 82 83 84 85 86 87",
    "3c 20 50584543 6c69656e 743a4172 63683a30 30303030 3a554e44 493a3030 32303031",
    "5d 02 00 00",
    "5e 03 01 02 01",
    "61 11 00 52506934 3031c000 32ecfc3c da06ffe0",
    "ff",
)
REQUEST_PI400 = _bytes(
    _header(xid="3a1c0b2d", chaddr="dca632ecfc3c", siaddr="ac1e0401"),
    "35 01 03",
    "32 04 ac1e040d",
    "36 04 ac1e0401",
    "3c 20 50584543 6c69656e 743a4172 63683a30 30303030 3a554e44 493a3030 32303031",
    "61 11 00 52506934 3031c000 32ecfc3c da06ffe0",
    "ff",
)

# Option 97 of other boards, value only.

GUID_EARLY_PI4 = _bytes("00 4372ee6a 4372ee6a 4372ee6a 4372ee6a")  # serial 6aee7243, rpi-eeprom#58
GUID_REVERSED_PI4 = _bytes("00 34695052 1431d000 010902f7 3df0cd91")  # "4iPR", log in the README of piPXE; tail from
# the same board's TFTP prefix 91cdf03d, address e4:5f:01:09:02:f7
GUID_PI5 = _bytes("00 52506935 7041d000 9eaec87f 401759da")  # put together: "RPi5" since 2023-10-30 (release notes of
# rpi-eeprom), serial da591740 and address 88:a2:9e:ae:c8:7f from published notes of a Pi 5, its revision code d04170

# busybox udhcpc 1.35.0 of Debian 12, captured at a UDP socket: DISCOVER and REQUEST.

DISCOVER_UDHCPC = _bytes(
    _header(xid="35f71f3a", chaddr="b827eb000001"),
    "35 01 01",
    "39 02 0240",
    "37 07 01 03 06 0c 0f 1c 2a",
    "3c 0c 75646863 7020312e 33352e30",
    "3d 07 01 b827eb000001",
    "ff",
    "00" * 20,
)
REQUEST_UDHCPC = _bytes(
    _header(xid="35f71f3a", chaddr="b827eb000001"),
    "35 01 03",
    "32 04 ac1e040d",
    "36 04 ac1e0401",
    "39 02 0240",
    "37 07 01 03 06 0c 0f 1c 2a",
    "3c 0c 75646863 7020312e 33352e30",
    "3d 07 01 b827eb000001",
    "ff",
    "00" * 8,
)

# ISC dhclient 4.4.3-P1 of Debian 12, captured at a UDP socket: DISCOVER and REQUEST.

DISCOVER_DHCLIENT = _bytes(
    _header(xid="f8e9c134", chaddr="b827eb000001"),
    "35 01 01",
    "0c 02 766d",
    "37 0d 01 1c 02 03 0f 06 77 0c 2c 2f 1a 79 2a",
    "ff",
    "00" * 37,
)
REQUEST_DHCLIENT = _bytes(
    _header(xid="f8e9c134", chaddr="b827eb000001"),
    "35 01 03",
    "36 04 ac1e0401",
    "32 04 ac1e040d",
    "0c 02 766d",
    "37 0d 01 1c 02 03 0f 06 77 0c 2c 2f 1a 79 2a",
    "ff",
    "00" * 25,
)

# Linux ip=dhcp: net/ipv4/ipconfig.c, ic_dhcp_init_options() of a kernel since 4.20: the option area is zero-filled.

DISCOVER_KERNEL = _bytes(
    _header(xid="5e0d1c2b", chaddr="dca632ecfc3c", secs="0003"),
    "35 01 01",
    "37 09 01 03 06 0c 0f 11 1a 2a 28",
    "ff",
    "00" * 293,
)

# RFC 3046 and RFC 8357: option 82 with a circuit id "p3", and one in which the relay asks for answers at its own port.

RELAY_INFORMATION = _bytes("01 02 7033")
RELAY_INFORMATION_WITH_PORT = _bytes("01 02 7033", "13 00")
