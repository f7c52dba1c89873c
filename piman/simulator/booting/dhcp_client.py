# -*- test-case-name: tests.test_simulator_booting_dhcp_client -*-
"""
The DHCP clients that follow each other during one boot: boot ROM, EEPROM, Linux ``ip=dhcp``, udhcpc, installed system.

Each is known by its bytes (:mod:`piman.wire.pi`) and by its patience.  The boot ROM never sends a REQUEST: it uses
what it was offered.  The EEPROM's back-off doubles from 4 s within 45 s.
"""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address

import attrs

from piman.fleet.model import Stage
from piman.simulator.booting.journal import Told
from piman.simulator.booting.machine import Machine, Program
from piman.simulator.wiring.surroundings import DHCP_PORT, Datagram, Socket
from piman.wire.dhcp import Message, MessageType, Operation, Option, encode_options
from piman.wire.layout import MalformedDatagram
from piman.wire.pi import (
    BOOT_MENU_TEXT,
    KERNEL_PARAMETERS,
    eeprom_discover,
    eeprom_request,
    rom_discover,
)

EVERYBODY = ("255.255.255.255", DHCP_PORT)
NOWHERE = IPv4Address(0)

ROM_TRIES = 5
ROM_TRY_SECONDS = 5.0
MASK_ROM_DEAF_SECONDS = 1.0
"""A Pi 3B looks at what it has received only when a further packet arrives, a second or more after its DISCOVER."""

EEPROM_TRY_SECONDS = 4.0
EEPROM_BUDGET_SECONDS = 45.0
OFFER_WINDOW_SECONDS = 0.5
"""A Pi 4 waits this long for further offers, say one of a proxy."""

KERNEL_FIRST_SECONDS = 2.0
KERNEL_LONGEST_SECONDS = 30.0
KERNEL_SENDS = 6
KERNEL_OPENS = 2

UDHCPC_TRIES = 8
UDHCPC_TRY_SECONDS = 2.0

OS_FIRST_SECONDS = 4.0
OS_LONGEST_SECONDS = 64.0
OS_PARAMETERS = bytes((1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42))
"""What dhclient asks for on Debian."""


@attrs.frozen(kw_only=True)
class Lease:
    """What a client learned."""

    address: IPv4Address
    server: IPv4Address
    """Option 54, else the sender."""
    boot_server: IPv4Address
    """Where files are fetched: option 66 or the sender of the boot menu; for Linux ``siaddr``."""
    seconds: float = 0.0


# Offers


@attrs.define
class Offers:
    """
    The answers to one DISCOVER: the address from one, the boot server from the same or another.

    :ivar needs_spaces: only a boot menu with three spaces after its text counts (Pi 3B).
    """

    needs_spaces: bool = False
    address: Message | None = None
    sender: IPv4Address = NOWHERE
    boot_server: IPv4Address | None = None

    def take(self, message: Message, sender: IPv4Address) -> None:
        """Look at one OFFER."""
        if message.yiaddr != NOWHERE and self.address is None:
            self.address, self.sender = message, sender
        self.boot_server = boot_server_of(message, sender, needs_spaces=self.needs_spaces) or self.boot_server

    def lease(self) -> Lease | None:
        """What to use; None while something is missing."""
        if self.address is None or self.boot_server is None:
            return None
        return _lease(self.address, self.sender, self.boot_server)


