# -*- test-case-name: tests.test_ntp -*-
"""
The time, for nodes that have no clock: an NTP server, versions 1 to 4.

Answers client requests and nothing else, with 48 bytes and never more than came.  Keeps no state of a client but a
rate limit, takes part in no other mode, knows no keys.  The clock is this host's; how good it is comes from
:mod:`piman.host.clock`, read now and then, never for a packet.

1. RFC 5905: Network Time Protocol Version 4; section 7.4 for the kiss-o'-death
2. RFC 8633: Network Time Protocol Best Current Practices; section 5.2 to 5.4 for rate limits and modes
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import attrs
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from piman.fleet.throttle import Throttle
from piman.fleet.walltime import WallTime
from piman.host.clock import (
    NOTHING_KNOWN,
    UNKNOWN_ERROR_SECONDS,
    ClockSource,
    KernelClock,
    Tracking,
    ask_chrony,
    clock_source,
    describe,
    read_clock,
)
from piman.udp import Address, Arrival, UDPService, udp_service
from piman.wire.layout import MalformedDatagram
from piman.wire.ntp import PORT, Leap, Reply, Request, Template, short, timestamp

PRECISION = -20
"""log2 seconds: reading the clock takes less than a microsecond, a float of seconds since 1970 holds 0.24 of them."""

WANDER = 15e-6
"""PHI, by how much a clock may be off per second since it was read (RFC 5905, section 7.1)."""

RATE = b"RATE"
""""Rate exceeded; the server has temporarily denied access" (RFC 5905, figure 13)."""
KISS_POLL = 6
"""64 s: what a client that asks too often is told to wait."""


@attrs.frozen(kw_only=True)
class NTPSettings:
    """What the operator decides."""

    port: int = PORT
    address: str = "0.0.0.0"
    local_stratum: int | None = None
    """Serve an unsynchronised clock as this stratum; None: tell the nodes not to follow it."""
    refresh_seconds: float = 16.0
    """How often the state of the clock is read."""
    burst: int = attrs.field(default=32, validator=attrs.validators.gt(0))
    """Requests that one address may send at once: a few clients that start with bursts of eight."""
    requests_per_second: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    """Requests that one address may send on and on."""
    kiss_seconds: float = 8.0
    """Of an address above its rate one request in this time gets a kiss; the others get silence."""
    remembered_addresses: int = 16_384
    """How many addresses are limited at once; beyond it those silent for longest are forgotten."""


# Decision


def respond(request: Request, source: ClockSource, received: float, now: float) -> Reply:
    """
    The answer to a client.

    "The transmit version is copied from the receive version.  This is for backward compatibility" (RFC 5905, A.5.3).
    """
    return Reply(
        leap=source.leap,
        version=request.version,
        stratum=source.stratum,
        poll=request.poll,
        precision=PRECISION,
        root_delay=short(source.root_delay_seconds),
        root_dispersion=short(source.root_dispersion_seconds),
        reference_id=source.reference_id,
        reference_time=timestamp(source.reference_time),
        origin_time=request.transmit_time,
        receive_time=timestamp(received),
        transmit_time=timestamp(now),
    )


def kiss(request: Request) -> Reply:
    """
    Tell a client to ask less often.

    Its own time comes back as ours: a client that does not know kisses sets its clock to what it has already.
    """
    return Reply(
        leap=Leap.UNSYNCHRONISED,
        version=request.version,
        stratum=0,
        poll=max(request.poll, KISS_POLL),
        precision=PRECISION,
        root_delay=0,
        root_dispersion=0,
        reference_id=RATE,
        reference_time=0,
        origin_time=request.transmit_time,
        receive_time=request.transmit_time,
        transmit_time=request.transmit_time,
    )


def aged(source: ClockSource, seconds: float) -> ClockSource:
    """The source with the error that this much time may add."""
    return attrs.evolve(source, root_dispersion_seconds=source.root_dispersion_seconds + WANDER * seconds)


class Verdict(Enum):
    """What a request deserves."""

    ANSWER = "answer"
    KISS = "kiss"
    SILENCE = "silence"


@attrs.define
class _Client:
    """What is remembered of an address."""

    empty_at: float
    """When its bucket of requests will have drained."""
    kissed_at: float = float("-inf")


class RateLimiter:
    """A leaky bucket for each address, in bounded memory."""

    def __init__(self, settings: NTPSettings) -> None:
        self._interval = 1.0 / settings.requests_per_second
        self._depth = self._interval * settings.burst
        self._kiss_seconds = settings.kiss_seconds
        self._capacity = settings.remembered_addresses
        self._clients: dict[str, _Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def judge(self, host: str, now: float) -> Verdict:
        """Count one request."""
        client = self._recall(host, now)
        if client.empty_at + self._interval <= now + self._depth:
            client.empty_at += self._interval
            return Verdict.ANSWER
        if now - client.kissed_at < self._kiss_seconds:
            return Verdict.SILENCE
        client.kissed_at = now
        return Verdict.KISS

    def _recall(self, host: str, now: float) -> _Client:
        """The address as the youngest in memory."""
        client = self._clients.pop(host, None)
        if client is None:
            client = _Client(now)
        client.empty_at = max(client.empty_at, now)
        self._clients[host] = client
        if len(self._clients) > self._capacity:
            del self._clients[next(iter(self._clients))]
        return client


# Protocol


class NTPProtocol(DatagramProtocol):
    """
    Answers clients from the source that it was given last; until then, that nothing is known.

    :ivar malformed: datagrams that were no requests of a client.
    """

    _log = Logger()
    noisy = False

    def __init__(self, clock: IReactorTime, limiter: RateLimiter, wall: WallTime | None = None) -> None:
        self._clock = clock
        self._wall = wall or WallTime(clock)
        self._limiter = limiter
        self._logged = Throttle(clock, 1.0)
        self.malformed = 0
        self.set_source(NOTHING_KNOWN)

    def set_source(self, source: ClockSource) -> None:
        """From now on answer so."""
        self._template = Template.of(respond(Request(4, 0, 0), source, 0.0, 0.0))

    def datagramReceived(self, data: bytes, address: Address) -> None:
        """A datagram without its arrival."""
        self.datagramArrived(data, address, Arrival(self._clock.seconds()))

    def datagramArrived(self, data: bytes, address: Address, arrival: Arrival) -> None:
        """Answer it, or not."""
        try:
            request = Request.from_wire(data)
        except MalformedDatagram as reason:
            self._ignored(address, reason)
            return
        verdict = self._limiter.judge(address[0], self._clock.seconds())
        if verdict is Verdict.ANSWER:
            at = arrival.received if arrival.is_stamped else self._wall.moment_to_wall(arrival.received)
            reply = self._template.fill(request, timestamp(at), timestamp(self._wall.now()))
            self._send(reply, address, arrival)
        elif verdict is Verdict.KISS:
            self._send(kiss(request).to_wire(), address, arrival)

    def _ignored(self, address: Address, reason: MalformedDatagram) -> None:
        """Count it; a line for the maintainer once a second: a flood must not cost more than its packets."""
        self.malformed += 1
        if self._logged.passes("malformed"):
            self._log.debug("ignored {address}: {reason}", address=address, reason=reason)

    def _send(self, reply: bytes, address: Address, arrival: Arrival) -> None:
        """From the address that was asked: clients take no answer from another one."""
        transport: Any = self.transport
        if arrival.interface_index:
            transport.write_from(reply, address, arrival.local_address)
        else:
            transport.write(reply, address)


# Service


class ClockWatch(Service):
    """
    Reads the state of the host's clock now and then and hands it on.

    :ivar source: what was made of the newest reading.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: NTPSettings,
        changed: Callable[[ClockSource], None],
        *,
        kernel: Callable[[float], KernelClock] = read_clock,
        chrony: Callable[[Any], Awaitable[Tracking | None]] = ask_chrony,
        wall: WallTime | None = None,
    ) -> None:
        self._reactor = reactor
        self._wall = wall or WallTime(reactor)
        self._settings = settings
        self._changed = changed
        self._kernel = kernel
        self._chrony = chrony
        self._loop = LoopingCall(self._begin)
        self._loop.clock = reactor
        self._reading: Deferred[None] | None = None
        self._said = ""
        self.source = NOTHING_KNOWN

    def look(self, tracking: Tracking | None) -> ClockSource:
        """The source as the kernel and, perhaps, chronyd describe it now."""
        now = self._wall.now()
        try:
            kernel = self._kernel(now)
        except OSError:
            self._log.failure("the kernel does not tell how good the clock is")
            kernel = KernelClock(leap=Leap.UNSYNCHRONISED, largest_error_seconds=UNKNOWN_ERROR_SECONDS, read_at=now)
        return aged(clock_source(kernel, tracking, self._settings.local_stratum), self._settings.refresh_seconds)

    def _begin(self) -> "Deferred[None]":
        self._reading = Deferred.fromCoroutine(self._refresh())
        return self._reading

    async def _refresh(self) -> None:
        """One reading; a failure costs this reading only."""
        tracking = None
        try:
            tracking = await self._chrony(self._reactor)
        except CancelledError:
            return
        except Exception:
            self._log.failure("chronyd could not be asked")
        self._take(self.look(tracking))
        self._say(describe(self.source))

    def _take(self, source: ClockSource) -> None:
        self.source = source
        self._changed(source)

    def _say(self, sentence: str) -> None:
        """Log what is new to the operator."""
        if sentence != self._said:
            self._said = sentence
            level = self._log.info if self.source.is_usable and not self.source.is_local else self._log.warn
            level("{sentence}", sentence=sentence)

    def startService(self) -> None:
        """Serve by the kernel's word until chronyd has given its own."""
        super().startService()
        self._take(self.look(None))
        self._loop.start(self._settings.refresh_seconds)

    def stopService(self) -> None:
        """Stop, and end a reading under way."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._reading:
            self._reading.cancel()


class NTPService(MultiService):
    """The port and the watch over the clock."""

    def __init__(self, port: UDPService, watch: ClockWatch) -> None:
        super().__init__()
        self._port = port
        self._watch = watch
        for child in (port, watch):
            child.setServiceParent(self)

    @property
    def port_number(self) -> int:
        """The bound port."""
        return self._port.port_number

    def transports(self) -> tuple[Any, ...]:
        """The transports that are bound."""
        return (self._port.transport,)

    @property
    def source(self) -> ClockSource:
        """What the clients are told of the clock; :func:`piman.host.clock.describe` makes a sentence of it."""
        return self._watch.source


def ntp_service(
    reactor: Any,
    *,
    settings: NTPSettings,
    interface: str | None = None,
    kernel: Callable[[float], KernelClock] = read_clock,
    chrony: Callable[[Any], Awaitable[Tracking | None]] = ask_chrony,
    plain: bool | None = None,
    wall: WallTime | None = None,
) -> NTPService:
    """
    A service that answers NTP.

    :param interface: answer only on this network interface.
    :param kernel: reads the kernel's view of the clock.
    :param chrony: asks chronyd for its view; None when it does not answer.
    :param plain: as in :func:`piman.udp.udp_service`.
    :param wall: the time that is served; the reactor's unless given.
    """
    protocol = NTPProtocol(reactor, RateLimiter(settings), wall)
    watch = ClockWatch(reactor, settings, protocol.set_source, kernel=kernel, chrony=chrony, wall=wall)
    port = udp_service(
        reactor,
        settings.port,
        protocol,
        address=settings.address,
        interface=interface,
        packet_info=True,
        timestamps=True,
        plain=plain,
    )
    return NTPService(port, watch)
