"""
Automatic recovery in virtual time: boards that hang, and a manager that may cycle their power by itself, or may not.
"""

from typing import Any

from piman.fleet.events import NodeUp, OperationStarted, PowerCycled, RecoveryBegun, RecoveryEnded, RecoveryHeldBack
from piman.fleet.interfaces import PowerUnreachable
from piman.fleet.model import MACAddress
from piman.fleet.operations.orders import Action
from piman.fleet.operations.recovery import RecoverySettings
from piman.simulator.booting.journal import Step as BoardStep
from piman.simulator.pi import MODELS, Pi
from piman.simulator.wiring.faults import Faults
from piman.testing.scenario import Scenario
from tests.scenario.support import ScenarioTestCase

CABLE_SECONDS = 3.0
HOUR = 3600.0


class RecoveryTestCase(ScenarioTestCase):
    """Racks whose boards are all up; from now on nobody but the manager cycles boards that hang."""

    def rack_that_is_up(self, *kinds: str, enabled: bool = True, **options: Any) -> Scenario:
        """With recovery, unless it is switched off."""
        scenario = self.rack(*kinds, recovery=RecoverySettings(enabled=enabled), **options)
        scenario.harness.start()
        self.assertTrue(scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis)))
        scenario.harness.recovers = False
        scenario.run_until(lambda: False, 300.0)
        return scenario

    def break_down(self, *pis: Pi, deaf: bool = True) -> None:
        """Somebody pulls the boards' cables and puts them in again; deaf ones hear nothing from then on."""
        scenario = self.scenario
        for pi in pis:
            if deaf:
                scenario.lines[scenario.pis.index(pi)].faults = Faults(loss=1.0)
            scenario.pull_cable(pi, CABLE_SECONDS)

    def why(self, pi: Pi) -> str:
        """The verdict."""
        assert self.scenario.manager is not None
        return self.scenario.manager.casebook.why(MACAddress(pi.board.mac)).sentence


class HungTests(RecoveryTestCase):
    """A single board is in trouble."""

    def hang_one(self, scenario: Scenario) -> Pi:
        """Its ROM asks, hears no answer to its request for a file, and hangs; then its line is well again."""
        pi, line = scenario.pis[0], scenario.lines[0]
        self.break_down(pi, deaf=False)
        self.assertTrue(scenario.run_until(lambda: pi.journal.step is BoardStep.LOADING))
        line.faults = Faults(loss=1.0)
        self.assertTrue(scenario.run_until(lambda: pi.journal.step is BoardStep.HUNG))
        line.faults = Faults()
        return pi

    def test_hung_board(self) -> None:
        """A ROM that hangs is cycled once, by recovery and for the reason told, and is up; others are left alone."""
        scenario = self.rack_that_is_up(*MODELS * 2)
        pi = self.hang_one(scenario)
        self.assertTrue(scenario.run_until(lambda: pi.is_up, 400.0))
        (begun,) = scenario.events(RecoveryBegun)
        self.assertEqual((begun.mac, begun.attempt, begun.of), (MACAddress(pi.board.mac), 1, 2))
        self.assertTrue(begun.reason)
        (started,) = scenario.events(OperationStarted)
        self.assertEqual((started.who, started.operation), ("recovery", begun.operation))
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertEqual([one.mac for one in scenario.events(PowerCycled)], [begun.mac])
        self.assert_all_up(60.0)

    def test_off(self) -> None:
        """Where recovery is off nobody is cycled."""
        scenario = self.rack_that_is_up(*MODELS * 2, enabled=False)
        pi = self.hang_one(scenario)
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertIs(pi.journal.step, BoardStep.HUNG)
        self.assertEqual(scenario.events(PowerCycled) + scenario.events(OperationStarted), [])
        scenario.finish()

    def test_protected(self) -> None:
        """A board on a protected port is never cycled."""
        scenario = self.rack_that_is_up(*MODELS * 2)
        scenario.protected.add(scenario.ports[0])
        pi = self.hang_one(scenario)
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertIs(pi.journal.step, BoardStep.HUNG)
        self.assertEqual(scenario.events(PowerCycled) + scenario.events(OperationStarted), [])
        scenario.finish()

    def test_ordered_by_somebody(self) -> None:
        """A board that an operation has given up after its power cycles is not cycled again by recovery."""
        scenario = self.rack_that_is_up(*MODELS * 2)
        scenario.lines[0].faults = Faults(loss=1.0)
        scenario.order(Action.RESTART, "pi1")
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertEqual(len(scenario.events(PowerCycled)), 3)
        self.assertEqual(scenario.events(RecoveryBegun), [])
        scenario.finish()

    def test_dead_board(self) -> None:
        """A board that never asks again is cycled twice, then left with a verdict that says so, for good."""
        scenario = self.rack_that_is_up(*MODELS * 2)
        pi = scenario.pis[0]
        self.break_down(pi, deaf=False)
        self.assertTrue(scenario.run_until(lambda: pi.journal.step is BoardStep.LOADING))
        scenario.lines[0].faults = Faults(loss=1.0)
        scenario.run_until(lambda: False, 5 * HOUR)
        self.assertEqual([one.attempt for one in scenario.events(RecoveryBegun)], [1, 2])
        self.assertEqual(len(scenario.events(PowerCycled)), 2)
        self.assertEqual([one.attempts for one in scenario.events(RecoveryEnded)], [2])
        self.assertIn("2 power cycles by recovery did not help", self.why(pi))
        self.assertTrue(scenario.switch.delivering(1))
        scenario.finish()

    def test_counted_across_a_restart(self) -> None:
        """A manager that was killed in between knows how often the board was cycled."""
        scenario = self.rack_that_is_up(*MODELS * 2)
        pi = scenario.pis[0]
        self.break_down(pi, deaf=False)
        self.assertTrue(scenario.run_until(lambda: pi.journal.step is BoardStep.LOADING))
        scenario.lines[0].faults = Faults(loss=1.0)
        self.assertTrue(scenario.run_until(lambda: bool(scenario.events(RecoveryBegun)), HOUR))
        scenario.run_until(lambda: False, 30.0)
        scenario.kill_manager()
        scenario.run_until(lambda: False, 5.0)
        scenario.start_manager()
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertEqual([one.attempt for one in scenario.events(RecoveryBegun)], [1, 2])
        scenario.finish()


