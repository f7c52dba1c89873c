"""
Asking on the LAN, with a link that is not there; tests.system.test_check asks a real dnsmasq.
"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.checking.probe import LISTEN_SECONDS, MOST_OFFERS, ProbeUnavailable, ask, frame_of
from piman.checking.rivals import Offer, question
from piman.wire.dhcp import Message
from piman.wire.frame import ETHERNET, udp_in_frame
from tests.captures import offers as captures

QUESTION = question(captures.XID, captures.MAC)
HARDWARE_ADDRESS = bytes.fromhex("020000000001")


class FakeLink:
    """A link in memory."""

    hardware_address = HARDWARE_ADDRESS

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.waiting: list[bytes | OSError] = []
        self.failure: OSError | None = None
        self.is_closed = False

    def fileno(self) -> int:
        """None."""
        return -1

    def send(self, frame: bytes) -> None:
        """Keep it."""
        if self.failure is not None:
            raise self.failure
        self.sent.append(frame)

    def receive(self) -> bytes | None:
        """The next one."""
        if not self.waiting:
            return None
        first = self.waiting.pop(0)
        if isinstance(first, OSError):
            raise first
        return first

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class ReadingClock(Clock):
    """Virtual time with readers."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        """Begin to read."""
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        """End it."""
        self.readers.remove(reader)

    def wake(self) -> None:
        """There is something to read."""
        for reader in self.readers:
            reader.doRead()  # type: ignore[attr-defined]


class AskTests(SynchronousTestCase):
    """Twice, then listen."""

    def setUp(self) -> None:
        """A link and a clock."""
        self.clock, self.link = ReadingClock(), FakeLink()

    def ask(self) -> "Deferred[list[Offer]]":
        """Begin."""
        return Deferred.fromCoroutine(ask(self.clock, QUESTION, lambda: self.link))

    def tearDown(self) -> None:
        """However it ended, nothing goes on."""
        self.assertEqual((self.clock.getDelayedCalls(), self.clock.readers), ([], []))
        self.assertTrue(self.link.is_closed)

    def test_offers(self) -> None:
        """The question goes out at once and again after a second; what was offered until the end is the answer."""
        done = self.ask()
        self.assertEqual(len(self.link.sent), 1)
        self.link.waiting = [captures.PLAIN, b"noise", captures.PROXY]
        self.clock.wake()
        self.clock.advance(1.0)
        self.assertEqual(len(self.link.sent), 2)
        self.clock.advance(LISTEN_SECONDS - 1.1)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        self.assertEqual([offer.is_proxy for offer in self.successResultOf(done)], [False, True])

    def test_flood(self) -> None:
        """A server gone mad costs a bounded amount of memory, and not the reactor's whole time."""
        done = self.ask()
        self.link.waiting = [captures.PLAIN] * 1000
        self.clock.wake()
        self.assertGreater(len(self.link.waiting), 900)
        for _ in range(20):
            self.clock.wake()
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(self.successResultOf(done)), MOST_OFFERS)

    def test_interface_vanishes(self) -> None:
        """An error while reading is survived; one while sending says why nothing was asked."""
        done = self.ask()
        self.link.waiting = [OSError(100, "Network is down"), captures.PLAIN]
        self.clock.wake()
        self.link.failure = OSError(100, "Network is down")
        self.clock.advance(1.0)
        self.assertIn("Network is down", str(self.failureResultOf(done, ProbeUnavailable).value))

    def test_cancelled(self) -> None:
        """Ctrl-C closes the link."""
        done = self.ask()
        done.cancel()
        self.failureResultOf(done)


class FrameTests(SynchronousTestCase):
    """How the question travels."""

    def test_frame(self) -> None:
        """To everybody, from the interface's own address, so that no switch sees a second one on its port."""
        frame = frame_of(QUESTION, HARDWARE_ADDRESS)
        ethernet = ETHERNET.unpack(frame)
        self.assertEqual((ethernet["destination"], ethernet["source"]), (b"\xff" * 6, HARDWARE_ADDRESS))
        source, destination, payload = udp_in_frame(frame)
        self.assertEqual((str(source[0]), source[1]), ("0.0.0.0", 68))
        self.assertEqual((str(destination[0]), destination[1]), ("255.255.255.255", 67))
        self.assertEqual(Message.from_wire(payload).chaddr, captures.MAC)
