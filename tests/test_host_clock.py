"""
What this host's clock is worth.
"""

from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from piman.host.clock import (
    ASSUMED_STRATUM,
    CHRONYC_SECONDS,
    LOCAL_REFERENCE,
    NOT_YET,
    NOTHING_KNOWN,
    ClockSource,
    KernelClock,
    Tracking,
    ask_chrony,
    clock_source,
    describe,
    kernel_clock,
    parse_tracking,
    read_clock,
)
from piman.wire.ntp import Leap
from tests.captures import ntp as captures

GOOD = KernelClock(leap=Leap.NONE, largest_error_seconds=0.25, read_at=1000.0)
ADRIFT = KernelClock(leap=Leap.UNSYNCHRONISED, largest_error_seconds=16.0, read_at=1000.0)
UPSTREAM = Tracking(
    leap=Leap.INSERT,
    reference_id=b"\xac\x1e\x04\x01",
    stratum=9,
    reference_time=900.0,
    root_delay_seconds=0.02,
    root_dispersion_seconds=0.003,
)


class KernelTests(SynchronousTestCase):
    """What adjtimex returns (adjtimex(2): the clock state, the status bits)."""

    def test_states(self) -> None:
        """TIME_OK, _INS, _DEL, _OOP, _WAIT, _ERROR: two announce a leap second, the last is no time at all."""
        leaps = [kernel_clock(state, 0, 0, 0.0).leap for state in range(6)]
        self.assertEqual(leaps, [Leap.NONE, Leap.INSERT, Leap.DELETE, Leap.NONE, Leap.NONE, Leap.UNSYNCHRONISED])

    def test_unsynchronised_bit(self) -> None:
        """STA_UNSYNC (0x40) means that nobody disciplines the clock; STA_PLL and STA_NANO mean nothing of it."""
        self.assertEqual(kernel_clock(0, 0x40, 0, 0.0).leap, Leap.UNSYNCHRONISED)
        self.assertEqual(kernel_clock(0, 0x2001, 0, 0.0).leap, Leap.NONE)

    def test_error(self) -> None:
        """The largest error comes in microseconds."""
        self.assertEqual(
            kernel_clock(0, 0, 250_000, 7.0), KernelClock(leap=Leap.NONE, largest_error_seconds=0.25, read_at=7.0)
        )

    def test_this_kernel(self) -> None:
        """The kernel of this host answers with an error between nothing and 16 s, the most that it counts to."""
        clock = read_clock(123.0)
        self.assertEqual(clock.read_at, 123.0)
        self.assertTrue(0 <= clock.largest_error_seconds <= 16.0, clock)


class TrackingTests(SynchronousTestCase):
    """The line of chronyc."""

    def test_upstream(self) -> None:
        """The line of a real chronyd with an upstream reads field by field."""
        self.assertEqual(
            parse_tracking(captures.CHRONYC_TRACKING_UPSTREAM),
            Tracking(
                leap=Leap.NONE,
                reference_id=b"\xac\x1e\x04\x01",
                stratum=9,
                reference_time=1795433501.604645377,
                root_delay_seconds=0.000020354,
                root_dispersion_seconds=0.000319425 + 0.000006129,
            ),
        )

    def test_local(self) -> None:
        """The line of a real chronyd that is its own reference has no address in it."""
        tracking = parse_tracking(captures.CHRONYC_TRACKING)
        self.assertEqual((tracking.stratum, tracking.reference_id) if tracking else None, (8, LOCAL_REFERENCE))

    def test_anything_else(self) -> None:
        """An error message, nothing, a cut line and an unknown leap status are no tracking."""
        line = captures.CHRONYC_TRACKING
        for text in (
            captures.CHRONYC_SILENCE,
            "",
            line[:40],
            line.replace("Normal", "Odd"),
            line.replace(",8,", ",x,"),
        ):
            self.assertIsNone(parse_tracking(text))


