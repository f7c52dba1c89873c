# -*- test-case-name: tests.test_dhcp -*-
"""
The DHCP server: gives boards their addresses and tells them where to boot from.

It serves one subnet of IPv4 on one interface, directly or through relays, DHCP and plain BOOTP.  It answers the
operator's boards; others only when the operator says so.  An ACK leaves when its binding is on disk, never before.
It refuses nobody on behalf of another server.  docs/protocols/dhcp.md

1. RFC 2131, 2132, 3046, 3396, 6842, 8357; RFC 951, 1534 (BOOTP); PXE specification 2.1
2. What is decided: :mod:`piman.addressing.decisions`; what is said and where to: :mod:`piman.addressing.replies`
"""

import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from piman.addressing.decisions import (
    Answer,
    Client,
    DHCPSettings,
    Reason,
    RequestState,
    Silence,
    admit,
    chosen_server,
    named_address,
    request_state,
    respond,
    screen,
    wished_address,
)
from piman.addressing.events import DHCPEvents
from piman.addressing.probing import PoolProber, Prober
from piman.addressing.replies import Replies
from piman.addressing.sender import DHCPSender, Link
from piman.fleet.interfaces import IEventSink, ILeaseStore, INodeDirectory
from piman.fleet.model import Lease, MACAddress, Stage
from piman.fleet.state.lease_writer import LeaseWriter
from piman.fleet.state.leases import LeaseTable
from piman.fleet.state.pool import Pool
from piman.fleet.throttle import Throttle
from piman.udp import Address, Arrival, LinkLayerUnavailable, UDPService, udp_service
from piman.wire import pi
from piman.wire.dhcp import Message, MessageType
from piman.wire.layout import MalformedDatagram

__all__ = ["DHCPProtocol", "DHCPService", "DHCPSettings", "Reason", "dhcp_service"]

HOUSEKEEPING_SECONDS = 15.0
"""So often leases that live on because their boards are at work go to the store, and the pool is probed."""


@attrs.frozen
class _Request:
    """A message with its sender."""

    message: Message
    source: Address
    client: Client


