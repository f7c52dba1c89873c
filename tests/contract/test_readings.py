"""
What every :class:`piman.fleet.interfaces.IReadings` promises.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from piman.fleet.interfaces import IReadings
from piman.fleet.limits import READINGS
from piman.fleet.model import MACAddress
from piman.monitor.recent import RecentReadings
from tests.fleet_support import MAC, OTHER_MAC
from tests.test_monitor_recent import reading


class ReadingsMixin:
    """The contract; a mixin, so that trial runs it only for real subjects."""

    def make(self) -> Any:
        """Readings, :meth:`take` and :meth:`pass_time` of which the test drives."""
        raise NotImplementedError

    def setUp(self: Any) -> None:
        """Three readings of one node, half a minute apart; the board of the second told no temperature."""
        self.readings = self.make()
        for cpu, temperature in ((1.0, 40.5), (2.0, None), (3.0, 41.5)):
            self.pass_time(30.0)
            self.take(MAC, reading(cpu_percent=cpu, temp=temperature))

    def series(self: Any, name: str = "cpu_percent", *range: float, most: int = 100, mac: MACAddress = MAC) -> Any:
        """The answer."""
        start, end = range or (0.0, 1000.0)
        return list(self.successResultOf(self.readings.series(mac, name, start, end, most)))

    def test_interface(self: Any) -> None:
        """It provides the interface; whatever it keeps, there can be thresholds for."""
        verifyObject(IReadings, self.readings)
        self.assertLessEqual(set(self.readings.names), set(READINGS))

    def test_all(self: Any) -> None:
        """All values, oldest first."""
        self.assertEqual(self.series(), [(30.0, 1.0), (60.0, 2.0), (90.0, 3.0)])
        self.assertEqual(self.series("num_pids"), [(30.0, 97), (60.0, 97), (90.0, 97)])

    def test_untold(self: Any) -> None:
        """What the board did not tell is None."""
        self.assertEqual(self.series("temp"), [(30.0, 40.5), (60.0, None), (90.0, 41.5)])

    def test_range(self: Any) -> None:
        """Both ends belong to the range; one in which nothing was read is empty, and so is a stranger's."""
        self.assertEqual(self.series("cpu_percent", 30.0, 60.0), [(30.0, 1.0), (60.0, 2.0)])
        self.assertEqual(self.series("cpu_percent", 31.0, 59.0), [])
        self.assertEqual(self.series("cpu_percent", 60.0, 60.0), [(60.0, 2.0)])
        self.assertEqual(self.series("cpu_percent", 100.0, 900.0), [])
        self.assertEqual(self.series(mac=OTHER_MAC), [])

    def test_fewer(self: Any) -> None:
        """Of more points than wanted come means; as many as wanted come as they are."""
        self.assertEqual(len(self.series(most=3)), 3)
        self.assertEqual(self.series("cpu_percent", 0.0, 100.0, most=1), [(60.0, 2.0)])


class RecentReadingsTests(ReadingsMixin, SynchronousTestCase):
    """Those in memory."""

    def make(self) -> RecentReadings:
        """Empty."""
        self.clock = Clock()
        return RecentReadings(self.clock)

    def take(self, mac: MACAddress, what: Any) -> None:
        """A reading comes."""
        self.readings.take(mac, what)

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
