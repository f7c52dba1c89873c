"""
How checks run together.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.checking.findings import Check, Finding, Level, exit_status, fail, findings, fine, warn


async def _at_once() -> list[Finding]:
    return [fine("first", "well")]


async def _breaks() -> list[Finding]:
    raise ZeroDivisionError("one by none")


class FindingsTests(SynchronousTestCase):
    """All at once, each bounded."""

    def setUp(self) -> None:
        """A check that waits until it is told."""
        self.clock = Clock()
        self.waiting: Deferred[list[Finding]] = Deferred()

    async def _waits(self) -> list[Finding]:
        return await self.waiting

    def test_order(self) -> None:
        """The report follows the order of the checks, not that of their ends; nothing stays behind on the clock."""
        done = findings([Check("slow", self._waits), Check("first", _at_once)], self.clock)
        self.assertNoResult(done)
        self.waiting.callback([warn("slow", "late")])
        self.assertEqual([finding.subject for finding in self.successResultOf(done)], ["slow", "first"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_breaks(self) -> None:
        """A check that raises is a failure that names the check and the reason; the others are not harmed."""
        found = self.successResultOf(findings([Check("second", _breaks), Check("first", _at_once)], self.clock))
        self.assertEqual([(one.level, one.subject) for one in found], [(Level.FAIL, "second"), (Level.OK, "first")])
        self.assertIn("ZeroDivisionError: one by none", found[0].text)
        self.assertNotIn("Traceback", found[0].text)

    def test_breaks_before_it_waits(self) -> None:
        """So is one that raises instead of giving something to wait for."""

        def raises() -> Deferred[list[Finding]]:
            raise OSError(5, "Input/output error")

        (found,) = self.successResultOf(findings([Check("disk", raises)], self.clock))
        self.assertEqual(found.level, Level.FAIL)
        self.assertIn("Input/output error", found.text)

    def test_takes_too_long(self) -> None:
        """A check that does not end is given up after its own time, and the rest is reported."""
        done = findings([Check("slow", self._waits, 7.0), Check("first", _at_once)], self.clock)
        self.clock.advance(6.9)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        slow, first = self.successResultOf(done)
        self.assertEqual((slow.level, slow.text), (Level.FAIL, "the check was given up after 7 s"))
        self.assertEqual(first, fine("first", "well"))

    def test_cancelled(self) -> None:
        """Ctrl-C ends all of them; it is no finding."""
        done = findings([Check("slow", self._waits), Check("first", _at_once)], self.clock)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.waiting.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StatusTests(SynchronousTestCase):
    """The exit status."""

    def test_status(self) -> None:
        """Warnings cost nothing, a failure costs 1."""
        self.assertEqual(exit_status([]), 0)
        self.assertEqual(exit_status([fine("a", "b"), warn("a", "b")]), 0)
        self.assertEqual(exit_status([warn("a", "b"), fail("a", "b", "c"), fine("a", "b")]), 1)
