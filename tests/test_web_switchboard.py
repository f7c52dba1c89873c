"""
Tests for :mod:`piman.web.switchboard`: nobody waits for a slow switch, and no switch is asked for every page.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.interfaces import PowerUnreachable
from piman.fleet.model import PortPower
from piman.fleet.operations.power import PowerDesk
from piman.testing.power import MemoryPowerSwitch
from piman.web.switchboard import FRESH_SECONDS, WAIT_SECONDS, WAITING, Answer, Switchboard

A, B = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")


class CountingSwitch(MemoryPowerSwitch):
    """
    A switch that counts how often it is asked.

    :ivar slow: the answer that it owes; None: it answers at once.
    """

    def __init__(self) -> None:
        super().__init__([1])
        self.asked = 0
        self.slow: Deferred[list[PortPower]] | None = None

    def ports(self) -> "Deferred[list[PortPower]]":
        """Its only port."""
        self.asked += 1
        return self.slow or super().ports()


class SwitchboardTests(SynchronousTestCase):
    """Asking."""

    def setUp(self) -> None:
        """Two switches."""
        self.clock = Clock()
        self.quick, self.slow = CountingSwitch(), CountingSwitch()
        self.desk = PowerDesk(self.clock, {A: self.quick, B: self.slow})
        self.board = Switchboard(self.clock, self.desk)

    def ask(self) -> "Deferred[Mapping[IPv4Address, Answer]]":
        """How they are."""
        return Deferred.fromCoroutine(self.board.answers())

    def test_once(self) -> None:
        """Whoever looks within ten seconds sees the same answer; later the switch is asked again."""
        for _ in range(3):
            self.assertTrue(self.successResultOf(self.ask())[A].reachable)
        self.assertEqual(self.quick.asked, 1)
        self.clock.advance(FRESH_SECONDS)
        self.successResultOf(self.ask())
        self.assertEqual(self.quick.asked, 2)

    def test_slow(self) -> None:
        """A slow switch is shown without an answer after five seconds, asked once, and answers the next who looks."""
        self.slow.slow = answer = Deferred()
        first, second = self.ask(), self.ask()
        self.assertNoResult(first)
        self.clock.advance(WAIT_SECONDS)
        self.assertEqual(self.successResultOf(first)[B], WAITING)
        self.assertTrue(self.successResultOf(second)[A].reachable)
        answer.callback([])
        self.assertTrue(self.successResultOf(self.ask())[B].reachable)
        self.assertEqual(self.slow.asked, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        """A switch that fails says why; the other is there."""
        self.slow.failure = PowerUnreachable("rack-b does not answer.", "Is it on?")
        found = self.successResultOf(self.ask())
        self.assertEqual((found[B].reachable, found[B].remedy), (False, "Is it on?"))
        self.assertTrue(found[A].reachable)

    def test_broken_plugin(self) -> None:
        """A plugin that fails as no switch may is shown as one that does not answer, and logged."""
        self.slow.slow = answer = Deferred()
        asked = self.ask()
        answer.errback(ZeroDivisionError("oops"))
        self.assertIn("oops", self.successResultOf(asked)[B].reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_replaced(self) -> None:
        """After the configuration was read again the new switch is asked, however fresh the old one's answer is."""
        self.successResultOf(self.ask())
        self.desk.switches = {A: CountingSwitch()}
        found = self.successResultOf(self.ask())
        self.assertEqual((list(found), self.quick.asked), ([A], 1))
