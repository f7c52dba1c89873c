"""
The NTP server: what it answers, whom, and how often.
"""

from ipaddress import IPv4Address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.walltime import WallTime
from piman.host.clock import NOTHING_KNOWN, ClockSource, KernelClock, Tracking
from piman.ntp import (
    PRECISION,
    RATE,
    NTPProtocol,
    NTPService,
    NTPSettings,
    RateLimiter,
    Verdict,
    aged,
    kiss,
    ntp_service,
    respond,
)
from piman.testing.udp import FakeDatagramTransport, MemoryDatagramReactor
from piman.udp import Arrival
from piman.wire.ntp import HEADER, Leap, Mode, Reply, Request, seconds_near, timestamp
from tests.captures import ntp as captures

NOW = 1_795_433_436.5
CLIENT = ("172.30.4.101", 34_626)
SOURCE = ClockSource(
    leap=Leap.INSERT,
    stratum=3,
    reference_id=b"\xac\x1e\x04\x09",
    reference_time=NOW - 60,
    root_delay_seconds=0.5,
    root_dispersion_seconds=0.25,
)


class RespondTests(SynchronousTestCase):
    """The answer to a client, field by field (RFC 5905, section 7.3)."""

    def test_fields(self) -> None:
        """The client's transmit time and poll come back; the rest is what we know of our clock."""
        reply = respond(Request(4, 6, 0x419E34780C3B3629), SOURCE, NOW, NOW + 0.25)
        self.assertEqual(
            reply,
            Reply(
                leap=Leap.INSERT,
                version=4,
                stratum=3,
                poll=6,
                precision=PRECISION,
                root_delay=0x0000_8000,
                root_dispersion=0x0000_4000,
                reference_id=b"\xac\x1e\x04\x09",
                reference_time=timestamp(NOW - 60),
                origin_time=0x419E34780C3B3629,
                receive_time=timestamp(NOW),
                transmit_time=timestamp(NOW + 0.25),
            ),
        )

    def test_version(self) -> None:
        """The version is the request's."""
        versions = [respond(Request(version, 6, 1), SOURCE, NOW, NOW).version for version in (1, 2, 3, 4)]
        self.assertEqual(versions, [1, 2, 3, 4])

    def test_unsynchronised(self) -> None:
        """A clock nobody may follow is told with leap 3, stratum 0 and INIT, which clients reject by RFC."""
        reply = respond(Request(4, 6, 1), NOTHING_KNOWN, NOW, NOW)
        self.assertEqual((reply.leap, reply.stratum, reply.reference_id), (Leap.UNSYNCHRONISED, 0, b"INIT"))

    def test_aged(self) -> None:
        """Between two readings of the clock's state its error may grow by 15 ppm."""
        self.assertApproximates(aged(SOURCE, 100.0).root_dispersion_seconds, 0.2515, 1e-12)


class KissTests(SynchronousTestCase):
    """The kiss-o'-death (RFC 5905, section 7.4)."""

    def test_rate(self) -> None:
        """Stratum 0 and RATE; the origin proves that it answers this request; no time is given."""
        reply = kiss(Request(4, 3, 0x1234))
        self.assertEqual((reply.stratum, reply.reference_id, reply.leap), (0, RATE, Leap.UNSYNCHRONISED))
        self.assertEqual({reply.origin_time, reply.receive_time, reply.transmit_time}, {0x1234})

    def test_poll(self) -> None:
        """It tells the client to wait 64 s, or longer if the client does."""
        self.assertEqual([kiss(Request(4, poll, 0)).poll for poll in (-6, 3, 6, 10)], [6, 6, 6, 10])


