"""
The kernel's ARP table, and ARP packets as three programs and the kernel send them.

``/proc/net/arp`` is as Linux 6.18 wrote it on 2026-11-23 in a network namespace with three neighbours.  The packets
were read on 2026-11-24 from an AF_PACKET socket on a bridge between network namespaces (Debian 12, Linux 6.18), without
their Ethernet headers.
"""

PROC_NET_ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
172.30.4.55      0x1         0x0         00:00:00:00:00:00     *        lan0
172.30.4.77      0x1         0x6         dc:a6:32:01:02:03     *        lan0
172.30.4.101     0x1         0x2         b8:27:eb:00:00:01     *        lan0
"""
"""Nobody answered at .55; .77 was set by hand for good; .101 answered."""

KERNEL_REQUEST = bytes.fromhex(
    "0001"  # Ethernet
    "0800"  # IPv4
    "06"  # octets of a hardware address
    "04"  # octets of a protocol address
    "0001"  # request
    "b827eb000001"  # sender b8:27:eb:00:00:01
    "ac1e0465"  # sender 172.30.4.101
    "000000000000"  # target: not known
    "ac1e0401"  # target 172.30.4.1
)
"""The kernel of 172.30.4.101 looks for 172.30.4.1."""

KERNEL_REPLY = bytes.fromhex(
    "0001"  # Ethernet
    "0800"  # IPv4
    "06"  # octets of a hardware address
    "04"  # octets of a protocol address
    "0002"  # reply
    "b827eb000001"  # sender b8:27:eb:00:00:01
    "ac1e0465"  # sender 172.30.4.101
    "020000000001"  # target 02:00:00:00:00:01
    "00000000"  # target: the sender address of the probe
)
"""The kernel of 172.30.4.101 answers the probe of 02:00:00:00:00:01."""

ARPING_PROBE = bytes.fromhex(
    "0001"  # Ethernet
    "0800"  # IPv4
    "06"  # octets of a hardware address
    "04"  # octets of a protocol address
    "0001"  # request
    "b827eb000002"  # sender b8:27:eb:00:00:02
    "00000000"  # sender: none
    "000000000000"  # target: not known
    "ac1e0465"  # target 172.30.4.101
    "000000000000000000000000000000000000"  # padding to the shortest Ethernet frame
)
"""``arping -0 172.30.4.101`` (Thomas Habets' arping 2.23): a probe as RFC 5227 wants it."""

BUSYBOX_PROBE = bytes.fromhex(
    "0001"  # Ethernet
    "0800"  # IPv4
    "06"  # octets of a hardware address
    "04"  # octets of a protocol address
    "0001"  # request
    "b827eb000002"  # sender b8:27:eb:00:00:02
    "00000000"  # sender: none
    "ffffffffffff"  # target: busybox writes ones
    "ac1e0465"  # target 172.30.4.101
)
"""``busybox arping -D 172.30.4.101`` (1.35.0)."""

BUSYBOX_ANNOUNCEMENT = bytes.fromhex(
    "0001"  # Ethernet
    "0800"  # IPv4
    "06"  # octets of a hardware address
    "04"  # octets of a protocol address
    "0001"  # request
    "b827eb000002"  # sender b8:27:eb:00:00:02
    "ac1e0466"  # sender 172.30.4.102
    "ffffffffffff"  # target: busybox writes ones
    "ac1e0466"  # target 172.30.4.102, again
)
"""``busybox arping -U 172.30.4.102`` (1.35.0): who uses an address says so unasked."""
