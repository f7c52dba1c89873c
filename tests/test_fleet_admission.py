"""
The window of nodes in flight.
"""

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.operations.admission import (
    LARGEST_WINDOW,
    SMALLEST_WINDOW,
    Throughput,
    Window,
    crowded,
    in_turn,
    longest_queue,
    lost,
    succeeded,
)

A, B = IPv4Address("172.30.4.253"), IPv4Address("172.30.4.254")


class WindowTests(SynchronousTestCase):
    """It grows and shrinks."""

    def test_fast(self) -> None:
        """As long as nothing is scarce each node that gets through makes room for two more."""
        window = Window(size=16)
        for _ in range(10):
            window = succeeded(window)
        self.assertEqual(window.room, 36)

    def test_loss(self) -> None:
        """A loss halves it; from there on a whole window that goes well makes it a quarter larger."""
        window = lost(Window(size=40), powered_at=100.0, now=160.0)
        self.assertEqual(window.room, 20)
        for _ in range(20):
            window = succeeded(window)
        self.assertEqual(window.room, 25)

    def test_crowded(self) -> None:
        """A full line: no more than are in flight, and from now on slow growth; later it is full now and then."""
        window = crowded(Window(size=128), most=60)
        self.assertEqual((window.room, succeeded(window).size), (60, 60.25))
        self.assertEqual(crowded(succeeded(window), most=30).size, 60.25)

    def test_lost_together(self) -> None:
        """Of many nodes that were given power before the window shrank only the first shrinks it."""
        window = lost(Window(size=40), powered_at=100.0, now=160.0)
        self.assertEqual(lost(window, powered_at=101.0, now=161.0), window)
        self.assertEqual(lost(window, powered_at=170.0, now=230.0).room, 10)

    @given(st.lists(st.booleans(), max_size=2_000))
    def test_bounded(self, outcomes: list[bool]) -> None:
        """Whatever happens, some nodes may always be in flight, and never all of a large fleet."""
        window, now = Window(), 0.0
        for went_well in outcomes:
            now += 10
            window = succeeded(window) if went_well else lost(window, powered_at=now, now=now)
            self.assertTrue(SMALLEST_WINDOW <= window.room <= LARGEST_WINDOW)


class ThroughputTests(SynchronousTestCase):
    """How many in flight keep a line full."""

    def test_little(self) -> None:
        """Three a second, each 20 s on its way at best: sixty, also when the pace is slower for a while."""
        throughput = Throughput()
        self.assertEqual(throughput.filling, 0.0)
        for number in range(60):
            throughput.passed(20.0 if number == 30 else 45.0, now=1_000.0 + number / 3)
        self.assertApproximates(throughput.filling, 60.0, 3.0)
        throughput.passed(45.0, now=1_060.0)
        self.assertApproximates(throughput.filling, 60.0, 3.0)

    def test_forgets(self) -> None:
        """What was possible some minutes ago is not taken for granted."""
        throughput = Throughput()
        for number in range(60):
            throughput.passed(20.0, now=1_000.0 + number / 3)
        throughput.passed(20.0, now=1_300.0)
        self.assertApproximates(throughput.filling, 2.0, 0.1)


class TurnTests(SynchronousTestCase):
    """Whose turn is next."""

    def test_spread(self) -> None:
        """One of each switch, then the next of each."""
        waiting = [(0, A), (1, A), (2, A), (3, B), (4, B)]
        self.assertEqual(in_turn(waiting, {}), [0, 3, 1, 4, 2])

    def test_shortest_queue_first(self) -> None:
        """A switch with others on their way comes later."""
        self.assertEqual(in_turn([(0, A), (1, A), (2, B), (3, B)], {A: 1}), [2, 0, 3, 1])

    def test_longest_queue(self) -> None:
        """No more begin on a switch than it can come back to in time."""
        self.assertEqual(in_turn([(0, A), (1, A), (2, B), (3, B)], {A: 2, B: 1}, longest=2), [2])

    def test_how_long(self) -> None:
        """With 5 s of darkness and a power-on each second: five are dark, one gets power, one loses it."""
        self.assertEqual(longest_queue(5.0, 1.0), 7)
        self.assertEqual(longest_queue(5.0, 0.0), float("inf"))
