# -*- test-case-name: tests.test_tftp -*-
"""
A read-only TFTP server for many boards that boot at once.

Requests arrive on one port; answers leave from a few data sockets that all transfers share.  A transfer is told by
the client's address and port, and two of one address and port in a row never use the same data socket, because U-Boot
takes its port again within a millisecond and would mistake late blocks of the old file for the new one.

Missing files, size probes and "Early terminate" are a boot's daily bread: answered at once, never alarming.
It takes no files, answers nobody outside the subnet unless told to, and never sends more than one datagram to a client
that is neither known nor near and has not answered.  Requests can be forged: who has not answered holds a place for a
short time only, and gives way when others need it (docs/decisions/tftp-places.md).

1. RFC 1350, 2347, 2348, 2349, 7440: see :mod:`piman.loading.transfers`
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from piman.fleet.answer_times import AnswerTimes
from piman.fleet.events import PowerRemoved, Recorded
from piman.fleet.interfaces import (
    BootFile,
    BootFileMissing,
    BootFileRefused,
    IAddressBook,
    IBootFiles,
    IEventObserver,
    IEventSink,
)
from piman.fleet.model import MACAddress
from piman.fleet.throttle import Throttle
from piman.loading.blocks import Blocks, NetasciiFile
from piman.loading.deliveries import ACK, Deliveries
from piman.loading.doors import FEWEST, DataSockets, PortRange
from piman.loading.reports import LoadingReports
from piman.loading.transfers import NOTHING_CONFIRMED, Address, Limits, Terms, Transfer, TransferTable, negotiate
from piman.udp import UDPService, udp_service
from piman.wire import MalformedDatagram, tftp
from piman.wire.tftp import ErrorCode

SWEEP_SECONDS = 0.25
REPEAT_SECONDS = 1.0
"""The same request from the same port within this time is the same request, doubled or repeated."""
LONGEST_REQUEST_BYTES = 1500
UDP_HEADERS_BYTES = 20 + 8
MODES = ("octet", "netascii")


@attrs.frozen(kw_only=True)
class TFTPSettings:
    """The server's knobs."""

    network: IPv4Network
    """The nodes' subnet."""
    off_subnet: bool = False
    """Whether clients outside it are answered."""
    address: str = "0.0.0.0"
    """Where requests are taken and answers come from."""
    port: int = tftp.PORT
    data_ports: PortRange | None = None
    """The first and the last port that data sockets may have; None leaves the choice to the system."""
    data_sockets: int = attrs.field(default=4, validator=attrs.validators.ge(FEWEST))
    """How many there should be; fewer where fewer ports are free."""
    mtu_bytes: int = 1500
    """No block makes a datagram longer than this."""
    window_blocks: int = 64
    """The most blocks that a client may ask for at once."""
    resend_seconds: float = attrs.field(default=1.0, validator=attrs.validators.ge(1.0))
    """Silence before the first repetition, doubled for each more; the client's ``timeout`` goes before it."""
    idle_seconds: float = 15.0
    """Silence that ends a transfer."""
    quiet_seconds: float = 10.0
    """Silence after which the loading of a boot is over."""
    transfers: int = 4096
    transfers_per_client: int = 16
    """A client that begins more loses one that it has not answered, else the one it neglected longest."""
    strangers: int = 256
    """Transfers of clients without a lease: they get few places, and lose them first."""
    cache_bytes: int = 64 << 20
    """Blocks kept ready to be sent."""

    @property
    def limits(self) -> Limits:
        """What may be agreed to."""
        block_bytes = self.mtu_bytes - UDP_HEADERS_BYTES - tftp.HEADER_BYTES
        return Limits(block_bytes=block_bytes, window_blocks=self.window_blocks)


