"""
Tests for :mod:`piman.switching.counting`.
"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.switching.agent import Answer, Request, Target
from piman.switching.counting import CountedExchange
from piman.switching.mib import SYS_OBJECT_ID
from piman.switching.session import SwitchRefused, SwitchTimeout
from tests.test_switching_agent import TARGET, V2C

REQUEST = Request(operation="get", oids=(SYS_OBJECT_ID,))


class CountingTests(SynchronousTestCase):
    """An exchange that the test answers by hand."""

    def setUp(self) -> None:
        """Nothing sent."""
        self.clock = Clock()
        self.answers: list[Deferred[Answer]] = []

        def exchange(target: Target, *arguments: object) -> "Deferred[Answer]":
            self.answers.append(Deferred())
            return self.answers[-1]

        self.counted = CountedExchange(self.clock, exchange)

    def test_answered(self) -> None:
        """The answer is handed on, and how long it took is counted."""
        told = self.counted(TARGET, V2C, REQUEST, 1.0)
        self.assertEqual(self.counted.requests, 0)
        self.clock.advance(0.25)
        answer = Answer(0, 0, ())
        self.answers[0].callback(answer)
        self.assertIs(self.successResultOf(told), answer)
        self.assertEqual((self.counted.requests, self.counted.seconds.sum), (1, 0.25))

    def test_failed(self) -> None:
        """Silence and other failures are counted apart and handed on; their time is not that of an answer."""
        for problem in (SwitchTimeout("silent"), SwitchTimeout("silent"), SwitchRefused("no")):
            told = self.counted(TARGET, V2C, REQUEST, 1.0)
            self.clock.advance(1.0)
            self.answers[-1].errback(problem)
            self.failureResultOf(told, type(problem))
        self.assertEqual((self.counted.timeouts, self.counted.errors, self.counted.requests), (2, 1, 3))
        self.assertEqual(self.counted.seconds.total, 0)
