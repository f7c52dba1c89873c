"""
The DHCP server: what is decided, what is said, where to, and when.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from piman.addressing.decisions import (
    Answer,
    Client,
    DHCPSettings,
    Reason,
    RequestState,
    Silence,
    admit,
    named_address,
    request_state,
    respond,
    screen,
)
from piman.addressing.events import DHCPEvents
from piman.addressing.repetitions import Repetitions
from piman.addressing.replies import Broadcast, LinkLayer, Replies, Unicast, destination, endpoint
from piman.addressing.sender import DHCPSender
from piman.dhcp import HOUSEKEEPING_SECONDS, DHCPProtocol, DHCPService, dhcp_service
from piman.fleet import events
from piman.fleet.eventlog import EventLog
from piman.fleet.events import Event
from piman.fleet.interfaces import IEventSink, StoreFailed
from piman.fleet.model import Lease, LeaseState, MACAddress, Node, Stage
from piman.fleet.nodes import NodeRegistry
from piman.fleet.state.lease_writer import LeaseWriter
from piman.fleet.state.leases import Claim, LeaseTable, Standing
from piman.fleet.state.pool import Pool
from piman.testing.fakes import CapturedEvents, MemoryDirectory, MemoryLeaseStore
from piman.testing.udp import FakeDatagramTransport, MemoryDatagramReactor
from piman.udp import Arrival, LinkLayerUnavailable
from piman.wire import pi
from piman.wire.dhcp import BROADCAST_FLAG, Message, MessageType, Option, encode_options
from tests.captures import dhcp as captures

NETWORK = IPv4Network("172.30.4.0/24")
SERVER = IPv4Address("172.30.4.1")
OTHER_SERVER = IPv4Address("172.30.4.250")
START = 1_000_000.0

PI = MACAddress.parse("dc:a6:32:ec:fc:3c")
PI3 = MACAddress.parse("b8:27:eb:64:24:7d")
LAB = MACAddress.parse("b8:27:eb:00:00:01")
STRANGER = MACAddress.parse("dc:a6:32:00:00:99")
PC = MACAddress.parse("52:54:00:12:34:56")

DIRECT = ("0.0.0.0", 68)
SETTINGS = DHCPSettings(
    server_address=SERVER, network=NETWORK, router=SERVER, dns_servers=(IPv4Address("172.30.4.2"),), domain="lab"
)


def ip(last: int) -> IPv4Address:
    """An address of the network."""
    return IPv4Address(f"172.30.4.{last}")


OWN = ip(13)
NODES = (
    Node(mac=PI, address=ip(13), hostname="pi13"),
    Node(mac=PI3, address=ip(14)),
    Node(mac=LAB, address=ip(15)),
)


def message(
    kind: MessageType | None = None, mac: MACAddress = PI, options: Mapping[int, Any] | None = None, **fields: Any
) -> Message:
    """A client's message; options by code with typed values."""
    values: dict[int, Any] = {} if kind is None else {Option.MESSAGE_TYPE: kind}
    fields = {"op": 1, "xid": 7, "chaddr": mac.octets} | fields
    return Message(options=encode_options(values | dict(options or {})), **fields)


def selecting(address: IPv4Address, mac: MACAddress = PI, server: IPv4Address = SERVER, **fields: Any) -> Message:
    """A REQUEST that answers an OFFER."""
    options = {Option.REQUESTED_ADDRESS: address, Option.SERVER_IDENTIFIER: server}
    return message(MessageType.REQUEST, mac, options, **fields)


def rebooting(address: IPv4Address, mac: MACAddress = PI, **fields: Any) -> Message:
    """A REQUEST of a client that remembers an address."""
    return message(MessageType.REQUEST, mac, {Option.REQUESTED_ADDRESS: address}, **fields)


def renewing(address: IPv4Address, mac: MACAddress = PI, **fields: Any) -> Message:
    """A REQUEST of a client that has an address."""
    return message(MessageType.REQUEST, mac, ciaddr=address, **fields)


def client_of(asked: Message, node: Node | None = None) -> Client:
    """The sender."""
    return Client.of(asked, node, MACAddress(asked.chaddr))


class RequestStateTests(SynchronousTestCase):
    """RFC 2131, table 4."""

    def test_table(self) -> None:
        """The server identifier and ``ciaddr`` tell the states apart."""
        self.assertIs(request_state(selecting(ip(13))), RequestState.SELECTING)
        self.assertIs(request_state(rebooting(ip(13))), RequestState.INIT_REBOOT)
        self.assertIs(request_state(renewing(ip(13))), RequestState.RENEWING)
        self.assertIs(request_state(Message.from_wire(captures.REQUEST_PI400)), RequestState.SELECTING)

    def test_named_address(self) -> None:
        """The address is in option 50 or in ``ciaddr``."""
        for asked in (selecting(ip(13)), rebooting(ip(13)), renewing(ip(13))):
            self.assertEqual(named_address(asked), ip(13))
        self.assertIs(named_address(message(MessageType.REQUEST)), None)


class ScreenTests(SynchronousTestCase):
    """What is dropped before anybody asks whose it is."""

    def reason(self, asked: Message, source: tuple[str, int] = DIRECT, **changes: Any) -> Reason | None:
        """Why it is dropped."""
        silence = screen(asked, source, attrs.evolve(SETTINGS, **changes))
        return silence.reason if silence else None

    def test_fit(self) -> None:
        """A client's message passes."""
        self.assertIs(self.reason(message(MessageType.DISCOVER)), None)

    def test_not_a_request(self) -> None:
        """What only servers say is dropped, whatever ``op`` says."""
        self.assertIs(self.reason(message(MessageType.DISCOVER, op=2)), Reason.NOT_A_REQUEST)
        for kind in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
            self.assertIs(self.reason(message(kind)), Reason.NOT_A_REQUEST)

    def test_no_board(self) -> None:
        """A group address or zeros are nobody's hardware address."""
        for octets in (bytes(6), b"\xff" * 6, b"\x01\0\x5e\0\0\1"):
            self.assertIs(self.reason(message(MessageType.DISCOVER, MACAddress(octets))), Reason.NO_BOARD)

    def test_relays(self) -> None:
        """A relay is heard when ``giaddr`` and where it sends from are in the network or named by the operator."""
        far, farther = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")
        for giaddr, source, relays, expected in (
            (ip(77), ip(77), (), None),
            (ip(77), ip(78), (), None),
            (far, far, (), Reason.FOREIGN_RELAY),
            (far, far, (far,), None),
            (far, ip(78), (far,), None),
            (far, ip(78), (), Reason.FOREIGN_RELAY),
            (ip(77), far, (), Reason.FOREIGN_RELAY),
            (far, farther, (far,), Reason.FOREIGN_RELAY),
            (far, farther, (far, farther), None),
        ):
            asked = message(MessageType.DISCOVER, giaddr=giaddr)
            self.assertIs(self.reason(asked, (str(source), 67), relays=relays), expected)

    def test_relay_port(self) -> None:
        """From another port than 67 a relay must send from ``giaddr`` itself."""
        asked = message(MessageType.DISCOVER, giaddr=ip(77))
        self.assertIs(self.reason(asked, (str(ip(77)), 40_000)), None)
        self.assertIs(self.reason(asked, (str(ip(78)), 40_000)), Reason.FOREIGN_RELAY)


class AdmitTests(SynchronousTestCase):
    """Whom we serve."""

    def admitted(self, asked: Message, unknown_hosts: str, node: Node | None = None) -> Reason | None:
        """Why not, if not."""
        silence = admit(asked, client_of(asked, node), attrs.evolve(SETTINGS, unknown_hosts=unknown_hosts))
        return silence.reason if silence else None

    def test_known(self) -> None:
        """A known board is served, a PC among them."""
        pxe = message(MessageType.DISCOVER, PC, {Option.VENDOR_CLASS: pi.VENDOR_CLASS.decode()})
        self.assertIs(self.admitted(pxe, "deny", Node(mac=PC)), None)

    def test_strangers(self) -> None:
        """A stranger is served only when the operator allows it."""
        asked = message(MessageType.DISCOVER, STRANGER)
        self.assertIs(self.admitted(asked, "deny"), Reason.STRANGER)
        self.assertIs(self.admitted(asked, "allow"), None)

    def test_foreign_pxe(self) -> None:
        """A strange PXE client that is no Pi is never served: it boots from somebody else."""
        pxe = {Option.VENDOR_CLASS: pi.VENDOR_CLASS.decode()}
        self.assertIs(self.admitted(message(MessageType.DISCOVER, PC, pxe), "allow"), Reason.FOREIGN_PXE)
        self.assertIs(self.admitted(message(MessageType.DISCOVER, STRANGER, pxe), "allow"), None)