class ProcessReactor(Clock):
    """A reactor whose programs do what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: IProcessProtocol | None = None
        self.command: tuple[str, ...] = ()
        self.signals: list[str] = []

    def spawnProcess(
        self, protocol: IProcessProtocol, program: str, arguments: tuple[str, ...], env: dict[str, str]
    ) -> None:
        """Keep the protocol."""
        self.protocol, self.command = protocol, (program, *arguments[1:])
        protocol.transport = self

    def signalProcess(self, name: str) -> None:
        """Keep the signal."""
        self.signals.append(name)


class AskTests(SynchronousTestCase):
    """Asking chronyd through its own program."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.program = folder / "chronyc"
        self.program.write_text("")
        self.program.chmod(0o755)
        self.reactor = ProcessReactor()

    def ask(self) -> "Deferred[Tracking | None]":
        """Begin to ask."""
        return Deferred.fromCoroutine(ask_chrony(self.reactor, str(self.program.parent)))

    def test_answer(self) -> None:
        """What the program prints, in pieces, becomes the tracking when it has ended."""
        asked = self.ask()
        self.assertEqual(self.reactor.command, (str(self.program), "-n", "-c", "tracking"))
        self.reactor.protocol.outReceived(captures.CHRONYC_TRACKING_UPSTREAM[:30].encode())
        self.reactor.protocol.outReceived(captures.CHRONYC_TRACKING_UPSTREAM[30:].encode())
        self.assertNoResult(asked)
        self.reactor.protocol.processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.successResultOf(asked), parse_tracking(captures.CHRONYC_TRACKING_UPSTREAM))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_hangs(self) -> None:
        """A program that does not end is killed, and chronyd counts as absent."""
        asked = self.ask()
        self.reactor.advance(CHRONYC_SECONDS)
        self.assertIsNone(self.successResultOf(asked))
        self.assertEqual(self.reactor.signals, ["KILL"])
        self.reactor.protocol.processEnded(Failure(ProcessDone(0)))

    def test_cancelled(self) -> None:
        """Who asks no more kills the program."""
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.reactor.signals, ["KILL"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_installed(self) -> None:
        """Without the program nothing is started."""
        self.program.unlink()
        self.assertIsNone(self.successResultOf(self.ask()))
        self.assertIsNone(self.reactor.protocol)


class SourceTests(SynchronousTestCase):
    """What is made of both, and told to clients."""

    def test_chronyd_first(self) -> None:
        """A synchronised chronyd goes before the kernel, even before one that says "unsynchronised"."""
        for kernel in (GOOD, ADRIFT):
            source = clock_source(kernel, UPSTREAM, None)
            self.assertEqual(
                source,
                ClockSource(
                    leap=Leap.INSERT,
                    stratum=9,
                    reference_id=b"\xac\x1e\x04\x01",
                    reference_time=900.0,
                    root_delay_seconds=0.02,
                    root_dispersion_seconds=0.003,
                ),
            )

    def test_chronyd_local(self) -> None:
        """A chronyd that is its own reference makes a local source."""
        source = clock_source(GOOD, parse_tracking(captures.CHRONYC_TRACKING), None)
        self.assertTrue(source.is_usable and source.is_local)
        self.assertEqual(source.stratum, 8)

    def test_kernel(self) -> None:
        """Without chronyd a disciplined clock has the assumed stratum and the kernel's largest error."""
        source = clock_source(GOOD, None, 10)
        self.assertEqual((source.leap, source.stratum, source.is_local), (Leap.NONE, ASSUMED_STRATUM, False))
        self.assertEqual((source.root_dispersion_seconds, source.reference_time), (0.25, 1000.0))

    def test_local_stratum(self) -> None:
        """An undisciplined clock with a local stratum is served as such, within what clients accept (1 s)."""
        source = clock_source(ADRIFT, None, 10)
        self.assertEqual((source.leap, source.stratum, source.reference_id), (Leap.NONE, 10, LOCAL_REFERENCE))
        self.assertTrue(source.is_local)
        self.assertLess(source.root_dispersion_seconds, 1.0)

    def test_unsynchronised(self) -> None:
        """Without a local stratum it says so: leap 3, stratum 0, the kiss code INIT."""
        lost = attrs.evolve(UPSTREAM, leap=Leap.UNSYNCHRONISED)
        for tracking in (None, lost):
            source = clock_source(ADRIFT, tracking, None)
            self.assertEqual((source.leap, source.stratum, source.reference_id), (Leap.UNSYNCHRONISED, 0, NOT_YET))
            self.assertFalse(source.is_usable)

    def test_describe(self) -> None:
        """The operator is told which of the three it is, and what to do about the worst."""
        self.assertIn("stratum 9", describe(clock_source(GOOD, UPSTREAM, None)))
        self.assertNotIn("not synchronised", describe(clock_source(GOOD, None, None)))
        self.assertIn("not synchronised; the nodes get it as stratum 10", describe(clock_source(ADRIFT, None, 10)))
        self.assertIn("set ntp.local_stratum", describe(NOTHING_KNOWN))
