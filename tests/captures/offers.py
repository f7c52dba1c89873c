"""
DHCPOFFERs of dnsmasq 2.90 (Debian 12) as whole frames, to a network boot program with the address 02:00:00:c0:ff:ee.

Read on 2026-11-24 from a packet socket on a bridge; dnsmasq ran in a network namespace of its own behind it, at
172.30.4.101 on b8:27:eb:00:00:01, with ``--no-ping --port=0`` and what stands below each frame.
UDP checksums are half done: the rest was left to the (virtual) network card.
"""

XID = 0x12345678
MAC = bytes.fromhex("020000c0ffee")
SERVER = "172.30.4.101"

_ETHERNET = (
    "ffffffffffff"  # to everybody
    "b827eb000001"  # from dnsmasq
    "0800"  # IPv4
)
_PORTS = (
    "0043"  # from port 67
    "0044"  # to port 68
)
_ADDRESSES = (
    "ac1e0465"  # from 172.30.4.101
    "ffffffff"  # to everybody
)
_HEAD = (
    "02010600"  # BOOTREPLY, Ethernet, 6 octets, no hops
    "12345678"  # xid
    "0000"  # secs
    "8000"  # flags: broadcast
    "00000000"  # ciaddr
)
_TAIL = (
    "00000000"  # giaddr
    "020000c0ffee00000000000000000000"  # chaddr
    + "00" * 192  # sname, file
    + "63825363"  # the magic cookie
)

WITH_BOOT_SERVER = bytes.fromhex(
    _ETHERNET
    + "45c00158888f0000"  # version 4, 5 words; service, 344 octets, identification
    + "40113fc3"  # 64 hops, UDP, header checksum
    + _ADDRESSES
    + _PORTS
    + "0144b1d8"  # length, checksum
    + _HEAD
    + "ac1e049d"  # yiaddr 172.30.4.157
    + "ac1e0465"  # siaddr 172.30.4.101
    + _TAIL
    + "350102"  # 53: OFFER
    + "3604ac1e0465"  # 54: server 172.30.4.101
    + "330400000e10"  # 51: an hour
    + "430d626f6f74636f64652e62696e00"  # 67: bootcode.bin
    + "3a0400000708"  # 58
    + "3b0400000c4e"  # 59
    + "0104ffffff00"  # 1: 255.255.255.0
    + "1c04ac1e04ff"  # 28
    + "0304ac1e0465"  # 3: router 172.30.4.101
    + "420d3137322e33302e342e31303100"  # 66: 172.30.4.101, and a zero octet
    + "ff"
)
"""``--dhcp-range=172.30.4.150,172.30.4.160,1h --dhcp-boot=bootcode.bin,,172.30.4.101 --dhcp-option=66,172.30.4.101``"""

PLAIN = bytes.fromhex(
    _ETHERNET
    + "45c001488a3e0000"  # version 4, 5 words; service, 328 octets, identification
    + "40113e24"  # 64 hops, UDP, header checksum
    + _ADDRESSES
    + _PORTS
    + "0134b1c8"  # length, checksum
    + _HEAD
    + "ac1e049d"  # yiaddr 172.30.4.157
    + "ac1e0465"  # siaddr 172.30.4.101
    + _TAIL
    + "350102"  # 53: OFFER
    + "3604ac1e0465"  # 54: server 172.30.4.101
    + "330400000e10"  # 51: an hour
    + "3a0400000708"  # 58
    + "3b0400000c4e"  # 59
    + "0104ffffff00"  # 1: 255.255.255.0
    + "1c04ac1e04ff"  # 28
    + "0304ac1e0465"  # 3: router 172.30.4.101
    + "ff"
    + "00" * 14
)
"""``--dhcp-range=172.30.4.150,172.30.4.160,1h``"""

PROXY = bytes.fromhex(
    _ETHERNET
    + "45c001568bec0000"  # version 4, 5 words; service, 342 octets, identification
    + "40113c68"  # 64 hops, UDP, header checksum
    + _ADDRESSES
    + _PORTS
    + "0142b1d6"  # length, checksum
    + _HEAD
    + "00000000"  # yiaddr: no address
    + "00000000"  # siaddr
    + _TAIL
    + "350102"  # 53: OFFER
    + "3604ac1e0465"  # 54: server 172.30.4.101
    + "3c09505845436c69656e74"  # 60: PXEClient
    + "61110000000000000000000000000000000000"  # 97: the GUID of the question
    + "2b20"  # 43, 32 octets
    + "060103"  # discovery control: neither broadcast nor multicast
    + "0a0400505845"  # prompt "PXE", no time to wait
    + "0914000011"  # boot menu: one entry of 17 octets
    + "5261737062657272792050692042"
    + "6f6f74"  # Raspberry Pi Boot
    + "ff"
    + "ff"
)
"""``--dhcp-range=172.30.4.0,proxy --pxe-service=0,"Raspberry Pi Boot"``"""