class RespondTests(SynchronousTestCase):
    """The decision, row by row."""

    def respond(
        self, asked: Message, standing: Standing | None = None, address: IPv4Address | None = OWN, **changes: Any
    ) -> Answer | Silence:
        """What a known node is told whose claim stands so."""
        node: Node | None = changes.pop("node", NODES[0])
        claim = None if standing is None else Claim(standing, address, STRANGER)
        return respond(asked, client_of(asked, node), claim, attrs.evolve(SETTINGS, **changes))

    def test_discover(self) -> None:
        """DISCOVER: an offer when there is an address, else silence."""
        asked = message(MessageType.DISCOVER)
        self.assertEqual(self.respond(asked, Standing.MINE), Answer(kind=MessageType.OFFER, address=ip(13)))
        self.assertEqual(self.respond(asked, Standing.HELD), Silence(Reason.ADDRESS_HELD))
        self.assertEqual(self.respond(asked, Standing.NONE, None), Silence(Reason.NO_ADDRESS_FREE))

    def test_unusable_reservations(self) -> None:
        """A reservation outside the network, of our own address or of a broadcast address is not offered."""
        asked = message(MessageType.DISCOVER)
        for address in (IPv4Address("10.0.0.5"), SERVER, ip(0), ip(255)):
            self.assertEqual(self.respond(asked, Standing.MINE, address), Silence(Reason.FOREIGN_ADDRESS))

    def test_selecting(self) -> None:
        """SELECTING us: ACK when the address is free for the board, else NAK."""
        asked = selecting(ip(13))
        self.assertEqual(self.respond(asked, Standing.MINE), Answer(kind=MessageType.ACK, address=ip(13)))
        for standing in (Standing.WRONG, Standing.HELD):
            answer = self.respond(asked, standing)
            assert isinstance(answer, Answer)
            self.assertIs(answer.kind, MessageType.NAK)
            self.assertIn("172.30.4.13", answer.text)

    def test_selecting_another(self) -> None:
        """SELECTING another server: silence, whatever the claim."""
        for standing in (Standing.MINE, Standing.WRONG):
            asked = selecting(ip(13), server=OTHER_SERVER)
            self.assertEqual(self.respond(asked, standing), Silence(Reason.OTHER_SERVER))

    def test_nak_table(self) -> None:
        """
        INIT-REBOOT and RENEWING, RFC 2131 4.3.2: ACK for the right address, NAK for a wrong one or another network,
        silence without a record.
        """
        elsewhere = IPv4Address("10.0.0.5")
        ack, nak, silent = MessageType.ACK, MessageType.NAK, Reason.NO_RECORD
        for node, standing, address, expected in (
            (NODES[0], Standing.MINE, ip(13), ack),
            (NODES[0], Standing.WRONG, ip(50), nak),
            (NODES[0], Standing.HELD, ip(13), nak),
            (NODES[0], Standing.UNKNOWN, ip(50), silent),
            (NODES[0], Standing.UNKNOWN, elsewhere, nak),
            (NODES[0], Standing.WRONG, elsewhere, nak),
            (None, Standing.MINE, ip(100), ack),
            (None, Standing.WRONG, ip(50), nak),
            (None, Standing.UNKNOWN, ip(50), silent),
            (None, Standing.UNKNOWN, elsewhere, silent),
        ):
            for asked in (rebooting(address), renewing(address)):
                answer = self.respond(asked, standing, address, node=node)
                found = answer.kind if isinstance(answer, Answer) else answer.reason
                self.assertIs(found, expected, (node, standing, address))

    def test_no_address_named(self) -> None:
        """A REQUEST or INFORM that names no address is not answered."""
        for kind in (MessageType.REQUEST, MessageType.INFORM):
            self.assertEqual(self.respond(message(kind)), Silence(Reason.NO_ADDRESS_NAMED))

    def test_inform(self) -> None:
        """INFORM: an ACK without an address, in our network only."""
        asked = message(MessageType.INFORM, ciaddr=ip(60))
        self.assertEqual(self.respond(asked), Answer(kind=MessageType.ACK))
        for address in (IPv4Address("8.8.8.8"), ip(255), ip(0), SERVER):
            foreign = message(MessageType.INFORM, ciaddr=address)
            self.assertEqual(self.respond(foreign), Silence(Reason.FOREIGN_ADDRESS))

    def test_bootp(self) -> None:
        """Plain BOOTP: a reply for a reservation, silence for the pool (RFC 1534)."""
        self.assertEqual(self.respond(message(), Standing.MINE), Answer(kind=None, address=ip(13)))
        for node in (None, Node(mac=PI)):
            silence = self.respond(message(), Standing.MINE, node=node)
            self.assertEqual(silence, Silence(Reason.NO_RESERVATION))

    def test_no_answer_wanted(self) -> None:
        """DECLINE and RELEASE are never answered."""
        for kind in (MessageType.DECLINE, MessageType.RELEASE):
            self.assertEqual(self.respond(message(kind)), Silence(Reason.NOTHING_TO_SAY))