class DHCPProtocol(DatagramProtocol):
    """
    Parse, look up, decide, commit, send, tell.

    :ivar received: messages by type; None: plain BOOTP, or a type that no standard knows.
    :ivar answered: answers sent, by type.
    :ivar silences: how often nothing was said, by reason.
    :ivar malformed: datagrams that were no message.
    :ivar interface_index: datagrams of other interfaces count only when they come from a relay; 0: all count.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        settings: DHCPSettings,
        nodes: INodeDirectory,
        leases: LeaseTable,
        writer: LeaseWriter,
        events: IEventSink,
        sender: DHCPSender,
    ) -> None:
        self.interface_index = 0
        self.received: Counter[MessageType | None] = Counter()
        self.answered: Counter[MessageType | None] = Counter()
        self.silences: Counter[Reason] = Counter()
        self.malformed = 0
        self._clock = clock
        self._nodes = nodes
        self._leases = leases
        self._writer = writer
        self._sender = sender
        self._events = DHCPEvents(clock, events, settings)
        self.reconfigure(settings)
        self._logged = Throttle(clock, 1.0)
        self._handlers: dict[MessageType | None, Callable[[_Request], Reason | None]] = {
            None: self._offered,
            MessageType.DISCOVER: self._offered,
            MessageType.REQUEST: self._requested,
            MessageType.DECLINE: self._declined,
            MessageType.RELEASE: self._released,
            MessageType.INFORM: self._informed,
        }

    def reconfigure(self, settings: DHCPSettings) -> None:
        """Answer by these settings from now on; server address and port must be the old ones."""
        self.settings = settings
        self._replies = Replies(settings)

    # In

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """A datagram without packet info."""
        self._receive(data, address, 0)

    def datagramArrived(self, data: bytes, address: Address, arrival: Arrival) -> None:
        """A datagram, and on which interface it came."""
        self._receive(data, address, arrival.interface_index)

    def _receive(self, data: bytes, address: Address, interface_index: int) -> None:
        try:
            message = Message.from_wire(data)
        except MalformedDatagram as reason:
            self.malformed += 1
            self._debug("malformed", "ignored {address}: {reason}", address=address, reason=reason)
            return
        self.received[message.message_type] += 1
        silent = self._handle(message, address, interface_index)
        if silent is not None:
            self.silences[silent] += 1
            self._debug(silent, "silent to {mac}: {reason}", mac=message.chaddr.hex(":"), reason=silent.value)

    def _handle(self, message: Message, source: Address, interface_index: int) -> Reason | None:
        """Deal with a message; why it gets no answer, if so."""
        if self._is_elsewhere(interface_index) and not int(message.giaddr):
            return Reason.OTHER_INTERFACE
        unfit = screen(message, source, self.settings)
        if unfit:
            return unfit.reason
        mac = MACAddress(message.chaddr)
        request = _Request(message, source, Client.of(message, self._nodes.node(mac), mac))
        unwanted = admit(message, request.client, self.settings)
        if unwanted:
            self._events.turned_away(message, request.client)
            return unwanted.reason
        handle = self._handlers[message.message_type]
        return handle(request)

    def _is_elsewhere(self, interface_index: int) -> bool:
        return bool(self.interface_index and interface_index) and interface_index != self.interface_index

    # One method per kind of message

    def _offered(self, request: _Request) -> Reason | None:
        """DISCOVER, or plain BOOTP."""
        message, client = request.message, request.client
        is_bootp = message.message_type is None
        if is_bootp and (client.node is None or client.node.address is None):
            return Reason.NO_RESERVATION
        claim = self._leases.offer(client.mac, wished_address(message), restarted=client.stage.is_firmware)
        answer = respond(message, client, claim, self.settings)
        if isinstance(answer, Silence):
            self._events.not_offered(client, claim, self._leases.pool)
            return answer.reason
        assert answer.address is not None
        if is_bootp or client.stage is Stage.ROM:  # it will not ask: this is the lease
            lease = self._leases.bind(client.mac, answer.address, stage=client.stage, requested=False)
            self._writer.commit(lease, lambda: self._send_offer(request, answer))
        else:
            self._send_offer(request, answer)
        return None

    def _requested(self, request: _Request) -> Reason | None:
        message, client = request.message, request.client
        address = named_address(message)
        selecting = request_state(message) is RequestState.SELECTING
        claim = self._leases.claim(client.mac, address, selecting=selecting) if address is not None else None
        answer = respond(message, client, claim, self.settings)
        if isinstance(answer, Silence):
            if answer.reason is Reason.OTHER_SERVER:
                self._went_elsewhere(request)
            return answer.reason
        assert address is not None
        if answer.kind is MessageType.NAK:
            self._refuse(request, answer, address)
            return None
        lease = self._leases.bind(client.mac, address, stage=client.stage)
        self._writer.commit(lease, lambda: self._acknowledge(request, answer, lease))
        return None

    def _went_elsewhere(self, request: _Request) -> None:
        self._leases.withdraw(request.client.mac)
        self._events.went_elsewhere(request.client, chosen_server(request.message))

    def _refuse(self, request: _Request, answer: Answer, address: IPv4Address) -> None:
        self._leases.refuse(request.client.mac, address)
        self._send(request, self._reply(request, answer))
        self._events.refused(request.client, address, answer.text)

    def _acknowledge(self, request: _Request, answer: Answer, lease: Lease) -> None:
        self._send(request, self._reply(request, answer))
        self._events.acknowledged(request.message, request.client, lease)

    def _declined(self, request: _Request) -> Reason:
        return self._given_up(request, self._leases.decline, self._events.declined)

    def _released(self, request: _Request) -> Reason:
        return self._given_up(request, self._leases.release, self._events.released)

    def _given_up(
        self,
        request: _Request,
        end: Callable[[MACAddress, IPv4Address], bool],
        tell: Callable[[Client, IPv4Address], None],
    ) -> Reason:
        mac, address = request.client.mac, named_address(request.message)
        if chosen_server(request.message) != self.settings.server_address:
            return Reason.OTHER_SERVER
        if address is not None and end(mac, address):
            tell(request.client, address)
            self._writer.save_changes()
        return Reason.NOTHING_TO_SAY

    def _informed(self, request: _Request) -> Reason | None:
        answer = respond(request.message, request.client, None, self.settings)
        if isinstance(answer, Silence):
            return answer.reason
        self._send(request, self._reply(request, answer))
        return None

    # Out

    def _reply(self, request: _Request, answer: Answer) -> Message:
        return self._replies.build(request.message, answer, request.client)

    def _send_offer(self, request: _Request, answer: Answer) -> None:
        """Now, or for the mask ROM of a Pi 3B later and twice."""
        assert answer.address is not None
        address, reply = answer.address, self._reply(request, answer)

        def send(index: int) -> None:
            self._send(request, reply)
            if index == 0:
                self._events.offered(request.client, address)

        if pi.is_mask_rom(request.message) and self.settings.mask_rom_delays:
            self._sender.at(self.settings.mask_rom_delays, request.client.mac, send)
        else:
            send(0)

    def _send(self, request: _Request, reply: Message) -> None:
        self.answered[reply.message_type] += 1
        self._sender.send(request.message, request.source[1], reply)

    def startProtocol(self) -> None:
        """The transport is there."""
        self._sender.transport = self.transport

    def stopProtocol(self) -> None:
        """Nothing is sent any more."""
        self._sender.cancel_all()
        self._events.settle(is_over=True)

    def settle(self) -> None:
        """Tell how many events were too many to be told one by one."""
        self._events.settle()

    def _debug(self, key: object, text: str, **fields: object) -> None:
        """A line for the maintainer, once a second of each kind: a flood must not cost more than its packets."""
        if self._logged.passes(key):
            self._log.debug(text, **fields)


def _index_of(interface: str) -> int:
    """The number of a network interface; OSError with the names of those that there are."""
    present = {name: index for index, name in socket.if_nameindex()}
    if interface not in present:
        raise OSError(f"there is no network interface {interface}; this host has {', '.join(present)}")
    return present[interface]


class DHCPService(Service):
    """The protocol on its port, the frames, the store and the pool, from start to stop."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        protocol: DHCPProtocol,
        port: UDPService,
        *,
        leases: LeaseTable,
        sender: DHCPSender,
        writer: LeaseWriter,
        prober: PoolProber,
        interface: str | None,
    ) -> None:
        self.protocol = protocol
        self.port = port
        self._leases = leases
        self._writer = writer
        self._prober = prober
        self._interface = interface
        self._sender = sender
        self._link = sender.link
        self._is_ready = False
        self._loop = LoopingCall(self._keep_house)
        self._loop.clock = reactor

    def transports(self) -> tuple[Any, ...]:
        """The transports that are bound."""
        return (self.port.transport,)

    def privilegedStartService(self) -> None:
        """
        Take the sockets.

        :raises CannotListenError: when the port cannot be had.
        :raises OSError: when there is no such interface.
        """
        super().privilegedStartService()
        self._prepare()

    def _prepare(self) -> None:
        if self._is_ready:
            return
        self._is_ready = True
        if self._interface:
            self.protocol.interface_index = _index_of(self._interface)
        self.port.privilegedStartService()
        self._open_link()
        self._prober.open()

    def _open_link(self) -> None:
        if self._link is None:
            return
        try:
            self._link.open()
        except LinkLayerUnavailable as reason:
            self._sender.link = None
            self._log.warn("boards without an address are answered by broadcast: {reason}", reason=reason)

    def startService(self) -> None:
        """Read what the store remembers; serve."""
        super().startService()
        self._prepare()
        self._writer.load()
        self._prober.start(remembers_nothing=self._writer.remembers_nothing)
        self.port.startService()
        self._loop.start(HOUSEKEEPING_SECONDS)

    def replace_pool(self, pool: Pool | None) -> None:
        """The operator's pool is another one; what joined it is looked at now, not at the next round."""
        self._leases.replace_pool(pool)
        if self.running:
            self._prober.look()

    def _keep_house(self) -> None:
        try:
            self._writer.save_changes()
            self._prober.look()
            self.protocol.settle()
        except Exception:
            self._log.failure("the housekeeping of the leases failed")

    async def _stop(self) -> None:
        await maybeDeferred(self.port.stopService)
        self._prober.stop()
        if self._link:
            self._link.close()
        await self._writer.save_changes()

    def stopService(self) -> "Deferred[None]":
        """Answer nobody any more, then put on disk what is not there yet."""
        super().stopService()
        self._is_ready = False
        if self._loop.running:
            self._loop.stop()
        return Deferred.fromCoroutine(self._stop())