class CrowdTests(RecoveryTestCase):
    """Many are in trouble: it is not theirs."""

    def test_dead_switch(self) -> None:
        """A switch that passes nothing on and answers nobody: no board is cycled, neither then nor later."""
        scenario = self.rack_that_is_up(*MODELS * 3)
        self.break_down(*scenario.pis)
        scenario.switch.failure = PowerUnreachable("rack-a does not answer.", "Look after it.")
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertEqual(scenario.events(RecoveryBegun) + scenario.events(PowerCycled), [])
        scenario.finish()

    def hang_all(self, scenario: Scenario, count: int) -> None:
        """So many boards ask for addresses, and then nothing reaches them any more."""
        pis = scenario.pis[:count]
        for pi, line in zip(pis, scenario.lines, strict=False):
            scenario.pull_cable(pi, CABLE_SECONDS)
            self.assertTrue(scenario.run_until(lambda: pi.journal.step is BoardStep.LOADING))  # noqa: B023
            line.faults = Faults(loss=1.0)

    def test_classroom(self) -> None:
        """A third of the boards stuck while their switch answers: none is cycled, and that is said once."""
        scenario = self.rack_that_is_up(*("3B",) * 12)
        self.hang_all(scenario, 4)
        scenario.run_until(lambda: False, 2 * HOUR)
        self.assertEqual(scenario.events(RecoveryBegun) + scenario.events(PowerCycled), [])
        told = {(one.where, one.stuck, one.nodes) for one in scenario.events(RecoveryHeldBack)}
        self.assertIn(("rack-a", 4, 12), told)
        self.assertIn(("all switches", 4, 12), told)
        scenario.finish()

    def test_few_of_many(self) -> None:
        """Two of them are an accident: both are cycled, and come back when their lines are well."""
        scenario = self.rack_that_is_up(*("3B",) * 12)
        self.hang_all(scenario, 2)
        self.assertTrue(scenario.run_until(lambda: scenario.pis[1].journal.step is BoardStep.HUNG))
        for line in scenario.lines:
            line.faults = Faults()
        self.assertTrue(scenario.run_until(lambda: all(pi.is_up for pi in scenario.pis), 900.0))
        self.assertEqual(len(scenario.events(RecoveryBegun)), 2)
        self.assertEqual(len({event.mac for event in scenario.events(NodeUp)}), 12)
        scenario.finish()
