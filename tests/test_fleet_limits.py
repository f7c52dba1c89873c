"""
Tests for :mod:`piman.fleet.limits`.
"""

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.limits import Limit, Limits

HOT, HOTTER, HOTTEST = (Limit.of(above) for above in (70.0, 75.0, 80.0))
PI = ("b8:27:eb:00:00:0d", "pi13", "172.30.4.13")


class LimitTests(SynchronousTestCase):
    """One limit."""

    def test_margin(self) -> None:
        """Unless the operator says it, a value is back a twentieth below the limit, whatever its sign."""
        self.assertEqual(Limit.of(80.0).clear, 76.0)
        self.assertEqual(Limit.of(-10.0).clear, -10.5)
        self.assertEqual(Limit.of(0.0).clear, 0.0)
        self.assertEqual(Limit.of(80.0, clear=80.0).clear, 80.0)


class LimitsTests(SynchronousTestCase):
    """Which limits are a node's."""

    def test_fleet(self) -> None:
        """The fleet's limits are every node's."""
        self.assertEqual(Limits(fleet={"temp": HOT}).of_node(PI), {"temp": HOT})
        self.assertEqual(Limits().of_node(PI), {})

    def test_nearest(self) -> None:
        """A tag's limit comes before the fleet's, a node's own before both; readings of which they say nothing stay."""
        limits = Limits(
            fleet={"temp": HOT, "cpu_percent": HOT},
            tags={"rack": {"pi13"}},
            by_tag={"rack": {"temp": HOTTER, "num_pids": HOTTER}},
            by_node={"pi13": {"num_pids": HOTTEST}},
        )
        self.assertEqual(limits.of_node(PI), {"temp": HOTTER, "cpu_percent": HOT, "num_pids": HOTTEST})
        self.assertEqual(limits.of_node(("pi14",)), {"temp": HOT, "cpu_percent": HOT})

    def test_none(self) -> None:
        """A node or a tag may have no limit where the fleet has one."""
        limits = Limits(
            fleet={"temp": HOT},
            tags={"lab": {"pi14"}},
            by_tag={"lab": {"temp": None}},
            by_node={"pi13": {"temp": None}},
        )
        self.assertEqual(limits.of_node(PI), {})
        self.assertEqual(limits.of_node(("pi14",)), {})
        self.assertEqual(limits.of_node(("pi15",)), {"temp": HOT})

    def test_two_tags(self) -> None:
        """Of two tags the lower limit counts, in whatever order they stand, and any limit more than none."""
        rules = {"a": {"temp": HOTTER}, "b": {"temp": HOT}, "c": {"temp": None}}
        tags = {"a": {"pi13"}, "b": {"pi13"}, "c": {"pi13"}}
        for order in ("abc", "bac", "cab", "cba"):
            limits = Limits(fleet={"temp": HOTTEST}, tags=tags, by_tag={tag: rules[tag] for tag in order})
            self.assertEqual(limits.of_node(PI), {"temp": HOT})

    def test_names(self) -> None:
        """A node goes by each of its names, in whatever case it is asked for."""
        for name in PI:
            limits = Limits(by_node={name: {"temp": HOT}})
            self.assertEqual(limits.of_node([other.upper() for other in PI]), {"temp": HOT})