class RateLimiterTests(SynchronousTestCase):
    """How often an address is answered."""

    settings = NTPSettings(burst=3, requests_per_second=0.5, kiss_seconds=8.0, remembered_addresses=2)

    def setUp(self) -> None:
        self.limiter = RateLimiter(self.settings)

    def verdicts(self, now: float, count: int, host: str = "a") -> list[Verdict]:
        """Of this many requests at once."""
        return [self.limiter.judge(host, now) for _ in range(count)]

    def test_burst(self) -> None:
        """A burst is answered; the next request gets a kiss, those after it silence."""
        self.assertEqual(
            self.verdicts(0.0, 6),
            [Verdict.ANSWER] * 3 + [Verdict.KISS] + [Verdict.SILENCE] * 2,
        )

    def test_drains(self) -> None:
        """After two seconds one more is answered, after a long time a whole burst."""
        self.verdicts(0.0, 5)
        self.assertEqual(self.verdicts(2.0, 2), [Verdict.ANSWER, Verdict.SILENCE])
        self.assertEqual(self.verdicts(100.0, 4), [Verdict.ANSWER] * 3 + [Verdict.KISS])

    def test_kisses_are_rare(self) -> None:
        """One kiss in eight seconds, however much comes."""
        verdicts = [self.limiter.judge("a", step / 100) for step in range(1600)]
        self.assertEqual(verdicts.count(Verdict.KISS), 2)
        self.assertEqual(verdicts.count(Verdict.ANSWER), 3 + 7)

    def test_steady(self) -> None:
        """Who keeps to the rate is answered for ever."""
        self.assertEqual({self.limiter.judge("a", 2.0 * step) for step in range(1000)}, {Verdict.ANSWER})

    def test_addresses_apart(self) -> None:
        """One address that asks too much costs another nothing."""
        self.verdicts(0.0, 10, "a")
        self.assertEqual(self.verdicts(0.0, 3, "b"), [Verdict.ANSWER] * 3)

    def test_bounded(self) -> None:
        """Only so many addresses are remembered; the one silent for longest goes first."""
        self.verdicts(0.0, 4, "a")
        self.verdicts(0.0, 4, "b")
        self.limiter.judge("a", 0.0)
        self.verdicts(0.0, 1, "c")
        self.assertEqual(len(self.limiter), 2)
        self.assertEqual(self.verdicts(0.0, 1, "a"), [Verdict.SILENCE])
        self.assertEqual(self.verdicts(0.0, 1, "b"), [Verdict.ANSWER])

    def test_datagrams_out_of_order(self) -> None:
        """Receive times a little out of order do not give a flood its burst again."""
        self.verdicts(NOW, 10)
        self.assertEqual(self.verdicts(NOW - 1e-5, 3), [Verdict.SILENCE] * 3)

    def test_rates_that_make_no_sense(self) -> None:
        """A burst or a rate of nothing is refused."""
        self.assertRaises(ValueError, NTPSettings, burst=0)
        self.assertRaises(ValueError, NTPSettings, requests_per_second=0)


