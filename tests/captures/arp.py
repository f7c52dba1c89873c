"""
``/proc/net/arp`` as Linux 6.18 wrote it on 2026-11-23 in a network namespace with three neighbours.
"""

PROC_NET_ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
172.30.4.55      0x1         0x0         00:00:00:00:00:00     *        lan0
172.30.4.77      0x1         0x6         dc:a6:32:01:02:03     *        lan0
172.30.4.101     0x1         0x2         b8:27:eb:00:00:01     *        lan0
"""
"""Nobody answered at .55; .77 was set by hand for good; .101 answered."""