class TFTPServer:
    """
    Answers requests, and hands the transfers that begin to :class:`~piman.loading.deliveries.Deliveries`.

    :ivar doors: the data sockets that are open.
    :ivar missing: requests for files that the node has not; most are normal probes.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        settings: TFTPSettings,
        files: IBootFiles,
        addresses: IAddressBook,
        events: IEventSink,
        answers: AnswerTimes | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._files = files
        self._addresses = addresses
        self._blocks = Blocks(settings.cache_bytes)
        self._reports = LoadingReports(events, settings.quiet_seconds)
        self._table = TransferTable()
        self._was_full = False
        self._said = Throttle(clock, 1.0)
        self.deliveries = Deliveries(
            clock, events, table=self._table, blocks=self._blocks, reports=self._reports, answers=answers
        )
        self.doors: list[DataProtocol] = []
        self.missing = 0

    def request_arrived(self, data: bytes, client: Address) -> None:
        """A datagram came to the well-known port."""
        if not self._may_ask(client) or self._is_repetition(data, client):
            return
        try:
            request = tftp.from_wire(data[:LONGEST_REQUEST_BYTES])
        except MalformedDatagram as reason:
            self._debug("malformed", "ignored {client}: {reason}", client=client, reason=reason)
            return
        if isinstance(request, tftp.ReadRequest):
            self._read(request, data, client)
        elif isinstance(request, tftp.WriteRequest):
            self._refuse(client, ErrorCode.ACCESS_VIOLATION, "this server takes no files")

    def data_arrived(self, door: "DataProtocol", data: bytes, client: Address) -> None:
        """A datagram came to a data socket."""
        if not self.deliveries.arrived(door, data, client) and self._is_lost(data, client):
            door.send(tftp.Error(ErrorCode.UNKNOWN_TRANSFER_ID, "Unknown transfer ID").to_wire(), client)

    def _debug(self, kind: str, text: str, **fields: object) -> None:
        """A line for the maintainer, once a second of each kind: a flood must not cost more than its packets."""
        if self._said.passes(kind):
            self._log.debug(text, **fields)

    # Who is answered

    def _may_ask(self, client: Address) -> bool:
        if client[1] == 0:  # nobody could be answered there
            return False
        if self._settings.off_subnet or self._is_near(client):
            return True
        self._debug("outside", "ignored {client}: outside {network}", client=client, network=self._settings.network)
        return False

    def _is_near(self, client: Address) -> bool:
        return IPv4Address(client[0]) in self._settings.network

    def _is_repetition(self, data: bytes, client: Address) -> bool:
        live = self._table.at(client)
        return live is not None and live.request == data and self._clock.seconds() - live.started < REPEAT_SECONDS

    def _is_lost(self, data: bytes, client: Address) -> bool:
        """
        Whether to tell somebody that no transfer of theirs is here.

        RFC 1350, 4: "If a source TID does not match, the packet should be discarded [...] An error packet should be
        sent to the source of the incorrect packet."  Only an ACK is answered, so that no two servers answer each
        other for ever, and never a client that was served lately: late ACKs are common, and its port may be in
        use for its next file.
        """
        return data.startswith(ACK) and not self._table.was_served(client) and self._may_ask(client)

    # What is answered

    def _read(self, request: tftp.ReadRequest, data: bytes, client: Address) -> None:
        host = IPv4Address(client[0])
        mac = self._files.node_at(host, request.filename)
        name = request.filename.decode("utf-8", "backslashreplace")
        self._addresses.touch(host)
        replaced = self._table.at(client)
        if replaced is not None:
            self.deliveries.forget(replaced, "asked anew from the same port")
        if request.mode not in MODES:
            self._reports.asked(mac, name, self._clock.seconds())
            self._refuse(client, ErrorCode.ILLEGAL_OPERATION, "only octet and netascii are served")
            return
        try:
            file = self._files.open(host, request.filename)
        except BootFileMissing as reason:
            self._missed(mac, name, reason)
            self._refuse(client, ErrorCode.FILE_NOT_FOUND, "File not found")
        except BootFileRefused as reason:
            self._missed(mac, name, reason)
            self._refuse(client, ErrorCode.ACCESS_VIOLATION, str(reason))
        except OSError as reason:
            # Unanswered: the client asks again.  An ERROR would make it boot without the file.
            self._reports.turned_away(mac, self._clock.seconds())
            if self._said.passes(reason.errno):
                self._log.warn("cannot serve {name!r} to {at} now: {reason}", name=name, at=client, reason=reason)
        else:
            self._begin(request, data, mac, file, client)

    def _missed(self, mac: MACAddress | None, name: str, reason: Exception) -> None:
        """Say it once a boot: early Pi 4 boot loaders repeat such requests as fast as they can."""
        self.missing += 1
        self._reports.asked(mac, name, self._clock.seconds())
        if self._reports.missed(mac, name):
            self._log.info("{mac} did not get {name!r}: {reason}", mac=mac, name=name, reason=reason)

    def _refuse(self, client: Address, code: ErrorCode, message: str) -> None:
        self._next_door(client).send(tftp.Error(code, message).to_wire(), client)

    def _begin(
        self, request: tftp.ReadRequest, data: bytes, mac: MACAddress | None, file: BootFile, client: Address
    ) -> None:
        has_lease = self._addresses.holder_of(IPv4Address(client[0])) is not None
        if not self._make_room(client[0], has_lease):
            self._reports.turned_away(mac, self._clock.seconds())
            file.close()
            return
        self._reports.asked(mac, file.name, self._clock.seconds())
        is_text = request.mode == "netascii"
        terms = negotiate(request.options, None if is_text else file.size_bytes, self._settings.limits)
        shown: BootFile = NetasciiFile(file) if is_text else file
        self.deliveries.begin(self._transfer(client, has_lease, mac=mac, request=data, file=shown, terms=terms))

    def _transfer(
        self, client: Address, has_lease: bool, *, mac: MACAddress | None, request: bytes, file: BootFile, terms: Terms
    ) -> Transfer:
        now = self._clock.seconds()
        interval = float(terms.timeout_seconds or self._settings.resend_seconds)
        return Transfer(
            client=client,
            mac=mac,
            request=request,
            door=self._next_door(client),
            file=file,
            terms=terms,
            edition=self._blocks.edition(file, terms.block_bytes),
            full_bytes=terms.block_bytes + tftp.HEADER_BYTES,
            is_trusted=has_lease or self._is_near(client),
            has_lease=has_lease,
            started=now,
            heard=now,
            resend_at=now + interval,
            first_interval=interval,
            interval=interval,
            patience_seconds=max(self._settings.idle_seconds, 2 * interval),
            confirmed=NOTHING_CONFIRMED if terms.options else 0,
        )

    def _make_room(self, host: str, has_lease: bool) -> bool:
        """
        Whether there is room for one more transfer of this client, perhaps in place of another.

        If there is none: no ERROR, the firmware would take the file for missing and boot without it.  It asks again.
        """
        if self._table.count_of(host) >= self._settings.transfers_per_client:
            self.deliveries.forget(self._table.most_neglected(host), "too many at once")
        is_full = len(self._table) >= self._settings.transfers
        if is_full and not self._was_full and self._said.passes("full"):
            self._log.warn("{count} TFTP transfers run: a new one takes another's place", count=len(self._table))
        self._was_full = is_full
        if not is_full and (has_lease or self._table.strangers < self._settings.strangers):
            return True
        leaving = self._table.giving_way(has_lease)
        if leaving is not None:
            self.deliveries.forget(leaving, "another needed its place")
            return True
        self._debug("turned away", "no place for {host}", host=host)
        return False

    def _next_door(self, client: Address) -> "DataProtocol":
        return self.doors[self._table.next_door(client, len(self.doors))]


class RequestProtocol(DatagramProtocol):
    """The well-known port."""

    noisy = False

    def __init__(self, server: TFTPServer) -> None:
        self._server = server

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """Somebody asks for a file."""
        self._server.request_arrived(data, address)


class DataProtocol(DatagramProtocol):
    """A data socket."""

    noisy = False

    send: Callable[[bytes, Address], None]
    """The transport's own ``write``: a call between would be a call for each block."""

    def __init__(self, server: TFTPServer) -> None:
        self._server = server

    def startProtocol(self) -> None:
        """The socket is there."""
        assert self.transport is not None
        self.send = self.transport.write
        self._server.doors.append(self)

    def stopProtocol(self) -> None:
        """The socket is closed."""
        self._server.doors.remove(self)

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """Somebody answers."""
        self._server.data_arrived(self, data, address)


