"""
UDP datagrams in Ethernet frames as the Linux kernel makes them.

Read on 2026-11-23 from an AF_PACKET socket at the far end of a veth pair (Debian 12, Linux 6.18), with checksum
offloading off so that the kernel filled in the sums itself; the sender was an ordinary UDP socket with
``IP_MTU_DISCOVER`` on.
"""

PAYLOAD = b"offer to a board without an address!"

KERNEL_FRAME = (
    bytes.fromhex(
        "b827eb000001"  # to b8:27:eb:00:00:01
        "020000000001"  # from 02:00:00:00:00:01
        "0800"  # IPv4
        "4500"  # version 4, 5 words; service 0
        "0040"  # total length
        "0000"  # identification 0
        "4000"  # do not fragment
        "4011"  # 64 hops, UDP
        "da0a"  # header checksum
        "ac1e0401"  # 172.30.4.1
        "ac1e0465"  # 172.30.4.101
        "0043"  # port 67
        "0044"  # port 68
        "002c"  # UDP length
        "2acb"  # UDP checksum
    )
    + PAYLOAD
)
"""From 172.30.4.1 port 67 to 172.30.4.101 port 68."""

ODD_PAYLOAD = b"an odd number of bytes, forty-seven of them now"

KERNEL_ODD_FRAME = (
    bytes.fromhex(
        "b827eb000001"  # to b8:27:eb:00:00:01
        "020000000001"  # from 02:00:00:00:00:01
        "0800"  # IPv4
        "4500"  # version 4, 5 words; service 0
        "004b"  # total length
        "0000"  # identification 0
        "4000"  # do not fragment
        "4011"  # 64 hops, UDP
        "d9ff"  # header checksum
        "ac1e0401"  # 172.30.4.1
        "ac1e0465"  # 172.30.4.101
        "0043"  # port 67
        "0044"  # port 68
        "0037"  # UDP length
        "be15"  # UDP checksum
    )
    + ODD_PAYLOAD
)
"""The same way."""