class ReplyTests(SynchronousTestCase):
    """What is said."""

    def reply(self, asked: Message | bytes, node: Node | None = NODES[0], **changes: Any) -> Message:
        """The answer with .13 that leaves, read again."""
        if isinstance(asked, bytes):
            asked = Message.from_wire(asked)
        kinds = {MessageType.DISCOVER: MessageType.OFFER, MessageType.REQUEST: MessageType.ACK, None: None}
        answer: Answer = changes.pop("answer", None) or Answer(kind=kinds[asked.message_type], address=ip(13))
        built = Replies(attrs.evolve(SETTINGS, **changes)).build(asked, answer, client_of(asked, node))
        return Message.from_wire(built.to_wire())

    def test_offer_to_a_pi_4(self) -> None:
        """A Pi 4 gets all that any firmware wants, in one OFFER, field by field."""
        server = SERVER.packed
        self.assertEqual(
            self.reply(captures.DISCOVER_PI400),
            Message(
                op=2,
                xid=0x3A1C0B2D,
                yiaddr=ip(13),
                siaddr=SERVER,
                chaddr=PI.octets,
                options={
                    53: b"\x02",
                    54: server,
                    51: bytes.fromhex("00000258"),
                    58: bytes.fromhex("0000012c"),
                    59: bytes.fromhex("0000020d"),
                    1: b"\xff\xff\xff\0",
                    28: ip(255).packed,
                    3: server,
                    6: ip(2).packed,
                    42: server,
                    15: b"lab",
                    12: b"pi13",
                    97: bytes.fromhex("00525069343031c00032ecfc3cda06ffe0"),
                    66: b"172.30.4.1",
                    60: b"PXEClient",
                    43: captures.BOOT_MENU,
                },
            ),
        )

    def test_ack_is_as_complete(self) -> None:
        """The ACK repeats all of the OFFER although the REQUEST asks for nothing (a Pi 4 has no option 55 there)."""
        offered, leased = self.reply(captures.DISCOVER_PI400), self.reply(captures.REQUEST_PI400)
        self.assertEqual(leased.message_type, MessageType.ACK)
        self.assertEqual(dict(leased.options) | {53: b"\2"}, dict(offered.options))
        self.assertEqual((leased.siaddr, leased.ciaddr), (SERVER, IPv4Address(0)))

    def test_padded_menu(self) -> None:
        """A board that may be a 3B gets the menu that its mask ROM understands."""
        for data in (captures.DISCOVER_3B_MASK_ROM, captures.DISCOVER_3BPLUS):
            self.assertEqual(self.reply(data, NODES[1]).options[43], captures.PADDED_BOOT_MENU)

    def test_padding_only_after_the_end(self) -> None:
        """No padding lies between options (Pi 4 before 2020-01-17 rejects it) and no NUL ends option 66."""
        reply = self.reply(captures.DISCOVER_PI400)
        self.assertTrue(all(reply.options))
        self.assertEqual(reply.options[66], b"172.30.4.1")

    def test_strange_pi(self) -> None:
        """A Pi that only its firmware shows to be one is told how to boot too."""
        reply = self.reply(captures.DISCOVER_PI400, None)
        self.assertIn(43, reply.options)
        self.assertNotIn(12, reply.options)

    def test_no_pi(self) -> None:
        """What is no Pi gets an address and no word of booting; its GUID is echoed (PXE 2.1)."""
        asked = message(MessageType.DISCOVER, PC, {Option.CLIENT_GUID: b"\0" + b"a" * 16})
        reply = self.reply(asked, None)
        self.assertEqual([code for code in (43, 60, 66, 97) if code in reply.options], [97])

    def test_other_boot_programs(self) -> None:
        """UEFI and iPXE on a Pi would obey the menu and leave: they get the server's name only."""
        for options in (
            {Option.VENDOR_CLASS: "PXEClient:Arch:00011:UNDI:003000"},
            {Option.VENDOR_CLASS: pi.VENDOR_CLASS.decode(), Option.USER_CLASS: b"iPXE"},
            {Option.VENDOR_CLASS: "U-Boot.armv8"},
        ):
            asked = message(MessageType.DISCOVER, PI, {Option.MAXIMUM_SIZE: 576, **options})
            reply = self.reply(asked)
            self.assertEqual([code for code in (43, 60, 66) if code in reply.options], [66])

    def test_unset_options(self) -> None:
        """What the operator has not set is not sent."""
        reply = self.reply(captures.DISCOVER_PI400, NODES[1], router=None, dns_servers=(), domain="")
        self.assertEqual([code for code in (3, 6, 12, 15) if code in reply.options], [])

    def test_raw_options(self) -> None:
        """Raw options replace ours and add to them, but cannot take away what makes an answer one."""
        raw = {3: ip(9).packed, 67: b"bootcode.bin", 252: b"x", 53: b"\x05", 54: b"????", 82: b"no", 52: b"\x03"}
        reply = self.reply(captures.DISCOVER_PI400, options=raw)
        self.assertEqual([reply.options[code] for code in (3, 67, 252)], [ip(9).packed, b"bootcode.bin", b"x"])
        self.assertEqual((reply.message_type, reply.options[54]), (MessageType.OFFER, SERVER.packed))
        self.assertNotIn(82, reply.options)

    def test_client_identifier(self) -> None:
        """The client identifier is echoed (RFC 6842), in a refusal too."""
        asked = Message.from_wire(captures.REQUEST_UDHCPC)
        for answer in (Answer(kind=MessageType.ACK, address=ip(15)), Answer(kind=MessageType.NAK, text="no")):
            reply = self.reply(asked, NODES[2], answer=answer)
            self.assertEqual(reply.options[61], bytes.fromhex("01b827eb000001"))

    def test_relay_information(self) -> None:
        """Option 82 is echoed unchanged as the last option (RFC 3046, 2.2), in a refusal too."""
        asked = attrs.evolve(
            selecting(ip(13)),
            giaddr=ip(77),
            options=dict(selecting(ip(13)).options) | {82: captures.RELAY_INFORMATION, 61: b"\xff"},
        )
        for answer in (Answer(kind=MessageType.ACK, address=ip(13)), Answer(kind=MessageType.NAK, text="no")):
            reply = self.reply(asked, answer=answer, options={252: b"x"})
            self.assertEqual((list(reply.options)[-1], reply.options[82]), (82, captures.RELAY_INFORMATION))
            self.assertEqual(reply.giaddr, ip(77))

    def test_refusal(self) -> None:
        """A NAK has no address and nothing but its type, the server and the reason (RFC 2131, table 3)."""
        reply = self.reply(rebooting(ip(50)), answer=Answer(kind=MessageType.NAK, text="why"))
        self.assertEqual(dict(reply.options), {53: b"\6", 54: SERVER.packed, 56: b"why"})
        nothing = IPv4Address(0)
        self.assertEqual((reply.ciaddr, reply.yiaddr, reply.siaddr), (nothing, nothing, nothing))
        self.assertTrue(reply.wants_broadcast)

    def test_inform(self) -> None:
        """The ACK of an INFORM has no ``yiaddr`` and no lease (RFC 2131, 4.3.5)."""
        asked = message(MessageType.INFORM, ciaddr=ip(60))
        reply = self.reply(asked, answer=Answer(kind=MessageType.ACK))
        self.assertEqual((reply.yiaddr, reply.ciaddr), (IPv4Address(0), ip(60)))
        self.assertEqual([code for code in (51, 58, 59) if code in reply.options], [])
        self.assertIn(1, reply.options)

    def test_renewal(self) -> None:
        """The ACK of a renewal repeats ``ciaddr`` (RFC 2131, table 3)."""
        self.assertEqual(self.reply(renewing(ip(13))).ciaddr, ip(13))

    def test_bootp(self) -> None:
        """A BOOTREPLY speaks no DHCP: no type, no server, no lease, not even a raw one."""
        reply = self.reply(message(), options={51: b"\0\0\0\1"})
        self.assertEqual([code for code in (51, 53, 54, 58, 59) if code in reply.options], [])
        self.assertEqual((reply.yiaddr, reply.options[3]), (ip(13), SERVER.packed))


class DestinationTests(SynchronousTestCase):
    """RFC 2131, 4.1: where an answer goes."""

    def destination(self, asked: Message, kind: MessageType = MessageType.OFFER, can_frame: bool = True) -> object:
        """Where an answer of this kind with .13 goes."""
        reply = message(kind, op=2, yiaddr=ip(13) if kind is not MessageType.NAK else IPv4Address(0))
        return destination(asked, reply, 4011, can_frame)

    def test_relay(self) -> None:
        """A relay gets it at port 67, a NAK too."""
        asked = message(MessageType.DISCOVER, giaddr=ip(77), ciaddr=ip(13))
        for kind in (MessageType.OFFER, MessageType.NAK):
            self.assertEqual(self.destination(asked, kind), Unicast("172.30.4.77", 67))

    def test_relay_port(self) -> None:
        """A relay that says so gets it at the port that it sent from (RFC 8357)."""
        options = {82: captures.RELAY_INFORMATION_WITH_PORT}
        asked = attrs.evolve(message(MessageType.DISCOVER, giaddr=ip(77)), options=options)
        self.assertEqual(self.destination(asked), Unicast("172.30.4.77", 4011))

    def test_no_relay_port_without_relay(self) -> None:
        """Without a relay the sub-option means nothing."""
        asked = attrs.evolve(message(MessageType.DISCOVER), options={82: captures.RELAY_INFORMATION_WITH_PORT})
        self.assertEqual(self.destination(asked), LinkLayer(PI.octets, ip(13)))

    def test_client_with_address(self) -> None:
        """A client that has its address gets it there, even when it set the broadcast flag."""
        for flags in (0, BROADCAST_FLAG):
            asked = renewing(ip(13), flags=flags)
            self.assertEqual(self.destination(asked, MessageType.ACK), Unicast("172.30.4.13", 68))

    def test_client_with_another_address(self) -> None:
        """
        ``ciaddr`` of a DISCOVER means nothing (it is 0 in RFC 2131, table 5), that of BOOTP only when it is the
        board's: nobody names a third party to whom we send.
        """
        for address in (ip(60), IPv4Address("127.88.9.9"), ip(255)):
            self.assertEqual(
                self.destination(message(MessageType.DISCOVER, ciaddr=address)), LinkLayer(PI.octets, ip(13))
            )
            bootp = message(ciaddr=address)
            reply = message(op=2, yiaddr=ip(13))
            self.assertEqual(destination(bootp, reply, 68, True), LinkLayer(PI.octets, ip(13)))
            self.assertEqual(destination(bootp, reply, 68, False), Broadcast())
        own = message(MessageType.DISCOVER, ciaddr=ip(13))
        self.assertEqual(self.destination(own), LinkLayer(PI.octets, ip(13)))
        bootp = message(ciaddr=ip(13))
        self.assertEqual(destination(bootp, message(op=2, yiaddr=ip(13)), 68, True), Unicast("172.30.4.13", 68))

    def test_inform(self) -> None:
        """The ACK to INFORM, which has no ``yiaddr``, goes to ``ciaddr``."""
        reply = message(MessageType.ACK, op=2)
        asked = message(MessageType.INFORM, ciaddr=ip(60))
        self.assertEqual(destination(asked, reply, 68, True), Unicast("172.30.4.60", 68))

    def test_refusal(self) -> None:
        """A NAK without relay is broadcast, whatever the client has."""
        for asked in (renewing(ip(13)), rebooting(ip(13)), selecting(ip(13))):
            self.assertEqual(self.destination(asked, MessageType.NAK), Broadcast())

    def test_link_layer(self) -> None:
        """A client without an address gets a frame, so that no board of the same xid takes it."""
        self.assertEqual(self.destination(message(MessageType.DISCOVER)), LinkLayer(PI.octets, ip(13)))

    def test_broadcast(self) -> None:
        """A client that asks for it, and any when frames cannot be sent, gets a broadcast."""
        flagged = message(MessageType.DISCOVER, flags=BROADCAST_FLAG)
        self.assertEqual(self.destination(flagged), Broadcast())
        self.assertEqual(self.destination(message(MessageType.DISCOVER), can_frame=False), Broadcast())

    def test_endpoints(self) -> None:
        """A broadcast goes to 255.255.255.255 port 68."""
        self.assertEqual(endpoint(Broadcast()), ("255.255.255.255", 68))
        self.assertEqual(endpoint(Unicast("172.30.4.77", 67)), ("172.30.4.77", 67))