def dhcp_service(
    reactor: Any,
    *,
    settings: DHCPSettings,
    nodes: INodeDirectory,
    leases: LeaseTable,
    store: ILeaseStore,
    events: IEventSink,
    link: Link | None = None,
    interface: str | None = None,
    prober: Prober | None = None,
    plain: bool | None = None,
) -> DHCPService:
    """
    A service that answers DHCP and BOOTP.

    When it starts it fills ``leases`` from ``store``, which must have been opened; the lease time of the settings is
    that of the table too.

    :param link: sends frames to boards without an address; opened while we may. None: they get broadcasts.
    :param interface: only datagrams that come in here count, and those of relays.
    :param prober: asks who has an address of the pool; opened while we may. None: addresses are given unseen.
    :param plain: as in :func:`piman.udp.udp_service`.
    """
    leases.terms = attrs.evolve(leases.terms, lease_seconds=settings.lease_seconds)
    writer = LeaseWriter(reactor, leases=leases, store=store)
    sender = DHCPSender(reactor, settings, link)
    protocol = DHCPProtocol(
        reactor, settings=settings, nodes=nodes, leases=leases, writer=writer, sender=sender, events=events
    )
    pool_prober = PoolProber(reactor, leases=leases, prober=prober, events=events)
    port = udp_service(reactor, settings.port, protocol, packet_info=True, broadcast=True, plain=plain)
    return DHCPService(
        reactor,
        protocol,
        port,
        leases=leases,
        sender=sender,
        writer=writer,
        prober=pool_prober,
        interface=interface,
    )
