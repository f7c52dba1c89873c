"""
Tests for :mod:`piman.distribution`.
"""

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.distribution import PATIENT, QUICK, Distribution


class DistributionTests(SynchronousTestCase):
    """Counting values by class."""

    def test_bounds_belong_to_their_class(self) -> None:
        """A value that equals a bound is not greater than it, as Prometheus counts (le)."""
        found = Distribution((0.1, 1.0))
        for value in (0.1, 0.2, 1.0, 1.1):
            found.take(value)
        self.assertEqual(found.cumulated(), [(0.1, 1), (1.0, 3), (math.inf, 4)])
        self.assertAlmostEqual(found.sum, 2.4)
        self.assertEqual(found.total, 4)

    def test_empty(self) -> None:
        """Without values every count is 0, and all bounds are there."""
        self.assertEqual(Distribution((1.0,)).cumulated(), [(1.0, 0), (math.inf, 0)])

    @given(st.lists(st.floats(0, 1000), max_size=50))
    def test_as_if_each_were_compared(self, values: list[float]) -> None:
        """The counts are those of a plain comparison with each bound."""
        found = Distribution(PATIENT)
        for value in values:
            found.take(value)
        expected = [(bound, sum(value <= bound for value in values)) for bound in (*PATIENT, math.inf)]
        self.assertEqual(found.cumulated(), expected)

    def test_bounds_ascend(self) -> None:
        """Both sets of bounds ascend."""
        for bounds in (QUICK, PATIENT):
            self.assertEqual(list(bounds), sorted(set(bounds)))
