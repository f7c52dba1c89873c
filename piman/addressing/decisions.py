# -*- test-case-name: tests.test_dhcp -*-
"""
What a DHCP message deserves: an answer, or silence for a reason.  Pure: no clock, no socket, no table.

1. RFC 2131, 4.3: server behaviour; 4.3.2 and table 4: the four kinds of DHCPREQUEST
2. RFC 951, 1534: BOOTP clients
3. RFC 3046, 8357: relays
"""

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

import attrs

from piman.fleet.model import MACAddress, Node, Stage
from piman.fleet.state.leases import Claim, Standing
from piman.wire import pi
from piman.wire.dhcp import SERVER_PORT, Message, MessageType, Operation, Option

_NOWHERE = IPv4Address(0)


@attrs.frozen(kw_only=True)
class DHCPSettings:
    """The operator's wishes."""

    server_address: IPv4Address
    """Our own: where answers come from, the server identifier, the TFTP and NTP server of the boards."""
    network: IPv4Network
    port: int = SERVER_PORT
    lease_seconds: int = 600
    unknown_hosts: str = "deny"
    """``allow``: boards that no file names get an address of the pool."""
    relays: tuple[IPv4Address, ...] = ()
    """Relays whose own address lies outside the network."""
    router: IPv4Address | None = None
    dns_servers: tuple[IPv4Address, ...] = ()
    domain: str = ""
    options: Mapping[int, bytes] = attrs.Factory(dict)
    """Raw options for every OFFER and ACK; they replace ours of the same code."""
    mask_rom_delays: tuple[float, ...] = (1.0, 1.6)
    """
    When the mask ROM of a Pi 3B is sent its OFFER, seconds after its DISCOVER.

    A faster answer can lock it in a loop, and it looks at an answer only when another packet comes
    (raspberrypi/firmware#862, #934; openSUSE/netboot-rpi3b); it asks again after 5 s.
    """
    stranger_seconds: float = 60.0
    """A board of which no file speaks is an event so often at most."""
    foreign_seconds: float = 3600.0
    """The same for what is no Raspberry Pi."""


@attrs.frozen(kw_only=True)
class Client:
    """Who asks, as far as it can be told."""

    mac: MACAddress
    node: Node | None
    stage: Stage
    board: pi.Board
    is_pi: bool
    """The operator, its hardware address or its firmware says so."""

    @classmethod
    def of(cls, message: Message, node: Node | None, mac: MACAddress) -> "Client":
        """The sender of a message."""
        known = node is not None
        return cls(
            mac=mac,
            node=node,
            stage=Stage(pi.stage_of(message, known)),
            board=pi.board_of(message),
            is_pi=known or pi.is_pi(message),
        )


class Reason(Enum):
    """Why nothing is said."""

    NOT_A_REQUEST = "a message that only servers send"
    OTHER_INTERFACE = "it came in on another interface"
    NO_BOARD = "the hardware address is no board's"
    FOREIGN_RELAY = "the relay is not one of ours, or the message does not come from it"
    STRANGER = "no file of the operator names this board"
    FOREIGN_PXE = "a PXE client that is no Raspberry Pi"
    NO_RECORD = "another server may know this client"
    OTHER_SERVER = "meant for another server"
    NO_ADDRESS_NAMED = "the message does not say for which address"
    FOREIGN_ADDRESS = "the address is not in our network, or is our own"
    ADDRESS_HELD = "the reserved address is still held by another board"
    NO_ADDRESS_FREE = "no address is free"
    NO_RESERVATION = "a BOOTP client needs a reservation"
    NOTHING_TO_SAY = "the message wants no answer"


@attrs.frozen
class Silence:
    """Say nothing."""

    reason: Reason


@attrs.frozen(kw_only=True)
class Answer:
    """Say this; ``kind`` None: a BOOTREPLY without DHCP."""

    kind: MessageType | None
    address: IPv4Address | None = None
    """The client's; None: it has one that is none of our business (INFORM), or must not have it (NAK)."""
    text: str = ""
    """Why not."""


class RequestState(Enum):
    """The client's state when it sends a DHCPREQUEST (RFC 2131, table 4)."""

    SELECTING = "selecting"
    INIT_REBOOT = "init-reboot"
    RENEWING = "renewing"
    """Or REBINDING: they differ only in how the message travels, and are answered alike."""


def request_state(message: Message) -> RequestState:
    """RFC 2131, 4.3.2: the server identifier and ``ciaddr`` tell."""
    if Option.SERVER_IDENTIFIER in message.options:
        return RequestState.SELECTING
    return RequestState.INIT_REBOOT if message.ciaddr == _NOWHERE else RequestState.RENEWING


def named_address(message: Message) -> IPv4Address | None:
    """The address that a REQUEST, DECLINE or RELEASE is about."""
    if message.ciaddr != _NOWHERE:
        return message.ciaddr
    named: IPv4Address | None = message.option(Option.REQUESTED_ADDRESS)
    return named


def wished_address(message: Message) -> IPv4Address | None:
    """What a DISCOVER would like: option 50 alone, for its ``ciaddr`` is 0 (RFC 2131, table 5)."""
    wished: IPv4Address | None = message.option(Option.REQUESTED_ADDRESS)
    return wished


