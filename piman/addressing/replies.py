# -*- test-case-name: tests.test_dhcp -*-
"""
Answers as messages, and where they go.  Pure.

1. RFC 2131, 4.1 (where to), 4.3.1 and table 3 (fields and options)
2. RFC 2132: options; 6842: the client identifier is echoed; 3046, 2.2: option 82 is echoed, last; 8357: a relay's port
3. RFC 4578 and the PXE specification 2.1: options 43, 60, 97
"""

from ipaddress import IPv4Address

import attrs

from piman.addressing.decisions import Answer, Client, DHCPSettings
from piman.fleet.model import Stage
from piman.wire import pi
from piman.wire.dhcp import (
    BROADCAST_FLAG,
    CLIENT_PORT,
    SERVER_PORT,
    Message,
    MessageType,
    Operation,
    Option,
    RelaySubOption,
    encode_options,
)

_NOWHERE = IPv4Address(0)
_EVERYBODY = "255.255.255.255"

_OURS = frozenset(
    (Option.PAD, Option.OVERLOAD, Option.MESSAGE_TYPE, Option.SERVER_IDENTIFIER, Option.RELAY_INFORMATION, Option.END)
)
"""What the operator's raw options cannot replace: without these the answer is none."""

# Where to


@attrs.frozen
class Unicast:
    """To a relay, or to a client that has its address and answers ARP."""

    address: str
    port: int


@attrs.frozen
class LinkLayer:
    """In a frame to a board that has no address yet, so that no other board with the same xid takes it."""

    mac: bytes
    address: IPv4Address


@attrs.frozen
class Broadcast:
    """To everybody on the link."""


Destination = Unicast | LinkLayer | Broadcast


def destination(request: Message, reply: Message, source_port: int, can_frame: bool) -> Destination:
    """
    RFC 2131, 4.1.

    :param source_port: where the request came from: what a relay that says so wants its answers at (RFC 8357).
    :param can_frame: whether frames of our own can be sent.
    """
    if request.giaddr != _NOWHERE:
        own_port = RelaySubOption.SOURCE_PORT in (request.option(Option.RELAY_INFORMATION) or ())
        return Unicast(str(request.giaddr), source_port if own_port else SERVER_PORT)
    # "In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK messages to 0xffffffff."
    if reply.message_type is MessageType.NAK:
        return Broadcast()
    if _is_at_its_address(request, reply):
        return Unicast(str(request.ciaddr), CLIENT_PORT)
    if request.wants_broadcast or not can_frame or reply.yiaddr == _NOWHERE:
        return Broadcast()
    return LinkLayer(request.chaddr, reply.yiaddr)


def _is_at_its_address(request: Message, reply: Message) -> bool:
    """
    Whether ``ciaddr`` was found to be the client's: nobody makes us send to an address of his choice.

    In a DISCOVER it is 0 (RFC 2131, table 5), so there it says nothing.  An ACK confirms it, or answers an INFORM.
    What plain BOOTP says counts when it is what we answer (RFC 951, 4).
    """
    if request.ciaddr == _NOWHERE or request.message_type is MessageType.DISCOVER:
        return False
    return request.ciaddr == reply.yiaddr or request.message_type is MessageType.INFORM


def is_for_everybody(target: Destination) -> bool:
    """Whether all boards on the link will see it: also what should have gone in a frame and could not."""
    return not isinstance(target, Unicast)


def endpoint(target: Destination) -> tuple[str, int]:
    """The socket address."""
    return (target.address, target.port) if isinstance(target, Unicast) else (_EVERYBODY, CLIENT_PORT)


# What


def with_broadcast_flag(reply: Message) -> Message:
    """The same answer with the broadcast flag, which some clients want to see on what is broadcast."""
    return reply if reply.wants_broadcast else attrs.evolve(reply, flags=reply.flags | BROADCAST_FLAG)


