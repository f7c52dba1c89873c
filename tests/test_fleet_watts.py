"""
What ports may draw, and what their switch can still give.
"""

from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import PortPower, PowerBudget, SwitchPort
from piman.fleet.operations.watts import RESERVED_SECONDS, Needs, Reservations, SwitchPower, is_enough, need, sums

RACK, OTHER = IPv4Address("172.30.4.254"), IPv4Address("172.30.4.253")
BUDGET = PowerBudget(total_watts=60.0, used_watts=50.0, state="on")


def port(number: int = 1, *, watts: float | None = None, power_class: int | None = None) -> PortPower:
    """A port that gives power if it tells how much."""
    return PortPower(port=number, delivering=watts is not None, watts=watts, power_class=power_class)


class NeedTests(SynchronousTestCase):
    """What a port may draw when it is given power."""

    def test_classes(self) -> None:
        """IEEE 802.3: 15.4 W of class 0 and 3, 4 of 1, 7 of 2, 30 of 4, 45 to 90 above; 15.4 of none that is known."""
        classes = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, None)
        found = [need(port(power_class=power_class)) for power_class in classes]
        self.assertEqual(found, [15.4, 4.0, 7.0, 15.4, 30.0, 45.0, 60.0, 75.0, 90.0, 15.4, 15.4])

    def test_measured(self) -> None:
        """Half as much again as was measured, and never more than its class."""
        self.assertEqual(need(port(watts=4.0, power_class=0)), 6.0)
        self.assertEqual(need(port(watts=4.0, power_class=1)), 4.0)

    def test_remembered(self) -> None:
        """What was measured is remembered while the port is off, when it says nothing."""
        needs = Needs()
        self.assertIsNone(needs.of(SwitchPort(RACK, 1)))
        needs.saw(RACK, [port(1, watts=4.0), port(2)])
        needs.saw(RACK, [port(1), port(2)])
        self.assertEqual([needs.of(SwitchPort(RACK, number)) for number in (1, 2)], [6.0, 15.4])


class BudgetTests(SynchronousTestCase):
    """What a switch can still give."""

    def test_enough(self) -> None:
        """Ten of sixty watts are left; who does not tell has no limit."""
        self.assertEqual([is_enough(BUDGET, watts) for watts in (10.0, 10.1)], [True, False])
        self.assertTrue(is_enough(None, 1_000.0))
        self.assertTrue(is_enough(PowerBudget(total_watts=60.0), 1_000.0))

    def test_pending(self) -> None:
        """What was promised counts until it shows, on its own switch alone."""
        reservations = Reservations()
        reservations.promise(SwitchPort(RACK, 1), 6.0, 100.0)
        reservations.promise(SwitchPort(OTHER, 1), 7.0, 100.0)
        self.assertEqual(reservations.pending(RACK, 104.0), 6.0)
        self.assertEqual(reservations.pending(RACK, 100.0 + RESERVED_SECONDS), 0.0)

    def test_sums(self) -> None:
        """By switch, with its budget where it tells one."""
        needs = Needs()
        needs.saw(RACK, [port(1, watts=4.0), port(2)])
        needs.saw(OTHER, [port(1, power_class=1)])
        ports = [SwitchPort(RACK, 1), SwitchPort(RACK, 2), SwitchPort(OTHER, 1)]
        self.assertEqual(
            sums(ports, needs, {RACK: BUDGET, OTHER: None}),
            (
                SwitchPower(switch=OTHER, ports=1, watts=4.0),
                SwitchPower(switch=RACK, ports=2, watts=21.4, total_watts=60.0, used_watts=50.0),
            ),
        )