def chosen_server(message: Message) -> IPv4Address | None:
    """The server that the message names."""
    server: IPv4Address | None = message.option(Option.SERVER_IDENTIFIER)
    return server


def screen(message: Message, source: tuple[str, int], settings: DHCPSettings) -> Silence | None:
    """What is wrong with a message, which came from this address and port, before anybody asks whose it is."""
    if message.op != Operation.REQUEST or message.message_type in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
        return Silence(Reason.NOT_A_REQUEST)
    if message.chaddr[0] & 1 or not any(message.chaddr):  # group addresses are nobody's
        return Silence(Reason.NO_BOARD)
    if message.giaddr != _NOWHERE and not is_our_relay(message.giaddr, source, settings):
        return Silence(Reason.FOREIGN_RELAY)
    return None


def is_our_relay(giaddr: IPv4Address, source: tuple[str, int], settings: DHCPSettings) -> bool:
    """
    Whether a relay may speak for boards: its addresses lie in the network, or the operator names them.

    ``giaddr`` is its address on the boards' side, and it often sends from the one on ours (ISC dhcrelay does); from
    another one only port 67 counts, where answers go then, too: nobody makes us send to a port of his choice elsewhere.
    """
    sender = IPv4Address(source[0])
    if sender != giaddr and source[1] != SERVER_PORT:
        return False
    return all(address in settings.network or address in settings.relays for address in (giaddr, sender))


def admit(message: Message, client: Client, settings: DHCPSettings) -> Silence | None:
    """Whether we serve this client at all."""
    if client.node is not None:
        return None
    if pi.is_pxe(message) and not client.is_pi:  # boots from somebody else's server, with our options not at all
        return Silence(Reason.FOREIGN_PXE)
    return None if settings.unknown_hosts == "allow" else Silence(Reason.STRANGER)


def respond(message: Message, client: Client, claim: Claim | None, settings: DHCPSettings) -> Answer | Silence:
    """
    What an admitted client is told.

    :param claim: for DISCOVER and BOOTP what it may have; for REQUEST how it stands to :func:`named_address`.
    """
    match message.message_type:
        case MessageType.REQUEST:
            return _respond_to_request(message, client, claim, settings)
        case MessageType.INFORM:
            return _respond_to_inform(message, settings)
        case MessageType.DISCOVER:
            return _give(MessageType.OFFER, claim, settings)
        case None:
            if client.node is None or client.node.address is None:
                return Silence(Reason.NO_RESERVATION)
            return _give(None, claim, settings)
    return Silence(Reason.NOTHING_TO_SAY)


def _give(kind: MessageType | None, claim: Claim | None, settings: DHCPSettings) -> Answer | Silence:
    if claim is None or claim.standing is Standing.NONE or claim.address is None:
        return Silence(Reason.NO_ADDRESS_FREE)
    if claim.standing is Standing.HELD:
        return Silence(Reason.ADDRESS_HELD)
    if not is_for_boards(claim.address, settings):
        return Silence(Reason.FOREIGN_ADDRESS)
    return Answer(kind=kind, address=claim.address)


def is_for_boards(address: IPv4Address, settings: DHCPSettings) -> bool:
    """Whether a board can have the address: in the network, not our own, not a broadcast address."""
    ends = settings.network.network_address, settings.network.broadcast_address
    return address in settings.network and address not in (settings.server_address, *ends)


def _respond_to_request(
    message: Message, client: Client, claim: Claim | None, settings: DHCPSettings
) -> Answer | Silence:
    if chosen_server(message) not in (None, settings.server_address):
        return Silence(Reason.OTHER_SERVER)
    if claim is None or claim.address is None:
        return Silence(Reason.NO_ADDRESS_NAMED)
    if not is_for_boards(claim.address, settings):
        return _respond_from_elsewhere(message, client, claim)
    match claim.standing:
        case Standing.MINE:
            return Answer(kind=MessageType.ACK, address=claim.address)
        case Standing.HELD:
            return Answer(kind=MessageType.NAK, text=f"{claim.address} is still held by another board")
        case Standing.WRONG:
            return Answer(kind=MessageType.NAK, text=f"{claim.address} is not for this board")
    # "If the DHCP server has no record of this client, then it MUST remain silent" (RFC 2131, 4.3.2).
    return Silence(Reason.NO_RECORD)


def _respond_from_elsewhere(message: Message, client: Client, claim: Claim) -> Answer | Silence:
    """
    The client comes from another network, or its reservation lies in one.

    RFC 2131, 4.3.2: "Server SHOULD send a DHCPNAK message to the client if the 'requested IP address' is incorrect, or
    is on the wrong network."  A board that nobody named may be another server's: it is left in peace.
    """
    if client.node is None and request_state(message) is not RequestState.SELECTING:
        return Silence(Reason.NO_RECORD)
    return Answer(kind=MessageType.NAK, text=f"{claim.address} is for no board of this network")


def _respond_to_inform(message: Message, settings: DHCPSettings) -> Answer | Silence:
    """RFC 2131, 4.3.5: no lease, no ``yiaddr``, unicast to ``ciaddr``."""
    if message.ciaddr == _NOWHERE:
        return Silence(Reason.NO_ADDRESS_NAMED)
    if not is_for_boards(message.ciaddr, settings):
        return Silence(Reason.FOREIGN_ADDRESS)
    return Answer(kind=MessageType.ACK)