class FakeLink:
    """A link that keeps frames, or refuses them."""

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.is_open = False
        self.frames: list[tuple[bytes, object, object, bytes]] = []

    def open(self) -> None:
        """Take the socket."""
        if not self.works:
            raise LinkLayerUnavailable("no right to send frames on eth0")
        self.is_open = True

    def close(self) -> None:
        """Let go of it."""
        self.is_open = False

    def send_udp(self, destination_mac: bytes, source: Any, destination: Any, payload: bytes) -> bool:
        """Keep it."""
        if self.works:
            self.frames.append((destination_mac, source, destination, payload))
        return self.works


class FakeProber:
    """Answers when told."""

    def __init__(self) -> None:
        self.is_open = False
        self.asked: dict[IPv4Address, Deferred[MACAddress | None]] = {}

    def open(self) -> None:
        """Take the socket."""
        self.is_open = True

    def close(self) -> None:
        """Let go of it."""
        self.is_open = False

    def ask(self, address: IPv4Address) -> "Deferred[MACAddress | None]":
        """Note the question."""
        self.asked[address] = Deferred()
        return self.asked[address]


class ServerCase(SynchronousTestCase):
    """A server with three nodes and a pool of two addresses, without sockets."""

    def setUp(self) -> None:
        """Start it."""
        self.reactor = MemoryDatagramReactor()
        self.reactor.advance(START)
        self.nodes = MemoryDirectory(NODES)
        self.store = MemoryLeaseStore()
        self.begin()

    def begin(self, link: FakeLink | None = None, **changes: Any) -> None:
        """A new server process with the same store."""
        self.settings = attrs.evolve(SETTINGS, **changes)
        self.events = CapturedEvents()
        self.table = LeaseTable(self.reactor, nodes=self.nodes, pool=Pool(ip(100), ip(101)))
        self.writer = LeaseWriter(self.reactor, leases=self.table, store=self.store)
        self.writer.load()
        self.protocol = DHCPProtocol(
            self.reactor,
            settings=self.settings,
            nodes=self.nodes,
            leases=self.table,
            writer=self.writer,
            sender=DHCPSender(self.reactor, self.settings, link),
            events=self.events,
        )
        self.transport = FakeDatagramTransport()
        self.protocol.makeConnection(self.transport)  # type: ignore[arg-type]

    def tearDown(self) -> None:
        """Nothing waits when the server has stopped."""
        self.protocol.stopProtocol()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def send(self, asked: Message | bytes, source: tuple[str, int] = DIRECT) -> list[Message]:
        """Hand over a datagram; the messages that left because of it."""
        before = len(self.transport.written)
        self.protocol.datagramReceived(asked if isinstance(asked, bytes) else asked.to_wire(), source)
        return [Message.from_wire(data) for data, _ in self.transport.written[before:]]

    def ask(self, asked: Message | bytes, source: tuple[str, int] = DIRECT) -> Message:
        """The one answer to a message."""
        (answer,) = self.send(asked, source)
        return answer

    def ignored(self, asked: Message | bytes, reason: Reason, source: tuple[str, int] = DIRECT) -> None:
        """The message has no answer, for this reason."""
        before = self.protocol.silences[reason]
        self.assertEqual(self.send(asked, source), [])
        self.assertEqual(self.protocol.silences[reason], before + 1)

    def told(self) -> list[Event]:
        """The events since this was last called, without those that are not stored because they repeat."""
        found, self.events.events = self.events.events, []
        return [event for event in found if not isinstance(event, events.EventRepeated)]