class Replies:
    """
    Makes whole answers.

    What is the same in all of them is encoded once: for each answer anew it took two fifths of an exchange.
    """

    def __init__(self, settings: DHCPSettings) -> None:
        self._server = settings.server_address
        self._tftp_server = str(settings.server_address).encode()
        self._raw = {code: value for code, value in settings.options.items() if code not in _OURS}
        network = _network_options(settings)
        self._common: dict[tuple[MessageType | None, bool], dict[int, bytes]] = {
            (MessageType.OFFER, True): {**_lease_options(MessageType.OFFER, settings), **network},
            (MessageType.ACK, True): {**_lease_options(MessageType.ACK, settings), **network},
            (MessageType.ACK, False): {**_message_options(MessageType.ACK, settings), **network},
            (None, True): network,
        }
        self._refusal = _message_options(MessageType.NAK, settings)

    def build(self, request: Message, answer: Answer, client: Client) -> Message:
        """The answer to a request."""
        if answer.kind is MessageType.NAK:
            return self._build_refusal(request, answer)
        options = dict(self._common[answer.kind, answer.address is not None])
        if client.node and client.node.hostname:
            options[Option.HOST_NAME] = client.node.hostname.encode()
        self._add_boot_options(options, request, client)
        options.update(self._raw)
        if answer.kind is None:
            options.pop(Option.LEASE_SECONDS, None)
        _add_echoed_options(options, request)
        return Message(
            op=Operation.REPLY,
            xid=request.xid,
            flags=request.flags,
            ciaddr=request.ciaddr if answer.kind is MessageType.ACK else _NOWHERE,
            yiaddr=answer.address or _NOWHERE,
            siaddr=self._server,
            giaddr=request.giaddr,
            chaddr=request.chaddr,
            options=options,
        )

    def _build_refusal(self, request: Message, answer: Answer) -> Message:
        """
        A DHCPNAK: RFC 2131, table 3.

        4.3.2: "If 'giaddr' is set in the DHCPREQUEST message, the client is on a different subnet.  The server MUST set
        the broadcast bit in the DHCPNAK".
        """
        options = {**self._refusal, Option.MESSAGE: answer.text.encode()}
        _add_echoed_options(options, request)
        return Message(
            op=Operation.REPLY,
            xid=request.xid,
            flags=request.flags | BROADCAST_FLAG,
            giaddr=request.giaddr,
            chaddr=request.chaddr,
            options=options,
        )

    # What the Pi's boot ROM needs

    def _add_boot_options(self, options: dict[int, bytes], request: Message, client: Client) -> None:
        """
        How to go on booting; only for Pis: to other PXE clients this menu means "boot from your disk".

        Option 66 is dotted decimal without a NUL at its end (raspberrypi/firmware#871); the menu of option 43 makes
        the source address of this answer the TFTP server of a board that ignores option 66.
        """
        if Option.CLIENT_GUID in request.options:
            options[Option.CLIENT_GUID] = request.options[Option.CLIENT_GUID]
        if not client.is_pi:
            return
        options[Option.TFTP_SERVER] = self._tftp_server
        if client.stage is not Stage.OTHER or _is_plain_pxe(request):
            options[Option.VENDOR_CLASS] = pi.ANSWERED_VENDOR_CLASS
            options[Option.VENDOR_SPECIFIC] = pi.boot_menu_for(request.chaddr)


def _message_options(kind: MessageType, settings: DHCPSettings) -> dict[int, bytes]:
    """What makes it DHCP; of INFORM no more: "The server MUST NOT send a lease expiration time" (RFC 2131, 4.3.5)."""
    return encode_options({Option.MESSAGE_TYPE: kind, Option.SERVER_IDENTIFIER: settings.server_address})


def _lease_options(kind: MessageType, settings: DHCPSettings) -> dict[int, bytes]:
    lease = settings.lease_seconds
    times = {Option.LEASE_SECONDS: lease, Option.RENEWAL_SECONDS: lease // 2, Option.REBINDING_SECONDS: lease * 7 // 8}
    return {**_message_options(kind, settings), **encode_options(times)}


def _network_options(settings: DHCPSettings) -> dict[int, bytes]:
    """The same for every stage, asked for or not: the REQUEST of a Pi 4 has no list, and its ACK must be complete."""
    wanted = {
        Option.SUBNET_MASK: settings.network.netmask,
        Option.BROADCAST_ADDRESS: settings.network.broadcast_address,
        Option.ROUTER: (settings.router,) if settings.router else None,
        Option.DNS_SERVERS: settings.dns_servers or None,
        Option.NTP_SERVERS: (settings.server_address,),
        Option.DOMAIN_NAME: settings.domain or None,
    }
    return encode_options({option: value for option, value in wanted.items() if value is not None})


def _add_echoed_options(options: dict[int, bytes], request: Message) -> None:
    """RFC 6842 and RFC 3046; option 82 last."""
    for option in (Option.CLIENT_IDENTIFIER, Option.RELAY_INFORMATION):
        if option in request.options:
            options[option] = request.options[option]


def _is_plain_pxe(request: Message) -> bool:
    """Whether the client speaks as Pi firmware does; UEFI and iPXE would obey the menu and leave."""
    return request.options.get(Option.VENDOR_CLASS) == pi.VENDOR_CLASS and Option.USER_CLASS not in request.options
