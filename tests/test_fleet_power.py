"""
Switching with patience.
"""

from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.interfaces import PowerRefused, PowerUnreachable
from piman.fleet.model import SwitchPort
from piman.fleet.operations.power import PowerDesk, PowerPolicy, StillDelivering
from piman.testing.power import MemoryPowerSwitch

RACK, OTHER = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")
POLICY = PowerPolicy()


class DeskTests(SynchronousTestCase):
    """Orders to switches."""

    def setUp(self) -> None:
        """Two switches."""
        self.clock = Clock()
        self.switch, self.other = MemoryPowerSwitch(), MemoryPowerSwitch()
        self.desk = PowerDesk(self.clock, {RACK: self.switch, OTHER: self.other}, POLICY)

    def ordered(self, work: Any) -> list[Any]:
        """Begin with it; its result is in the list when there is one."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        return results

    def test_dark(self) -> None:
        """Off is done at the look that sees no power."""
        results = self.ordered(self.desk.take_away(SwitchPort(RACK, 2)))
        self.assertEqual(results, [])
        self.clock.advance(POLICY.looks[0])
        self.assertFalse(results[0].delivering)

    def test_goes_on_delivering(self) -> None:
        """When every look sees power the answer says so and what to do."""
        self.switch.stuck.add(2)
        results = self.ordered(self.desk.take_away(SwitchPort(RACK, 2)))
        self.clock.pump(POLICY.looks)
        self.assertIsInstance(results[0].value, StillDelivering)
        self.assertTrue(results[0].value.remedy)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tried_again(self) -> None:
        """An order that may succeed later is given again after each pause, then the last failure is told."""
        self.switch.failure = PowerUnreachable("rack-a does not answer.", "Look after it.")
        results = self.ordered(self.desk.take_away(SwitchPort(RACK, 2)))
        self.clock.pump(POLICY.retries[:-1])
        self.assertEqual(results, [])
        self.clock.advance(POLICY.retries[-1])
        self.assertIsInstance(results[0].value, PowerUnreachable)
        self.assertEqual(self.switch.orders, [("off", 2)] * (len(POLICY.retries) + 1))

    def test_not_tried_again(self) -> None:
        """A refusal is told at once."""
        self.switch.failure = PowerRefused("no write access", "Give the community write access.")
        results = self.ordered(self.desk.give(SwitchPort(RACK, 2)))
        self.assertIsInstance(results[0].value, PowerRefused)
        self.assertEqual(len(self.switch.orders), 1)

    def test_nothing_done(self) -> None:
        """Only when no attempt can have done anything the port is certainly as it was."""
        for first_is_sure in (True, False):
            unheard, refused = PowerUnreachable("rack-a does not answer."), PowerRefused("no write access")
            unheard.nothing_done, refused.nothing_done = first_is_sure, True
            self.switch.failure = unheard
            results = self.ordered(self.desk.take_away(SwitchPort(RACK, 2)))
            self.assertEqual(results, [])
            self.switch.failure = refused
            self.clock.advance(POLICY.retries[0])
            self.assertIs(results[0].value, refused)
            self.assertEqual(refused.nothing_done, first_is_sure)

    def test_dead_switch_delays_nobody_else(self) -> None:
        """While one switch does not answer the others do as they are told."""
        self.switch.failure = PowerUnreachable("rack-a does not answer.")
        self.ordered(self.desk.give(SwitchPort(RACK, 2)))
        results = self.ordered(self.desk.give(SwitchPort(OTHER, 2)))
        self.assertEqual(results, [None])

    def test_one_after_the_other(self) -> None:
        """A switch has one order at a time, in the order in which they came."""
        first: Deferred[None] = Deferred()
        answers = iter([first, succeed(None)])
        asked = []

        class Slow(MemoryPowerSwitch):
            def turn_on(self, port: int) -> "Deferred[None]":
                asked.append(port)
                return next(answers)

        desk = PowerDesk(self.clock, {RACK: Slow()}, PowerPolicy(stagger_seconds=0.0))
        results = [self.ordered(desk.give(SwitchPort(RACK, port))) for port in (1, 2)]
        self.assertEqual((asked, results), ([1], [[], []]))
        first.callback(None)
        self.assertEqual((asked, results), ([1, 2], [[None], [None]]))

    def test_staggered(self) -> None:
        """Ports of one switch get power a pause apart, those of another switch do not wait."""
        for port in (1, 2, 3):
            self.ordered(self.desk.give(SwitchPort(RACK, port)))
        self.ordered(self.desk.give(SwitchPort(OTHER, 1)))
        self.assertEqual((self.switch.orders, self.other.orders), ([("on", 1)], [("on", 1)]))
        self.clock.advance(POLICY.stagger_seconds)
        self.assertEqual(self.switch.orders, [("on", 1), ("on", 2)])
        self.clock.advance(POLICY.stagger_seconds)
        self.assertEqual(self.switch.orders, [("on", 1), ("on", 2), ("on", 3)])

    def test_gone_from_the_configuration(self) -> None:
        """A switch that the file does not name any more is a refusal that says so."""
        results = self.ordered(self.desk.give(SwitchPort(IPv4Address("10.0.0.1"), 1)))
        self.assertIsInstance(results[0], Failure)
        self.assertIn("piman.yaml has no switch", results[0].getErrorMessage())

    def test_cancelled_in_the_queue(self) -> None:
        """Who is let go while it waits leaves the queue whole."""
        blocked: Deferred[None] = Deferred()
        self.switch.turn_on = lambda port: blocked  # type: ignore[method-assign]
        desk = PowerDesk(self.clock, {RACK: self.switch}, PowerPolicy(stagger_seconds=0.0))
        self.ordered(desk.give(SwitchPort(RACK, 1)))
        waiting = Deferred.fromCoroutine(desk.give(SwitchPort(RACK, 2)))
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        last = self.ordered(desk.give(SwitchPort(RACK, 3)))
        blocked.callback(None)
        self.assertEqual(last, [None])
