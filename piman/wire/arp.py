# -*- test-case-name: tests.test_wire_arp -*-
"""
ARP packets, as far as it takes to ask who has an IPv4 address on an Ethernet.

The Ethernet header around them is the kernel's (packet(7), ``SOCK_DGRAM``).

1. RFC 826: An Ethernet Address Resolution Protocol
2. RFC 5227: IPv4 Address Conflict Detection; section 2.1.1 for probes
"""

from enum import IntEnum
from ipaddress import IPv4Address

import attrs

from piman.wire.layout import Layout, MalformedDatagram

ETHERTYPE_ARP = 0x0806
HARDWARE_ETHERNET = 1
PROTOCOL_IPV4 = 0x0800
_NO_HARDWARE_ADDRESS = bytes(6)
_NO_ADDRESS = IPv4Address(0)

PACKET = Layout.parse("""
    H   hardware_type   1 = Ethernet
    H   protocol_type   0x0800 = IPv4
    B   hardware_length 6 octets
    B   protocol_length 4 octets
    H   operation       1 = request, 2 = reply
    6s  sender_mac
    4s  sender_address  0 in a probe
    6s  target_mac      0 in a request
    4s  target_address  who is asked for
""")

_IPV4_ON_ETHERNET = {
    "hardware_type": HARDWARE_ETHERNET,
    "protocol_type": PROTOCOL_IPV4,
    "hardware_length": 6,
    "protocol_length": 4,
}


class Operation(IntEnum):
    """What a packet does."""

    REQUEST = 1
    REPLY = 2


@attrs.frozen(kw_only=True)
class Packet:
    """An ARP packet for IPv4 on Ethernet."""

    operation: Operation
    sender_mac: bytes
    sender_address: IPv4Address
    target_mac: bytes
    target_address: IPv4Address

    @classmethod
    def probe(cls, mac: bytes, address: IPv4Address) -> "Packet":
        """
        Ask who has an address without saying that it is ours (RFC 5227, 2.1.1).

        "The 'sender IP address' field MUST be set to all zeroes; this is to avoid polluting ARP caches in other hosts."
        """
        return cls(
            operation=Operation.REQUEST,
            sender_mac=mac,
            sender_address=_NO_ADDRESS,
            target_mac=_NO_HARDWARE_ADDRESS,
            target_address=address,
        )

    @classmethod
    def from_wire(cls, data: bytes) -> "Packet":
        """
        Read a packet; the padding of a short frame is left alone.

        :raises MalformedDatagram: when it is too short, or not about IPv4 on Ethernet, or neither request nor reply.
        """
        fields = PACKET.unpack(data)
        kind = {name: fields.pop(name) for name in _IPV4_ON_ETHERNET}
        if kind != _IPV4_ON_ETHERNET:
            raise MalformedDatagram(f"ARP for something else than IPv4 on Ethernet: {kind}")
        try:
            operation = Operation(fields["operation"])
        except ValueError as reason:
            raise MalformedDatagram(f"ARP operation {fields['operation']}") from reason
        return cls(
            operation=operation,
            sender_mac=fields["sender_mac"],
            sender_address=IPv4Address(fields["sender_address"]),
            target_mac=fields["target_mac"],
            target_address=IPv4Address(fields["target_address"]),
        )

    def to_wire(self) -> bytes:
        """The packet without padding, which the sender's driver adds."""
        return PACKET.pack(
            **_IPV4_ON_ETHERNET,
            operation=self.operation,
            sender_mac=self.sender_mac,
            sender_address=self.sender_address.packed,
            target_mac=self.target_mac,
            target_address=self.target_address.packed,
        )
