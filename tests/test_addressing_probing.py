"""
The looking after the pool.
"""

from ipaddress import IPv4Address

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from piman.addressing.probing import COMPLAINT_SECONDS, PROBED_ADDRESSES, PoolProber
from piman.fleet.events import AddressOccupied
from piman.fleet.model import MACAddress
from piman.fleet.state.leases import LeaseTable
from piman.fleet.state.pool import PROBED_SECONDS, Pool
from piman.testing.fakes import CapturedEvents, MemoryDirectory
from piman.udp import LinkLayerUnavailable

A, B = MACAddress.parse("dc:a6:32:00:00:01"), MACAddress.parse("dc:a6:32:00:00:02")


def ip(last: int) -> IPv4Address:
    """An address of the test network."""
    return IPv4Address(f"172.30.4.{last}")


class FakeLink:
    """A link that answers when told, or that cannot be had."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.is_open = False
        self.asked: list[tuple[IPv4Address, Deferred[MACAddress | None]]] = []

    def open(self) -> None:
        """Take it."""
        if self.refusal:
            raise LinkLayerUnavailable(self.refusal)
        self.is_open = True

    def close(self) -> None:
        """Let go of it."""
        self.is_open = False

    def ask(self, address: IPv4Address) -> "Deferred[MACAddress | None]":
        """Note the question."""
        answer: Deferred[MACAddress | None] = Deferred()
        self.asked.append((address, answer))
        return answer

    def silence(self) -> None:
        """Nobody answers what was asked so far."""
        asked, self.asked = self.asked, []
        for _, answer in asked:
            answer.callback(None)


class PoolProberTests(SynchronousTestCase):
    """Asking, and what comes of it."""

    def setUp(self) -> None:
        """A pool of .100 to .102, and an ear on the log."""
        self.clock = Clock()
        self.events = CapturedEvents()
        self.table = LeaseTable(self.clock, nodes=MemoryDirectory(), pool=Pool(ip(100), ip(102)))
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: dict[str, object]) -> None:
        """Keep warnings."""
        if event["log_level"] is LogLevel.warn:
            self.warnings.append(str(event["why"]))

    def start(self, link: FakeLink | None = None, *, remembers_nothing: bool = False) -> FakeLink:
        """A prober that has begun to look."""
        link = link or FakeLink()
        self.prober = PoolProber(self.clock, leases=self.table, prober=link, events=self.events)
        self.prober.open()
        self.prober.start(remembers_nothing=remembers_nothing)
        self.prober.look()
        return link

    def test_asked_once(self) -> None:
        """An address is not asked for again while its answer is awaited or fresh."""
        link = self.start()
        self.prober.look()
        self.assertEqual([address for address, _ in link.asked], [ip(100), ip(101), ip(102)])
        link.silence()
        self.prober.look()
        self.assertEqual(link.asked, [])
        self.clock.advance(PROBED_SECONDS + 1)
        self.prober.look()
        self.assertEqual(len(link.asked), 3)

    def test_occupied(self) -> None:
        """Who answers is named in an event, and his address is given to nobody."""
        link = self.start()
        link.asked[0][1].callback(B)
        self.assertEqual(self.events.events, [AddressOccupied(address=ip(100), holder=B)])
        self.assertEqual(self.table.offer(A, ip(100)).address, ip(101))

    def test_own_board(self) -> None:
        """A board that answers on the address it was just offered is no event."""
        link = self.start()
        self.assertEqual(self.table.offer(A).address, ip(100))
        link.asked[0][1].callback(A)
        self.assertEqual(self.events.events, [])

    def test_nobody_waits(self) -> None:
        """With a store that remembers, addresses are given while the answers are still awaited."""
        self.start()
        self.assertEqual(self.table.offer(A).address, ip(100))

    def test_lost_memory(self) -> None:
        """Without memory every address is looked at, batch after batch without a pause, and then no more."""
        self.table.replace_pool(Pool(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.200")))
        link = self.start(remembers_nothing=True)
        batches = []
        while link.asked and len(batches) < 9:
            self.assertIs(self.table.offer(A).address is None, not batches)
            batches.append(len(link.asked))
            link.silence()
        self.assertEqual(batches, [PROBED_ADDRESSES] * 3 + [200 - 3 * PROBED_ADDRESSES])

    def test_not_sent(self) -> None:
        """Probes that do not leave are a warning once in a while, and the addresses are asked for at the next look."""
        link = self.start(remembers_nothing=True)
        for _, answer in link.asked:
            answer.errback(OSError("lan0 has no carrier"))
        self.assertEqual((self.warnings, len(link.asked)), (["lan0 has no carrier"], 3))
        self.clock.advance(COMPLAINT_SECONDS)
        self.prober.look()
        self.assertEqual(len(link.asked), 6)
        link.asked[3][1].errback(OSError("lan0 is gone"))
        self.assertEqual(self.warnings, ["lan0 has no carrier", "lan0 is gone"])
        self.assertIs(self.table.offer(A).address, None)

    def test_our_mistake(self) -> None:
        """A prober that raises is logged as a failure of ours."""
        link = self.start()
        link.asked[0][1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unavailable(self) -> None:
        """Where nobody can look one warning says so, and the pool is served all the same."""
        link = self.start(FakeLink("there is no ARP on lo"))
        self.prober.look()
        self.prober.stop()
        self.assertEqual((self.warnings, link.asked), (["there is no ARP on lo"], []))
        self.assertEqual(self.table.offer(A).address, ip(100))

    def test_unavailable_without_memory(self) -> None:
        """The warning says more when the store is new, too."""
        self.start(FakeLink("there is no ARP on lo"), remembers_nothing=True)
        [warning] = self.warnings
        self.assertIn("state.db is new", warning)
        self.assertEqual(self.table.offer(A).address, ip(100))

    def test_no_pool(self) -> None:
        """Without a pool there is nothing to look at nor to warn of, until a pool comes."""
        self.table.replace_pool(None)
        self.start(FakeLink("there is no ARP on lo"))
        self.assertEqual(self.warnings, [])
        self.table.replace_pool(Pool(ip(100), ip(101)))
        self.prober.look()
        self.assertEqual(len(self.warnings), 1)

    def test_stop(self) -> None:
        """When it stops nothing is awaited any more and the link is closed."""
        link = self.start()
        self.prober.stop()
        self.prober.look()
        self.assertEqual((link.is_open, len(link.asked)), (False, 3))
        self.assertTrue(all(answer.called for _, answer in link.asked))
