"""
How many more targets may begin.
"""

from ipaddress import IPv4Address

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from piman.fleet.model import Phase, SwitchPort
from piman.fleet.operations.admission import FIRST_IMAGE_WINDOW, FIRST_WINDOW, SMALLEST_WINDOW
from piman.fleet.operations.orders import Action, Step, TargetReport
from piman.fleet.operations.power import PowerPolicy
from piman.fleet.operations.targets import Target
from piman.fleet.operations.turns import Begun, Turns

NOW = 1_000.0
REPORT = TargetReport(target=Target(port=SwitchPort(IPv4Address("172.30.4.254"), 1)), step=Step.FOLLOWING)
BOOT = (Phase.POWERED, NOW - 20), (Phase.OFFERED, NOW - 10), (Phase.LOADING, NOW - 9), (Phase.STARTING, NOW)


def begun(count: int, action: Action = Action.RESTART, *, is_through: bool = False) -> list[Begun]:
    """So many at work."""
    return [Begun(action, REPORT, is_through)] * count


class RoomTests(SynchronousTestCase):
    """Room for more."""

    def setUp(self) -> None:
        """Nothing is known, and the line is free."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.is_crowded = False
        self.turns = Turns(self.clock, policy=PowerPolicy, is_crowded=lambda: self.is_crowded)

    def passes(self, count: int, action: Action = Action.RESTART) -> None:
        """So many get through, five a second, each after 20 s."""
        for _ in range(count):
            self.clock.advance(0.2)
            self.turns.passed(action, attrs.evolve(REPORT, started=self.clock.seconds() - 20.0, stages=BOOT))

    def test_in_flight(self) -> None:
        """What is past the load of a boot takes no room."""
        self.assertEqual(self.turns.room(Action.RESTART, begun(28) + begun(500, is_through=True)), FIRST_WINDOW - 28)

    def test_crowded(self) -> None:
        """On a full line as many as keep it full, and a quarter more: five a second, 20 s each."""
        self.passes(60)
        self.is_crowded = True
        self.assertEqual(self.turns.room(Action.RESTART, begun(25)), 100)
        self.is_crowded = False
        self.assertEqual(self.turns.room(Action.RESTART, begun(0)), 125)  # the window from now on

    def test_crowded_by_others(self) -> None:
        """A line that is full of others does not stop an order: a few are always in flight."""
        self.is_crowded = True
        self.assertEqual(self.turns.room(Action.RESTART, begun(0)), SMALLEST_WINDOW)
        self.assertEqual(self.turns.room(Action.RESTART, begun(SMALLEST_WINDOW)), 0)

    def test_images(self) -> None:
        """Installations have a window of their own within that of all."""
        self.assertEqual(self.turns.room(Action.REINSTALL, begun(6, Action.REINSTALL)), FIRST_IMAGE_WINDOW - 6)
        self.assertEqual(self.turns.room(Action.REINSTALL, begun(FIRST_WINDOW - 3)), 3)

    def test_ports_without_nodes(self) -> None:
        """Of a port that was switched and nobody followed nothing is learned."""
        before = self.turns.window
        self.turns.passed(Action.POWER_OFF, REPORT)
        self.assertEqual(self.turns.window, before)