def boot_server_of(message: Message, sender: IPv4Address, *, needs_spaces: bool) -> IPv4Address | None:
    """Option 66 as dotted decimals, else the sender if option 43 names "Raspberry Pi Boot"; None: not a boot server."""
    text = message.options.get(Option.TFTP_SERVER, b"")
    try:
        return IPv4Address(text.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        pass
    wanted = BOOT_MENU_TEXT + b"   " * needs_spaces
    return sender if wanted in message.options.get(Option.VENDOR_SPECIFIC, b"") else None


def _lease(message: Message, sender: IPv4Address, boot_server: IPv4Address) -> Lease:
    return Lease(
        address=message.yiaddr,
        server=message.option(Option.SERVER_IDENTIFIER) or sender,
        boot_server=boot_server,
        seconds=float(message.option(Option.LEASE_SECONDS) or 0),
    )


def _answers(event: Datagram, asked: Message, *kinds: MessageType) -> Message | None:
    """The message, if it answers ``asked`` and is of one of these kinds."""
    try:
        message = Message.from_wire(event.data)
    except MalformedDatagram:
        return None
    is_ours = message.op == Operation.REPLY and (message.xid, message.chaddr) == (asked.xid, asked.chaddr)
    return message if is_ours and message.message_type in kinds else None


def _sender(event: Datagram) -> IPv4Address:
    return IPv4Address(event.source[0])


def _told(machine: Machine, stage: Stage, lease: Lease) -> Lease:
    told = Told(
        time=machine.now(), stage=stage, address=lease.address, server=lease.server, lease_seconds=lease.seconds
    )
    machine.journal.told.append(told)
    return lease


# The boot ROM


def rom_lease(machine: Machine, *, is_first_stage: bool) -> Program[Lease | None]:
    """Five times five seconds; what is offered is used at once."""
    is_mask_rom = machine.board.kind.is_mask_rom and is_first_stage
    discover = rom_discover(machine.board.mac, machine.board.rom_guid if is_first_stage else machine.board.guid)
    socket = machine.dhcp_socket()
    try:
        for attempt in range(ROM_TRIES):
            machine.journal.resends += attempt > 0
            socket.send(discover.to_wire(), EVERYBODY)
            receive = _mask_rom_offers if is_mask_rom else _rom_offers
            lease = yield from receive(machine, discover, machine.now())
            if lease is not None:
                return _told(machine, Stage.ROM, lease)
    finally:
        machine.close(socket)
    return None


def _rom_offers(machine: Machine, discover: Message, began: float) -> Program[Lease | None]:
    offers = Offers()
    while (event := (yield began + ROM_TRY_SECONDS)) is not None:
        if isinstance(event, Datagram) and (offer := _answers(event, discover, MessageType.OFFER)):
            offers.take(offer, _sender(event))
        lease = offers.lease()
        if lease is not None:
            return lease
    return None


def _mask_rom_offers(machine: Machine, discover: Message, began: float) -> Program[Lease | None]:
    """What has arrived is looked at only when a further packet comes, late enough."""
    offers = Offers(needs_spaces=True)
    held: list[Datagram] = []
    while (event := (yield began + ROM_TRY_SECONDS)) is not None:
        if not isinstance(event, Datagram):
            continue
        if machine.now() >= began + MASK_ROM_DEAF_SECONDS:
            for waiting in held:
                if offer := _answers(waiting, discover, MessageType.OFFER):
                    offers.take(offer, _sender(waiting))
            held.clear()
            lease = offers.lease()
            if lease is not None:
                return lease
        held.append(event)
    return None


# The EEPROM


def eeprom_lease(machine: Machine) -> Program[Lease | None]:
    """DISCOVER, OFFER, REQUEST, ACK within 45 s; waits of 4 s that double."""
    discover = eeprom_discover(machine.board.mac, machine.board.guid, machine.random.getrandbits(32))
    give_up = machine.now() + EEPROM_BUDGET_SECONDS
    socket = machine.dhcp_socket()
    try:
        for pause in _doubling(EEPROM_TRY_SECONDS):
            socket.send(discover.to_wire(), EVERYBODY)
            offered = yield from _collect(machine, discover, min(machine.now() + pause, give_up))
            if offered is not None:
                lease = yield from _confirm(machine, socket, discover, offered, give_up)
                if lease is not None:
                    return _told(machine, Stage.EEPROM, lease)
            if machine.now() >= give_up:
                return None
            machine.journal.resends += 1
    finally:
        machine.close(socket)
    return None


def _doubling(seconds: float, most: float = float("inf")) -> Iterator[float]:
    while True:
        yield seconds
        seconds = min(seconds * 2, most)


def _collect(machine: Machine, discover: Message, until: float) -> Program[Lease | None]:
    """The offers that arrive, and those that follow the first usable one within half a second."""
    offers = Offers()
    deadline = until
    while (event := (yield deadline)) is not None:
        if isinstance(event, Datagram) and (offer := _answers(event, discover, MessageType.OFFER)):
            was_usable = offers.lease() is not None
            offers.take(offer, _sender(event))
            if offers.lease() is not None and not was_usable:
                deadline = min(until, machine.now() + OFFER_WINDOW_SECONDS)
    return offers.lease()


def _confirm(
    machine: Machine, socket: Socket, discover: Message, offered: Lease, give_up: float
) -> Program[Lease | None]:
    """REQUEST until the ACK; after a NAK all begins anew."""
    request = eeprom_request(discover, offered.address, offered.server)
    for pause in _doubling(EEPROM_TRY_SECONDS):
        socket.send(request.to_wire(), EVERYBODY)
        answer = yield from _verdict(request, offered.server, min(machine.now() + pause, give_up))
        if answer is not None and answer.message_type is MessageType.ACK:
            return _lease(answer, offered.server, offered.boot_server)
        if answer is not None or machine.now() >= give_up:
            return None
        machine.journal.resends += 1
    return None


def _verdict(request: Message, server: IPv4Address | None, until: float) -> Program[Message | None]:
    """The ACK or NAK of that server; None: neither came."""
    while (event := (yield until)) is not None:
        if not isinstance(event, Datagram):
            continue
        answer = _answers(event, request, MessageType.ACK, MessageType.NAK)
        if answer and (server is None or answer.option(Option.SERVER_IDENTIFIER) == server):
            return answer
    return None


# Linux and the installed system: RFC 2131 as everybody knows it


@attrs.frozen(kw_only=True)
class Client:
    """
    An ordinary client.

    :ivar options: what it sends besides type, address and server.
    :ivar pauses: how long it waits after each DISCOVER or REQUEST; the end of them is the end of its patience.
    """

    stage: Stage
    options: Mapping[int, bytes]
    pauses: Callable[[], Iterator[float]]
    counts_seconds: bool = False


def kernel_client(machine: Machine) -> Client:
    """Linux ``ip=dhcp`` (net/ipv4/ipconfig.c): 2 to 3 s, times 7/4, six sends, twice."""

    def pauses() -> Iterator[float]:
        for _ in range(KERNEL_OPENS):
            pause = KERNEL_FIRST_SECONDS + machine.random.random()
            for _ in range(KERNEL_SENDS):
                yield pause
                pause = min(pause * 7 / 4, KERNEL_LONGEST_SECONDS)

    options: dict[int, bytes] = {Option.PARAMETER_LIST: max(KERNEL_PARAMETERS, key=len)}
    return Client(stage=Stage.KERNEL, options=options, pauses=pauses, counts_seconds=True)


def udhcpc_client(machine: Machine) -> Client:
    """``udhcpc -t 8 -T 2`` of the initramfs."""
    options: dict[int, bytes] = {
        Option.CLIENT_IDENTIFIER: b"\x01" + machine.board.mac,
        Option.PARAMETER_LIST: bytes((1, 3, 6, 12, 15, 28, 42)),
        Option.MAXIMUM_SIZE: (576).to_bytes(2, "big"),
        Option.VENDOR_CLASS: b"udhcp 1.36.1",
    }
    return Client(stage=Stage.INITRAMFS, options=options, pauses=lambda: iter((UDHCPC_TRY_SECONDS,) * UDHCPC_TRIES))


def system_client(machine: Machine) -> Client:
    """The installed system: client identifier, host name, RFC 2131's back-off, never tired."""
    options: dict[int, bytes] = {
        Option.CLIENT_IDENTIFIER: b"\x01" + machine.board.mac,
        Option.HOST_NAME: machine.board.hostname.encode(),
        Option.PARAMETER_LIST: OS_PARAMETERS,
    }

    def pauses() -> Iterator[float]:
        return (pause + machine.between(-1, 1) for pause in _doubling(OS_FIRST_SECONDS, OS_LONGEST_SECONDS))

    return Client(stage=Stage.OS, options=options, pauses=pauses)


def lease(machine: Machine, client: Client) -> Program[Lease | None]:
    """DISCOVER, the first OFFER, REQUEST, ACK."""
    xid, began = machine.random.getrandbits(32), machine.now()
    socket = machine.dhcp_socket()
    try:
        for tries, pause in enumerate(client.pauses()):
            machine.journal.resends += tries > 0
            secs = int(machine.now() - began) if client.counts_seconds else 0
            discover = _message(machine, client, xid, {Option.MESSAGE_TYPE: MessageType.DISCOVER}, secs=secs)
            socket.send(discover.to_wire(), EVERYBODY)
            offer = yield from _first_offer(discover, machine.now() + pause)
            if offer is None:
                continue
            got = yield from _request(machine, client, socket, discover, offer, machine.now() + pause)
            if got is not None:
                return _told(machine, client.stage, got)
    finally:
        machine.close(socket)
    return None


def renew(machine: Machine, client: Client, held: Lease) -> Program[Lease | None]:
    """RENEWING: the address at hand, no server named; None: nobody answered, or the answer was no."""
    xid = machine.random.getrandbits(32)
    request = _message(machine, client, xid, {Option.MESSAGE_TYPE: MessageType.REQUEST}, ciaddr=held.address)
    socket = machine.dhcp_socket(held.address)
    try:
        socket.send(request.to_wire(), (str(held.server), DHCP_PORT))
        answer = yield from _verdict(request, None, machine.now() + OS_FIRST_SECONDS)
    finally:
        machine.close(socket)
    if answer is None or answer.message_type is MessageType.NAK:
        return None
    return _told(machine, client.stage, _lease(answer, held.server, held.boot_server))


def _message(
    machine: Machine,
    client: Client,
    xid: int,
    values: Mapping[int, object],
    *,
    secs: int = 0,
    ciaddr: IPv4Address = NOWHERE,
) -> Message:
    options: dict[int, bytes] = {**encode_options(values), **client.options}
    return Message(
        op=Operation.REQUEST, xid=xid, secs=secs, ciaddr=ciaddr, chaddr=machine.board.mac, options=options
    )


def _first_offer(discover: Message, until: float) -> Program[Message | None]:
    while (event := (yield until)) is not None:
        offer = _answers(event, discover, MessageType.OFFER) if isinstance(event, Datagram) else None
        if offer is not None and offer.yiaddr != NOWHERE and offer.option(Option.SERVER_IDENTIFIER):
            return offer
    return None


def _request(
    machine: Machine, client: Client, socket: Socket, discover: Message, offer: Message, until: float
) -> Program[Lease | None]:
    server: IPv4Address = offer.option(Option.SERVER_IDENTIFIER)
    values: dict[int, object] = {
        Option.MESSAGE_TYPE: MessageType.REQUEST,
        Option.REQUESTED_ADDRESS: offer.yiaddr,
        Option.SERVER_IDENTIFIER: server,
    }
    request = _message(machine, client, discover.xid, values, secs=discover.secs)
    socket.send(request.to_wire(), EVERYBODY)
    answer = yield from _verdict(request, server, until)
    if answer is None or answer.message_type is MessageType.NAK:
        return None
    return _lease(answer, server, answer.siaddr)
