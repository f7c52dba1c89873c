"""
When the line to the boards is full.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.answer_times import ENOUGH, REMEMBERED, AnswerTimes


class CrowdedTests(SynchronousTestCase):
    """Judged by the middle one of the latest answers."""

    def setUp(self) -> None:
        """Nothing was answered yet."""
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.answers = AnswerTimes(self.clock)

    def answer(self, seconds: float, count: int = REMEMBERED) -> None:
        """So many answers of this length, a hundred a second."""
        for _ in range(count):
            self.clock.advance(1 / 99)
            self.answers.took(seconds, self.clock.seconds())

    def test_rest(self) -> None:
        """Answers as fast as ever: not crowded, and neither when there are none."""
        self.assertFalse(self.answers.is_crowded())
        self.answer(0.002)
        self.answer(0.003)
        self.assertFalse(self.answers.is_crowded())

    def test_queue(self) -> None:
        """All answers take many times as long as at best: the line is full; when they are fast again it is not."""
        self.answer(0.002)
        self.assertFalse(self.answers.is_crowded())
        self.answer(0.02)
        self.assertTrue(self.answers.is_crowded())
        self.answer(0.002, 2 * REMEMBERED)
        self.assertFalse(self.answers.is_crowded())

    def test_hiccup(self) -> None:
        """A tenth of a second in which all answers are late is none, however many they are."""
        self.answer(0.002)
        for _ in range(2_000):
            self.clock.advance(0.1 / 2_000)
            self.answers.took(0.05, self.clock.seconds())
        self.assertFalse(self.answers.is_crowded())

    def test_losses(self) -> None:
        """One answer in four that comes a second late, for its datagram was lost, is no crowd."""
        self.answer(0.002)
        for _ in range(60):
            self.answer(0.002, 3)
            self.answer(1.0, 1)
        self.assertFalse(self.answers.is_crowded())

    def test_too_few(self) -> None:
        """A single slow board is no crowd."""
        self.answer(0.002)
        self.clock.advance(30.0)
        self.answer(0.5, ENOUGH - 1)
        self.assertFalse(self.answers.is_crowded())

    def test_old(self) -> None:
        """What was a while ago says nothing of now."""
        self.answer(0.002)
        self.answer(0.02)
        self.clock.advance(10.0)
        self.assertFalse(self.answers.is_crowded())

    def test_fast_enough(self) -> None:
        """Nobody needs answers within a fraction of a millisecond: twenty times such a fraction is no crowd."""
        self.answer(0.0004)
        self.answer(0.008)
        self.assertFalse(self.answers.is_crowded())