class ProtocolTests(SynchronousTestCase):
    """Datagrams in, datagrams out."""

    def setUp(self) -> None:
        self.clock = MemoryDatagramReactor()
        self.clock.rightNow = NOW
        self.transport = FakeDatagramTransport()
        self.protocol = NTPProtocol(self.clock, RateLimiter(NTPSettings(burst=2)))
        self.protocol.set_source(SOURCE)
        self.protocol.makeConnection(self.transport)

    def test_same_as_respond(self) -> None:
        """The datagram is what respond says, received when the kernel took it, sent when we read the clock."""
        self.protocol.datagramArrived(captures.CHRONYD_REQUEST, CLIENT, Arrival(NOW - 0.125))
        expected = respond(Request.from_wire(captures.CHRONYD_REQUEST), SOURCE, NOW - 0.125, NOW).to_wire()
        self.assertEqual(self.transport.written, [(expected, CLIENT)])

    def test_two_clocks(self) -> None:
        """The host's time is served: the kernel's stamp as it is, ours translated; the rate goes by the other clock."""
        wall = WallTime(self.clock, lambda: NOW - 3600.0)
        protocol = NTPProtocol(self.clock, RateLimiter(NTPSettings(burst=2)), wall)
        protocol.set_source(SOURCE)
        protocol.makeConnection(self.transport)
        request = Request.from_wire(captures.CHRONYD_REQUEST)
        for arrival in (Arrival(NOW - 3600.125, is_stamped=True), Arrival(NOW - 0.125)):
            protocol.datagramArrived(captures.CHRONYD_REQUEST, CLIENT, arrival)
        expected = respond(request, SOURCE, NOW - 3600.125, NOW - 3600.0).to_wire()
        self.assertEqual(self.transport.written, [(expected, CLIENT)] * 2)
        protocol.datagramArrived(captures.CHRONYD_REQUEST, CLIENT, Arrival(NOW + 3600.0, is_stamped=True))
        self.assertEqual(Reply.from_wire(self.transport.written[2][0]).reference_id, RATE)

    def test_plain(self) -> None:
        """Without an arrival the time of reading the datagram stands for that of its receipt."""
        self.protocol.datagramReceived(captures.NTPDATE_REQUEST, CLIENT)
        [(data, _)] = self.transport.written
        self.assertApproximates(seconds_near(Reply.from_wire(data).receive_time, NOW), NOW, 1e-6)

    def test_source_address(self) -> None:
        """The answer leaves from the address that was asked, when that is known."""
        asked = IPv4Address("172.30.4.2")
        self.protocol.datagramArrived(captures.CHRONYD_REQUEST, CLIENT, Arrival(NOW, 2, asked))
        self.protocol.datagramArrived(captures.CHRONYD_REQUEST, CLIENT, Arrival(NOW))
        self.assertEqual(self.transport.sources, [asked, None])

    def test_nothing_known(self) -> None:
        """Before it is given a source it tells clients not to follow."""
        protocol = NTPProtocol(self.clock, RateLimiter(NTPSettings()))
        protocol.makeConnection(self.transport)
        protocol.datagramReceived(captures.CHRONYD_REQUEST, CLIENT)
        reply = Reply.from_wire(self.transport.written[0][0])
        self.assertEqual((reply.leap, reply.stratum), (Leap.UNSYNCHRONISED, 0))

    def test_too_often(self) -> None:
        """Above the rate one kiss is sent, then nothing."""
        for _ in range(5):
            self.protocol.datagramReceived(captures.CHRONYD_REQUEST, CLIENT)
        replies = [Reply.from_wire(data) for data, _ in self.transport.written]
        self.assertEqual([reply.reference_id for reply in replies], [SOURCE.reference_id] * 2 + [RATE])

    def test_other_modes(self) -> None:
        """No mode but the client's is answered: nobody is hit through us, no two servers talk for ever."""
        for mode in set(Mode) - {Mode.CLIENT}:
            self.protocol.datagramReceived(bytes([4 << 3 | mode]) + captures.CHRONYD_REQUEST[1:], CLIENT)
        self.assertEqual(self.transport.written, [])

    def test_flood(self) -> None:
        """Malformed datagrams are counted one by one and logged once a second."""
        said: list[object] = []

        def hear(event: object) -> None:
            said.append(event)

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        for _ in range(3):
            for _ in range(100):
                self.protocol.datagramReceived(b"nonsense", CLIENT)
            self.clock.advance(1)
        self.assertEqual((self.protocol.malformed, len(said)), (300, 3))

    def test_own_reply(self) -> None:
        """Our own answer, sent back to us, is not answered: a reply and a kiss alike."""
        self.protocol.datagramReceived(respond(Request(4, 6, 1), SOURCE, NOW, NOW).to_wire(), CLIENT)
        self.protocol.datagramReceived(kiss(Request(4, 6, 1)).to_wire(), CLIENT)
        self.assertEqual(self.transport.written, [])

    @given(st.binary(max_size=120))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes raise nothing; what is answered was a client's and at least as long as the answer."""
        written = len(self.transport.written)
        self.clock.advance(10)
        self.protocol.datagramReceived(data, CLIENT)
        for reply, address in self.transport.written[written:]:
            self.assertEqual(data[0] & 7, Mode.CLIENT)
            self.assertEqual((len(reply), address), (HEADER.size, CLIENT))
            self.assertGreaterEqual(len(data), len(reply))

    @given(st.binary(min_size=47, max_size=80), st.integers(1, 4))
    def test_random_requests(self, rest: bytes, version: int) -> None:
        """Whatever follows the first byte of a client's packet, it is answered with its own transmit time."""
        self.clock.advance(10)
        self.protocol.datagramReceived(bytes([version << 3 | Mode.CLIENT]) + rest, CLIENT)
        reply = Reply.from_wire(self.transport.written[-1][0])
        self.assertEqual(reply.origin_time, int.from_bytes(rest[39:47], "big"))
        self.assertEqual(reply.version, version)