class BootTests(ServerCase):
    """Exchanges as each generation has them."""

    def test_counts(self) -> None:
        """Messages and answers are counted by type, and what is no message."""
        self.ask(message(MessageType.DISCOVER))
        self.ask(selecting(ip(13)))
        self.send(b"no message")
        counted = self.protocol
        self.assertEqual(counted.received, {MessageType.DISCOVER: 1, MessageType.REQUEST: 1})
        self.assertEqual(counted.answered, {MessageType.OFFER: 1, MessageType.ACK: 1})
        self.assertEqual(counted.malformed, 1)

    def test_pi_4(self) -> None:
        """A Pi 4: DISCOVER, OFFER, REQUEST, ACK, with serial and model in the events."""
        offered = self.ask(captures.DISCOVER_PI400)
        self.assertEqual((offered.message_type, offered.yiaddr), (MessageType.OFFER, ip(13)))
        leased = self.ask(captures.REQUEST_PI400)
        self.assertEqual((leased.message_type, leased.yiaddr), (MessageType.ACK, ip(13)))
        common: dict[str, Any] = {
            "mac": PI, "address": ip(13), "stage": Stage.EEPROM, "serial": "e0ff06da", "model": "400"
        }  # fmt: skip
        self.assertEqual(
            self.told(),
            [events.AddressOffered(**common), events.AddressLeased(**common, expires=START + 600)],
        )

    def test_3bplus(self) -> None:
        """A 3B+ never sends a REQUEST: the OFFER is the lease, durable for a quarter of an hour."""
        self.nodes = MemoryDirectory([Node(mac=MACAddress.parse("b8:27:eb:86:96:f5"), address=ip(14))])
        self.begin()
        self.assertEqual(self.ask(captures.DISCOVER_3BPLUS).yiaddr, ip(14))
        lease = self.store.leases[ip(14)]
        self.assertEqual((lease.state, lease.expires, lease.stage), (LeaseState.OFFERED, START + 900, Stage.ROM))
        (offered,) = self.told()
        self.assertEqual(getattr(offered, "serial", None), "8d8696f5")

    def test_3b_mask_rom(self) -> None:
        """The mask ROM of a 3B is answered after a second, and once more for the packet that makes it look."""
        self.assertEqual(self.send(captures.DISCOVER_3B_MASK_ROM), [])
        self.assertEqual(self.store.leases[ip(14)].state, LeaseState.OFFERED)
        sent = []
        for tick in (0.99, 0.02, 0.58, 0.02, 10.0):
            self.reactor.advance(tick)
            sent.append(len(self.transport.written))
        self.assertEqual(sent, [0, 1, 1, 2, 2])
        (first, _), (second, _) = self.transport.written
        self.assertEqual(first, second)
        (event,) = self.told()
        self.assertEqual(event, events.AddressOffered(mac=PI3, address=ip(14), stage=Stage.ROM, model="3B"))

    def test_3b_asks_again(self) -> None:
        """A new DISCOVER of a mask ROM replaces the answers that still wait for the old one."""
        self.send(captures.DISCOVER_3B_MASK_ROM)
        self.reactor.advance(0.9)
        self.send(captures.DISCOVER_3B_MASK_ROM)
        self.reactor.advance(0.9)
        self.assertEqual(self.transport.written, [])
        self.reactor.pump([0.1] * 8)
        self.assertEqual(len(self.transport.written), 2)

    def test_3b_delay_is_a_setting(self) -> None:
        """Without delays the mask ROM is answered at once."""
        self.begin(mask_rom_delays=())
        self.assertEqual(len(self.send(captures.DISCOVER_3B_MASK_ROM)), 1)

    def test_stop_while_waiting(self) -> None:
        """A server that stops sends nothing more."""
        self.send(captures.DISCOVER_3B_MASK_ROM)
        self.protocol.stopProtocol()
        self.reactor.advance(5)
        self.assertEqual(self.transport.written, [])

    def test_same_xid(self) -> None:
        """Boards that boot together with the same xid get their own addresses, each at its own hardware address."""
        link = FakeLink()
        macs = [MACAddress(b"\xb8\x27\xeb\0\1" + bytes((n,))) for n in range(40)]
        self.nodes = MemoryDirectory(Node(mac=mac, address=ip(20 + n)) for n, mac in enumerate(macs))
        self.begin(link)
        for mac in macs:
            self.send(pi.rom_discover(mac.octets, pi.guid_of_serial("01" + mac.octets[3:].hex())))
        self.assertEqual([frame[0] for frame in link.frames], [mac.octets for mac in macs])
        offers = [Message.from_wire(frame[3]) for frame in link.frames]
        self.assertEqual([offer.yiaddr for offer in offers], [ip(20 + n) for n in range(40)])
        self.assertEqual([offer.chaddr for offer in offers], [mac.octets for mac in macs])

    def test_kernel_and_system(self) -> None:
        """The later stages of a boot keep the address; each is told apart."""
        self.send(captures.DISCOVER_PI400)
        self.send(captures.REQUEST_PI400)
        kernel = Message.from_wire(captures.DISCOVER_KERNEL)
        self.assertEqual(self.ask(kernel).yiaddr, ip(13))
        asked = selecting(ip(13))
        with_list = attrs.evolve(asked, options=dict(asked.options) | {55: kernel.options[55]})
        for request, stage in ((with_list, Stage.KERNEL), (asked, Stage.OS)):
            self.told()
            self.assertEqual(self.ask(request).yiaddr, ip(13))
            (leased,) = self.told()
            self.assertEqual(getattr(leased, "stage", None), stage)

    def test_udhcpc_and_dhclient(self) -> None:
        """Two foreign clients, as captured, get their whole exchange."""
        self.nodes = MemoryDirectory([Node(mac=LAB, address=ip(13))])
        self.begin()
        for discover, request in (
            (captures.DISCOVER_UDHCPC, captures.REQUEST_UDHCPC),
            (captures.DISCOVER_DHCLIENT, captures.REQUEST_DHCLIENT),
        ):
            self.assertIs(self.ask(discover).message_type, MessageType.OFFER)
            self.assertIs(self.ask(request).message_type, MessageType.ACK)

    def test_bootp(self) -> None:
        """Plain BOOTP of a reservation is a lease too; of the pool it has no answer."""
        self.assertEqual(self.ask(message()).yiaddr, ip(13))
        self.assertEqual(self.table.holder_of(ip(13)), PI)
        self.assertIn(ip(13), self.store.leases)
        self.begin(unknown_hosts="allow")
        self.ignored(message(mac=STRANGER), Reason.NO_RESERVATION)


class DurabilityTests(ServerCase):
    """Nothing is promised that a power cut could take back."""

    def test_ack_after_the_disk(self) -> None:
        """No ACK leaves and no event is told before the binding is on disk."""
        self.store.held = True
        self.assertEqual(self.send(captures.REQUEST_PI400), [])
        self.assertEqual(self.told(), [])
        self.store.flush()
        self.assertEqual(len(self.transport.written), 1)
        self.assertEqual(len(self.events.of(events.AddressLeased)), 1)

    def test_rom_offer_after_the_disk(self) -> None:
        """An OFFER to a boot ROM leaves after its lease is on disk, another OFFER at once."""
        self.begin(unknown_hosts="allow")
        self.store.held = True
        rom = pi.rom_discover(STRANGER.octets, pi.guid_of_serial("01000099"))
        self.assertEqual(self.send(rom), [])
        self.assertEqual(len(self.send(captures.DISCOVER_PI400)), 1)
        self.store.flush()
        self.assertEqual(Message.from_wire(self.transport.written[-1][0]).yiaddr, ip(100))

    def test_kill_between_offer_and_boot(self) -> None:
        """After a kill, a board that was offered a pool address keeps it, and nobody else is given it."""
        self.begin(unknown_hosts="allow")
        rom = pi.rom_discover(STRANGER.octets, pi.guid_of_serial("01000099"))
        self.assertEqual(self.ask(rom).yiaddr, ip(100))
        self.begin(unknown_hosts="allow")
        self.assertEqual(self.table.holder_of(ip(100)), STRANGER)
        self.assertEqual(self.ask(message(MessageType.DISCOVER, PC)).yiaddr, ip(101))
        self.assertEqual(self.ask(rom).yiaddr, ip(100))

    def test_kill_before_the_disk(self) -> None:
        """After a kill before the commit nothing was promised, and the address is free."""
        self.begin(unknown_hosts="allow")
        self.store.held = True
        rom = pi.rom_discover(STRANGER.octets, pi.guid_of_serial("01000099"))
        self.assertEqual(self.send(rom), [])
        self.store.held = False
        self.begin(unknown_hosts="allow")
        self.assertEqual(self.ask(message(MessageType.DISCOVER, PC)).yiaddr, ip(100))

    def test_kill_between_offer_and_request(self) -> None:
        """A client that selects our offer after we were killed gets its ACK if the address is still free."""
        self.begin(unknown_hosts="allow")
        self.assertEqual(self.ask(message(MessageType.DISCOVER, PC)).yiaddr, ip(100))
        self.begin(unknown_hosts="allow")
        self.assertIs(self.ask(selecting(ip(100), PC)).message_type, MessageType.ACK)

    def test_failing_disk(self) -> None:
        """When the disk fails there is silence, and no event that says otherwise."""
        self.store.commit = lambda leases: fail(StoreFailed("disk full"))  # type: ignore[method-assign]
        self.assertEqual(self.send(captures.REQUEST_PI400), [])
        self.assertEqual(self.told(), [])

    def test_decline_is_durable(self) -> None:
        """A declined address is on disk as such."""
        self.send(captures.REQUEST_PI400)
        options = {Option.REQUESTED_ADDRESS: ip(13), Option.SERVER_IDENTIFIER: SERVER}
        self.send(message(MessageType.DECLINE, PI, options))
        self.assertEqual(self.store.leases[ip(13)].state, LeaseState.DECLINED)


