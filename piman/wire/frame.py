# -*- test-case-name: tests.test_wire_frame -*-
"""
A UDP datagram in an IPv4 packet in an Ethernet frame, for boards that have no address yet.

What arrives comes through the kernel, as a rule; :func:`udp_in_frame` is for those who listen beside it.

1. RFC 791: Internet Protocol; RFC 768: User Datagram Protocol; RFC 1071: the checksum; RFC 6864: identification
"""

import struct
from ipaddress import IPv4Address

from piman.wire.layout import Layout, MalformedDatagram

ETHERTYPE_IPV4 = 0x0800
PROTOCOL_UDP = 17
TIME_TO_LIVE = 64
DONT_FRAGMENT = 0x4000

ETHERNET = Layout.parse("""
    6s  destination     hardware address
    6s  source          hardware address
    H   ethertype       0x0800 = IPv4
""")

IPV4 = Layout.parse("""
    B   version_ihl     version 4, header of 5 words
    B   service         differentiated services
    H   total_length    header and payload
    H   identification  0 in a datagram that is never fragmented (RFC 6864, section 4)
    H   fragment        flags 3, offset 13
    B   ttl             hops left
    B   protocol        17 = UDP
    H   checksum        of this header
    4s  source
    4s  destination
""")

UDP = Layout.parse("""
    H   source_port
    H   destination_port
    H   length          header and payload
    H   checksum        of pseudo-header, header and payload
""")

PSEUDO_HEADER = Layout.parse("""
    4s  source
    4s  destination
    B   zero
    B   protocol
    H   length          the UDP length again
""")

Endpoint = tuple[str | IPv4Address, int]


def checksum(data: bytes) -> int:
    """The complement of the one's complement sum of 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _udp(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """The UDP header and the payload."""
    length = UDP.size + len(payload)
    fields = {"source_port": source[1], "destination_port": destination[1], "length": length}
    pseudo = PSEUDO_HEADER.pack(
        source=IPv4Address(source[0]).packed,
        destination=IPv4Address(destination[0]).packed,
        zero=0,
        protocol=PROTOCOL_UDP,
        length=length,
    )
    # "If the computed checksum is zero, it is transmitted as all ones" (RFC 768): zero means that there is none.
    total = checksum(pseudo + UDP.pack(checksum=0, **fields) + payload) or 0xFFFF
    return UDP.pack(checksum=total, **fields) + payload


def _ipv4(source: IPv4Address, destination: IPv4Address, payload_bytes: int) -> bytes:
    """The IPv4 header of a UDP datagram."""
    fields = {
        "version_ihl": 0x45,
        "service": 0,
        "total_length": IPV4.size + payload_bytes,
        "identification": 0,
        "fragment": DONT_FRAGMENT,
        "ttl": TIME_TO_LIVE,
        "protocol": PROTOCOL_UDP,
        "source": source.packed,
        "destination": destination.packed,
    }
    return IPV4.pack(checksum=checksum(IPV4.pack(checksum=0, **fields)), **fields)


def udp_frame(
    *, source_mac: bytes, destination_mac: bytes, source: Endpoint, destination: Endpoint, payload: bytes
) -> bytes:
    """The frame as it goes on the wire, without its frame check sequence."""
    udp = _udp(source, destination, payload)
    ethernet = ETHERNET.pack(destination=destination_mac, source=source_mac, ethertype=ETHERTYPE_IPV4)
    return ethernet + _ipv4(IPv4Address(source[0]), IPv4Address(destination[0]), len(udp)) + udp


def udp_in_frame(frame: bytes) -> tuple[tuple[IPv4Address, int], tuple[IPv4Address, int], bytes]:
    """
    Source, destination and payload of the UDP datagram in a frame; checksums are not looked at.

    :raises MalformedDatagram: for anything else, and for fragments.
    """
    if ETHERNET.unpack(frame)["ethertype"] != ETHERTYPE_IPV4:
        raise MalformedDatagram("no IPv4 packet")
    packet = frame[ETHERNET.size :]
    ip = IPV4.unpack(packet)
    header_bytes = (ip["version_ihl"] & 0x0F) * 4
    if ip["version_ihl"] >> 4 != 4 or header_bytes < IPV4.size or ip["protocol"] != PROTOCOL_UDP:
        raise MalformedDatagram("no UDP datagram")
    if ip["fragment"] & ~DONT_FRAGMENT:
        raise MalformedDatagram("a fragment")
    datagram = packet[header_bytes : ip["total_length"]]
    udp = UDP.unpack(datagram)
    if not UDP.size <= udp["length"] <= len(datagram):
        raise MalformedDatagram(f"{udp['length']} octets announced, {len(datagram)} there")
    source = IPv4Address(ip["source"]), udp["source_port"]
    destination = IPv4Address(ip["destination"]), udp["destination_port"]
    return source, destination, datagram[UDP.size : udp["length"]]
