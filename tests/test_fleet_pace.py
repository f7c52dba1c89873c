"""
What is learned from nodes that pass.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import Phase
from piman.fleet.operations.following import PATIENCE
from piman.fleet.operations.pace import ENOUGH, SHORTEST_SECONDS, Pace


def passing(pace: Pace, loading_seconds: float, count: int = 1) -> None:
    """So many nodes get through, each of them loading so long."""
    ends = 109.0 + loading_seconds
    boot = (Phase.POWERED, 100.0), (Phase.OFFERED, 108.0), (Phase.LOADING, 109.0), (Phase.STARTING, ends)
    for _ in range(count):
        pace.passed(boot)


class PatienceTests(SynchronousTestCase):
    """When a board is late."""

    def setUp(self) -> None:
        """Nothing is known."""
        self.pace = Pace()

    def test_nothing_known(self) -> None:
        """From a few boards nothing is concluded: all have the whole time of their phase."""
        passing(self.pace, 10.0, ENOUGH - 1)
        self.assertEqual({phase: self.pace.patience(phase) for phase in Phase}, dict(PATIENCE))

    def test_three_times(self) -> None:
        """Three times as long as nearly all took; one that took very long among them changes nothing."""
        passing(self.pace, 15.0, 40)
        passing(self.pace, 100.0)
        self.assertEqual(self.pace.patience(Phase.LOADING), 45.0)

    def test_bounds(self) -> None:
        """Never shorter than firmware is silent when all is well, never longer than the phase may take at all."""
        passing(self.pace, 1.0, ENOUGH)
        self.assertEqual(self.pace.patience(Phase.LOADING), SHORTEST_SECONDS)
        passing(self.pace, 90.0, 200)
        self.assertEqual(self.pace.patience(Phase.LOADING), PATIENCE[Phase.LOADING])

    def test_firmware_alone(self) -> None:
        """Of what a kernel, an installer and a system do nothing is learned: cards and images differ."""
        for _ in range(ENOUGH):
            self.pace.passed(((Phase.STARTING, 0.0), (Phase.GREETING, 1.0), (Phase.BOOTING, 2.0), (Phase.UP, 3.0)))
        self.assertEqual({phase: self.pace.patience(phase) for phase in Phase}, dict(PATIENCE))


class CutTests(SynchronousTestCase):
    """How many are taken for hung early."""

    def test_outliers_alone(self) -> None:
        """One in ten of those that passed, and two; where more are late it is a load."""
        pace = Pace()
        passing(pace, 10.0, 20)
        cuts = 0
        while pace.may_cut():
            pace.cut()
            cuts += 1
        self.assertEqual(cuts, 5)
        passing(pace, 10.0, 20)
        self.assertTrue(pace.may_cut())
