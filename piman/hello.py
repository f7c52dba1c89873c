# -*- test-case-name: tests.test_hello -*-
"""
The hello protocol: what a node that has loaded its initramfs is told to do with its card.

Lines in, words to the conversation's machine (:mod:`piman.installing.conversation`), bytes out; one service that holds
all conversations.  It never sends ``ip`` or ``reinstall``.  Specification: docs/protocols/hello.md, versions 1 and 2.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, cast

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTCP,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from piman.fleet.events import InstallerConnected, InstallerUnknown, NodeUp, RepeatsCounted
from piman.fleet.interfaces import IAddressBook, IEventSink, IImages, IInstallers, INeighbours, INodeDirectory
from piman.fleet.model import Intent, MACAddress, Phase
from piman.fleet.state.intents import IntentBook
from piman.fleet.throttle import Throttle
from piman.fleet.walltime import WallTime
from piman.host.listening import file_limit, listen
from piman.installing.conversation import converse
from piman.installing.hearing import hear_1, hear_2
from piman.installing.installer import Core
from piman.installing.room import Places, Room, descriptor_of, is_too_high
from piman.installing.words import Caller, Limits
from piman.wire import MalformedDatagram
from piman.wire import hello as wire

PORT = 3333
_REFUSALS_SECONDS = 60.0
"""How often the log tells that callers are refused, for each reason."""
_UNKNOWN_SECONDS = 60.0
"""How often a caller that is nobody, or whose HELLO is malformed, is told of, for each address."""
_UNKNOWN = 64
"""For so many addresses at most in that time."""
_TOUCH_SECONDS = 60.0
"""How often leases of conversing nodes are kept alive and stale intents closed."""


@attrs.frozen(kw_only=True)
class HelloSettings:
    """The knobs of the hello service."""

    port: int = PORT
    address: str = "0.0.0.0"
    http_port: int = 4480
    """Where version 2 nodes fetch their image."""
    limits: Limits = attrs.field(factory=Limits)
    up_seconds: float = 60.0
    """A node without an agent counts as up this long after it was ordered to boot and went."""
    places: Places = attrs.field(factory=Places)


# The protocol


class HelloProtocol(LineReceiver):
    """Lines of one connection."""

    delimiter = b"\n"
    MAX_LENGTH = wire.LINE_BYTES
    _log = Logger()

    def __init__(self, desk: "HelloService", caller: Caller) -> None:
        self._desk = desk
        self.caller = caller
        """Who called; the core has who is still believed to."""
        self._version = 0
        self._is_skipping = False

    def connectionMade(self) -> None:
        """Say the date at once."""
        transport = cast(ITCPTransport, self.transport)
        self.core = Core(desk=self._desk, caller=self.caller, transport=transport)
        self.talk = converse(self.core)
        if not self._desk.may_stay(self):
            transport.abortConnection()
            return
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self._desk.begun(self)
        limits = self._desk.limits
        is_stranger = self.caller.mac is None
        self.core.within(self.talk, limits.stranger_seconds if is_stranger else limits.greeting_seconds)
        now = datetime.fromtimestamp(self._desk.wall.now(), UTC)
        transport.write(wire.date_command(now.strftime("%Y%m%d%H%M.%S")))

    def lineReceived(self, line: bytes) -> None:
        """A whole line, or the tail of one that was too long."""
        if self._is_skipping:
            self._is_skipping = False
            return
        if not self._version:
            self._choose(line)
        try:
            self._hear(line)
        except MalformedDatagram as reason:
            self.talk.never_said(f"{line[:40]!r}: {reason}")

    def lineLengthExceeded(self, line: bytes) -> None:
        """Throw the long line away and go on with the next: a node at work must not be hung up on."""
        _, end, rest = line.partition(self.delimiter)
        self.talk.never_said("a line of more than 64 KiB")
        self._version = self._version or 1
        self._is_skipping = not end
        if rest:
            self.setLineMode(rest)
            self._desk.clock.callLater(0, self.dataReceived, b"")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Either end closed."""
        self.talk.lost()
        self._desk.ended(self)

    def _choose(self, line: bytes) -> None:
        self._version = self.core.version = 2 if wire.is_version_2(line) else 1
        if self._version == 2:
            cast(ITCPTransport, self.transport).write(wire.WELCOME)
        if self.core.mac is not None:
            connected = InstallerConnected(mac=self.core.mac, address=self.caller.address, version=self._version)
            self._desk.events.emit(connected)
        if problem := wire.problem_of_hello(line):
            self._desk.malformed_hello(self, problem)

    def _hear(self, line: bytes) -> None:
        if self._version == 2:
            hear_2(self.talk, wire.from_wire_2(line))
        else:
            hear_1(self.talk, wire.from_wire_1(line))