@implementer(IEventObserver)
class TFTPService(MultiService):
    """
    The well-known port, the data sockets and the timer.

    An observer, too: a board whose power an operation takes away asks for nothing more, and begins anew soon after.

    :ivar server: what answers there.
    """

    def __init__(
        self, clock: IReactorTime, server: TFTPServer, requests: UDPService, data_sockets: DataSockets
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.server = server
        self._requests = requests
        self._data_sockets = data_sockets
        self._timer = LoopingCall(server.deliveries.sweep)
        self._timer.clock = clock
        self.addService(requests)
        self.addService(data_sockets)

    @property
    def port_number(self) -> int:
        """The well-known port: once bound the real one."""
        return self._requests.port_number

    @property
    def data_port_numbers(self) -> tuple[int, ...]:
        """The ports that transfers use, once bound."""
        return self._data_sockets.port_numbers

    def transports(self) -> tuple[Any, ...]:
        """The transports that are bound."""
        return (self._requests.transport, *(door.transport for door in self.server.doors))

    def observe(self, recorded: Recorded) -> None:
        """Look whether a board has lost its power."""
        event = recorded.event
        if isinstance(event, PowerRemoved) and event.mac is not None:
            self.server.deliveries.power_gone(event.mac)

    def startService(self) -> None:
        """Serve."""
        super().startService()  # type: ignore[no-untyped-call,unused-ignore]
        self._timer.start(SWEEP_SECONDS, now=False)

    def stopService(self) -> "Deferred[object]":
        """Let go of transfers and ports."""
        if self._timer.running:
            self._timer.stop()
        self.server.deliveries.close()
        stopped: Deferred[object] = super().stopService()  # type: ignore[no-untyped-call,unused-ignore]
        return stopped


def tftp_service(
    reactor: Any,
    *,
    settings: TFTPSettings,
    files: IBootFiles,
    addresses: IAddressBook,
    events: IEventSink,
    answers: AnswerTimes | None = None,
    interface: str | None = None,
    plain: bool | None = None,
) -> TFTPService:
    """
    A service that serves boot files.

    :param reactor: what :func:`piman.udp.udp_service` needs.
    :param answers: told how long blocks take to be acknowledged.
    :param interface: bind all sockets to this network interface.
    :param plain: see :func:`piman.udp.udp_service`.
    """
    server = TFTPServer(reactor, settings=settings, files=files, addresses=addresses, events=events, answers=answers)

    def bound(port: int, protocol: DatagramProtocol) -> UDPService:
        return udp_service(reactor, port, protocol, address=settings.address, interface=interface, plain=plain)

    protocols = (DataProtocol(server) for _ in range(settings.data_sockets))
    data_sockets = DataSockets(protocols, settings.data_ports, bound)
    return TFTPService(reactor, server, bound(settings.port, RequestProtocol(server)), data_sockets)