class WatchTests(SynchronousTestCase):
    """The service reads the clock's state now and then, and survives what goes wrong in it."""

    def setUp(self) -> None:
        self.reactor = MemoryDatagramReactor()
        self.reactor.rightNow = NOW
        self.kernel_leap = Leap.UNSYNCHRONISED
        self.kernel_failure: OSError | None = None
        self.asked: list[Deferred[Tracking | None]] = []
        self.said: list[tuple[LogLevel, str]] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: dict[str, object]) -> None:
        """Keep the sentences about the clock."""
        if "sentence" in event:
            self.said.append((event["log_level"], str(event["sentence"])))

    def kernel(self, now: float) -> KernelClock:
        """What the kernel says."""
        if self.kernel_failure:
            raise self.kernel_failure
        return KernelClock(leap=self.kernel_leap, largest_error_seconds=0.5, read_at=now)

    def chrony(self, reactor: object) -> "Deferred[Tracking | None]":
        """chronyd takes its time."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def service(self, local_stratum: int | None = None) -> NTPService:
        """A started service."""
        settings = NTPSettings(local_stratum=local_stratum, address="127.0.0.1", refresh_seconds=16)
        service = ntp_service(self.reactor, settings=settings, kernel=self.kernel, chrony=self.chrony, plain=True)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def answer(self) -> Reply:
        """What a client gets."""
        port = self.reactor.ports[-1]
        port.protocol.datagramReceived(captures.CHRONYD_REQUEST, CLIENT)
        return Reply.from_wire(port.written[-1][0])

    def test_kernel_until_chrony(self) -> None:
        """The first client is answered by the kernel's word, later ones by that of chronyd."""
        self.kernel_leap = Leap.NONE
        service = self.service()
        self.assertEqual(self.answer().stratum, 5)
        self.asked[0].callback(
            Tracking(
                leap=Leap.NONE,
                reference_id=b"\x0a\x00\x00\x01",
                stratum=2,
                reference_time=NOW,
                root_delay_seconds=0.0,
                root_dispersion_seconds=0.0,
            )
        )
        self.assertEqual((self.answer().stratum, self.answer().reference_id), (2, b"\x0a\x00\x00\x01"))
        self.assertEqual(service.source.stratum, 2)

    def test_refresh(self) -> None:
        """The state is read every 16 s, not for each packet; a clock that becomes synchronised is served as such."""
        self.service()
        self.asked[0].callback(None)
        self.kernel_leap = Leap.NONE
        self.assertEqual(self.answer().leap, Leap.UNSYNCHRONISED)
        self.reactor.advance(16)
        self.asked[1].callback(None)
        self.assertEqual(self.answer().leap, Leap.NONE)

    def test_says_it_once(self) -> None:
        """What the operator should know of the clock is logged when it changes, a bad state as a warning."""
        self.service()
        for turn in range(4):
            self.kernel_leap = Leap.NONE if turn > 1 else Leap.UNSYNCHRONISED
            self.asked[turn].callback(None)
            self.reactor.advance(16)
        self.assertEqual([level for level, _ in self.said], [LogLevel.warn, LogLevel.info])
        self.assertIn("ntp.local_stratum", self.said[0][1])

    def test_silent_before_chrony(self) -> None:
        """Nothing is said before chronyd had its chance: without rtcsync the kernel calls a good clock bad."""
        self.service()
        self.assertEqual(self.said, [])

    def test_local_stratum(self) -> None:
        """With a local stratum an undisciplined clock is served, with a warning."""
        self.service(local_stratum=10)
        self.asked[0].callback(None)
        self.assertEqual((self.answer().leap, self.answer().stratum), (Leap.NONE, 10))
        self.assertEqual([level for level, _ in self.said], [LogLevel.warn])

    def test_chrony_fails(self) -> None:
        """A reading that fails is logged and the next one comes."""
        self.service()
        self.asked[0].errback(RuntimeError("a mistake"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.reactor.advance(16)
        self.assertEqual(len(self.asked), 2)

    def test_kernel_fails(self) -> None:
        """A kernel that does not answer makes a clock that nobody may follow."""
        self.kernel_failure = OSError("no adjtimex")
        self.service()
        self.asked[0].callback(None)
        self.assertEqual(self.answer().leap, Leap.UNSYNCHRONISED)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_dispersion_covers_the_pause(self) -> None:
        """The dispersion told includes what may be added until the next reading."""
        self.kernel_leap = Leap.NONE
        service = self.service()
        self.assertApproximates(service.source.root_dispersion_seconds, 0.5 + 16 * 15e-6, 1e-12)

    def test_stop(self) -> None:
        """Stopping closes the port, ends the question under way and leaves no timer."""
        service = self.service()
        self.successResultOf(service.stopService())
        self.assertTrue(self.asked[0].called)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.reactor.ports[-1].listening)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_again(self) -> None:
        """A stopped service can be started again."""
        service = self.service()
        self.successResultOf(service.stopService())
        service.startService()
        self.asked[-1].callback(None)
        self.assertEqual(self.answer().leap, Leap.UNSYNCHRONISED)

    def test_binds(self) -> None:
        """It binds the address and port of its settings."""
        service = self.service()
        host = self.reactor.ports[-1].getHost()
        self.assertEqual((host.host, host.port, service.port_number), ("127.0.0.1", 123, 123))


class SettingsTests(SynchronousTestCase):
    """What the operator gets without deciding anything."""

    def test_starting_client(self) -> None:
        """By default a node may start four clients at once that each send a burst of eight, and go on."""
        limiter = RateLimiter(NTPSettings())
        self.assertEqual({limiter.judge("a", 0.0) for _ in range(32)}, {Verdict.ANSWER})
        self.assertEqual(attrs.asdict(NTPSettings())["local_stratum"], None)