class HelloFactory(Factory):
    """Accepts callers within the limits."""

    noisy = False

    def __init__(self, desk: "HelloService") -> None:
        self._desk = desk

    def buildProtocol(self, addr: Any) -> HelloProtocol | None:
        """A protocol for the caller; None: too many."""
        caller = self._desk.identify(IPv4Address(addr.host))
        return HelloProtocol(self._desk, caller) if self._desk.has_room(caller) else None


# The service


@implementer(IInstallers)
class HelloService(Service):
    """Owns the hello port and holds all conversations."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        *,
        settings: HelloSettings,
        addresses: IAddressBook,
        neighbours: INeighbours,
        nodes: INodeDirectory,
        intents: IntentBook,
        images: IImages,
        events: IEventSink,
        wall: WallTime | None = None,
        limit_of_files: Callable[[], int | None] = file_limit,
    ) -> None:
        self._reactor = reactor
        self._file_limit = limit_of_files
        self.clock = IReactorTime(reactor)
        self.wall = wall or WallTime(self.clock)
        self._settings = settings
        self.limits = settings.limits
        self._addresses = addresses
        self._neighbours = neighbours
        self.nodes = nodes
        self.intents = intents
        self.images = images
        self.events = events
        self._open: set[HelloProtocol] = set()
        self._of_node: dict[MACAddress, HelloProtocol] = {}
        self._room = Room(settings.places)
        self._refusals = Throttle(self.clock, _REFUSALS_SECONDS)
        self._unknown = Throttle(self.clock, _UNKNOWN_SECONDS, capacity=_UNKNOWN)
        self._malformed = Throttle(self.clock, _UNKNOWN_SECONDS, capacity=_UNKNOWN)
        self._ups: dict[MACAddress, IDelayedCall] = {}
        self._touching = LoopingCall(self._touch)
        self._touching.clock = self.clock
        self._listening: IListeningPort | None = None

    @property
    def port(self) -> int:
        """The number of the bound port."""
        return self._settings.port if self._listening is None else cast(int, cast(Any, self._listening.getHost()).port)

    # Service

    def privilegedStartService(self) -> None:
        """Bind; a taken port raises CannotListenError."""
        self._listening = listen(self._reactor, self._settings.port, HelloFactory(self), self._settings.address)

    def startService(self) -> None:
        """Begin to keep leases alive."""
        super().startService()
        if self._listening is None:
            self.privilegedStartService()
        self._touching.start(_TOUCH_SECONDS, now=False)

    async def _stop(self) -> None:
        if self._touching.running:
            self._touching.stop()
        listening, self._listening = self._listening, None
        if listening is not None and (closing := listening.stopListening()) is not None:
            await closing
        for protocol in tuple(self._open):
            protocol.core.is_replaced = True
            protocol.core.transport.abortConnection()
        for call in self._ups.values():
            call.cancel()
        self._ups.clear()
        await self.intents.settle()

    def stopService(self) -> "Deferred[None]":
        """Close the port and all conversations; intents stay as they are on disk."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    # IInstallers

    def intent_at_work(self, mac: MACAddress) -> Intent | None:
        """The living intent by which the board's live conversation was told to format."""
        protocol = self._of_node.get(mac)
        if protocol is None or protocol.core.intent is None:
            return None
        living = self.intents.current(mac)
        return living if living is not None and living.id == protocol.core.intent.id else None

    # What conversations ask

    def identify(self, address: IPv4Address) -> Caller:
        """Who calls: binding of the address, exactly; a node of the operator; no other MAC in the neighbour table."""
        mac = self._addresses.holder_of(address)
        if mac is None:
            return Caller(address=address, reason="its address was not given out by this manager")
        seen = self._neighbours.mac_at(address)
        if seen is not None and seen != mac:
            return Caller(address=address, reason=f"its address belongs to {mac}, but {seen} is there")
        if self.nodes.node(mac) is None:
            return Caller(address=address, reason=f"{mac} is none of the configured nodes")
        return Caller(address=address, mac=mac)

    def unknown(self, caller: Caller) -> None:
        """A caller that is nobody said what is on its card: told now and then."""
        if self._unknown.passes(caller.address):
            self.events.emit(InstallerUnknown(address=caller.address, reason=caller.reason))

    def image_url(self, local: str, intent: Intent) -> str:
        """Where a version 2 node fetches the image of its intent."""
        return f"http://{local}:{self._settings.http_port}/images/{intent.digest}?token={intent.token}"

    def expect_up(self, mac: MACAddress) -> None:
        """Take the node as up in a while, unless something newer is known by then."""
        self._forget_up(mac)
        self._ups[mac] = self.clock.callLater(self._settings.up_seconds, self._up, mac)

    # What protocols tell

    def has_room(self, caller: Caller) -> bool:
        """Whether one more conversation with this caller is accepted."""
        return not self._refuses(caller, self._room.refusal(caller))

    def may_stay(self, protocol: HelloProtocol) -> bool:
        """Whether its connection leaves descriptors enough to the rest of the manager."""
        caller = protocol.caller
        descriptor = descriptor_of(protocol.transport)
        if not is_too_high(descriptor, self._file_limit(), is_stranger=caller.mac is None):
            return True
        return not self._refuses(caller, "file descriptors run short (see ulimit -n)")

    def _refuses(self, caller: Caller, reason: str) -> bool:
        if reason and self._refusals.passes(reason):
            self._log.warn("refused {address}: {reason}", address=str(caller.address), reason=reason)
        return bool(reason)

    def malformed_hello(self, protocol: HelloProtocol, problem: str) -> None:
        """A caller that wanted to speak version 2 is heard as version 1: told now and then, with the reason."""
        address = protocol.caller.address
        if self._malformed.passes(address):
            text = "{address} said a malformed HELLO and is heard as version 1: {problem}"
            self._log.warn(text, address=str(address), problem=problem)
            protocol.talk.never_said(f"malformed HELLO: {problem}")

    def begun(self, protocol: HelloProtocol) -> None:
        """A conversation began: it replaces an older one of the same node."""
        self._open.add(protocol)
        self._room.enter(protocol.caller)
        mac = protocol.core.mac
        if mac is None:
            return
        self._addresses.touch(protocol.caller.address)
        self._forget_up(mac)
        older = self._of_node.get(mac)
        self._of_node[mac] = protocol
        if older is not None:
            older.core.is_replaced = True
            older.core.transport.abortConnection()

    def ended(self, protocol: HelloProtocol) -> None:
        """A conversation is over, or never began."""
        if protocol not in self._open:
            return
        self._open.discard(protocol)
        self._room.leave(protocol.caller)
        mac = protocol.caller.mac
        if mac is not None and self._of_node.get(mac) is protocol:
            del self._of_node[mac]

    # Time

    def _touch(self) -> None:
        for protocol in self._open:
            if protocol.core.mac is not None:
                self._addresses.touch(protocol.core.caller.address)
        self.intents.living()
        if untold := self._unknown.take_held_back():
            self.events.emit(RepeatsCounted(what=InstallerUnknown.__name__, count=untold))

    def _forget_up(self, mac: MACAddress) -> None:
        call = self._ups.pop(mac, None)
        if call is not None and call.active():
            call.cancel()

    def _up(self, mac: MACAddress) -> None:
        self._ups.pop(mac, None)
        status = self.nodes.status(mac)
        if status.phase in (Phase.BOOTING, Phase.UNKNOWN) and not status.has_agent:
            self.events.emit(NodeUp(mac=mac, evidence="time"))


def hello_service(
    reactor: IReactorTCP,
    *,
    settings: HelloSettings,
    addresses: IAddressBook,
    neighbours: INeighbours,
    nodes: INodeDirectory,
    intents: IntentBook,
    images: IImages,
    events: IEventSink,
    wall: WallTime | None = None,
) -> HelloService:
    """
    The service of the hello port.

    It provides :class:`IInstallers`, which the image doors ask.  ``intents.load()`` must be called before it starts.

    :param wall: the time that nodes are told; the reactor's unless given.
    """
    return HelloService(
        reactor,
        settings=settings,
        addresses=addresses,
        neighbours=neighbours,
        nodes=nodes,
        intents=intents,
        images=images,
        events=events,
        wall=wall,
    )
