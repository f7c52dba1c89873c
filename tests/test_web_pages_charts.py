"""
Tests for :mod:`piman.web.pages.charts`: where lines run, what axes say, what a reader without the picture is told.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from piman.web.pages.charts import BOTTOM, LEFT, RIGHT, TOP, Chart, beat, chart

HOURS_6 = 6 * 3600.0
SERIES = st.lists(
    st.tuples(st.floats(0, 30_000), st.one_of(st.none(), st.floats(-50, 150))), max_size=40
).map(lambda points: sorted(points, key=lambda each: each[0]))


class ChartTests(SynchronousTestCase):
    """One chart."""

    def draw(self, points: Any, end: float = 600.0, unit: str = "%") -> Chart:
        """A chart of which there is something."""
        found = chart("cpu_percent", "Processor", unit, points, end, HOURS_6)
        assert found is not None
        return found

    def test_line(self) -> None:
        """The first reading is at the left, now at the right; 0 and 100 % are the edges, 50 % the middle."""
        found = self.draw([(0.0, 0.0), (300.0, 50.0), (600.0, 100.0)])
        self.assertEqual(found.lines, ("46,106 217,57 388,8",))
        self.assertEqual([(tick.at, tick.label) for tick in found.levels], [(106, "0 %"), (57, "50 %"), (8, "100 %")])

    def test_words(self) -> None:
        """What is lowest, highest and last is told in numbers, with the time of the last."""
        found = self.draw([(0.0, 3.0), (30.0, 9.0), (60.0, 5.0)])
        self.assertEqual((found.lowest, found.highest, found.last, found.last_time), (3.0, 9.0, 5.0, 60.0))

    def test_gap(self) -> None:
        """No line runs where nothing was read; a reading alone between gaps is a dot."""
        told = [(0.0, 1.0), (60.0, 1.0), (90.0, None), (300.0, 1.0), (400.0, None), (540.0, 1.0), (600.0, 1.0)]
        found = self.draw(told)
        self.assertEqual(len(found.lines), 2)
        self.assertEqual([x for x, _ in found.dots], [217.0])
        self.assertEqual(found.gaps, 2)

    def test_times(self) -> None:
        """Labels of time are round, and few, whether there are minutes or hours."""
        short = self.draw([(500.0, 1.0), (600.0, 1.0)])
        self.assertEqual([tick.label for tick in short.times], ["now", "2 min ago", "4 min ago"])
        long = self.draw([(0.0, 1.0), (21_600.0, 1.0)], end=21_600.0)
        self.assertEqual([tick.label for tick in long.times], ["now", "2 h ago", "4 h ago", "6 h ago"])

    def test_degrees(self) -> None:
        """Temperatures get an axis of their own, never so narrow that a tenth of a degree looks like a fire."""
        labels = [tick.label for tick in self.draw([(0.0, 41.0), (60.0, 41.2)], unit="°C").levels]
        self.assertEqual(labels, ["40 °C", "50 °C", "60 °C"])

    def test_nothing(self) -> None:
        """Of a value that was never told there is no chart."""
        for points in ([], [(0.0, None), (30.0, None)]):
            self.assertIsNone(chart("temp", "Temperature", "°C", points, 60.0, HOURS_6))

    def test_beat(self) -> None:
        """Charts move on each 30 seconds, not with each visit."""
        self.assertEqual((beat(90.0), beat(119.9), beat(120.0)), (90.0, 90.0, 120.0))

    @given(SERIES, st.sampled_from(["%", "°C"]))
    def test_inside(self, points: Any, unit: str) -> None:
        """Whatever was told, nothing is drawn outside, and each value that was told is drawn."""
        found = chart("temp", "Temperature", unit, points, 30_000.0, HOURS_6)
        told = sum(value is not None for _, value in points)
        if found is None:
            self.assertEqual(told, 0)
            return
        drawn = [tuple(map(float, each.split(","))) for line in found.lines for each in line.split()] + list(found.dots)
        self.assertEqual(len(drawn), told)
        for x, y in drawn:
            self.assertTrue(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM, (x, y))