class RequestTests(ServerCase):
    """REQUESTs of all kinds against real leases."""

    def test_another_server(self) -> None:
        """A REQUEST naming another server is ignored, said once a minute of a known node, and ends our offer."""
        self.begin(unknown_hosts="allow")
        self.send(message(MessageType.DISCOVER))
        self.told()
        for _ in range(3):
            self.ignored(selecting(ip(50), server=OTHER_SERVER), Reason.OTHER_SERVER)
        self.assertEqual(self.told(), [events.OtherServerChosen(mac=PI, server=OTHER_SERVER)])
        self.assertIs(self.table.holder_of(ip(13)), None)
        self.send(message(MessageType.DISCOVER, PC))
        self.told()
        self.ignored(selecting(ip(100), PC, OTHER_SERVER), Reason.OTHER_SERVER)
        self.assertEqual(self.told(), [])

    def test_renewal(self) -> None:
        """A renewal is answered to the client's address and changes no phase."""
        self.send(captures.REQUEST_PI400)
        self.told()
        self.reactor.advance(300)
        self.assertIs(self.ask(renewing(ip(13)), (str(ip(13)), 68)).message_type, MessageType.ACK)
        self.assertEqual(self.transport.written[-1][1], (str(ip(13)), 68))
        self.assertEqual(
            self.told(), [events.LeaseRenewed(mac=PI, address=ip(13), stage=Stage.OS, expires=START + 900)]
        )
        self.assertEqual(self.store.leases[ip(13)].expires, START + 900)

    def test_init_reboot(self) -> None:
        """A node that remembers its reservation is acknowledged though we have no record of a lease."""
        self.assertIs(self.ask(rebooting(ip(13))).message_type, MessageType.ACK)
        self.assertEqual(len(self.events.of(events.AddressLeased)), 1)

    def test_wrong_address(self) -> None:
        """A node that names an address that is not its own is told so, by broadcast."""
        for asked in (rebooting(ip(99)), renewing(ip(99)), selecting(ip(99)), rebooting(IPv4Address("10.0.0.5"))):
            self.told()
            answer = self.ask(asked)
            self.assertIs(answer.message_type, MessageType.NAK)
            self.assertEqual(self.transport.written[-1][1], ("255.255.255.255", 68))
            (refused,) = self.told()
            self.assertIsInstance(refused, events.AddressRefused)

    def test_changed_reservation(self) -> None:
        """A changed row: the old address is refused at its next renewal, and only then its new owner gets it."""
        self.send(captures.REQUEST_PI400)
        self.nodes = MemoryDirectory((Node(mac=PI, address=ip(30)), Node(mac=LAB, address=ip(13))))
        self.protocol._nodes = self.table._nodes = self.nodes
        self.told()
        for _ in range(2):
            self.ignored(message(MessageType.DISCOVER, LAB), Reason.ADDRESS_HELD)
        self.assertEqual(self.told(), [events.AddressHeld(mac=LAB, address=ip(13), holder=PI)])
        self.assertIs(self.ask(renewing(ip(13))).message_type, MessageType.NAK)
        self.assertEqual(self.ask(message(MessageType.DISCOVER, LAB)).yiaddr, ip(13))
        self.assertEqual(self.ask(message(MessageType.DISCOVER)).yiaddr, ip(30))

    def test_pool_exhausted(self) -> None:
        """When no address is free there is silence, and an event once a minute."""
        self.begin(unknown_hosts="allow")
        for n in (1, 2):
            mac = MACAddress(b"\x02\0\0\0\0" + bytes((n,)))
            self.send(selecting(self.ask(message(MessageType.DISCOVER, mac)).yiaddr, mac))
        self.told()
        for _ in range(3):
            self.ignored(message(MessageType.DISCOVER, STRANGER), Reason.NO_ADDRESS_FREE)
        self.assertEqual(self.told(), [events.PoolExhausted(mac=STRANGER, pool="172.30.4.100-172.30.4.101")])

    def test_release(self) -> None:
        """RELEASE frees the address, is never answered, and counts only from its holder and for us."""
        self.send(captures.REQUEST_PI400)
        self.told()
        ours = {Option.SERVER_IDENTIFIER: SERVER}
        self.ignored(message(MessageType.RELEASE, LAB, ours, ciaddr=ip(13)), Reason.NOTHING_TO_SAY)
        theirs = {Option.SERVER_IDENTIFIER: OTHER_SERVER}
        self.ignored(message(MessageType.RELEASE, PI, theirs, ciaddr=ip(13)), Reason.OTHER_SERVER)
        self.assertEqual((self.told(), self.table.holder_of(ip(13))), ([], PI))
        self.ignored(message(MessageType.RELEASE, PI, ours, ciaddr=ip(13)), Reason.NOTHING_TO_SAY)
        self.assertEqual(self.told(), [events.AddressReleased(mac=PI, address=ip(13))])
        self.assertEqual(self.store.leases[ip(13)].state, LeaseState.RELEASED)

    def test_decline(self) -> None:
        """DECLINE quarantines an address of the pool; the board is offered another one."""
        self.begin(unknown_hosts="allow")
        self.send(selecting(self.ask(message(MessageType.DISCOVER, PC)).yiaddr, PC))
        self.told()
        for server, reason in ((OTHER_SERVER, Reason.OTHER_SERVER), (SERVER, Reason.NOTHING_TO_SAY)):
            options = {Option.REQUESTED_ADDRESS: ip(100), Option.SERVER_IDENTIFIER: server}
            self.ignored(message(MessageType.DECLINE, PC, options), reason)
        self.assertEqual(self.told(), [events.AddressDeclined(mac=PC, address=ip(100))])
        self.assertEqual(self.ask(message(MessageType.DISCOVER, PC)).yiaddr, ip(101))

    def test_inform(self) -> None:
        """INFORM is answered to the client's address and leaves no lease."""
        self.assertIs(self.ask(message(MessageType.INFORM, ciaddr=ip(60))).message_type, MessageType.ACK)
        self.assertEqual(self.transport.written[-1][1], (str(ip(60)), 68))
        self.assertEqual((self.store.leases, self.told()), ({}, []))
        self.ignored(message(MessageType.INFORM), Reason.NO_ADDRESS_NAMED)


class RepetitionTests(ServerCase):
    """Floods of a known board: few lines, a right status, a count."""

    def begin(self, link: FakeLink | None = None, **changes: Any) -> None:
        """A server whose events a registry folds."""
        super().begin(link, **changes)
        self.registry = NodeRegistry(NODES)
        log = EventLog(self.reactor, [self.registry])
        keep = self.events.emit

        def emit(event: Event) -> None:
            keep(event)
            log.emit(event)

        self.protocol._events = DHCPEvents(self.reactor, StubSink(emit), self.settings)

    def stored(self) -> Counter[str]:
        """How many events of each class would be rows and lines, since this was last called."""
        found, self.events.events = self.events.events, []
        return Counter(type(event).__name__ for event in found if event.durable)

    def counted(self) -> dict[str, int]:
        """What the minute that ends now is said to have had besides."""
        self.reactor.advance(60)
        self.protocol.settle()
        found = self.events.of(events.RepeatsCounted)
        self.events.events = []
        self.assertEqual({event.mac for event in found}, {PI})
        return {event.what: event.count for event in found}  # type: ignore[attr-defined]

    def test_wrong_requests(self) -> None:
        """Wrong REQUESTs, each for another address, are all refused and ten of them stored."""
        for last in range(20, 220):
            self.assertIs(self.ask(rebooting(ip(last))).message_type, MessageType.NAK)
        self.assertEqual(self.stored(), {"AddressRefused": 10})
        self.assertEqual(self.counted(), {"AddressRefused": 190})
        self.ask(rebooting(ip(20)))
        self.assertEqual(self.stored(), {"AddressRefused": 1})

    def test_released_and_requested(self) -> None:
        """After each datagram of a flood of REQUEST and RELEASE the status has the address that the lease says."""
        for _ in range(50):
            self.ask(selecting(ip(13)))
            self.assertEqual(self.registry.status(PI).address, ip(13))
            self.send(message(MessageType.RELEASE, PI, {Option.SERVER_IDENTIFIER: SERVER}, ciaddr=ip(13)))
            self.assertIs(self.registry.status(PI).address, None)
        self.assertEqual(self.stored(), {"AddressLeased": 10, "AddressReleased": 10})
        self.assertEqual(self.counted(), {"AddressLeased": 40, "AddressReleased": 40})

    def test_offered_and_declined(self) -> None:
        """A flood of DISCOVER and DECLINE is ten events of each."""
        options = {Option.REQUESTED_ADDRESS: ip(13), Option.SERVER_IDENTIFIER: SERVER}
        for _ in range(50):
            self.ask(message(MessageType.DISCOVER))
            self.send(message(MessageType.DECLINE, PI, options))
        self.assertEqual(self.stored(), {"AddressOffered": 10, "AddressDeclined": 10})
        self.assertEqual(self.counted(), {"AddressOffered": 40, "AddressDeclined": 40})

    def test_varied_servers(self) -> None:
        """A board that names another server each time is one event a minute, and has no address of ours."""
        for last in range(20, 220):
            self.ask(selecting(ip(13)))
            self.ignored(selecting(ip(13), server=ip(last)), Reason.OTHER_SERVER)
        self.assertIs(self.registry.status(PI).address, None)
        self.assertEqual(self.stored(), {"OtherServerChosen": 1, "AddressLeased": 10})
        self.assertEqual(self.counted(), {"OtherServerChosen": 199, "AddressLeased": 190})

    def test_stop(self) -> None:
        """What was not stored is counted at the stop."""
        for _ in range(12):
            self.ask(rebooting(ip(20)))
        self.told()
        self.protocol.stopProtocol()
        self.assertEqual(self.told(), [events.RepeatsCounted(mac=PI, what="AddressRefused", count=2)])

    def test_too_many_boards(self) -> None:
        """Boards for which there is no room are counted together, and take no room of others later."""
        sink = CapturedEvents()
        repetitions = Repetitions(self.reactor, sink, 60, capacity=2)
        for number in range(5):
            repetitions.tell(events.BootOrdered(mac=MACAddress(bytes((0, 0, 0, 0, 0, number)))), 1)
        self.assertEqual(len(sink.of(events.BootOrdered)), 2)
        repetitions.settle()
        self.assertEqual(sink.of(events.RepeatsCounted), [events.RepeatsCounted(what="", count=3)])
        self.reactor.advance(60)
        repetitions.tell(events.BootOrdered(mac=PI), 1)
        self.assertEqual(len(sink.of(events.BootOrdered)), 3)
        self.assertEqual(len(sink.of(events.RepeatsCounted)), 1)


