# -*- test-case-name: tests.test_distribution -*-
"""
How measured values spread: how many in each class, their sum, the greatest.

For hot paths: to take a value costs a fifth of a microsecond (benchmarks/metrics.py), and there are no locks.  One
thread takes values; whoever reads in another one may see a value counted whose sum comes a moment later.
"""

from bisect import bisect_left
from collections.abc import Sequence

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds for what should take milliseconds."""

PATIENT = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds for what people wait for."""


class Distribution:
    """
    Values in classes.

    :param bounds: the greatest value of each class but the last, ascending.
    :ivar counts: values in each class; one more than there are bounds.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = QUICK) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def take(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulated(self) -> list[tuple[float, int]]:
        """For each bound, and at last for infinity, how many values are not greater."""
        found, count = [], 0
        for bound, inside in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += inside
            found.append((bound, count))
        return found
