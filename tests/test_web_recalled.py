"""
Tests for :mod:`piman.web.recalled`: readings over time in the API, and on the page of a node.
"""

from twisted.internet.defer import Deferred

from piman.fleet.walltime import WallTime
from piman.web.openapi import SCHEMAS
from piman.web.recalled import Recalled
from tests.pages_support import Wall, mac_of
from tests.test_monitor_recent import reading
from tests.test_web_pages_resource import _Case
from tests.web_support import NODES, InHalf

PI2 = NODES[0]


class RouteTests(InHalf):
    """``GET /api/v1/nodes/NAME/readings``."""

    def setUp(self) -> None:
        """Three readings half a minute apart; then none for ten minutes, and one more."""
        super().setUp()
        self.start = self.half.clock.seconds()
        for pause, cpu in ((0.0, 1.0), (30.0, 2.0), (30.0, 3.0), (600.0, 4.0)):
            self.half.clock.advance(pause)
            self.half.recent.take(PI2.mac, reading(cpu_percent=cpu, temp=None))

    def readings(self, **parameters: object) -> object:
        """The points of the processor, as times since the first and values."""
        status, told = self.ask("GET", f"/api/v1/nodes/{PI2.mac}/readings", metric="cpu_percent", **parameters)
        self.assertEqual(status, 200, told)
        return [(point["time"] - self.start, point["value"]) for point in told["series"][0]["points"]]

    def test_points(self) -> None:
        """Oldest first, with a null in the middle of the time in which nothing was read."""
        self.assertEqual(self.readings(), [(0, 1.0), (30, 2.0), (60, 3.0), (360, None), (660, 4.0)])

    def test_since(self) -> None:
        """From a time on."""
        self.assertEqual(self.readings(since=int(self.start) + 600), [(660, 4.0)])

    def test_all(self) -> None:
        """Without a name every value is told, with its unit; what the board did not tell is null."""
        _, told = self.ask("GET", f"/api/v1/nodes/{PI2.mac}/readings")
        units = {each["metric"]: each["unit"] for each in told["series"]}
        expected = {"cpu_percent": "%", "memory_percent": "%", "disk_percent": "%", "num_pids": "", "temp": "°C"}
        self.assertEqual(units, expected)
        temperatures = next(each["points"] for each in told["series"] if each["metric"] == "temp")
        self.assertEqual({point["value"] for point in temperatures}, {None})
        self.assertEqual(set(told), set(SCHEMAS["Readings"]["required"]))

    def test_none(self) -> None:
        """A node that told nothing has no points."""
        _, told = self.ask("GET", f"/api/v1/nodes/{NODES[1].mac}/readings", metric="temp")
        self.assertEqual(told["series"], [{"metric": "temp", "unit": "°C", "points": []}])

    def test_mistakes(self) -> None:
        """A value, a number or a node that there is not is told with what there is."""
        path = f"/api/v1/nodes/{PI2.mac}/readings"
        status, told = self.ask("GET", path, metric="heat")
        self.assertEqual(status, 400)
        self.assertIn("cpu_percent, memory_percent", told["error"]["message"])
        for parameters in ({"points": 0}, {"points": 5001}, {"since": "yesterday"}, {"until": 3}):
            self.assertEqual(self.ask("GET", path, **parameters)[0], 400, parameters)
        self.assertEqual(self.ask("GET", "/api/v1/nodes/nobody/readings")[0], 404)


class StepTests(InHalf):
    """The host's clock, which somebody sets."""

    def test_wall(self) -> None:
        """Times are told as the host's clock has them now, and are asked for so."""
        half = self.half
        half.recent.take(PI2.mac, reading(cpu_percent=7.0))
        taken = half.clock.seconds()
        wall = WallTime(half.clock, lambda: half.clock.seconds() + 1000.0)
        recalled = Recalled(half.recent, wall, lambda: 105.0)
        found = recalled.series(PI2.mac, "cpu_percent", taken + 990.0, taken + 1010.0, 10)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(found)), [(taken + 1000.0, 7.0)])


class PageTests(_Case):
    """The page of a node."""

    def test_charts(self) -> None:
        """Four charts with their numbers in words; what the board never told has none."""
        wall = Wall(1, 2)
        wall.recent.take(mac_of(1), reading(cpu_percent=12.5, temp=None))
        wall.clock.advance(60.0)
        page = self.visit(wall, f"/nodes/{mac_of(1)}")
        shown = [each["data-metric"] for each in page.all("figure")]
        self.assertEqual(shown, ["cpu_percent", "memory_percent", "disk_percent"])
        self.assertIn("Lowest 12.5 %, highest 12.5 %, last 12.5 %", page.text)

    def test_nothing(self) -> None:
        """A node whose agent told nothing has no charts, and says so."""
        page = self.visit(Wall(1, 2), f"/nodes/{mac_of(1)}")
        self.assertEqual(page.all("figure"), [])
        self.assertIn("Its agent has told nothing yet.", page.text)