@implementer(IEventSink)
class StubSink:
    """Hands events to a function."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._hand = emit

    def emit(self, event: Event) -> None:
        """Hand it on."""
        self._hand(event)


class StrangerTests(ServerCase):
    """Boards of which no file speaks."""

    def test_silence_and_an_event(self) -> None:
        """A strange Pi gets nothing and is an event with what it told, once a minute."""
        asked = attrs.evolve(Message.from_wire(captures.DISCOVER_PI400), chaddr=STRANGER.octets)
        for _ in range(5):
            self.ignored(asked, Reason.STRANGER)
        seen = events.StrangerSeen(mac=STRANGER, stage=Stage.EEPROM, serial="e0ff06da", model="400")
        self.assertEqual(self.told(), [seen])
        self.reactor.advance(60)
        self.ignored(asked, Reason.STRANGER)
        self.assertEqual(self.told(), [seen])

    def test_foreign_machines(self) -> None:
        """A PC that boots from the network is an event once an hour."""
        asked = message(MessageType.DISCOVER, PC, {Option.VENDOR_CLASS: pi.VENDOR_CLASS.decode()})
        for _ in range(60):
            self.ignored(asked, Reason.FOREIGN_PXE)
            self.reactor.advance(60)
        self.assertEqual(len(self.told()), 1)
        self.ignored(asked, Reason.FOREIGN_PXE)
        self.assertEqual(len(self.told()), 1)

    def test_flood(self) -> None:
        """Ten thousand invented boards are a bounded number of events, and leave nothing behind."""
        for n in range(10_000):
            self.send(message(MessageType.DISCOVER, MACAddress(b"\xdc\xa6\x32" + n.to_bytes(3, "big"))))
        self.assertEqual(len(self.told()), 1024)
        self.assertEqual((self.store.leases, self.table.leases()), ({}, []))

    def test_not_ours_to_tell(self) -> None:
        """A stranger that takes another server's offer, or renews elsewhere, is no event of ours; nor is its INFORM."""
        self.ignored(selecting(ip(50), STRANGER, OTHER_SERVER), Reason.STRANGER)
        self.ignored(message(MessageType.INFORM, STRANGER, ciaddr=ip(50)), Reason.STRANGER)
        self.assertEqual(self.told(), [])

    def test_allowed(self) -> None:
        """With ``unknown_hosts: allow`` a stranger gets an address of the pool, and no event says stranger."""
        self.begin(unknown_hosts="allow")
        self.assertEqual(self.ask(message(MessageType.DISCOVER, STRANGER)).yiaddr, ip(100))
        self.assertEqual(self.events.of(events.StrangerSeen), [])

    def test_no_record(self) -> None:
        """A stranger that may be another server's is left in peace, even when it names an address of our pool."""
        self.begin(unknown_hosts="allow")
        for asked in (rebooting(ip(100), STRANGER), renewing(ip(100), STRANGER), rebooting(ip(50), STRANGER)):
            self.ignored(asked, Reason.NO_RECORD)


class WayTests(ServerCase):
    """How datagrams come in and go out."""

    def test_source(self) -> None:
        """Answers leave from our own address."""
        self.send(captures.DISCOVER_PI400)
        self.assertEqual(self.transport.sources, [SERVER])

    def test_third_party(self) -> None:
        """No DISCOVER, BOOTP, REQUEST or INFORM makes us send to an address that only ``ciaddr`` names."""
        third = IPv4Address("127.88.9.9")
        for kind in (MessageType.DISCOVER, None, MessageType.REQUEST, MessageType.INFORM):
            self.send(message(kind, ciaddr=third))
        self.assertEqual({address for _, address in self.transport.written}, {("255.255.255.255", 68)})

    def test_discover_with_an_address(self) -> None:
        """``ciaddr`` of a DISCOVER is no wish for an address."""
        self.begin(unknown_hosts="allow")
        self.assertEqual(self.ask(message(MessageType.DISCOVER, PC, ciaddr=ip(101))).yiaddr, ip(100))

    def test_frame(self) -> None:
        """A board without an address gets a frame from our port to its own, with the flags that it sent."""
        link = FakeLink()
        self.begin(link)
        self.assertEqual(self.send(captures.DISCOVER_PI400), [])
        ((mac, source, to, payload),) = link.frames
        self.assertEqual((mac, source, to), (PI.octets, (SERVER, 67), (ip(13), 68)))
        self.assertEqual(Message.from_wire(payload).flags, 0)

    def test_refused_frame(self) -> None:
        """A frame that the kernel does not take goes out as a broadcast instead."""
        self.begin(FakeLink(works=False))
        answer = self.ask(captures.DISCOVER_PI400)
        self.assertTrue(answer.wants_broadcast)
        self.assertEqual(self.transport.written[-1][1], ("255.255.255.255", 68))

    def test_broadcast_on_request(self) -> None:
        """A client that wants a broadcast gets one though frames could be sent."""
        link = FakeLink()
        self.begin(link)
        self.assertEqual(len(self.send(message(MessageType.DISCOVER, flags=BROADCAST_FLAG))), 1)
        self.assertEqual(link.frames, [])

    def test_relay(self) -> None:
        """A relayed board is served through its relay, at its own port if it says so."""
        relay = ip(77)
        asked = message(MessageType.DISCOVER, giaddr=relay, hops=1)
        self.assertEqual(self.ask(asked, (str(relay), 67)).giaddr, relay)
        self.assertEqual(self.transport.written[-1][1], (str(relay), 67))
        ported = attrs.evolve(asked, options=dict(asked.options) | {82: captures.RELAY_INFORMATION_WITH_PORT})
        self.ask(ported, (str(relay), 40_000))
        self.assertEqual(self.transport.written[-1][1], (str(relay), 40_000))

    def test_false_relay(self) -> None:
        """A message that only pretends to be relayed is not answered, to whatever port it wants."""
        asked = message(MessageType.DISCOVER, giaddr=ip(77))
        self.ignored(asked, Reason.FOREIGN_RELAY, ("172.30.4.66", 40_000))
        self.ignored(asked, Reason.FOREIGN_RELAY, ("10.9.0.66", 67))

    def test_interface(self) -> None:
        """What comes in on another interface counts only through a relay."""
        self.protocol.interface_index = 2
        data = message(MessageType.DISCOVER).to_wire()
        relayed = message(MessageType.DISCOVER, giaddr=ip(77)).to_wire()
        for index, datagram, answers in ((3, data, 0), (3, relayed, 1), (2, data, 2), (0, data, 3)):
            source = (str(ip(77)), 67) if datagram is relayed else DIRECT
            self.protocol.datagramArrived(datagram, source, Arrival(START, index, SERVER))
            self.assertEqual(len(self.transport.written), answers)
        self.assertEqual(self.protocol.silences[Reason.OTHER_INTERFACE], 1)

    def test_malformed(self) -> None:
        """Malformed datagrams are counted and dropped."""
        for data in (b"", b"x" * 240, captures.DISCOVER_PI400[:250]):
            self.assertEqual(self.send(data), [])
        self.assertEqual(self.protocol.malformed, 3)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(name for name in vars(captures) if name.startswith(("DISCOVER", "REQUEST")))),
                st.lists(st.tuples(st.integers(0, 321), st.integers(0, 255)), max_size=6),
            ),
            max_size=8,
        )
    )
    def test_mutations(self, datagrams: list[tuple[str, list[tuple[int, int]]]]) -> None:
        """No damaged datagram raises, and a good one after it is answered."""
        self.begin(unknown_hosts="allow", mask_rom_delays=())
        for name, damages in datagrams:
            data = bytearray(getattr(captures, name))
            for place, value in damages:
                data[place % len(data)] = value
            self.protocol.datagramReceived(bytes(data), ("172.30.4.77", 67))
        self.assertEqual(len(self.send(captures.DISCOVER_PI400)), 1)

    @given(st.binary(max_size=400))
    def test_random_bytes(self, data: bytes) -> None:
        """No random bytes raise, with or without a sound beginning."""
        for datagram in (data, captures.DISCOVER_PI400[:240] + data):
            self.protocol.datagramReceived(datagram, DIRECT)
        self.assertEqual(len(self.send(captures.DISCOVER_PI400)), 1)


