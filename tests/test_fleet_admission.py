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
    Window,
    in_turn,
    longest_queue,
    lost,
    succeeded,
)

A, B = IPv4Address("172.30.4.253"), IPv4Address("172.30.4.254")


class WindowTests(SynchronousTestCase):
    """It grows and shrinks."""

    def test_slow_start(self) -> None:
        """Until the first loss each node that gets through makes room for one more."""
        window = Window(size=16)
        for _ in range(10):
            window = succeeded(window)
        self.assertEqual(window.room, 26)

    def test_loss(self) -> None:
        """A loss halves it; from there on a whole window must go well for one more."""
        window = lost(Window(size=40), powered_at=100.0, now=160.0)
        self.assertEqual(window.room, 20)
        for _ in range(20):
            window = succeeded(window)
        self.assertEqual(window.room, 20)
        self.assertEqual(succeeded(window).room, 21)

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
