"""
Tests for :mod:`piman.monitor.recent`; what every :class:`IReadings` promises is in tests/contract/test_readings.py.
"""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import MACAddress
from piman.monitor.readings import Reading
from piman.monitor.recent import KEEP_SECONDS, RecentReadings, thinned
from tests.fleet_support import MAC, OTHER_MAC


def reading(**values: Any) -> Reading:
    """What an agent says."""
    plain: dict[str, Any] = {"cpu_percent": 12.5, "memory_percent": 40.0, "disk_percent": 63.0, "num_pids": 97}
    return Reading(time="Wed Nov 25 01:00:00 2026", **{**plain, **values})


class RecentTests(SynchronousTestCase):
    """Bounds of what is kept."""

    def setUp(self) -> None:
        """Nothing is known."""
        self.clock = Clock()
        self.recent = RecentReadings(self.clock, most=100)

    def times(self, mac: MACAddress = MAC) -> list[float]:
        """When the node was read."""
        found = self.successResultOf(self.recent.series(mac, "cpu_percent", 0.0, math.inf, 1_000_000))
        return [time for time, _ in found]

    def test_bound_of_all(self) -> None:
        """The room is shared by the nodes: each keeps its newest readings, and a new node takes its share."""
        for _ in range(150):
            self.clock.advance(30)
            self.recent.take(MAC, reading())
        self.assertEqual((len(self.times()), self.times()[-1]), (100, 4500.0))
        for _ in range(60):
            self.clock.advance(30)
            self.recent.take(OTHER_MAC, reading())
            self.recent.take(MAC, reading())
        self.assertEqual((len(self.times()), len(self.times(OTHER_MAC))), (50, 50))

    def test_bound_by_age(self) -> None:
        """What is older than a day goes, with the next reading of the node or with a node that is new."""
        self.recent.take(MAC, reading())
        self.clock.advance(KEEP_SECONDS + 1)
        self.recent.take(OTHER_MAC, reading())
        self.assertEqual((self.times(), self.times(OTHER_MAC)), ([], [KEEP_SECONDS + 1]))


class ThinnedTests(SynchronousTestCase):
    """Fewer points."""

    def test_means(self) -> None:
        """Each span becomes the mean of its values at the mean of their times."""
        points = [(0.0, 1.0), (10.0, 3.0), (20.0, 5.0), (30.0, 7.0), (40.0, 100.0)]
        self.assertEqual(list(thinned(points, 0.0, 40.0, 3)), [(5.0, 2.0), (25.0, 6.0), (40.0, 100.0)])

    def test_untold(self) -> None:
        """What was not told counts nowhere; a span in which nothing was told is told as such."""
        points = [(0.0, math.nan), (10.0, 3.0), (20.0, math.nan), (30.0, math.nan)]
        self.assertEqual(list(thinned(points, 0.0, 40.0, 3)), [(5.0, 3.0), (25.0, None)])

    def test_steady(self) -> None:
        """A range that moves on shows the same means of the spans that are whole in both."""
        points = [(float(time), float(time)) for time in range(0, 2000, 7)]
        first = list(thinned([each for each in points if 0 <= each[0] <= 1000], 0, 1000, 11))
        later = list(thinned([each for each in points if 50 <= each[0] <= 1050], 50, 1050, 11))
        self.assertEqual(first[1:9], later[1:9])
        self.assertEqual(len(first[1:9]), 8)

    @given(
        st.lists(st.floats(0, 1e6), max_size=60).map(sorted),
        st.integers(1, 20),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
    )
    def test_never_too_many(self, times: list[float], most: int, one: float, other: float) -> None:
        """There are never more points than asked for, in order, within the range."""
        start, end = min(one, other), max(one, other)
        points = [(time, 1.0) for time in times if start <= time <= end]
        found = list(thinned(points, start, end, most))
        self.assertLessEqual(len(found), most)
        self.assertEqual([time for time, _ in found], sorted(time for time, _ in found))
        self.assertEqual(bool(found), bool(points))