class ServiceTests(SynchronousTestCase):
    """From start to stop."""

    def setUp(self) -> None:
        """A reactor without sockets."""
        self.reactor = MemoryDatagramReactor()
        self.reactor.advance(START)
        self.nodes = MemoryDirectory(NODES)
        lease = Lease(address=ip(13), mac=PI, state=LeaseState.BOUND, expires=START + 100)
        self.store = MemoryLeaseStore([lease])
        self.table = LeaseTable(self.reactor, nodes=self.nodes, pool=Pool(ip(100), ip(101)))

    def service(self, **changes: Any) -> DHCPService:
        """The service on a plain port."""
        return dhcp_service(
            self.reactor,
            settings=attrs.evolve(
                SETTINGS,
                lease_seconds=changes.pop("lease_seconds", 600),
                unknown_hosts=changes.pop("unknown_hosts", "deny"),
            ),
            nodes=self.nodes,
            leases=self.table,
            store=self.store,
            events=changes.pop("events", CapturedEvents()),
            plain=True,
            **changes,
        )

    def test_life(self) -> None:
        """It binds its port first, then knows the leases and serves, and leaves nothing when it stops."""
        link = FakeLink()
        service = self.service(link=link)
        service.privilegedStartService()
        (port,) = self.reactor.ports
        self.assertEqual((port.getHost().port, port.broadcast, link.is_open), (67, True, True))
        self.assertIs(self.table.holder_of(ip(13)), None)
        service.startService()
        self.assertEqual(self.table.holder_of(ip(13)), PI)
        port.protocol.datagramReceived(renewing(ip(13)).to_wire(), (str(ip(13)), 68))
        self.assertEqual(len(port.written), 1)
        self.successResultOf(service.stopService())
        self.assertEqual((port.listening, link.is_open, self.reactor.getDelayedCalls()), (False, False, []))

    def test_no_frames(self) -> None:
        """Without the right to send frames it warns once and answers by broadcast."""
        service = self.service(link=FakeLink(works=False))
        service.privilegedStartService()
        service.startService()
        (port,) = self.reactor.ports
        port.protocol.datagramReceived(captures.DISCOVER_PI400, DIRECT)
        self.assertEqual(port.written[0][1], ("255.255.255.255", 68))
        self.successResultOf(service.stopService())

    def test_lease_time(self) -> None:
        """The lease time that boards are told is the one that the table keeps."""
        service = self.service(lease_seconds=1200)
        service.privilegedStartService()
        service.startService()
        (port,) = self.reactor.ports
        port.protocol.datagramReceived(renewing(ip(13)).to_wire(), (str(ip(13)), 68))
        told = Message.from_wire(port.written[0][0]).option(Option.LEASE_SECONDS)
        self.assertEqual((told, self.store.leases[ip(13)].expires), (1200, START + 1200))
        self.successResultOf(service.stopService())

    def test_unknown_interface(self) -> None:
        """An interface that is not there stops the start."""
        service = self.service(interface="nosuch0")
        self.assertRaises(OSError, service.privilegedStartService)

    def test_touched_leases(self) -> None:
        """Leases that live on because their boards are at work reach the disk within seconds."""
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.table.touch(ip(13))
        self.reactor.advance(HOUSEKEEPING_SECONDS)
        self.assertEqual(self.store.leases[ip(13)].expires, START + 900)
        self.reactor.advance(100)
        self.table.touch(ip(13))
        self.successResultOf(service.stopService())
        self.assertEqual(self.store.leases[ip(13)].expires, START + HOUSEKEEPING_SECONDS + 1000)

    def test_probe(self) -> None:
        """The pool is looked at from the start until the stop; the socket is taken while we may and let go."""
        prober = FakeProber()
        service = self.service(prober=prober)
        service.privilegedStartService()
        self.assertTrue(prober.is_open)
        service.startService()
        self.assertEqual(list(prober.asked), [ip(100), ip(101)])
        self.successResultOf(service.stopService())
        self.assertEqual((prober.is_open, self.reactor.getDelayedCalls()), (False, []))

    def test_new_pool(self) -> None:
        """What joins the pool is looked at at once."""
        prober = FakeProber()
        service = self.service(prober=prober)
        service.privilegedStartService()
        service.startService()
        service.replace_pool(Pool(ip(101), ip(102)))
        self.assertIn(ip(102), prober.asked)
        self.successResultOf(service.stopService())

    def test_lost_memory(self) -> None:
        """With a new store only addresses found silent are offered, and until then no pool is said to be exhausted."""
        prober = FakeProber()
        self.store = MemoryLeaseStore()
        events = CapturedEvents()
        service = self.service(prober=prober, events=events, unknown_hosts="allow")
        service.privilegedStartService()
        service.startService()
        (port,) = self.reactor.ports
        asking = message(MessageType.DISCOVER, mac=PC).to_wire()
        port.protocol.datagramReceived(asking, DIRECT)
        self.assertEqual((port.written, events.events), ([], []))
        prober.asked[ip(100)].callback(PI)
        prober.asked[ip(101)].callback(None)
        port.protocol.datagramReceived(asking, DIRECT)
        self.assertEqual(Message.from_wire(port.written[0][0]).yiaddr, ip(101))
        self.successResultOf(service.stopService())

    def test_reconfigured(self) -> None:
        """New settings are in the very next answer."""
        service = self.service()
        service.privilegedStartService()
        service.startService()
        changed = attrs.evolve(service.protocol.settings, router=ip(2), lease_seconds=900)
        service.protocol.reconfigure(changed)
        (port,) = self.reactor.ports
        port.protocol.datagramReceived(renewing(ip(13)).to_wire(), (str(ip(13)), 68))
        reply = Message.from_wire(port.written[0][0])
        self.assertEqual((reply.option(Option.ROUTER), reply.option(Option.LEASE_SECONDS)), ((ip(2),), 900))
        self.successResultOf(service.stopService())
